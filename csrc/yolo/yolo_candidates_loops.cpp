// The best class of each candidate: the loops. Compiled once per instruction set.
//
// Whole rows: the lanes are classes, and a row's maximum is looked for only where some lane is above the threshold.
// Planes: the lanes are candidates, some vectors of them at a time down all classes. Floor: the output read once.
#include "simd/simd.h"
#include "yolo/yolo_job.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <class T>
static inline int32_t first_best(const T* scores, int64_t classes, T object, bool objectness) {
    T best = -T(__builtin_inf());
    int32_t label = 0;
    for (int64_t c = 0; c < classes; ++c) {
        const T score = class_score(scores[c], object, objectness);
        if (score > best) {
            best = score;
            label = int32_t(c);
        }
    }
    return label;
}

template <bool objectness, class T>
static bool rows(const YoloJob<T>& job, const T* x, int64_t first, int64_t last, int32_t* label) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    constexpr uint32_t kAll = uint32_t((uint64_t(1) << L) - 1);
    constexpr int64_t start = objectness ? 5 : 4;
    const int64_t classes = job.classes, whole = classes / L * L;
    const V threshold = V::set(job.threshold), lowest = V::set(-T(__builtin_inf())), zero = V::set(0), one = V::set(1);
    bool wrong = false;
    for (int64_t i = first; i < last; ++i) {
        const T *row = x + i * job.channels, *scores = row + start;
        const T object = objectness ? row[4] : T(1);
        for (int64_t k = 0; k < start; ++k) wrong |= is_wrong(row[k], k);
        V top = lowest, highest = lowest;  // of scores, and of what they are made from
        const V factor = V::set(object);
        uint32_t right = kAll;
        for (int64_t c = 0; c < whole; c += L) {
            V score = V::load(scores + c);
            right &= ge(score, zero);  // not for a NaN
            if (objectness) highest = max(highest, score), score = factor * score;
            top = where_ge(score, top, score, top);
        }
        wrong |= right != kAll || gt(objectness ? highest : top, one);
        bool above = gt(top, threshold) != 0;
        for (int64_t c = whole; c < classes; ++c) {
            wrong |= is_wrong(scores[c], start + c);
            above |= class_score(scores[c], object, objectness) > job.threshold;
        }
        label[i] = above ? first_best(scores, classes, object, objectness) : -1;
    }
    return !wrong;
}

// `count` vectors of candidates, their best scores and labels in registers; labels are whole numbers of T.
template <bool objectness, int count, class T>
static bool columns(const YoloJob<T>& job, const T* x, int32_t* label) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    constexpr uint32_t kAll = uint32_t((uint64_t(1) << L) - 1);
    constexpr int64_t start = objectness ? 5 : 4;
    const V lowest = V::set(-T(__builtin_inf())), zero = V::set(0), one = V::set(1);
    V top[count], best[count], object[count], highest = lowest;
    uint32_t right = kAll;
    for (int k = 0; k < count; ++k) {
        for (int64_t c = 0; c < start; ++c) {
            const V value = V::load(x + c * job.candidates + k * L);
            right &= c < 4 ? eq(value, value) : ge(value, zero) & ge(one, value);
            object[k] = value;  // the last one
        }
        top[k] = lowest;
        best[k] = V::set(0);
    }
    for (int64_t c = start; c < start + job.classes; ++c) {
        const T* values = x + c * job.candidates;
        const V mine = V::set(T(c - start));
        for (int k = 0; k < count; ++k) {
            __builtin_prefetch(values +
                               (count + k) * L);  // of the next call: what lies between is too far for hardware
            V score = V::load(values + k * L);
            right &= ge(score, zero);  // not for a NaN
            if (objectness) highest = max(highest, score), score = object[k] * score;
            best[k] = where_ge(top[k], score, best[k], mine);
            top[k] = where_ge(top[k], score, top[k], score);
        }
    }
    for (int k = 0; k < count; ++k) {
        if (!objectness) highest = max(highest, top[k]);
        T score[L], found[L];
        top[k].store(score);
        best[k].store(found);
        for (int i = 0; i < L; ++i) label[k * L + i] = score[i] > job.threshold ? int32_t(found[i]) : -1;
    }
    return right == kAll && !gt(highest, one);
}

template <bool objectness, class T>
static bool planes(const YoloJob<T>& job, const T* x, int64_t first, int64_t last, int32_t* label) {
    constexpr int kVectors = 4, L = Vec<T>::lanes;
    constexpr int64_t start = objectness ? 5 : 4;
    bool right = true;
    int64_t i = first;
    for (; i + kVectors * L <= last; i += kVectors * L) right &= columns<objectness, kVectors>(job, x + i, label + i);
    for (; i + L <= last; i += L) right &= columns<objectness, 1>(job, x + i, label + i);
    for (; i < last; ++i) {
        const T* values = x + i;
        const T object = objectness ? values[4 * job.candidates] : T(1);
        T top = -T(__builtin_inf());
        int32_t best = 0;
        for (int64_t c = 0; c < start + job.classes; ++c) {
            const T value = values[c * job.candidates], score = class_score(value, object, objectness);
            right &= !is_wrong(value, c);
            if (c >= start && score > top) {
                top = score;
                best = int32_t(c - start);
            }
        }
        label[i] = top > job.threshold ? best : -1;
    }
    return right;
}

template <class T>
bool yolo_best(const YoloJob<T>& job, const T* x, int64_t first, int64_t last, int32_t* label) {
    if (job.planes) {
        return job.objectness ? planes<true>(job, x, first, last, label) : planes<false>(job, x, first, last, label);
    }
    return job.objectness ? rows<true>(job, x, first, last, label) : rows<false>(job, x, first, last, label);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(YoloKernels, yolo_kernels, {{yolo_best<float>}, {yolo_best<double>}})

}  // namespace fastdet
