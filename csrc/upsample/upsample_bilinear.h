// Bilinear resampling, forward and its transpose.
#pragma once

#include <cstdint>

#include "core/half.h"
#include "core/isa.h"

namespace fastdet {

enum class Pixel : int { f32 = 0, f64 = 1, f16 = 2, bf16 = 3, u8 = 4, i8 = 5 };  // how values are stored

// int8: computed as the value 128 above it is as uint8, so the results of the two are equal but for the 128.
struct Signed8 {
    uint8_t bits;
};
constexpr uint8_t kSignBit = 0x80;  // to and from the value 128 above
FASTDET_HD float widen(Signed8 x) { return float(uint8_t(x.bits ^ kSignBit)); }
FASTDET_HD Signed8 narrow_to(Signed8, float x) { return {uint8_t(narrow_to(uint8_t{}, x) ^ kSignBit)}; }

// Both memory orders are one to the loops: `planes` images of rows of pixels of `channels` neighbouring values. NCHW
// has N * C planes of 1 channel, channels last N planes of C.
struct UpsampleJob {
    const void* from;  // forward: (planes, in_h, in_w, channels); backward: (planes, out_h, out_w, channels)
    void* to;          // the other
    int64_t planes, channels;
    int64_t in_h, in_w, out_h, out_w;  // of the forward direction
    bool align_corners;
    double factor_y, factor_x;  // <= 0: steps from the sizes
    bool stream;                // stores bypass the caches
    // The work is cut into tiles of neighbouring columns, planes, and bands of neighbouring rows of the result; all
    // columns of a tile share tables, which are made when a thread comes to it. Unit (tile * planes + plane) * bands +
    // band.
    int64_t tile, tiles;  // columns (pixels) of the result in a tile
    int64_t rows, bands;  // rows of the result in a band
};

// The loops, compiled once per instruction set; see core/isa.h. By Pixel: units [first, last), in scratch memory of
// that many bytes, 64-byte aligned.
struct UpsampleBilinearKernels {
    void (*run[6])(const UpsampleJob&, int64_t first, int64_t last, void* scratch);
    int64_t (*scratch[6])(const UpsampleJob&);
};
struct UpsampleBilinearBackwardKernels {  // no u8, no i8
    void (*run[4])(const UpsampleJob&, int64_t first, int64_t last, void* scratch);
    int64_t (*scratch[4])(const UpsampleJob&);
};
const UpsampleBilinearKernels& upsample_bilinear_kernels();
const UpsampleBilinearBackwardKernels& upsample_bilinear_backward_kernels();

// Whole calls of a job without its cuts and `stream`. Throw std::bad_alloc.
void upsample_bilinear(UpsampleJob job, Pixel pixel);
void upsample_bilinear_backward(UpsampleJob job, Pixel pixel);

}  // namespace fastdet
