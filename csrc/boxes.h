// Whole calls of the box operations.
#pragma once

#include <cstdint>

#include "box.h"

namespace fastdet {

enum class Format : int { xyxy = 0, xywh = 1, cxcywh = 2 };

template <class T>
void box_area(const Box<T>* boxes, int64_t n, T* out);
template <class T>
void box_convert(const Box<T>* boxes, int64_t n, Format from, Format to, Box<T>* out);
template <class T>
void clip_boxes_to_image(const Box<T>* boxes, int64_t n, T height, T width, Box<T>* out);
template <class T>
int64_t remove_small_boxes(const Box<T>* boxes, int64_t n, T least, int64_t* keep);

// out (n, m), or (n,) if aligned (n == m); crowd (m,) may be null. Throws std::bad_alloc.
template <class T>
void box_iou(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, Measure kind, bool aligned, const bool* crowd,
             double eps, T* out);

}  // namespace fastdet
