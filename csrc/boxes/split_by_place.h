// Boxes in an order in which near ones of like size stand together, whatever their scale.
#pragma once

#include <algorithm>
#include <cstdint>

#include "boxes/box.h"

namespace fastdet {

// Orders `order`, (n,) numbers of finite boxes, by halves: the coordinate that spreads most decides which box is in
// which half, equal ones by number, until a part has at most `leaf` boxes. Ranks decide, so that no choice of
// coordinates makes a part of unlike boxes while another order would have like ones. Halves are whole leaves. O(n log
// n).
template <class T>
void split_by_place(const Box<T>* boxes, int32_t* order, int64_t n, int64_t leaf) {
    while (n > leaf) {
        Box<T> low = boxes[order[0]], high = low;
        for (int64_t i = 1; i < n; ++i) {
            const Box<T>& b = boxes[order[i]];
            low = {lesser(low.x1, b.x1), lesser(low.y1, b.y1), lesser(low.x2, b.x2), lesser(low.y2, b.y2)};
            high = {greater(high.x1, b.x1), greater(high.y1, b.y1), greater(high.x2, b.x2), greater(high.y2, b.y2)};
        }
        T Box<T>::* axis = &Box<T>::x1;
        for (T Box<T>::* other : {&Box<T>::y1, &Box<T>::x2, &Box<T>::y2}) {
            if (high.*other - low.*other > high.*axis - low.*axis) axis = other;
        }
        int64_t unit = leaf;  // whole nodes of a tree with `leaf` children a node
        while (unit * leaf <= n / 2) unit *= leaf;
        const int64_t half = (n / 2 + unit - 1) / unit * unit;
        std::nth_element(order, order + half, order + n, [&](int32_t a, int32_t b) {
            const T va = boxes[a].*axis, vb = boxes[b].*axis;
            return va != vb ? va < vb : a < b;
        });
        split_by_place(boxes, order + half, n - half, leaf);
        n = half;
    }
}

}  // namespace fastdet
