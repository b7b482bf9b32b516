// The best class of each candidate: the loops. Compiled once per instruction set.
//
// Whole rows: the lanes are classes, and a row's maximum is looked for only where some lane is above the threshold.
// Planes: the lanes are candidates, a block of them at a time, so that its maxima stay in the first cache. Floor: the
// output read once.
#include "loops.h"
#include "simd.h"
#include "yolo_job.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int64_t kBlock = 1024;

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
    const int64_t classes = job.channels - start, whole = classes / L * L;
    const V threshold = V::set(job.threshold), lowest = V::set(-T(__builtin_inf()));
    bool nan = false;
    for (int64_t i = first; i < last; ++i) {
        const T *row = x + i * job.channels, *scores = row + start;
        const T object = objectness ? row[4] : T(1);
        for (int64_t k = 0; k < start; ++k) nan |= row[k] != row[k];
        V top = lowest;
        const V factor = V::set(object);
        uint32_t numbers = kAll;
        for (int64_t c = 0; c < whole; c += L) {
            V score = V::load(scores + c);
            numbers &= eq(score, score);
            if (objectness) score = factor * score;
            top = where_ge(score, top, score, top);
        }
        nan |= numbers != kAll;
        bool above = gt(top, threshold) != 0;
        for (int64_t c = whole; c < classes; ++c) {
            nan |= scores[c] != scores[c];
            above |= class_score(scores[c], object, objectness) > job.threshold;
        }
        label[i] = above ? first_best(scores, classes, object, objectness) : -1;
    }
    return !nan;
}

// A label as wide as a score.
template <class T>
struct Label;
template <>
struct Label<float> {
    using K = int32_t;
};
template <>
struct Label<double> {
    using K = int64_t;
};

template <bool objectness, class T>
static bool planes(const YoloJob<T>& job, const T* x, int64_t first, int64_t last, int32_t* label) {
    using K = typename Label<T>::K;
    constexpr int64_t start = objectness ? 5 : 4;
    const int64_t classes = job.channels - start;
    T best[kBlock];
    K which[kBlock], bad = 0;
    for (int64_t from = first; from < last; from += kBlock) {
        const int64_t n = last - from < kBlock ? last - from : kBlock;
        const T* object = x + 4 * job.candidates + from;
        for (int64_t k = 0; k < start; ++k) {
            const T* value = x + k * job.candidates + from;
            for (int64_t j = 0; j < n; ++j) bad |= K(value[j] != value[j]);
        }
        for (int64_t j = 0; j < n; ++j) best[j] = -T(__builtin_inf());
        for (int64_t j = 0; j < n; ++j) which[j] = 0;
        for (int64_t c = 0; c < classes; ++c) {
            const T* value = x + (start + c) * job.candidates + from;
            const K mine = K(c);
            for (int64_t j = 0; j < n; ++j) {
                const T score = objectness ? object[j] * value[j] : value[j];
                const bool takes = score > best[j];
                bad |= K(value[j] != value[j]);
                best[j] = takes ? score : best[j];
                which[j] = takes ? mine : which[j];
            }
        }
        for (int64_t j = 0; j < n; ++j) label[from + j] = best[j] > job.threshold ? int32_t(which[j]) : -1;
    }
    return !bad;
}

}  // namespace

template <class T>
bool yolo_best(const YoloJob<T>& job, const T* x, int64_t first, int64_t last, int32_t* label) {
    if (job.planes) {
        return job.objectness ? planes<true>(job, x, first, last, label) : planes<false>(job, x, first, last, label);
    }
    return job.objectness ? rows<true>(job, x, first, last, label) : rows<false>(job, x, first, last, label);
}

template bool yolo_best(const YoloJob<float>&, const float*, int64_t, int64_t, int32_t*);
template bool yolo_best(const YoloJob<double>&, const double*, int64_t, int64_t, int32_t*);

}  // namespace FASTDET_ISA
}  // namespace fastdet
