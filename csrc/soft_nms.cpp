// The loop of Soft-NMS. Compiled once per instruction set.
//
// One pass per selected box over those that are left: overlap, weight, and the best of the re-scored ones, all in
// the same pass. Boxes stay in order of index, so that the first of equal scores is the lowest index; those that
// are gone are squeezed out when they are a quarter. Floor: K * N / 2 pairs, 9 operations a lane each; division
// and exponential only for vectors that overlap.
#include "exp.h"
#include "loops.h"
#include "simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// nms.py's exp_negative, line by line.
template <class V>
inline V exp_negative(V x) {
    using T = typename V::Scalar;
    using C = ExpConstants<T>;
    x = max(x, V::set(C::low));
    const V shifted = x * V::set(T(1.4426950408889634)) + V::set(C::magic);
    const V n = shifted - V::set(C::magic);
    const V r = (x - n * V::set(C::ln2_high)) - n * V::set(C::ln2_low);
    V p = V::set(T(kInverseFactorial[C::degree]));
    for (int k = C::degree - 1; k >= 0; --k) p = p * r + V::set(T(kInverseFactorial[k]));
    return scale2(p, shifted);
}

template <class T, bool Gaussian>
int64_t run(SoftJob<T>& job) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const V zero = V::set(0), one = V::set(1), threshold = V::set(job.threshold), sigma = V::set(job.sigma);
    T *x1 = job.x1, *y1 = job.y1, *x2 = job.x2, *y2 = job.y2, *score = job.score;
    int64_t n = job.n, gone = 0, selected = 0;

    const auto hide = [&](int64_t i) {  // overlaps nothing and is never the best
        x1[i] = y1[i] = 1, x2[i] = y2[i] = -1, score[i] = -1;
    };
    const auto pad = [&] {
        for (int64_t i = n; i < (n + L - 1) / L * L; ++i) hide(i);
    };
    pad();
    V top = V::set(-1);
    for (int64_t k = 0; k < n; k += L) top = max(V::load(score + k), top);
    for (;;) {
        T lanes[L];
        top.store(lanes);
        T best = lanes[0];
        for (int l = 1; l < L; ++l) best = lanes[l] > best ? lanes[l] : best;
        if (!(best >= job.min_score) || selected == job.limit) break;
        int64_t m = 0;
        for (const V wanted = V::set(best);; m += L) {
            const uint32_t found = eq(V::load(score + m), wanted);
            if (found) {
                m += __builtin_ctz(found);
                break;
            }
        }
        job.selected[selected] = job.index[m];
        job.selected_score[selected++] = best;

        const Box<T> box{x1[m], y1[m], x2[m], y2[m]};
        const V bx1 = V::set(box.x1), by1 = V::set(box.y1), bx2 = V::set(box.x2), by2 = V::set(box.y2), barea = V::set(area(box));
        hide(m);
        ++gone;
        top = V::set(-1);
        for (int64_t k = 0; k < n; k += L) {
            const V cx1 = V::load(x1 + k), cy1 = V::load(y1 + k), cx2 = V::load(x2 + k), cy2 = V::load(y2 + k);
            V s = V::load(score + k);
            const V w = max(min(bx2, cx2) - max(bx1, cx1), zero), h = min(by2, cy2) - max(by1, cy1);
            const V inter = w * h;  // of either sign where h < 0
            if (gt(inter, zero)) {
                const V meet = w * max(h, zero);
                const V both = (barea + max(cx2 - cx1, zero) * max(cy2 - cy1, zero)) - meet;
                const V iou = where_positive(both, meet / both, zero);
                const V weight = Gaussian ? exp_negative((zero - iou * iou) / sigma) : where_ge(iou, threshold, one - iou, one);
                s = s * weight;
                s.store(score + k);
            }  // else IoU 0: the weight is 1
            top = max(s, top);  // a NaN (inf * 0) is passed over
        }
        if (gone * 4 > n && n > 4 * L) {
            int64_t to = 0;
            for (int64_t i = 0; i < n; ++i) {
                if (!(score[i] >= job.min_score)) continue;
                x1[to] = x1[i], y1[to] = y1[i], x2[to] = x2[i], y2[to] = y2[i], score[to] = score[i];
                job.index[to++] = job.index[i];
            }
            n = to;
            gone = 0;
            pad();
        }
    }
    return selected;
}

}  // namespace

template <class T>
int64_t soft_nms(SoftJob<T>& job) {
    return job.gaussian ? run<T, true>(job) : run<T, false>(job);
}

template int64_t soft_nms(SoftJob<float>&);
template int64_t soft_nms(SoftJob<double>&);

}  // namespace FASTDET_ISA
}  // namespace fastdet
