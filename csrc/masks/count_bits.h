// How many bits two arrays of words have in common.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace fastdet {

struct CountLoops {
    // lines of n words each; the next line is step words on
    int64_t (*common)(const uint64_t* a, int64_t step_a, const uint64_t* b, int64_t step_b, int64_t lines, int64_t n);
};
const CountLoops& count_loops();

}  // namespace fastdet
