// What the kernels of images share: rows of values, in pieces of up to 16 bytes.
#pragma once

#include "cuda/launch.h"
#include "cuda/pack.h"

namespace fastdet {

// Division by a number that all threads share, as a product: 5 instructions, not 20.
struct Divider {
    uint32_t by, factor, shift;
    explicit Divider(uint32_t d) : by(d), shift(0) {
        while (shift < 32 && uint64_t(1) << shift < d) ++shift;
        factor = uint32_t(((uint64_t(1) << shift) - d) * (uint64_t(1) << 32) / d + 1);
    }
    __device__ uint32_t operator()(uint32_t n) const { return uint32_t(((uint64_t(n) * factor >> 32) + n) >> shift); }
};

// Twice as many as run at once.
inline int64_t enough_threads() { return 2 * 2048 * device_attribute(cudaDevAttrMultiProcessorCount); }

// `count` rows of `chunks` pieces: a thread has one place across, and runs down `each` rows.
struct Rows {
    int64_t count, chunks, each;
    Rows(int64_t count, int64_t chunks, int64_t max_rows) : count(count), chunks(chunks) {
        const int64_t wanted = count * chunks / enough_threads();
        each = wanted < 1 ? 1 : wanted > max_rows ? max_rows : wanted;
    }
    int64_t threads() const { return blocks_for(count, each) * chunks; }
};

// Rows [*row, *end) and the piece of this thread; false: it has none.
__device__ inline bool my_rows(const Rows& rows, int64_t* row, int64_t* end, int64_t* chunk) {
    const int64_t thread = thread_index(), group = thread / rows.chunks;
    *chunk = thread - group * rows.chunks;
    *row = group * rows.each;
    *end = rows.count - *row < rows.each ? rows.count : *row + rows.each;
    return *row < rows.count;
}

}  // namespace fastdet
