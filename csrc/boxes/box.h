// Boxes and the metrics of their overlap. The C++ and the CUDA backend compute a pair here. Compiled by g++ and nvcc.
// The reference in fastdet/boxes has the same operations in the same order; with -ffp-contract=off (nvcc: --fmad=false)
// every backend rounds alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/elementary.h"
#include "core/floats.h"

namespace fastdet {

enum class Measure : int { iou = 0, ios = 1, giou = 2, diou = 3, ciou = 4 };

constexpr int64_t kMaxBoxes = int64_t(1) << 30;  // of a call

template <class T>
struct Box {
    T x1, y1, x2, y2;
};

// A box that overlaps none: what an unused lane holds.
template <class T>
FASTDET_HD constexpr Box<T> empty_box() {
    return {1, 1, -1, -1};
}

template <class T>
FASTDET_HD bool is_nan(const Box<T>& b) {
    return b.x1 != b.x1 || b.y1 != b.y1 || b.x2 != b.x2 || b.y2 != b.y2;
}

template <class T>
FASTDET_HD T side(T low, T high) {
    return high > low ? high - low : T(0);
}

template <class T>
FASTDET_HD T area(const Box<T>& b) {
    const T w = side(b.x1, b.x2), h = side(b.y1, b.y2);
    return w > 0 && h > 0 ? w * h : T(0);  // not inf * 0
}

template <class T>
FASTDET_HD T intersection(const Box<T>& a, const Box<T>& b) {
    const T w = lesser(a.x2, b.x2) - greater(a.x1, b.x1);
    const T h = lesser(a.y2, b.y2) - greater(a.y1, b.y1);
    return w > 0 && h > 0 ? w * h : T(0);
}

// The angle of (height, width), in (-pi, pi]: atan2(width, height) by IEEE operations alone.
template <class T>
FASTDET_HD T angle(const Box<T>& b) {
    constexpr T kPi = T(3.141592653589793), kRight = T(1.5707963267948966);
    const T w = b.x2 - b.x1, h = b.y2 - b.y1;
    if (h == 0) return w > 0 ? kRight : w < 0 ? -kRight : T(0);
    const T turn = lanes::arctan(w / h);
    return h > 0 ? turn : w < 0 ? turn - kPi : turn + kPi;
}

template <class T>
FASTDET_HD T ratio(T inter, T denominator) {
    return denominator > 0 && is_finite(denominator) ? inter / denominator : T(0);
}

// The metric of a pair; `check` becomes a number that is not finite if an area overflowed.
template <class T>
FASTDET_HD T measure_once(const Box<T>& a, const Box<T>& b, Measure kind, bool crowd, T eps, T* check) {
    const T area_a = area(a), area_b = area(b), inter = intersection(a, b);
    T denominator = kind == Measure::ios ? lesser(area_a, area_b) : area_a + area_b - inter;
    if (crowd) denominator = area_a;
    const T iou = ratio(inter, denominator);
    *check = denominator;
    if (kind == Measure::iou || kind == Measure::ios) return iou;
    const T hull_w = greater(a.x2, b.x2) - lesser(a.x1, b.x1);
    const T hull_h = greater(a.y2, b.y2) - lesser(a.y1, b.y1);
    if (kind == Measure::giou) {
        const T hull = greater(hull_w, T(0)) * greater(hull_h, T(0));
        *check = hull + denominator;
        return iou - (hull > 0 ? (hull - denominator) / hull : T(0));
    }
    const T diagonal = hull_w * hull_w + hull_h * hull_h + eps;
    const T half = T(0.5);
    const T dx = (half * a.x1 + half * a.x2) - (half * b.x1 + half * b.x2);
    const T dy = (half * a.y1 + half * a.y2) - (half * b.y1 + half * b.y2);
    *check = diagonal + denominator;
    const T diou = iou - (dx * dx + dy * dy) / diagonal;
    if (kind == Measure::diou) return diou;
    const T turn = angle(b) - angle(a);
    const T v = T(0.40528473456935109) * (turn * turn);  // 4 / pi^2
    return diou - v * v / (T(1) - iou + v + eps);
}

template <class T>
FASTDET_HD Box<T> scaled(const Box<T>& b, T s) {
    return {b.x1 * s, b.y1 * s, b.x2 * s, b.y2 * s};
}

// The rule for any pair of boxes: NaN gives NaN, 0/0 is 0. If an area overflows, both boxes are scaled down by a power
// of two first.
template <class T>
FASTDET_HD T measure(const Box<T>& a, const Box<T>& b, Measure kind, bool crowd, double eps) {
    if (is_nan(a) || is_nan(b)) return T(NAN);
    T check;
    T result = measure_once(a, b, kind, crowd, T(eps), &check);
    if (!is_finite(check)) {
        const T s = Limits<T>::rescale;
        result = measure_once(scaled(a, s), scaled(b, s), kind, crowd, T(eps * double(s) * double(s)), &check);
    }
    return result;
}

}  // namespace fastdet
