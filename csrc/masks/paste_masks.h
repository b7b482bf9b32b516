// Masks of a network's heads at the size of the image: those of Mask R-CNN, pasted into their boxes, and those of a
// prototype head, cropped to them.
#pragma once

#include "masks/bit_rows.h"

namespace fastdet {

// Of an image: bytes (n, height, width) or packed bits (n, height, ceil(width / 8)), zeros at first; runs go to `made`.
struct MaskImage {
    int64_t height, width;
    MaskOut kind;
    uint8_t* out;
    NewRuns& made;
};

// Both throw std::bad_alloc.

// masks (n, h, w), boxes (n, 4), finite; threshold above 0
void paste_masks(const float* masks, const double* boxes, int64_t n, int64_t h, int64_t w, float threshold,
                 const MaskImage& image);
// prototypes (k, h, w), coefficients (n, k), boxes (n, 4), finite
void process_mask(const float* prototypes, const float* coefficients, const double* boxes, int64_t n, int64_t k,
                  int64_t h, int64_t w, const MaskImage& image);

}  // namespace fastdet
