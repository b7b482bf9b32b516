// Losses of aligned boxes and their gradients. The C++ and the CUDA backend compute a pair here. Compiled by g++ and
// nvcc, for scalars and for vectors; the reference has the same operations in the same order.
#pragma once

#include <cstdint>

#include "boxes/box.h"
#include "core/elementary.h"
#include "core/isa.h"
#include "losses/where_zero.h"

namespace fastdet {

enum class BoxLoss : int { giou = 0, diou = 1, ciou = 2 };

namespace lanes {

// The gradient that a corner passes on: of two equal ones each gets half, as torch.max and torch.min give it.
template <class V>
FASTDET_HD V pick(V x, V y, V inner, V outer) {
    const V both = all<V>(ScalarOf<V>(0.5)) * (inner + outer);
    return where_ge(x, y, where_ge(y, x, both, inner), outer);
}

// w / h, but 0 of a point.
template <class V>
FASTDET_HD V side_ratio(V w, V h) {
    const V ratio = w / h;
    return where_zero(h, where_zero(w, all<V>(0), ratio), ratio);
}

// The derivatives by width and height from that by the angle atan(w / h); of a box of height 0 by its limit.
template <class V>
FASTDET_HD void by_sides(V by_angle, V ratio, V w, V h, V& by_w, V& by_h) {
    const V zero = all<V>(0);
    const V steep = by_angle / (all<V>(1) + ratio * ratio) / h;
    by_w = where_zero(h, zero, steep);
    by_h = where_zero(h, where_zero(w, zero, zero - by_angle / w), zero - steep * ratio);
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
            const V qa = side_ratio(wa, ha), qb = side_ratio(wb, hb);
            const V turn = arctan(qb) - arctan(qa);
            const V v = factor * (turn * turn);
            const V alpha = v / (((one - iou) + v) + alpha_eps);  // a constant to the gradient
            loss = loss + alpha * v;
            const V by_turn = all<V>(2) * (factor * (alpha * turn));
            by_sides(zero - by_turn, qa, wa, ha, by_wa, by_ha);
            by_sides(by_turn, qb, wb, hb, by_wb, by_hb);
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

// The loops, compiled once per instruction set; see core/isa.h. `first` is a multiple of kSumBlock.
struct BoxLossKernels {
    void (*f)(const BoxLossJob<float>& job, int64_t first, int64_t last);
    void (*d)(const BoxLossJob<double>& job, int64_t first, int64_t last);
};
const BoxLossKernels& box_losses_kernels();

// The whole call; returns the sum of the losses where `sum`. Throws std::bad_alloc.
template <class T>
double box_losses(BoxLossJob<T> job, int64_t n, bool sum);

}  // namespace fastdet
