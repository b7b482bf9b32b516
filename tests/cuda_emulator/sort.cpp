// Stands in for sort.cu: CUB's radix sort is not emulated, a stable sort on the host gives the same order.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "cuda/sort.h"

namespace fastdet {
namespace {

template <class K>
void sort(void* scratch, const K* keys, K* sorted, const int32_t* values, int32_t* to, int64_t n, int bits) {
    std::memset(scratch, 0xa5, size_t(sort_scratch(n)));
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    const K part = bits < int(8 * sizeof(K)) ? (K(1) << bits) - 1 : K(-1);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return (keys[a] & part) < (keys[b] & part); });
    for (int64_t i = 0; i < n; ++i) {
        sorted[i] = keys[order[size_t(i)]];
        to[i] = values[order[size_t(i)]];
    }
}

}  // namespace

int64_t sort_scratch(int64_t) { return 100; }
void sort_pairs(void* scratch, const uint32_t* keys, uint32_t* sorted, const int32_t* values, int32_t* to, int64_t n,
                int bits, cudaStream_t) {
    sort(scratch, keys, sorted, values, to, n, bits);
}
void sort_pairs(void* scratch, const uint64_t* keys, uint64_t* sorted, const int32_t* values, int32_t* to, int64_t n,
                int bits, cudaStream_t) {
    sort(scratch, keys, sorted, values, to, n, bits);
}

}  // namespace fastdet
