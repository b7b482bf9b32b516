// RoI pooling over whole pixels: maxima, their gradient, and means with own channels for each bin.
//
// Forward, a thread computes a value: it reads the pixels of its bin. The gradient of maxima is summed by a block for
// each channel of an image: RoI after RoI, a thread for each bin; of bins with one place the first thread adds all, in
// their order. So each sum has the CPU's order, without atomic additions.
//
// Floor: writing the features (1000 x 256 x 7 x 7 float32: 50 MB, 12 us at 4.3 TB/s); the maps are read from the cache.
// Limit: 2^31 blocks.
#include "roi/roi_kernels.h"

namespace fastdet {
namespace {

constexpr int kScatterThreads = 64;
constexpr int kMaxBins = 1024;  // whose places a block holds

// kMean: the mean of the bin's pixels of its own channel; else the maximum, and its place where `places` is not null.
template <class S, bool kMean>
__global__ void __launch_bounds__(kRoiThreads) pool_kernel(const RoiArgs<S> job, int64_t* places) {
    using T = Compute<S>;
    const int64_t at = thread_index();
    if (at >= job.count * job.values()) return;
    const int64_t k = at / job.values();
    int64_t c, bin;
    job.place_of(at - k * job.values(), &c, &bin);
    const int64_t p = bin / job.bins_x, q = bin - p * job.bins_x, channel = job.own ? c * job.bins() + bin : c;
    T made = 0;
    int64_t place = -1;
    if (is_good_box(job.box(k), job.images)) {
        const PixelAxes<T> axes = job.pixel_axes_of(k);
        const int64_t y0 = axes.y.begin(p), y1 = axes.y.end(p), x0 = axes.x.begin(q), x1 = axes.x.end(q);
        const int64_t first = job.map_at(int64_t(*job.box(k)), channel, 0, 0), step = job.last ? job.channels : 1;
        for (int64_t y = y0; x0 < x1 && y < y1; ++y) {
            for (int64_t x = x0; x < x1; ++x) {
                const int64_t pixel = y * job.width + x;
                const T value = widen(job.from[first + pixel * step]);
                if constexpr (kMean) {
                    made = place < 0 ? value : made + value;
                    place = 0;
                } else if (place < 0 || value > made || value != value) {
                    made = value, place = pixel;
                }
            }
        }
        if (kMean && place == 0) made = made / T((y1 - y0) * (x1 - x0));
    }
    job.to[at] = stored<S>(made);
    if (!kMean && places) places[at] = place;
}

// Notes the first place that is outside of the map: 2 * position + 1.
__global__ void __launch_bounds__(kRoiThreads)
    places_kernel(const int64_t* places, int64_t count, int64_t size, const int64_t* boxes_bad, int64_t* bad) {
    const int64_t at = thread_index();
    if (at < count && *boxes_bad < 0 && (places[at] < -1 || places[at] >= size)) note_first(bad, 2 * at + 1);
}
// A bad box comes first.
__global__ void __launch_bounds__(kWarp) tell_both_kernel(const int64_t* bad, int64_t* fault) {
    if (threadIdx.x == 0 && (bad[0] >= 0 || bad[1] >= 0)) *fault = (bad[0] >= 0 ? bad[0] : bad[1]) + 1;
}

template <class S>
__global__ void __launch_bounds__(kScatterThreads)
    scatter_kernel(const RoiArgs<S> job, const int64_t* places, Compute<S>* sums) {
    using T = Compute<S>;
    FASTDET_SHARED(int64_t, place, [kMaxBins]);
    const int64_t image = blockIdx.x / job.channels, c = blockIdx.x - image * job.channels;
    const int64_t size = job.height * job.width, bins = job.bins();
    T* const sum = sums + (image * job.channels + c) * size;
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x) sum[i] = 0;
    __syncthreads();
#pragma unroll 1
    for (int64_t k = 0; k < job.count; ++k) {
        if (!job.takes(k) || int64_t(*job.box(k)) != image) continue;  // as all threads of the block
        if (bins > kMaxBins) {
#pragma unroll 1
            for (int64_t b = 0; threadIdx.x == 0 && b < bins; ++b) {
                const int64_t to = places[job.feature_at(k, c, b)];
                if (to >= 0 && to < size) sum[to] = sum[to] + widen(job.from[job.feature_at(k, c, b)]);
            }
            continue;
        }
#pragma unroll 1
        for (int b = int(threadIdx.x); b < int(bins); b += int(blockDim.x)) place[b] = places[job.feature_at(k, c, b)];
        __syncthreads();
        for (int b = int(threadIdx.x); b < int(bins); b += int(blockDim.x)) {
            const int64_t to = place[b];
            bool first = to >= 0 && to < size;
#pragma unroll 1
            for (int i = 0; first && i < b; ++i) first = place[i] != to;
            if (!first) continue;
            T total = sum[to];
#pragma unroll 1
            for (int i = b; i < int(bins); ++i) {
                if (place[i] == to) total = total + widen(job.from[job.feature_at(k, c, i)]);
            }
            sum[to] = total;
        }
        __syncthreads();
    }
}

template <class S>
__global__ void __launch_bounds__(kRoiThreads) give_kernel(const RoiArgs<S> job, const Compute<S>* sums) {
    const int64_t at = thread_index(), size = job.height * job.width;
    if (at >= job.images * job.channels * size) return;
    const int64_t plane = at / size, pixel = at - plane * size, image = plane / job.channels;
    job.to[job.map_at(image, plane - image * job.channels, 0, 0) + pixel * (job.last ? job.channels : 1)] =
        stored<S>(sums[at]);
}

template <class S, bool kMean>
void pool(const RoiCuda& call, int64_t* places, cudaStream_t stream) {
    const RoiArgs<S> job(call);
    if (!job.count) return;
    check_boxes<S>(call, false, stream);
    const int64_t blocks = blocks_for(job.count * job.values(), kRoiThreads);
    if (blocks) {
        FASTDET_LAUNCH((pool_kernel<S, kMean>), unsigned(blocks), kRoiThreads, stream, job, places);
    }
    tell_fault(call, stream);
}

}  // namespace

template <class S>
void roi_pool_cuda(const RoiCuda& call, int64_t* places, cudaStream_t stream) {
    pool<S, false>(call, places, stream);
}
template <class S>
void ps_roi_pool_cuda(const RoiCuda& call, cudaStream_t stream) {
    pool<S, true>(call, nullptr, stream);
}

template <class S>
void roi_pool_backward_cuda(const RoiCuda& call, const int64_t* places, void* sums, cudaStream_t stream) {
    const RoiArgs<S> job(call);
    using T = Compute<S>;
    const int64_t size = job.height * job.width, values = job.images * job.channels * size;
    if (!values) return;
    check_cuda(cudaMemsetAsync(call.bad, 0xff, 2 * sizeof *call.bad, stream));
    if (job.count) {
        check_boxes<S>(call, true, stream);
        const int64_t pooled = job.count * job.values();
        FASTDET_LAUNCH((places_kernel), unsigned(blocks_for(pooled, kRoiThreads)), kRoiThreads, stream, places, pooled,
                       size, call.bad, call.bad + 1);
    }
    FASTDET_LAUNCH((scatter_kernel<S>), unsigned(job.images * job.channels), kScatterThreads, stream, job, places,
                   static_cast<T*>(sums));
    FASTDET_LAUNCH((give_kernel<S>), unsigned(blocks_for(values, kRoiThreads)), kRoiThreads, stream, job,
                   static_cast<const T*>(sums));
    FASTDET_LAUNCH((tell_both_kernel), 1, kWarp, stream, call.bad, call.fault);
}

#define FASTDET_ROI_POOL(S)                                                                       \
    template void roi_pool_cuda<S>(const RoiCuda&, int64_t*, cudaStream_t);                       \
    template void roi_pool_backward_cuda<S>(const RoiCuda&, const int64_t*, void*, cudaStream_t); \
    template void ps_roi_pool_cuda<S>(const RoiCuda&, cudaStream_t);
FASTDET_ROI_POOL(float)
FASTDET_ROI_POOL(double)
FASTDET_ROI_POOL(Half)
FASTDET_ROI_POOL(BFloat16)
#undef FASTDET_ROI_POOL

}  // namespace fastdet
