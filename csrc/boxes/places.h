// Boxes in an order in which near ones of like width and height come together, for trees of hulls.
#pragma once

#include "boxes/box.h"

namespace fastdet {

// A box as the splits see it. No number is a NaN, which would break the order.
struct Place {
    double x, y;          // the centre
    float width, height;  // logarithms
    int32_t at;           // the box's number
};

template <class T>
Place place_of(const Box<T>& b, int32_t at);

// Bring the places together that are near: the first multiple of `fan`, and so on in each part, so that a tree of
// `fan` children a node has like boxes in each. By splits at the median, so that no distribution is a bad one. O(n log
// n).
void sort_places(Place* p, int64_t n, int fan);

}  // namespace fastdet
