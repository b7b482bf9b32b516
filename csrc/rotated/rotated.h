// Rotated boxes and their overlap. The C++ and the CUDA backend compute a pair here. Compiled by g++ and nvcc, for
// doubles and for vectors of them. The reference in fastdet/rotated has the same operations in the same order.
//
// The area of an intersection: in the frame of the first box, which is |x| <= p, |y| <= q there, it is the integral
// over x of clamp(upper(x)) - clamp(lower(x)), where upper and lower are the borders of the second box, two edges each,
// and clamp cuts to [-q, q]. Every term is a continuous function of the boxes, whatever the rounding: there is no
// decision about a vertex that could go wrong. Pairs come in one order, so that the result is symmetric. The test of
// separating axes comes first: boxes that touch overlap by exactly 0.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/elementary.h"
#include "core/floats.h"

namespace fastdet {

enum class RotatedMeasure : int { iou = 0, ios = 1, iof = 2 };  // over the union, the smaller area, the first area

// How angles are given.
struct Angles {
    bool degrees, clockwise;  // clockwise on the screen, where y points down
};

// A box of five numbers as all kernels see it: centre, sides, and the direction (c, s) of its width, y down.
struct Rect {
    double x, y, w, h, c, s;
};

struct SineSeries {
    static constexpr double series[] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03,
                                        -1.98412698298579493134e-04, 2.75573137070700676789e-06,
                                        -2.50507602534068634195e-08, 1.58969099521155010221e-10};
};
struct CosineSeries {
    static constexpr double series[] = {4.16666666666666019037e-02, -1.38888888888741095749e-03,
                                        2.48015872894767294178e-05, -2.75573143513906633035e-07,
                                        2.08757232129817482790e-09, -1.13596475577881948265e-11};
};

// cos and sin of an angle. Degrees are reduced exactly, so that multiples of 90 give exactly 0 and 1; radians by a
// quarter turn in three parts, from 2^20 on after fmod by the double nearest to 2 pi. NaN for a NaN or an infinity.
FASTDET_HD void cosine_sine(double angle, bool degrees, double* c, double* s) {
    *c = *s = NAN;
    if (!is_finite(angle)) return;
    double quarters, t;
    if (degrees) {
        const double r = fmod(angle, 360.0);
        quarters = floor(r / 90.0 + 0.5);
        t = (r - quarters * 90.0) * 0.017453292519943295;
    } else {
        const double r = fabs(angle) < 1048576.0 ? angle : fmod(angle, 6.283185307179586);
        quarters = floor(r * 0.6366197723675814 + 0.5);
        t = ((r - quarters * 1.57079632673412561417e+00) - quarters * 6.07710050630396597660e-11) -
            quarters * 2.02226624879595063154e-21;
    }
    const double z = t * t;
    const double sine = t + t * z * lanes::polynomial<SineSeries, 6>(z);
    const double cosine = 1.0 - (0.5 * z - z * z * lanes::polynomial<CosineSeries, 6>(z));
    const int quadrant = int(quarters) & 3;
    *c = quadrant == 0 ? cosine : quadrant == 1 ? -sine : quadrant == 2 ? -cosine : sine;
    *s = quadrant == 0 ? sine : quadrant == 1 ? cosine : quadrant == 2 ? -sine : -cosine;
}

template <class T>
FASTDET_HD Rect rect_of(const T* box, Angles angles) {
    Rect r{double(box[0]), double(box[1]), double(box[2]), double(box[3]), 0, 0};
    cosine_sine(double(box[4]), angles.degrees, &r.c, &r.s);
    if (!angles.clockwise) r.s = 0.0 - r.s;
    return r;
}

// Other boxes overlap nothing: a NaN, an infinity, a side of 0 or less.
FASTDET_HD bool is_valid(const Rect& r) {
    return is_finite(r.x) && is_finite(r.y) && r.w > 0 && r.h > 0 && is_finite(r.w) && is_finite(r.h) && is_finite(r.c);
}
// No product of two of its numbers overflows or underflows.
FASTDET_HD bool is_ordinary(const Rect& r) {
    constexpr double kLarge = 0x1p200, kSmall = 0x1p-200;
    return fabs(r.x) <= kLarge && fabs(r.y) <= kLarge && r.w >= kSmall && r.w <= kLarge && r.h >= kSmall &&
           r.h <= kLarge && is_finite(r.c);
}

// Half the sides of an upright box around the rotated one, padded: a pair that these keep apart is one for which
// shared_area finds a separating axis, whatever the rounding.
FASTDET_HD void rotated_reach(const Rect& r, double* reach) {
    const double p = 0.5 * r.w, q = 0.5 * r.h, c = fabs(r.c), s = fabs(r.s), pad = 0x1p-40 * (p + q);
    reach[0] = (p * c + q * s) + pad;
    reach[1] = (p * s + q * c) + pad;
}

// Whether a comes first of the pair.
FASTDET_HD bool comes_first(const Rect& a, const Rect& b) {
    if (a.x != b.x) return a.x < b.x;
    if (a.y != b.y) return a.y < b.y;
    if (a.w != b.w) return a.w < b.w;
    if (a.h != b.h) return a.h < b.h;
    if (a.c != b.c) return a.c < b.c;
    return a.s <= b.s;
}

namespace lanes {

template <class V>
FASTDET_HD V clamp(V x, V low, V high) {
    return min(max(x, low), high);
}
template <class V>
FASTDET_HD V size_of(V x) {
    return max(x, all<V>(0) - x);
}

// The integral of clamp(y(x), -q, q) over [x1, x2], y a line of slope >= 0 through (xm, ym); per_slope is 1 / slope.
template <class V>
FASTDET_HD V under_line(V x1, V x2, V xm, V ym, V slope, V per_slope, V q) {
    const V low = all<V>(0) - q;
    const V enter = clamp(xm + (low - ym) * per_slope, x1, x2), leave = clamp(xm + (q - ym) * per_slope, x1, x2);
    const V y1 = clamp(ym + slope * (enter - xm), low, q), y2 = clamp(ym + slope * (leave - xm), low, q);
    return q * ((x2 - leave) - (enter - x1)) + all<V>(0.5) * (y1 + y2) * (leave - enter);
}

// The area that two boxes share. Half sides p, q and direction (ca, sa) of the first, e, f and (cb, sb) of the second;
// (dx, dy) from the centre of the first to that of the second.
template <class V>
FASTDET_HD V shared_area(V p, V q, V ca, V sa, V e, V f, V cb, V sb, V dx, V dy) {
    constexpr double kNone = 0x1p-100, kFlat = 0x1p-500;
    const V zero = all<V>(0), one = all<V>(1), none = all<V>(kNone), flat = all<V>(kFlat);
    // the centre of each in the frame of the other, and the angle between them; the same directions are exactly so
    const V x = ca * dx + sa * dy, y = ca * dy - sa * dx;
    const V u = size_of(cb * dx + sb * dy), v = size_of(cb * dy - sb * dx);
    V c = ca * cb + sa * sb, s = ca * sb - sa * cb;
    const V opposite = zero - c * s;
    c = size_of(c), s = size_of(s);
    const V aligned = where_ge(none, s, one, zero), crossed = where_ge(none, c, one, zero);
    c = where_positive(aligned, one, where_positive(crossed, zero, c));
    s = where_positive(crossed, one, where_positive(aligned, zero, s));
    // how deep the boxes reach into each other along the four axes
    const V a_wide = p * c + q * s, a_high = p * s + q * c;
    const V b_wide = e * c + f * s, b_high = e * s + f * c;
    const V ax = size_of(x), ay = size_of(y);
    const V deep = min(min((p + b_wide) - ax, (q + b_high) - ay), min((e + a_wide) - u, (f + a_high) - v));
    const V holds_b = min((p - b_wide) - ax, (q - b_high) - ay), holds_a = min((e - a_wide) - u, (f - a_high) - v);
    // turned by a quarter where it leans to the other side: then 0 <= angle <= 90 degrees
    const V wide = where_positive(opposite, f, e), high = where_positive(opposite, e, f);
    const V cosine = where_positive(opposite, s, c), sine = where_positive(opposite, c, s);
    const V wc = wide * cosine, ws = wide * sine, hc = high * cosine, hs = high * sine;
    const V rising = sine / max(cosine, flat), falling = cosine / max(sine, flat);
    const V back = zero - p;
    const V left = clamp(x - (wc + hs), back, p), right = clamp(x + (wc + hs), back, p);
    const V top = clamp(x + (wc - hs), back, p), bottom = clamp(x - (wc - hs), back, p);
    const V upper = under_line(left, top, x - hs, y + hc, rising, falling, q) +
                    under_line(zero - right, zero - top, zero - (x + wc), y + ws, falling, rising, q);
    const V lower = under_line(bottom, right, x + hs, y - hc, rising, falling, q) +
                    under_line(zero - bottom, zero - left, zero - (x - wc), y - ws, falling, rising, q);
    const V four = all<V>(4), area_a = four * (p * q), area_b = four * (e * f);
    V area = min(max(upper - lower, zero), min(area_a, area_b));
    area = where_ge(holds_b, zero, area_b, area);
    area = where_ge(holds_a, zero, area_a, area);
    return where_positive(deep, area, zero);
}

}  // namespace lanes

FASTDET_HD double shared_area(const Rect& a, const Rect& b, double dx, double dy) {
    return lanes::shared_area(0.5 * a.w, 0.5 * a.h, a.c, a.s, 0.5 * b.w, 0.5 * b.h, b.c, b.s, dx, dy);
}

FASTDET_HD double rotated_ratio(double inter, double area_a, double area_b, RotatedMeasure kind) {
    const double denominator = kind == RotatedMeasure::iou   ? (area_a + area_b) - inter
                               : kind == RotatedMeasure::ios ? lesser(area_a, area_b)
                                                             : area_a;
    return denominator > 0 ? inter / denominator : 0.0;
}

// The power of two that brings a pair's longest side to about 200.
FASTDET_HD double rotated_scale(double longest) {
    const int64_t exponent = int64_t(lanes::bits_as<uint64_t>(longest) >> 52);
    return lanes::bits_as<double>(uint64_t(2053 - (exponent < 8 ? 8 : exponent)) << 52);
}

// The rule for any pair. Boxes of extreme sizes or places are scaled by a power of two first.
FASTDET_HD double rotated_measure(const Rect& a, const Rect& b, RotatedMeasure kind) {
    if (!is_valid(a) || !is_valid(b)) return 0;
    const bool first = comes_first(a, b);
    Rect m = first ? a : b, n = first ? b : a;
    double dx = n.x - m.x, dy = n.y - m.y;
    if (!is_ordinary(a) || !is_ordinary(b)) {
        const double scale = rotated_scale(greater(greater(a.w, a.h), greater(b.w, b.h)));
        dx *= scale, dy *= scale;
        if (!(fabs(dx) < 512 && fabs(dy) < 512)) return 0;
        m.w *= scale, m.h *= scale, n.w *= scale, n.h *= scale;
    }
    const double inter = shared_area(m, n, dx, dy), area_m = m.w * m.h, area_n = n.w * n.h;
    return rotated_ratio(inter, first ? area_m : area_n, first ? area_n : area_m, kind);
}

}  // namespace fastdet
