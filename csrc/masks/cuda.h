// Masks on a GPU: launchers. Pointers are the device's.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// Of an image: bytes 0 and 1 (count, height, width), or packed bits (count, height, ceil(width / 8)).
struct CudaMasks {
    int64_t count, height, width;
    bool bits;
    uint8_t* out;
};

// masks (count, h, w), boxes (count, 4)
void paste_masks_cuda(const float* masks, const double* boxes, int64_t h, int64_t w, float threshold,
                      const CudaMasks& image, cudaStream_t stream);
// prototypes (k, h, w), coefficients (count, k), boxes (count, 4), logits (count, h, w): workspace
void process_mask_cuda(const float* prototypes, const float* coefficients, const double* boxes, int64_t k, int64_t h,
                       int64_t w, float* logits, const CudaMasks& image, cudaStream_t stream);
// ends: where each run ends, in pixels of its mask; offsets (count + 1,): the runs of each mask. Bytes only; columns:
// out is (count, width, height).
void decode_cuda(const int64_t* ends, const int64_t* offsets, bool columns, const CudaMasks& image,
                 cudaStream_t stream);
// masks (n, height, width), 0 or not; boxes (n, 4): the first and the last column and row, zeros without a pixel
void masks_to_boxes_cuda(const uint8_t* masks, int64_t n, int64_t height, int64_t width, float* boxes,
                         cudaStream_t stream);

}  // namespace fastdet
