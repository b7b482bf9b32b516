// Overlap of every pair of rotated boxes, or of box i with box i.
//
// A thread has one column and runs down a tile of rows, which the block keeps in shared memory; stores of a warp are
// side by side. Floor: writing the output; a pair whose upright boxes meet costs some 250 double operations, so a GPU
// with few double units is bound by those. Limit: none but memory; rows and columns are 64-bit.
#include "cuda/launch.h"
#include "rotated/cuda.h"
#include "rotated/item.h"

namespace fastdet {
namespace {

constexpr int kThreads = 128, kRows = 32;

template <class T>
__global__ void __launch_bounds__(kThreads)
    rotated_pairs_kernel(const T* a, int64_t n, const T* b, int64_t m, Angles angles, RotatedMeasure kind, T* out) {
    FASTDET_SHARED(RotatedItem, rows, [kRows]);
    const int64_t column = thread_index();
    RotatedItem mine = {};
    if (column < m) mine = item_of(b + 5 * column, angles);
    for (int64_t top = int64_t(blockIdx.y) * kRows; top < n; top += int64_t(gridDim.y) * kRows) {
        const int count = n - top < kRows ? int(n - top) : kRows;
        __syncthreads();  // the last tile has been read
        if (int(threadIdx.x) < count) rows[threadIdx.x] = item_of(a + 5 * (top + threadIdx.x), angles);
        __syncthreads();
        if (column >= m) continue;
        for (int r = 0; r < count; ++r) out[(top + r) * m + column] = T(item_measure(rows[r], mine, kind));
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    rotated_aligned_kernel(const T* a, const T* b, int64_t n, Angles angles, RotatedMeasure kind, T* out) {
    const int64_t i = thread_index();
    if (i < n) out[i] = T(rotated_measure(rect_of(a + 5 * i, angles), rect_of(b + 5 * i, angles), kind));
}

}  // namespace

template <class T>
void box_iou_rotated_cuda(const T* a, int64_t n, const T* b, int64_t m, Angles angles, RotatedMeasure kind,
                          bool aligned, T* out, cudaStream_t stream) {
    if (!n || !m) return;
    if (aligned) {
        FASTDET_LAUNCH((rotated_aligned_kernel<T>), unsigned(blocks_for(n, kThreads)), kThreads, stream, a, b, n,
                       angles, kind, out);
        return;
    }
    const int64_t tiles = blocks_for(n, kRows);
    const dim3 grid(unsigned(blocks_for(m, kThreads)), unsigned(tiles < 65535 ? tiles : 65535));
    FASTDET_LAUNCH((rotated_pairs_kernel<T>), grid, kThreads, stream, a, n, b, m, angles, kind, out);
}

template void box_iou_rotated_cuda(const float*, int64_t, const float*, int64_t, Angles, RotatedMeasure, bool, float*,
                                   cudaStream_t);
template void box_iou_rotated_cuda(const double*, int64_t, const double*, int64_t, Angles, RotatedMeasure, bool,
                                   double*, cudaStream_t);

}  // namespace fastdet
