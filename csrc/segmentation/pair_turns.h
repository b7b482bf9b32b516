// Where the pair of segments changes along a row of pixels.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace fastdet {

// Ids of 1, 2 or 4 bytes, or colours of 3 bytes: R + 256 G + 65536 B.
struct IdMap {
    const uint8_t* ids;
    int bytes;
};

constexpr int kPairChunk = 4096;  // pixels at a time

struct PairLoops {
    // The ids from pixel `first` on, n of them.
    void (*widen)(const IdMap& map, int64_t first, int n, uint32_t* out);
    // The places i in [0, n) where a[i] or b[i] is not what is before it, rising; returns their number. a[-1] and b[-1]
    // must be there, and 64 numbers more than n. at: room for kPairChunk.
    int (*turns)(const uint32_t* a, const uint32_t* b, int n, uint16_t* at);
};
const PairLoops& pair_loops();

}  // namespace fastdet
