// Overlap of all pairs of two sets of rotated boxes, or of aligned ones.
#pragma once

#include "rotated/rotated.h"

namespace fastdet {

// a (n, 5), b (m, 5); out (n, m), or (n,) if aligned (n == m). Throws std::bad_alloc.
template <class T>
void box_iou_rotated(const T* a, int64_t n, const T* b, int64_t m, Angles angles, RotatedMeasure kind, bool aligned,
                     T* out);

}  // namespace fastdet
