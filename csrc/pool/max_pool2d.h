// Max-pooling with indices, unpooling, and their gradients. Images are (planes, height, width, inner): planes of NCHW
// with inner = 1, or channels last with inner = channels.
#pragma once

#include <cstdint>

#include "boxes/box.h"

namespace fastdet {

enum class PoolType { f32, f64, f16, bf16, u8, i32, i64, u16, u32 };  // the last two only to be moved

struct PoolWindow {
    int64_t kh, kw, sh, sw, ph, pw;  // kernel, stride, padding; padding is at most half the kernel
};

// 2 x 2 windows side by side.
FASTDET_HD bool has_twos(const PoolWindow& w) {
    return w.kh == 2 && w.kw == 2 && w.sh == 2 && w.sw == 2 && !w.ph && !w.pw;
}

// The one decision of max-pooling: a later value of a window takes over if it is above, or NaN.
template <class T>
FASTDET_HD bool takes(T v, T best) {
    return (v > best) | (v != v);
}

// The row and column of its window that a compact index stands for; false: none.
FASTDET_HD bool window_place(uint32_t code, const PoolWindow& w, uint32_t* ky, uint32_t* kx) {
    const uint32_t across = uint32_t(w.kw);
    *ky = code / across, *kx = code - *ky * across;
    return *ky < w.kh;
}

struct PoolJob {
    PoolType type;
    const void* x;  // (planes, height, width, inner)
    int64_t planes, height, width, inner;
    PoolWindow window;  // kh * width < 2^31
    int64_t rows, columns;
    void* values;   // (planes, rows, columns, inner)
    void* indices;  // the same, int64_t or uint8_t; null for none
    bool compact;   // indices are uint8_t, ky * kw + kx; else int64_t, y * width + x
    bool stream;    // past the caches: the outputs do not pass through them
};

// Between pooled images and images of the size before pooling.
struct PlaceJob {
    PoolType type;
    const void* x;        // scatter: (planes, rows, columns, inner); gather: (planes, height, width, inner)
    const void* indices;  // (planes, rows, columns, inner), int64_t or uint8_t as above
    bool compact;
    bool add;  // scatter: sums what falls together, instead of keeping the last
    int64_t planes, rows, columns, inner;
    PoolWindow window;
    int64_t height, width;
    void* out;  // scatter: (planes, height, width, inner); gather: (planes, rows, columns, inner)
    bool stream;
};

// The loops, compiled once per instruction set; see kernels.h. `scratch` is that many bytes, 64-byte aligned.
struct PoolKernels {
    int64_t (*max_pool_scratch)(const PoolJob&);
    void (*max_pool)(const PoolJob&, int64_t plane, int64_t first_row, int64_t last_row, void* scratch);
    int64_t (*scatter_scratch)(const PlaceJob&);
    // The rows of the image that begin with those pooled rows. False: an index lies outside its window, and the plane
    // has to be done by scatter_plane, which is false for an index outside the image.
    bool (*scatter)(const PlaceJob&, int64_t plane, int64_t first_row, int64_t last_row, void* scratch);
    int64_t (*scatter_plane_scratch)(const PlaceJob&);
    bool (*scatter_plane)(const PlaceJob&, int64_t plane, void* scratch);
    int64_t (*gather_scratch)(const PlaceJob&);
    // False: an index lies outside the image.
    bool (*gather)(const PlaceJob&, int64_t plane, int64_t first_row, int64_t last_row, void* scratch);
};

// pool_call.cpp. False: an index lies outside the image; the output is then undefined.
void max_pool(PoolJob job);
bool pool_scatter(PlaceJob job);
bool pool_gather(PlaceJob job);

}  // namespace fastdet
