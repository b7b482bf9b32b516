// The overlap of two quadrilaterals of any shape, as the DOTA development kit defines it: each is the signed sum of two
// triangles from its first corner, so that the area counts how often the border goes around a place.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/floats.h"

namespace fastdet {

FASTDET_HD double triangle_cross(const double* a, const double* b, const double* c) {
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

// The area that two triangles share, of corners with the inside to the left.
FASTDET_HD double shared_triangle(const double* a, const double* b) {
    double polygon[2][9][2], side[9];
    int count = 3, now = 0;
    for (int k = 0; k < 3; ++k) polygon[0][k][0] = a[2 * k], polygon[0][k][1] = a[2 * k + 1];
    for (int edge = 0; edge < 3; ++edge) {
        const double *from = b + 2 * edge, *to = b + 2 * (edge < 2 ? edge + 1 : 0);
        auto& old = polygon[now];
        auto& cut = polygon[1 - now];
        for (int k = 0; k < count; ++k) side[k] = triangle_cross(from, to, old[k]);
        int kept = 0;
        for (int k = 0; k < count; ++k) {
            const int last = k ? k - 1 : count - 1;
            const double here = side[k], there = side[last];
            if ((here > 0 && there < 0) || (here < 0 && there > 0)) {
                const double t = there / (there - here);
                cut[kept][0] = old[last][0] + t * (old[k][0] - old[last][0]);
                cut[kept][1] = old[last][1] + t * (old[k][1] - old[last][1]);
                ++kept;
            }
            if (here >= 0) cut[kept][0] = old[k][0], cut[kept][1] = old[k][1], ++kept;
        }
        count = kept;
        now = 1 - now;
        if (count < 3) return 0;
    }
    double twice = 0;
    const auto& whole = polygon[now];
    for (int k = 1; k + 1 < count; ++k) twice += triangle_cross(whole[0], whole[k], whole[k + 1]);
    return twice > 0 ? 0.5 * twice : 0.0;
}

FASTDET_HD double quad_area(const double* q) {
    return fabs(0.5 * (triangle_cross(q, q + 2, q + 4) + triangle_cross(q, q + 4, q + 6)));
}

// Whether the upright boxes around two quadrilaterals overlap or touch.
FASTDET_HD bool quads_meet(const double* a, const double* b) {
    for (int axis = 0; axis < 2; ++axis) {
        double low = a[axis], high = low, other_low = b[axis], other_high = other_low;
        for (int k = axis + 2; k < 8; k += 2) {
            low = lesser(low, a[k]), high = greater(high, a[k]);
            other_low = lesser(other_low, b[k]), other_high = greater(other_high, b[k]);
        }
        if (low > other_high || other_low > high) return false;
    }
    return true;
}

// IoU of two quadrilaterals (x y four times); `crowd`: over the area of the first. 0 where it is no number.
FASTDET_HD double quad_overlap(const double* first, const double* second, bool crowd) {
    if (!quads_meet(first, second)) return 0;
    double p[8], q[8];
    for (int k = 0; k < 8; ++k) p[k] = first[k] - first[k % 2], q[k] = second[k] - first[k % 2];
    double inter = 0;
    for (int i = 0; i < 2; ++i) {
        const double a = triangle_cross(p, p + 2 + 2 * i, p + 4 + 2 * i);
        double one[6] = {p[0], p[1], p[2 + 2 * i], p[3 + 2 * i], p[4 + 2 * i], p[5 + 2 * i]};
        if (a < 0) one[2] = p[4 + 2 * i], one[3] = p[5 + 2 * i], one[4] = p[2 + 2 * i], one[5] = p[3 + 2 * i];
        for (int j = 0; j < 2; ++j) {
            const double b = triangle_cross(q, q + 2 + 2 * j, q + 4 + 2 * j);
            double other[6] = {q[0], q[1], q[2 + 2 * j], q[3 + 2 * j], q[4 + 2 * j], q[5 + 2 * j]};
            if (b < 0)
                other[2] = q[4 + 2 * j], other[3] = q[5 + 2 * j], other[4] = q[2 + 2 * j], other[5] = q[3 + 2 * j];
            if (a == 0 || b == 0) continue;
            const double area = shared_triangle(one, other);
            inter = (a < 0) == (b < 0) ? inter + area : inter - area;
        }
    }
    const double area_p = quad_area(p), area_q = quad_area(q);
    inter = lesser(greater(fabs(inter), 0.0), lesser(area_p, area_q));
    const double denominator = crowd ? area_p : (area_p + area_q) - inter;
    const double overlap = inter / denominator;
    return denominator > 0 && overlap == overlap ? overlap : 0.0;
}

}  // namespace fastdet
