// Masks of Mask R-CNN's head, pasted into an image.
#pragma once

#include "masks/bit_rows.h"

namespace fastdet {

// masks (n, h, w), boxes (n, 4), finite; threshold above 0. out: bytes (n, height, width) or packed bits
// (n, height, ceil(width / 8)), zeros; runs go to `made`. Throws std::bad_alloc.
void paste_masks(const float* masks, const double* boxes, int64_t n, int64_t h, int64_t w, int64_t height,
                 int64_t width, float threshold, MaskOut kind, uint8_t* out, NewRuns& made);

}  // namespace fastdet
