// The place of a box: a level of size, and a cell of the level's grid. For the CPU's grid and the GPU's buckets.
// IoU > t needs similar sizes and near centres, so only boxes in cells within reach are tested, by the exact test. The
// bounds are conservative: a wide bound costs time, and changes no result.
#pragma once

#include <cstring>

#include "boxes/box.h"

namespace fastdet {

constexpr int kExponents = 2048;  // of double; the last one is infinite

// The exponent of a size >= 0 picks its level.
FASTDET_HD int size_exponent(double x) {
    uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return int(bits >> 52);
}
FASTDET_HD double exponent_size(int exponent) {  // 2^(exponent - 1023); infinite for the last one
    const uint64_t bits = uint64_t(exponent) << 52;
    double x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// The cell of a coordinate: monotone, so that candidates and queries that are sorted alike stay sorted alike, however
// far away they are.
FASTDET_HD int64_t grid_cell(double x, double per_cell) {
    double v = x * per_cell;
    v = v > -0x1p61 ? (v < 0x1p61 ? v : 0x1p61) : -0x1p61;
    const int64_t whole = int64_t(v);
    return whole - (double(whole) > v);
}

// Where a row of cells begins in a ring of buckets. Neighbouring cells stay neighbours. Rows that share buckets cost a
// few more tests.
FASTDET_HD int64_t row_hash(int64_t row) {
    const uint64_t h = uint64_t(row) * 0x9e3779b97f4a7c15u;
    return int64_t(h >> 24);
}

FASTDET_HD double centre(double low, double high) { return 0.5 * low + 0.5 * high; }

// The threshold for the search of neighbours, lowered by the rounding of computed IoUs.
FASTDET_HD double near_threshold(double threshold) { return threshold < 1e-6 ? 0 : threshold * (1 - 1e-5); }

// A level is so many octaves of max(width, height), as a power of two, that the sizes a box can suppress lie in one or
// two levels, or in four where the threshold is small.
FASTDET_HD int level_shift(double t) { return t >= 0.25 ? 1 : 2; }

// The side of a level's cells, of boxes below `max_side`: a good part of the reach of the largest, by
// measurement.
FASTDET_HD double cell_side(double max_side, double t) { return max_side * 0.75 * (t < 0.95 ? 1 - t : 0.05); }

// How far centres may be apart, along one axis, from a box of side w to one of side 0 .. max_side: IoU > t needs an
// overlap of t * max(sides) at least, and centres |d| apart overlap by (w + other) / 2 - |d| at most.
FASTDET_HD double reach(double w, double max_side, double t, double centre) {
    const double free = t >= 0.5 ? w : w < max_side * t ? w / t : max_side;  // the other side that allows the maximum
    const double other = free < max_side ? free : max_side;
    const double slack = ((centre < 0 ? -centre : centre) + w + max_side) * 0x1p-48;  // the centres are rounded
    return (0.5 * (w + other) - t * (w > other ? w : other)) * (1 + 1e-6) + slack;
}

// Extreme boxes, for which these bounds and the fast arithmetic do not hold: a coordinate is large but finite, or the
// area is tiny.
template <class T>
FASTDET_HD bool is_large(const Box<T>& b) {
    const T large = Limits<T>::large;
    return (std::fabs(b.x1) > large && is_finite(b.x1)) || (std::fabs(b.y1) > large && is_finite(b.y1)) ||
           (std::fabs(b.x2) > large && is_finite(b.x2)) || (std::fabs(b.y2) > large && is_finite(b.y2));
}
template <class T>
FASTDET_HD bool is_bounded(const Box<T>& b) {
    return is_finite(b.x1) && is_finite(b.y1) && is_finite(b.x2) && is_finite(b.y2);
}
// Whether a box can overlap others by more than a threshold of 0 or more. An infinite one only relative to the smaller.
template <class T>
FASTDET_HD bool can_overlap(const Box<T>& b, Measure kind) {
    return area(b) > 0 && (kind == Measure::ios || is_bounded(b));
}
template <class T>
FASTDET_HD bool is_tiny(const Box<T>& b) {
    return b.x2 > b.x1 && b.y2 > b.y1 && (b.x2 - b.x1) * (b.y2 - b.y1) < Limits<T>::tiny;
}

// Boxes whose areas may overflow, as the tree sees them: in double, scaled so that none does. Conservative: a side is
// never shorter, a share never larger, than `measure` computes it of any pair, whether it rescales the pair or not.
template <class T>
constexpr double kFarScale = sizeof(T) == sizeof(double) ? 0x1p-524 : 1;

template <class T>
FASTDET_HD Box<double> far_box(const Box<T>& b, double scale) {
    const double rounded = 0x1p-1074;  // what a coordinate may lose where its scaled form is denormal
    return {double(b.x1) * scale - rounded, double(b.y1) * scale - rounded, double(b.x2) * scale + rounded,
            double(b.y2) * scale + rounded};
}
template <class Bound>
FASTDET_HD double far_share(const Box<double>& b, const Bound& bound) {
    const double w = b.x2 - b.x1 - 0x1p-1072, h = b.y2 - b.y1 - 0x1p-1072;
    const double product = w > 0 && h > 0 ? bound.factor * (w * h) : 0;
    return product > bound.floor ? product - bound.floor : 0;
}

}  // namespace fastdet
