// Pairwise and element-wise overlap measures. Compiled once per instruction set.
//
// Floor: the result is written once; about 11 operations and one division a pair. Columns are taken in tiles that
// stay in the first cache. Skipping the division where no lane overlaps was three times slower: a third of the
// vectors of real boxes overlap, which no branch predictor foresees, and the divider runs beside the rest.
#include "boxes/box_iou.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Ordinary boxes only (no NaN, no coordinate above Limits::large): same operations as measure_once in box.h.
template <Measure K, bool Crowd, class V>
struct Pair {
    V x1, y1, x2, y2, area, angle;

    inline V with(V bx1, V by1, V bx2, V by2, V barea, V bangle, V crowd, V eps) const {
        const V zero = V::set(0);
        const V w = max(min(x2, bx2) - max(x1, bx1), zero);
        const V h = max(min(y2, by2) - max(y1, by1), zero);
        const V inter = w * h;
        V denominator = K == Measure::ios ? min(area, barea) : (area + barea) - inter;
        if constexpr (Crowd) denominator = where_positive(crowd, area, denominator);
        const V iou = where_positive(denominator, inter / denominator, zero);
        if constexpr (K == Measure::iou || K == Measure::ios) {
            return iou;
        } else {
            const V hull_w = max(x2, bx2) - min(x1, bx1), hull_h = max(y2, by2) - min(y1, by1);
            if constexpr (K == Measure::giou) {
                const V hull = max(hull_w, zero) * max(hull_h, zero);
                return iou - where_positive(hull, (hull - denominator) / hull, zero);
            } else {
                const V half = V::set(typename V::Scalar(0.5)), one = V::set(1);
                const V diagonal = hull_w * hull_w + hull_h * hull_h + eps;
                const V dx = (half * x1 + half * x2) - (half * bx1 + half * bx2);
                const V dy = (half * y1 + half * y2) - (half * by1 + half * by2);
                const V diou = iou - (dx * dx + dy * dy) / diagonal;
                if constexpr (K == Measure::diou) return diou;
                const V turn = bangle - angle;
                const V v = V::set(typename V::Scalar(0.40528473456935109)) * (turn * turn);
                return diou - v * v / (one - iou + v + eps);
            }
        }
    }
};

constexpr int64_t kTile = 1024;

template <class T, Measure K, bool Crowd>
void rows(const IouJob<T>& job, int64_t first, int64_t last) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    constexpr bool kAngle = K == Measure::ciou;
    const V eps = V::set(job.eps), none = V::set(0);
    const Columns<T>& b = job.b;
    for (int64_t tile = 0; tile < job.m; tile += kTile) {
        const int64_t end = tile + kTile < job.m ? tile + kTile : job.m;
        for (int64_t i = first; i < last; ++i) {
            const Box<T> box = job.a[i];
            const Pair<K, Crowd, V> a{V::set(box.x1), V::set(box.y1),        V::set(box.x2),
                                      V::set(box.y2), V::set(job.area_a[i]), kAngle ? V::set(job.angle_a[i]) : none};
            T* out = job.out + i * job.m;
            const auto at = [&](int64_t j) {
                return a.with(V::load(b.x1 + j), V::load(b.y1 + j), V::load(b.x2 + j), V::load(b.y2 + j),
                              V::load(b.area + j), kAngle ? V::load(b.angle + j) : none,
                              Crowd ? V::load(b.crowd + j) : none, eps);
            };
            const auto part = [&](int64_t j, int64_t n) {  // fewer than a vector; the columns are padded
                T tail[L];
                at(j).store(tail);
                for (int64_t k = 0; k < n; ++k) out[j + k] = tail[k];
            };
            int64_t j = tile;
            if (job.stream) {
                const int64_t past = int64_t(reinterpret_cast<uintptr_t>(out + j) / sizeof(T) % L);
                if (past) {
                    const int64_t n = L - past < end - j ? L - past : end - j;
                    part(j, n);
                    j += n;
                }
                for (; j + L <= end; j += L) at(j).stream(out + j);
            } else {
                for (; j + L <= end; j += L) at(j).store(out + j);
            }
            if (j < end) part(j, end - j);
        }
    }
    if (job.stream) store_fence();
}

template <class T, Measure K, bool Crowd>
void pairs(const Box<T>* a, const Box<T>* b, const T* crowd, int64_t n, T eps, T* out) {
    using V = Vec<T>;
    constexpr int L = V::lanes, kChunk = 256;
    T ca[6][kChunk], cb[6][kChunk], cc[kChunk], result[kChunk];
    for (int64_t done = 0; done < n; done += kChunk) {
        const int count = int(n - done < kChunk ? n - done : kChunk);
        const int whole = (count + L - 1) / L * L;
        for (int i = 0; i < whole; ++i) {
            const bool real = i < count;
            const Box<T> p = real ? a[done + i] : Box<T>{0, 0, 0, 0}, q = real ? b[done + i] : Box<T>{0, 0, 0, 0};
            ca[0][i] = p.x1, ca[1][i] = p.y1, ca[2][i] = p.x2, ca[3][i] = p.y2, ca[4][i] = area(p);
            cb[0][i] = q.x1, cb[1][i] = q.y1, cb[2][i] = q.x2, cb[3][i] = q.y2, cb[4][i] = area(q);
            if (K == Measure::ciou) {
                ca[5][i] = angle(p);
                cb[5][i] = angle(q);
            }
            if (Crowd) cc[i] = real ? crowd[done + i] : T(0);
        }
        constexpr bool kAngle = K == Measure::ciou;
        for (int i = 0; i < whole; i += L) {
            const V none = V::set(0);
            const Pair<K, Crowd, V> p{V::load(ca[0] + i), V::load(ca[1] + i), V::load(ca[2] + i),
                                      V::load(ca[3] + i), V::load(ca[4] + i), kAngle ? V::load(ca[5] + i) : none};
            p.with(V::load(cb[0] + i), V::load(cb[1] + i), V::load(cb[2] + i), V::load(cb[3] + i), V::load(cb[4] + i),
                   kAngle ? V::load(cb[5] + i) : none, Crowd ? V::load(cc + i) : none, V::set(eps))
                .store(result + i);
        }
        for (int i = 0; i < count; ++i) out[done + i] = result[i];
    }
}

#define FASTDET_EACH_KIND(CALL, CROWD, ...)                                                                      \
    switch (kind) {                                                                                              \
        case Measure::iou:                                                                                       \
            return CROWD ? CALL<T, Measure::iou, true>(__VA_ARGS__) : CALL<T, Measure::iou, false>(__VA_ARGS__); \
        case Measure::ios:                                                                                       \
            return CROWD ? CALL<T, Measure::ios, true>(__VA_ARGS__) : CALL<T, Measure::ios, false>(__VA_ARGS__); \
        case Measure::giou:                                                                                      \
            return CALL<T, Measure::giou, false>(__VA_ARGS__);                                                   \
        case Measure::diou:                                                                                      \
            return CALL<T, Measure::diou, false>(__VA_ARGS__);                                                   \
        case Measure::ciou:                                                                                      \
            return CALL<T, Measure::ciou, false>(__VA_ARGS__);                                                   \
    }

template <class T>
void box_iou(const IouJob<T>& job, int64_t first, int64_t last) {
    const Measure kind = job.kind;
    FASTDET_EACH_KIND(rows, job.b.crowd, job, first, last)
}

template <class T>
void box_iou_aligned(const Box<T>* a, const Box<T>* b, const T* crowd, int64_t n, Measure kind, T eps, T* out) {
    FASTDET_EACH_KIND(pairs, crowd, a, b, crowd, n, eps, out)
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(BoxIouKernels, box_iou_kernels,
                {{box_iou<float>, box_iou_aligned<float>}, {box_iou<double>, box_iou_aligned<double>}})

}  // namespace fastdet
