// The sampler of positive and negative candidates.
#pragma once

#include <cstdint>
#include <vector>

#include "core/macros.h"

namespace fastdet {

// SplitMix64's number of an index; no two indices have equal ones.
FASTDET_HD uint64_t random_number(uint64_t index, uint64_t seed) {
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct Sample {
    std::vector<int64_t> positive, negative;  // indices, rising
};

// Of labels (n,): above 0 positive, 0 negative. Throws std::bad_alloc.
Sample sample_balanced(const int64_t* labels, int64_t n, int64_t count, int64_t max_positive, uint64_t seed);

}  // namespace fastdet
