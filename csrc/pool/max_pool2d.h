// Max-pooling with indices: the rule, windows, the call. Images are (planes, height, width, inner): planes of NCHW
// with inner = 1, or channels last with inner = channels.
#pragma once

#include <cstdint>

#include "core/isa.h"
#include "core/macros.h"

namespace fastdet {

enum class PoolType { f32, f64, f16, bf16, u8, i8, i32, i64, u16, u32 };  // the last two only to be moved

struct PoolWindow {
    int64_t kh, kw, sh, sw, ph, pw;  // kernel, stride, padding; padding is at most half the kernel
};

// 2 x 2 windows side by side.
FASTDET_HD bool has_twos(const PoolWindow& w) {
    return w.kh == 2 && w.kw == 2 && w.sh == 2 && w.sw == 2 && !w.ph && !w.pw;
}

// The rule of max-pooling: a later value of a window wins if it is greater, or NaN.
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
    bool stream;    // stores bypass the caches
};

// The loops, compiled once per instruction set; see core/isa.h. `scratch` is that many bytes, 64-byte aligned.
struct MaxPool2dKernels {
    int64_t (*scratch)(const PoolJob&);
    void (*run)(const PoolJob&, int64_t plane, int64_t first_row, int64_t last_row, void* scratch);
};
const MaxPool2dKernels& max_pool2d_kernels();

void max_pool2d(PoolJob job);  // the whole call; throws std::bad_alloc

}  // namespace fastdet
