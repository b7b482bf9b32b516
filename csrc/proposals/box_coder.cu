// The box coder, a thread a row. Floor: rows and anchors read once, results written once (1 million rows of float32:
// 48 MB, 10 us).
#include "boxes/load_box.h"
#include "cuda/launch.h"
#include "proposals/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) encode_kernel(CoderJob<T> job, int64_t n, int64_t* wrong) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const Box<T> box = load_box(reinterpret_cast<const Box<T>*>(job.rows) + i);
    const Box<T> anchor = load_box(reinterpret_cast<const Box<T>*>(job.anchors) + i);
    if (is_nan(box)) note_first(wrong, 2 * i);
    if (!has_area(anchor)) note_first(wrong, 2 * i + 1);
    const T b[4] = {box.x1, box.y1, box.x2, box.y2}, a[4] = {anchor.x1, anchor.y1, anchor.x2, anchor.y2};
    T out[4];
    encode_box(b, a, job.coding.weight, out);
    store_box(reinterpret_cast<Box<T>*>(job.out) + i, {out[0], out[1], out[2], out[3]});
}

template <class T>
__global__ void __launch_bounds__(kThreads) decode_kernel(CoderJob<T> job, int64_t n, int64_t* wrong) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const int64_t owner = i / job.per_anchor;
    const Box<T> delta = load_box(reinterpret_cast<const Box<T>*>(job.rows) + i);
    const Box<T> anchor = load_box(reinterpret_cast<const Box<T>*>(job.anchors) + owner);
    if (is_nan(delta)) note_first(wrong, 2 * i);
    if (is_nan(anchor)) note_first(wrong + 1, 2 * owner + 1);
    const T d[4] = {delta.x1, delta.y1, delta.x2, delta.y2}, a[4] = {anchor.x1, anchor.y1, anchor.x2, anchor.y2};
    T out[4];
    decode_box(a, d, job.coding.weight, job.coding.limit, out);
    store_box(reinterpret_cast<Box<T>*>(job.out) + i, {out[0], out[1], out[2], out[3]});
}

unsigned blocks(int64_t n) { return unsigned(blocks_for(n, kThreads)); }

}  // namespace

template <class T>
void encode_boxes_cuda(const CoderJob<T>& job, int64_t n, int64_t* wrong, cudaStream_t stream) {
    check_cuda(cudaMemsetAsync(wrong, 0xff, sizeof *wrong, stream));
    if (n) FASTDET_LAUNCH((encode_kernel<T>), blocks(n), kThreads, stream, job, n, wrong);
}

template <class T>
void decode_boxes_cuda(const CoderJob<T>& job, int64_t n, int64_t* wrong, cudaStream_t stream) {
    check_cuda(cudaMemsetAsync(wrong, 0xff, 2 * sizeof *wrong, stream));
    if (n) FASTDET_LAUNCH((decode_kernel<T>), blocks(n), kThreads, stream, job, n, wrong);
}

template void encode_boxes_cuda(const CoderJob<float>&, int64_t, int64_t*, cudaStream_t);
template void encode_boxes_cuda(const CoderJob<double>&, int64_t, int64_t*, cudaStream_t);
template void decode_boxes_cuda(const CoderJob<float>&, int64_t, int64_t*, cudaStream_t);
template void decode_boxes_cuda(const CoderJob<double>&, int64_t, int64_t*, cudaStream_t);

}  // namespace fastdet
