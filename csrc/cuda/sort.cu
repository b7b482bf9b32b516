// Radix sort: CUB's, in this one file, since it takes ten seconds an architecture to compile.
#include <cub/device/device_radix_sort.cuh>

#include "cuda/sort.h"

namespace fastdet {
namespace {

template <class K>
void sort(void* scratch, size_t bytes, const K* keys, K* sorted, const int32_t* values, int32_t* to, int64_t n,
          int bits, cudaStream_t stream) {
    check_cuda(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, sorted, values, to, int(n), 0, bits, stream));
}

template <class K>
size_t bytes_for(int64_t n) {
    size_t bytes = 0;
    check_cuda(cub::DeviceRadixSort::SortPairs(nullptr, bytes, static_cast<const K*>(nullptr), static_cast<K*>(nullptr),
                                               static_cast<const int32_t*>(nullptr), static_cast<int32_t*>(nullptr),
                                               int(n)));
    return bytes;
}

}  // namespace

int64_t sort_scratch(int64_t n) {
    const size_t narrow = bytes_for<uint32_t>(n), wide = bytes_for<uint64_t>(n);
    return int64_t(narrow > wide ? narrow : wide);
}
void sort_pairs(void* scratch, const uint32_t* keys, uint32_t* sorted, const int32_t* values, int32_t* to, int64_t n,
                int bits, cudaStream_t stream) {
    sort(scratch, bytes_for<uint32_t>(n), keys, sorted, values, to, n, bits, stream);
}
void sort_pairs(void* scratch, const uint64_t* keys, uint64_t* sorted, const int32_t* values, int32_t* to, int64_t n,
                int bits, cudaStream_t stream) {
    sort(scratch, bytes_for<uint64_t>(n), keys, sorted, values, to, n, bits, stream);
}

}  // namespace fastdet
