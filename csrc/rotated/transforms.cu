// Formats of rotated boxes, a thread a box; the smallest box around points, a thread a set.
//
// Floor: the numbers in and out, once. A set of points is sorted in place by its thread: good for polygons of a few
// corners, slow for single sets of thousands of points. Limit: none but memory.
#include "cuda/launch.h"
#include "rotated/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void __launch_bounds__(kThreads)
    convert_rotated_kernel(const T* boxes, int64_t n, RotatedFormat from, RotatedFormat to, Angles given, Angles wanted,
                           T* out) {
    const int64_t i = thread_index();
    if (i < n) convert_rotated(boxes + i * numbers_of(from), from, to, given, wanted, out + i * numbers_of(to));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    min_area_rect_kernel(const T* points, int64_t n, int64_t count, Angles wanted, double* work, T* out) {
    const int64_t i = thread_index();
    if (i < n) min_area_rect_of(points + 2 * count * i, count, wanted, work + (4 * count + 6) * i, out + 5 * i);
}

}  // namespace

template <class T>
void box_convert_rotated_cuda(const T* boxes, int64_t n, RotatedFormat from, RotatedFormat to, Angles given,
                              Angles wanted, T* out, cudaStream_t stream) {
    if (!n) return;
    FASTDET_LAUNCH((convert_rotated_kernel<T>), unsigned(blocks_for(n, kThreads)), kThreads, stream, boxes, n, from, to,
                   given, wanted, out);
}

int64_t min_area_rect_workspace(int64_t n, int64_t count) { return n * (4 * count + 6) * int64_t(sizeof(double)); }

template <class T>
void min_area_rect_cuda(const T* points, int64_t n, int64_t count, Angles wanted, void* workspace, T* out,
                        cudaStream_t stream) {
    if (!n) return;
    FASTDET_LAUNCH((min_area_rect_kernel<T>), unsigned(blocks_for(n, kThreads)), kThreads, stream, points, n, count,
                   wanted, static_cast<double*>(workspace), out);
}

#define FASTDET_INSTANTIATE(T)                                                                                  \
    template void box_convert_rotated_cuda(const T*, int64_t, RotatedFormat, RotatedFormat, Angles, Angles, T*, \
                                           cudaStream_t);                                                       \
    template void min_area_rect_cuda(const T*, int64_t, int64_t, Angles, void*, T*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
