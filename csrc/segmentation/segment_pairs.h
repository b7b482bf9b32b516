// Pairs of segments: how many pixels each true segment shares with each predicted one.
#pragma once

#include <cstdint>
#include <vector>

#include "segmentation/pair_turns.h"

namespace fastdet {

struct SegmentPair {
    uint64_t key;  // true id << 32 | predicted id
    int64_t pixels;
};

// By key, each once. Throws std::bad_alloc.
std::vector<SegmentPair> segment_pairs(const IdMap& target, const IdMap& prediction, int64_t n);

}  // namespace fastdet
