// See components.h. Compiled once per instruction set.
#include "masks/components.h"

#include "simd/changes.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int kStep = 16;  // numbers that are written at once

template <class T>
int64_t runs_of(const T* x, int64_t n, int32_t* out) {
    if (!n) return 0;
    int32_t* to = out;
    int64_t start = 0;
    const auto turn = [&](int64_t at) {  // the run that started last ends; one of zeros is overwritten by the next
        to[0] = int32_t(start);
        to[1] = int32_t(at);
        to += x[start] ? 2 : 0;
        start = at;
    };
    int64_t i = 1;
    for (; i + 64 <= n; i += 64) {
        for (uint64_t bits = changes(x + i); bits; bits &= bits - 1) turn(i + __builtin_ctzll(bits));
    }
    if (i < n && n > 64) {
        for (uint64_t bits = changes(x + n - 64) >> (i - (n - 64)); bits; bits &= bits - 1) {
            turn(i + __builtin_ctzll(bits));
        }
    } else {
        for (; i < n; ++i) {
            if (x[i] != x[i - 1]) turn(i);
        }
    }
    turn(n);
    return (to - out) / 2;
}

int64_t runs(const void* row, int bytes, int64_t n, int32_t* out) {
    switch (bytes) {
        case 1:
            return runs_of(static_cast<const uint8_t*>(row), n, out);
        case 2:
            return runs_of(static_cast<const uint16_t*>(row), n, out);
        case 4:
            return runs_of(static_cast<const uint32_t*>(row), n, out);
        default:
            return runs_of(static_cast<const uint64_t*>(row), n, out);
    }
}

// Writes `value` from `at` to `end`, and up to kStep - 1 numbers more where there is room.
inline void put(int32_t* out, int64_t at, int64_t end, int64_t room, int32_t value) {
    for (; at < end && at + kStep <= room; at += kStep) {
        for (int k = 0; k < kStep; ++k) out[at + k] = value;
    }
    for (; at < end; ++at) out[at] = value;
}

void fill(const int32_t* runs, const int32_t* number, int64_t count, int64_t n, int64_t room, int32_t* out) {
    int64_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t start = runs[2 * i], end = runs[2 * i + 1];
        put(out, at, start, room, 0);
        put(out, start, end, room, number[i]);
        at = end;
    }
    put(out, at, n, room, 0);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(ComponentLoops, component_loops, {runs, fill})

}  // namespace fastdet
