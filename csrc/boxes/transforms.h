// Boxes one by one: area, format, clipping, removal of small ones.
#pragma once

#include <cstdint>

#include "boxes/box.h"

namespace fastdet {

enum class Format : int { xyxy = 0, xywh = 1, cxcywh = 2 };

template <class T>
FASTDET_HD Box<T> converted(Box<T> b, Format from, Format to) {
    const T half = T(0.5);
    if (from == to) return b;
    if (from == Format::xywh) {
        b.x2 = b.x1 + b.x2;
        b.y2 = b.y1 + b.y2;
    } else if (from == Format::cxcywh) {
        b = {b.x1 - half * b.x2, b.y1 - half * b.y2, b.x1 + half * b.x2, b.y1 + half * b.y2};
    }
    if (to == Format::xywh) {
        b.x2 = b.x2 - b.x1;
        b.y2 = b.y2 - b.y1;
    } else if (to == Format::cxcywh) {
        b = {half * b.x1 + half * b.x2, half * b.y1 + half * b.y2, b.x2 - b.x1, b.y2 - b.y1};
    }
    return b;
}

template <class T>
FASTDET_HD T clipped(T x, T high) {
    return x <= 0 ? T(0) : x > high ? high : x;  // NaN stays
}
template <class T>
FASTDET_HD Box<T> clipped(const Box<T>& b, T height, T width) {
    return {clipped(b.x1, width), clipped(b.y1, height), clipped(b.x2, width), clipped(b.y2, height)};
}

template <class T>
FASTDET_HD bool has_min_size(const Box<T>& b, T min_size) {
    return b.x2 - b.x1 >= min_size && b.y2 - b.y1 >= min_size;
}

template <class T>
void box_area(const Box<T>* boxes, int64_t n, T* out);
template <class T>
void box_convert(const Box<T>* boxes, int64_t n, Format from, Format to, Box<T>* out);
template <class T>
void clip_boxes_to_image(const Box<T>* boxes, int64_t n, T height, T width, Box<T>* out);
template <class T>
int64_t remove_small_boxes(const Box<T>* boxes, int64_t n, T min_size, int64_t* keep);

}  // namespace fastdet
