// A stable sort of pairs.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// Bytes of scratch that sorting n pairs takes, and the sort: by the lowest `bits` of the key.
int64_t sort_scratch(int64_t n);
void sort_pairs(void* scratch, const uint32_t* keys, uint32_t* sorted, const int32_t* values, int32_t* to, int64_t n,
                int bits, cudaStream_t stream);
void sort_pairs(void* scratch, const uint64_t* keys, uint64_t* sorted, const int32_t* values, int32_t* to, int64_t n,
                int bits, cudaStream_t stream);

}  // namespace fastdet
