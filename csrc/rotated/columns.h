// Rotated boxes by column, for the loops, and what the loops of overlap and of suppression do with them.
//
// `reach` is half the upright box around a rotated one, padded so that its rounding and that of `shared_area` cannot
// hide an overlap: a pair whose reaches do not meet has a shared area of exactly 0.
#pragma once

#include "core/isa.h"
#include "nms/nms.h"
#include "rotated/rotated.h"

namespace fastdet {

constexpr int kRotatedPad = 16;  // entries that columns have beyond their number: boxes that meet nothing

struct RotatedColumns {
    double *x, *y, *p, *q, *c, *s;  // of `Rect`, sides halved
    double *reach_x, *reach_y;      // below 0 for a box that is not ordinary
};
constexpr int kRotatedColumns = 8;

// Writes entry i. A box that is not ordinary meets nothing by way of the columns.
FASTDET_HD void put_column(const RotatedColumns& to, int64_t i, const Rect& r) {
    double reach[2] = {-1e300, -1e300};
    const bool usual = is_valid(r) && is_ordinary(r);
    if (usual) rotated_reach(r, reach);
    to.x[i] = usual ? r.x : 0, to.y[i] = usual ? r.y : 0;
    to.p[i] = usual ? 0.5 * r.w : 1, to.q[i] = usual ? 0.5 * r.h : 1;
    to.c[i] = usual ? r.c : 1, to.s[i] = usual ? r.s : 0;
    to.reach_x[i] = reach[0], to.reach_y[i] = reach[1];
}

// Of memory for kRotatedColumns columns of `stride`.
FASTDET_HD RotatedColumns columns_in(double* memory, int64_t stride) {
    return {memory,
            memory + stride,
            memory + 2 * stride,
            memory + 3 * stride,
            memory + 4 * stride,
            memory + 5 * stride,
            memory + 6 * stride,
            memory + 7 * stride};
}

// The upright box around box i, where sums of coordinates are rounded too.
FASTDET_HD Box<double> upright_box(const RotatedColumns& b, int64_t i) {
    const double wide = b.reach_x[i] + 0x1p-50 * fabs(b.x[i]), high = b.reach_y[i] + 0x1p-50 * fabs(b.y[i]);
    return {b.x[i] - wide, b.y[i] - high, b.x[i] + wide, b.y[i] + high};
}

struct RotatedIouJob {
    const Rect* a;     // (n,)
    RotatedColumns b;  // m columns
    int64_t m;
    RotatedMeasure kind;
};

struct RotatedNmsJob {
    RotatedColumns boxes;  // n columns by falling score
    int64_t n;
    double threshold;     // as the boxes' dtype holds it
    RotatedMeasure kind;  // iou or ios
    bool single;          // the measure is rounded to float before it is compared
    const double* share;  // (n,) an overlap of the upright boxes of at least the two shares is needed
    int64_t limit;        // the maximum kept; < 0 for all
    double* scratch;      // dense: (5, n + kRotatedPad)
    int32_t* near;        // scratch (n + kRotatedPad,)
    uint8_t* keep;        // (n,) 1 where kept, 0 at first
    uint8_t* dead;        // tree: (n,) 0 at first
    Tree<double>* tree;   // null: none to meet
    int64_t pairs;        // out: compared
};

struct RotatedLoops {
    // out (m,), the row of box i of a; near: scratch (m + kRotatedPad,)
    void (*single)(const RotatedIouJob&, int64_t i, int32_t* near, float* out);
    void (*twice)(const RotatedIouJob&, int64_t i, int32_t* near, double* out);
    // The measure of a box with the boxes of `near`, `count` of them, the list and out padded to whole vectors.
    void (*measure)(const RotatedColumns&, const Rect& box, const int32_t* near, int64_t count, RotatedMeasure,
                    double* out);
    // The boxes of [first, last) whose upright boxes meet that of box i. Returns how many.
    int64_t (*meeting)(const RotatedColumns&, int64_t i, int64_t first, int64_t last, int32_t* near);
    void (*dense)(RotatedNmsJob&);
    void (*tree)(RotatedNmsJob&);
};
const RotatedLoops& rotated_loops();

}  // namespace fastdet
