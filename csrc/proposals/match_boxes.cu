// The matcher: a thread a column goes down the rows; a warp's loads are side by side. Rows' maxima are kept as unsigned
// numbers of the same order. Floor: the overlaps read once, twice with matches of low quality.
#include "core/score_key.h"
#include "cuda/launch.h"
#include "proposals/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

// The lowest falling key of a row is that of its highest value; `+ 0` makes one zero of two.
template <class T>
__global__ void __launch_bounds__(kThreads)
    best_kernel(const T* iou, int64_t rows, int64_t columns, T high, T low, uint64_t* in_row, int32_t* best,
                int64_t* matches, int64_t* wrong) {
    const int64_t j = thread_index();
    if (j >= columns) return;
    T most = iou[j];
    int64_t row = 0;
    for (int64_t i = 0; i < rows; ++i) {
        const T value = iou[i * columns + j];
        if (value != value) note_first(wrong, i * columns + j);
        if (value > most) most = value, row = i;
        if (in_row) note_first(reinterpret_cast<int64_t*>(in_row) + i, int64_t(falling_key(value)));
    }
    best[j] = int32_t(row);
    matches[j] = most < low ? kBelowLow : most < high ? kBetween : row;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    restore_kernel(const T* iou, int64_t rows, int64_t columns, const uint64_t* in_row, const int32_t* best,
                   int64_t* matches) {
    const int64_t j = thread_index();
    if (j >= columns) return;
    for (int64_t i = 0; i < rows; ++i) {
        if (uint64_t(falling_key(iou[i * columns + j])) == in_row[i]) matches[j] = best[j];
    }
}

}  // namespace

template <class T>
void match_boxes_cuda(const T* iou, int64_t rows, int64_t columns, T high, T low, bool allow_low_quality,
                      uint64_t* in_row, int32_t* best, int64_t* matches, int64_t* wrong, cudaStream_t stream) {
    check_cuda(cudaMemsetAsync(wrong, 0xff, sizeof *wrong, stream));
    if (!columns) return;
    if (!rows) return check_cuda(cudaMemsetAsync(matches, 0xff, size_t(columns) * sizeof *matches, stream));  // all -1
    if (allow_low_quality) check_cuda(cudaMemsetAsync(in_row, 0xff, size_t(rows) * sizeof *in_row, stream));
    const unsigned blocks = unsigned(blocks_for(columns, kThreads));
    FASTDET_LAUNCH((best_kernel<T>), blocks, kThreads, stream, iou, rows, columns, high, low,
                   allow_low_quality ? in_row : nullptr, best, matches, wrong);
    if (allow_low_quality)
        FASTDET_LAUNCH((restore_kernel<T>), blocks, kThreads, stream, iou, rows, columns, in_row, best, matches);
}

template void match_boxes_cuda(const float*, int64_t, int64_t, float, float, bool, uint64_t*, int32_t*, int64_t*,
                               int64_t*, cudaStream_t);
template void match_boxes_cuda(const double*, int64_t, int64_t, double, double, bool, uint64_t*, int32_t*, int64_t*,
                               int64_t*, cudaStream_t);

}  // namespace fastdet
