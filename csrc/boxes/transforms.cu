// Area, conversion, clipping, small boxes: a thread a box, 16 bytes at a time. Floor: the bytes, 16 in and 4 to 16 out
// a float32 box (1M boxes: 32 MB, 8 us at 4 TB/s; below some 100k boxes a launch, 2-3 us, is the cost).
#include "boxes/cuda.h"
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

// f(box) for each box.
template <class T, class Out, class F>
__global__ void __launch_bounds__(kThreads) each_kernel(const Box<T>* boxes, int64_t n, Out* out, F f) {
    const int64_t i = thread_index();
    if (i < n) f(load_box(boxes + i), out + i);
}

template <class T, class Out, class F>
void each(const Box<T>* boxes, int64_t n, Out* out, cudaStream_t stream, F f) {
    if (n)
        FASTDET_LAUNCH((each_kernel<T, Out, F>), unsigned(blocks_for(n, kThreads)), kThreads, stream, boxes, n, out, f);
}

template <class T>
struct Area {
    __device__ void operator()(const Box<T>& b, T* out) const { *out = is_nan(b) ? T(NAN) : area(b); }
};

template <class T>
struct Convert {
    Format from, to;
    __device__ void operator()(const Box<T>& b, Box<T>* out) const { store_box(out, converted(b, from, to)); }
};

template <class T>
struct Clip {
    T height, width;
    __device__ void operator()(const Box<T>& b, Box<T>* out) const { store_box(out, clipped(b, height, width)); }
};

template <class T>
struct Extend {
    T offset;
    __device__ void operator()(const Box<T>& b, Box<T>* out) const {
        store_box(out, {b.x1, b.y1, b.x2 + offset, b.y2 + offset});
    }
};

template <class T>
struct LargeEnough {
    T min_size;
    __device__ void operator()(const Box<T>& b, uint8_t* out) const { *out = has_min_size(b, min_size); }
};

}  // namespace

template <class T>
void box_area_cuda(const Box<T>* boxes, int64_t n, T* out, cudaStream_t stream) {
    each(boxes, n, out, stream, Area<T>{});
}

template <class T>
void box_convert_cuda(const Box<T>* boxes, int64_t n, Format from, Format to, Box<T>* out, cudaStream_t stream) {
    each(boxes, n, out, stream, Convert<T>{from, to});
}

template <class T>
void clip_boxes_to_image_cuda(const Box<T>* boxes, int64_t n, T height, T width, Box<T>* out, cudaStream_t stream) {
    each(boxes, n, out, stream, Clip<T>{height, width});
}

template <class T>
void extend_boxes_cuda(const Box<T>* boxes, int64_t n, T offset, Box<T>* out, cudaStream_t stream) {
    each(boxes, n, out, stream, Extend<T>{offset});
}

int64_t remove_small_workspace(int64_t n) {
    Parts parts;
    parts.take<uint8_t>(n);
    parts.take<int32_t>(kCompactScratch);
    return parts.bytes();
}

template <class T>
void remove_small_boxes_cuda(const Box<T>* boxes, int64_t n, T min_size, void* workspace, int64_t* keep, int64_t* count,
                             cudaStream_t stream) {
    Parts parts(workspace);
    uint8_t* flags = parts.take<uint8_t>(n);
    int32_t* scratch = parts.take<int32_t>(kCompactScratch);
    each(boxes, n, flags, stream, LargeEnough<T>{min_size});
    compact(flags, nullptr, n, -1, scratch, keep, count, stream);
}

#define FASTDET_INSTANTIATE(T)                                                                     \
    template void box_area_cuda(const Box<T>*, int64_t, T*, cudaStream_t);                         \
    template void box_convert_cuda(const Box<T>*, int64_t, Format, Format, Box<T>*, cudaStream_t); \
    template void clip_boxes_to_image_cuda(const Box<T>*, int64_t, T, T, Box<T>*, cudaStream_t);   \
    template void extend_boxes_cuda(const Box<T>*, int64_t, T, Box<T>*, cudaStream_t);             \
    template void remove_small_boxes_cuda(const Box<T>*, int64_t, T, void*, int64_t*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
