// Stable compaction: the indices of the flagged entries, in order.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// Counters that `compact` needs, int32 each.
constexpr int kCompactScratch = 1024;

// keep[0 .. *count) <- order[i] (or i without an order) where flags[i], i rising; *count at most `max_count` if that is
// >= 0.
void compact(const uint8_t* flags, const int32_t* order, int64_t n, int64_t max_count, int32_t* scratch, int64_t* keep,
             int64_t* count, cudaStream_t stream);

}  // namespace fastdet
