// Sums in float64 in one fixed order, whatever the lanes and threads: blocks of kSumBlock values, halves added to
// halves; ordered_sum of fastdet/_core/sums.py is the reference. For files that are compiled once per instruction set
// too.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace fastdet {

constexpr int kSumBlock = 1024;

// The sum of kSumBlock values; pad a shorter block by zeros.
template <class T>
FASTDET_HD double block_sum(const T* x) {
    double half[kSumBlock / 2];
    for (int i = 0; i < kSumBlock / 2; ++i) half[i] = double(x[i]) + double(x[i + kSumBlock / 2]);
    for (int n = kSumBlock / 4; n; n /= 2) {
        for (int i = 0; i < n; ++i) half[i] += half[i + n];
    }
    return half[0];
}

// The sum of n sums of blocks, which are consumed: as blocks again, until one is left.
FASTDET_HD double sum_of_sums(double* sums, int64_t n) {
    if (!n) return 0;
    while (n > 1) {
        const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
        for (int64_t k = 0; k < blocks; ++k) {
            double block[kSumBlock];
            for (int i = 0; i < kSumBlock; ++i) block[i] = k * kSumBlock + i < n ? sums[k * kSumBlock + i] : 0;
            sums[k] = block_sum(block);
        }
        n = blocks;
    }
    return sums[0];
}

}  // namespace fastdet
