// Losses of aligned boxes and their gradients: the one place where a pair is decided. Compiled by g++ and nvcc, for
// scalars and for vectors; box_losses.py's reference has the same operations in the same order.
#pragma once

#include <cstdint>

#include "core/lanes.h"

namespace fastdet {

enum class BoxLoss : int { giou = 0, diou = 1, ciou = 2 };

namespace lanes {

// The arc tangent of any number, within 3 ulp: Cephes's reduction to tan(pi/8) or 0.66, then a polynomial (float) or
// a rational function (double). Libraries differ in the last bits; this is one.
template <class V>
FASTDET_HD V arctan(V x) {
    using T = ScalarOf<V>;
    constexpr bool kSingle = sizeof(T) == 4;
    const V zero = all<V>(0), one = all<V>(1);
    const V high = all<V>(T(2.414213562373095)), low = all<V>(kSingle ? T(0.4142135623730950) : T(0.66));
    const V a = where_ge(x, zero, x, zero - x);
    const V t = where_ge(a, high, zero - one, where_ge(a, low, a - one, a)) /
                where_ge(a, high, a, where_ge(a, low, a + one, one));
    const V base =
        where_ge(a, high, all<V>(T(1.5707963267948966)), where_ge(a, low, all<V>(T(0.7853981633974483)), zero));
    const V z = t * t;
    V y;
    if constexpr (kSingle) {
        V p = all<V>(8.05374449538e-2f);
        p = p * z + all<V>(-1.38776856032e-1f);
        p = p * z + all<V>(1.99777106478e-1f);
        p = p * z + all<V>(-3.33329491539e-1f);
        y = base + (p * z * t + t);
    } else {
        V p = all<V>(-8.750608600031904122785e-1), q = z + all<V>(2.485846490142306297962e1);
        p = p * z + all<V>(-1.615753718733365076637e1), q = q * z + all<V>(1.650270098316988542046e2);
        p = p * z + all<V>(-7.500855792314704667340e1), q = q * z + all<V>(4.328810604912902668951e2);
        p = p * z + all<V>(-1.228866684490136173410e2), q = q * z + all<V>(4.853903996359136964868e2);
        p = p * z + all<V>(-6.485021904942025371773e1), q = q * z + all<V>(1.945506571482613964425e2);
        y = base + (z * p / q * t + t);
    }
    return where_ge(x, zero, y, zero - y);
}

// The gradient that a corner passes on: of two equal ones each gets half, as torch.max and torch.min give it.
template <class V>
FASTDET_HD V pick(V x, V y, V inner, V outer) {
    const V both = all<V>(ScalarOf<V>(0.5)) * (inner + outer);
    return where_ge(x, y, where_ge(y, x, both, inner), outer);
}

// The loss of boxes a and b (x1 y1 x2 y2) and, if Grad, its gradients times `scale`. NaN gives NaN.
template <BoxLoss K, bool Grad, class V>
FASTDET_HD V box_loss(const V* a, const V* b, V eps, V alpha_eps, V scale, V* grad_a, V* grad_b) {
    using T = ScalarOf<V>;
    const V zero = all<V>(0), one = all<V>(1), half = all<V>(T(0.5));
    const V wa = a[2] - a[0], ha = a[3] - a[1], wb = b[2] - b[0], hb = b[3] - b[1];
    const V iw = min(a[2], b[2]) - max(a[0], b[0]), ih = min(a[3], b[3]) - max(a[1], b[1]);
    const V cw = max(a[2], b[2]) - min(a[0], b[0]), ch = max(a[3], b[3]) - min(a[1], b[1]);  // the hull
    const V inter = where_positive(iw, where_positive(ih, iw * ih, zero), zero);
    const V area = (wa * ha + wb * hb) - inter;
    const V iou = inter / (area + eps);

    const V rate = one / (area + eps);
    V loss, by_area, by_cw, by_ch;  // by_x: the derivative of the loss by x
    V dx = zero, dy = zero, by_wa = zero, by_ha = zero, by_wb = zero, by_hb = zero;
    if constexpr (K == BoxLoss::giou) {
        const V hull = cw * ch, per_hull = one / (hull + eps);
        const V spare = (hull - area) / (hull + eps);
        loss = one - (iou - spare);
        const V by_hull = (one - spare) * per_hull;
        by_area = iou * rate - per_hull;
        by_cw = by_hull * ch, by_ch = by_hull * cw;
    } else {
        const V diagonal = (cw * cw + ch * ch) + eps, per_diagonal = one / diagonal;
        dx = half * (a[2] + a[0]) - half * (b[2] + b[0]), dy = half * (a[3] + a[1]) - half * (b[3] + b[1]);
        const V distance = (dx * dx + dy * dy) / diagonal;
        loss = (one - iou) + distance;
        const V by_side = all<V>(-2) * (distance * per_diagonal);
        by_area = iou * rate;
        by_cw = by_side * cw, by_ch = by_side * ch;
        dx = dx * per_diagonal, dy = dy * per_diagonal;
        if constexpr (K == BoxLoss::ciou) {
            const V factor = all<V>(T(0.40528473456935109));  // 4 / pi^2
            const V qa = wa / ha, qb = wb / hb;
            const V turn = arctan(qb) - arctan(qa);
            const V v = factor * (turn * turn);
            const V alpha = v / (((one - iou) + v) + alpha_eps);  // a constant to the gradient
            loss = loss + alpha * v;
            const V by_turn = all<V>(2) * (factor * (alpha * turn));
            by_wa = (zero - by_turn) / (one + qa * qa) / ha, by_wb = by_turn / (one + qb * qb) / hb;
            by_ha = zero - by_wa * qa, by_hb = zero - by_wb * qb;
        }
    }
    if constexpr (Grad) {
        const V by_inter = zero - (rate + by_area);
        const V by_iw = where_positive(iw, where_positive(ih, by_inter * ih, zero), zero);
        const V by_ih = where_positive(iw, where_positive(ih, by_inter * iw, zero), zero);
        by_wa = by_area * ha + by_wa, by_ha = by_area * wa + by_ha;
        by_wb = by_area * hb + by_wb, by_hb = by_area * wb + by_hb;
        grad_a[0] = (dx - (by_wa + pick(a[0], b[0], by_iw, by_cw))) * scale;
        grad_a[1] = (dy - (by_ha + pick(a[1], b[1], by_ih, by_ch))) * scale;
        grad_a[2] = (dx + (by_wa + pick(b[2], a[2], by_iw, by_cw))) * scale;
        grad_a[3] = (dy + (by_ha + pick(b[3], a[3], by_ih, by_ch))) * scale;
        grad_b[0] = ((zero - dx) - (by_wb + pick(b[0], a[0], by_iw, by_cw))) * scale;
        grad_b[1] = ((zero - dy) - (by_hb + pick(b[1], a[1], by_ih, by_ch))) * scale;
        grad_b[2] = ((by_wb + pick(a[2], b[2], by_iw, by_cw)) - dx) * scale;
        grad_b[3] = ((by_hb + pick(a[3], b[3], by_ih, by_ch)) - dy) * scale;
    }
    return loss;
}
}  // namespace lanes

template <class T>
struct BoxLossJob {
    const Box<T>*a, *b;  // (n,)
    BoxLoss kind;
    T eps, alpha_eps;
    T scale;                 // of the gradients
    T* loss;                 // (n,); null where only the sum is wanted
    double* sums;            // one per kSumBlock pairs; null where no sum is wanted
    Box<T>*grad_a, *grad_b;  // (n,); null without gradients
};

// The loops, compiled once per instruction set; see kernels.h. `first` is a multiple of kSumBlock.
struct BoxLossKernels {
    void (*f)(const BoxLossJob<float>& job, int64_t first, int64_t last);
    void (*d)(const BoxLossJob<double>& job, int64_t first, int64_t last);
};

// The whole call; returns the sum of the losses where `sum`. Throws std::bad_alloc.
template <class T>
double box_losses(BoxLossJob<T> job, int64_t n, bool sum);

}  // namespace fastdet
