// Boxes in an order in which near ones of like size stand together, whatever their scale.
#pragma once

#include <cstdint>

#include "boxes/box.h"

namespace fastdet {

// A box as the splits see it. No number is a NaN, which would break the order.
struct Place {
    double x, y;          // the centre
    float width, height;  // logarithms
    int32_t at;
};

// Of a box without NaN; infinite ends are taken for the other end. `scale`, a power of two, keeps sums of coordinates
// from overflow.
Place place_of(const Box<double>& box, double scale, int32_t at);

// Bring the places together that are near: the first multiple of `lanes`, and so on in each part. The axis of a split
// is that of the largest mean deviation, of centres in widths or heights, of sizes in octaves: what decides how much
// two boxes can overlap. Splits are at the median, so that no distribution of places and sizes is a bad one; but many
// boxes that are far larger than the part they lie in are split off first. O(n log n).
void split_by_place(Place* places, int64_t n, int64_t lanes);

}  // namespace fastdet
