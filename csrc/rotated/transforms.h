// Formats of rotated boxes, and the smallest rotated box around points. The C++ and the CUDA backend compute a box
// here. Compiled by g++ and nvcc. Everything is computed in double and rounded once.
#pragma once

#include "rotated/rotated.h"

namespace fastdet {

enum class RotatedFormat : int { cxcywhr = 0, xywhr = 1, xyxyxyxy = 2 };

FASTDET_HD int numbers_of(RotatedFormat format) { return format == RotatedFormat::xyxyxyxy ? 8 : 5; }

// The angle of a direction, in (-half turn, half turn]: multiples of a quarter turn are exact. 0 for no direction.
FASTDET_HD double turn_of(double c, double s, bool degrees) {
    const double unit = degrees ? 57.29577951308232 : 1.0;
    const double quarter = degrees ? 90.0 : 1.5707963267948966, half = degrees ? 180.0 : 3.141592653589793;
    const double a = fabs(c), b = fabs(s);
    const double low = lesser(a, b), high = greater(a, b);
    double turn = high > 0 ? lanes::arctan(low / high) * unit : low + high;  // NaN stays
    if (b != b) turn = b;
    if (b > a) turn = quarter - turn;
    if (c < 0) turn = half - turn;
    return s < 0 ? 0.0 - turn : turn;
}

template <class T>
FASTDET_HD void convert_rotated(const T* in, RotatedFormat from, RotatedFormat to, Angles given, Angles wanted,
                                T* out) {
    if (from == to && given.degrees == wanted.degrees && given.clockwise == wanted.clockwise) {
        for (int k = 0; k < numbers_of(from); ++k) out[k] = in[k];
        return;
    }
    if (from == to && from == RotatedFormat::xyxyxyxy) {
        for (int k = 0; k < 8; ++k) out[k] = in[k];
        return;
    }
    double w, h, c, s, angle;
    double x = double(in[0]), y = double(in[1]);  // the centre, or the first corner
    if (from == RotatedFormat::xyxyxyxy) {
        const double dx = double(in[2]) - x, dy = double(in[3]) - y;
        const double ex = double(in[4]) - double(in[2]), ey = double(in[5]) - double(in[3]);
        w = sqrt(dx * dx + dy * dy), h = sqrt(ex * ex + ey * ey);
        c = w > 0 ? dx / w : 1.0 + (w - w), s = w > 0 ? dy / w : w - w;
        angle = turn_of(dx, wanted.clockwise ? dy : 0.0 - dy, wanted.degrees);
    } else {
        w = double(in[2]), h = double(in[3]), angle = double(in[4]);
        cosine_sine(angle, given.degrees, &c, &s);
        if (!given.clockwise) s = 0.0 - s;
        if (given.degrees && !wanted.degrees) angle = angle * 0.017453292519943295;
        if (!given.degrees && wanted.degrees) angle = angle * 57.29577951308232;
        if (given.clockwise != wanted.clockwise) angle = 0.0 - angle;
    }
    const double p = 0.5 * w, q = 0.5 * h;
    if (from == RotatedFormat::cxcywhr && to != RotatedFormat::cxcywhr) {
        const double left = (x - p * c) + q * s, top = (y - p * s) - q * c;
        x = left, y = top;
    }
    if (from != RotatedFormat::cxcywhr && to == RotatedFormat::cxcywhr) {
        const double middle = (x + p * c) - q * s, centre = (y + p * s) + q * c;
        x = middle, y = centre;
    }
    out[0] = T(x), out[1] = T(y);
    if (to != RotatedFormat::xyxyxyxy) {
        out[2] = T(w), out[3] = T(h), out[4] = T(angle);
        return;
    }
    out[2] = T(x + w * c), out[3] = T(y + w * s);
    out[4] = T((x + w * c) - h * s), out[5] = T((y + w * s) + h * c);
    out[6] = T(x - h * s), out[7] = T(y + h * c);
}

// Sorts points by x, then y: a heap, in place.
FASTDET_HD bool is_before(const double* a, const double* b) { return a[0] != b[0] ? a[0] < b[0] : a[1] < b[1]; }
FASTDET_HD void swap_points(double* a, double* b) {
    for (int k = 0; k < 2; ++k) {
        const double kept = a[k];
        a[k] = b[k];
        b[k] = kept;
    }
}
FASTDET_HD void sift_down(double* points, int64_t root, int64_t count) {
    for (;;) {
        int64_t child = 2 * root + 1;
        if (child >= count) return;
        if (child + 1 < count && is_before(points + 2 * child, points + 2 * (child + 1))) ++child;
        if (!is_before(points + 2 * root, points + 2 * child)) return;
        swap_points(points + 2 * root, points + 2 * child);
        root = child;
    }
}
FASTDET_HD void sort_points(double* points, int64_t count) {
    for (int64_t k = count / 2; k-- > 0;) sift_down(points, k, count);
    for (int64_t k = count - 1; k > 0; --k) {
        swap_points(points, points + 2 * k);
        sift_down(points, 0, k);
    }
}

// Whether the path from a by b to c turns to the right, or not at all.
FASTDET_HD bool turns_back(const double* a, const double* b, const double* c) {
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0;
}

// The corners of the convex hull of sorted points, in order, into hull (count + 1 points). Returns how many.
FASTDET_HD int64_t convex_hull(const double* points, int64_t count, double* hull) {
    int64_t n = 0;
    for (int pass = 0; pass < 2; ++pass) {
        const int64_t least = pass ? n : 1;
        for (int64_t k = 0; k < count; ++k) {
            const double* point = points + 2 * (pass ? count - 1 - k : k);
            if (n > 0 && point[0] == hull[2 * n - 2] && point[1] == hull[2 * n - 1]) continue;
            while (n > least && turns_back(hull + 2 * n - 4, hull + 2 * n - 2, point)) --n;
            hull[2 * n] = point[0], hull[2 * n + 1] = point[1];
            ++n;
        }
    }
    return n > 1 ? n - 1 : n;  // the last corner is the first
}

// The box of least area around `count` points, (cx, cy, w, h, angle) with an angle in [0, 90] degrees: one side lies
// along a side of the convex hull, the first that gives the least area. work: 4 * count + 6 numbers.
template <class T>
FASTDET_HD void min_area_rect_of(const T* points, int64_t count, Angles wanted, double* work, T* out) {
    double *sorted = work, *hull = work + 2 * count;
    bool finite = true;
    for (int64_t k = 0; k < 2 * count; ++k) {
        sorted[k] = double(points[k]) + 0.0;
        finite = finite && is_finite(sorted[k]);
    }
    if (!finite) {
        for (int k = 0; k < 5; ++k) out[k] = T(NAN);
        return;
    }
    sort_points(sorted, count);
    const double x0 = sorted[0], y0 = sorted[1];
    double longest = 0;
    for (int64_t k = 0; k < count; ++k) {
        sorted[2 * k] -= x0, sorted[2 * k + 1] -= y0;
        longest = greater(longest, greater(fabs(sorted[2 * k]), fabs(sorted[2 * k + 1])));
    }
    const double scale = is_finite(longest) ? rotated_scale(longest) : 0;
    for (int64_t k = 0; k < 2 * count; ++k) sorted[k] *= scale;
    const int64_t n = convex_hull(sorted, count, hull);
    double best = INFINITY, c = 1, s = 0, w = 0, h = 0, x = 0, y = 0;
    for (int64_t k = 0; n > 1 && k < n; ++k) {
        const double *from = hull + 2 * k, *to = hull + 2 * (k + 1 < n ? k + 1 : 0);
        const double dx = to[0] - from[0], dy = to[1] - from[1], length = sqrt(dx * dx + dy * dy);
        if (!(length > 0)) continue;
        const double u = dx / length, v = dy / length;
        double low_u = INFINITY, high_u = -INFINITY, low_v = INFINITY, high_v = -INFINITY;
        for (int64_t i = 0; i < n; ++i) {
            const double along = hull[2 * i] * u + hull[2 * i + 1] * v, across = hull[2 * i + 1] * u - hull[2 * i] * v;
            low_u = lesser(low_u, along), high_u = greater(high_u, along);
            low_v = lesser(low_v, across), high_v = greater(high_v, across);
        }
        const double wide = high_u - low_u, high = high_v - low_v, area = wide * high;
        if (!(area < best)) continue;
        best = area, c = u, s = v, w = wide, h = high;
        const double middle = 0.5 * (low_u + high_u), across = 0.5 * (low_v + high_v);
        x = middle * u - across * v, y = middle * v + across * u;
    }
    double t = wanted.clockwise ? s : 0.0 - s;
    for (int quarter = 0; quarter < 3 && !(c > 0 && t >= 0); ++quarter) {
        const double turned = 0.0 - t, side = w;
        t = c, c = turned;
        w = h, h = side;
    }
    const double back = 1.0 / scale;
    out[0] = T(x0 + x * back), out[1] = T(y0 + y * back), out[2] = T(w * back), out[3] = T(h * back);
    out[4] = T(turn_of(c, t, wanted.degrees));
}

}  // namespace fastdet
