// What the kernels of RoI ops share: where values lie, the check of the boxes, tables in shared memory.
#pragma once

#include "core/half.h"
#include "cuda/launch.h"
#include "roi/bins.h"
#include "roi/cuda.h"
#include "roi/taps.h"

namespace fastdet {

constexpr int kRoiThreads = 256;

// A call as its kernels take it.
template <class S>
struct RoiArgs {
    const S* from;
    S* to;
    const Compute<S>* boxes;
    const int64_t* levels;
    int64_t images, channels, height, width, count, bins_y, bins_x, level, ratio;
    Compute<S> scale;
    bool last, aligned, own;

    explicit RoiArgs(const RoiCuda& call)
        : from(static_cast<const S*>(call.job.from)),
          to(static_cast<S*>(call.job.to)),
          boxes(static_cast<const Compute<S>*>(call.job.boxes)),
          levels(call.job.levels),
          images(call.job.images),
          channels(call.job.channels),
          height(call.job.height),
          width(call.job.width),
          count(call.job.count),
          bins_y(call.job.bins_y),
          bins_x(call.job.bins_x),
          level(call.job.level),
          ratio(call.job.ratio),
          scale(Compute<S>(call.job.scale)),
          last(call.job.channels_last),
          aligned(call.job.aligned),
          own(call.own_channels) {}

    __host__ __device__ int64_t bins() const { return bins_y * bins_x; }
    __host__ __device__ int64_t features() const { return own ? channels / bins() : channels; }  // of a RoI, channels
    __host__ __device__ int64_t values() const { return features() * bins(); }
    __device__ const Compute<S>* box(int64_t k) const { return boxes + 5 * k; }
    // Whether RoI k is of this level, and its box is good.
    __device__ bool takes(int64_t k) const { return (!levels || levels[k] == level) && is_good_box(box(k), images); }
    __device__ RoiAxes<Compute<S>> axes(int64_t k) const {
        return roi_axes(box(k), scale, ratio, own || aligned, !own && !aligned, bins_y, bins_x);
    }
    __device__ PixelAxes<Compute<S>> pixel_axes_of(int64_t k) const {
        return pixel_axes(box(k), scale, !own, bins_y, bins_x, height, width);
    }
    // Where a value of the map, and one of the pooled features, lies.
    __device__ int64_t map_at(int64_t image, int64_t c, int64_t y, int64_t x) const {
        return last ? ((image * height + y) * width + x) * channels + c
                    : ((image * channels + c) * height + y) * width + x;
    }
    __device__ int64_t feature_at(int64_t k, int64_t c, int64_t bin) const {
        return last ? (k * bins() + bin) * features() + c : (k * features() + c) * bins() + bin;
    }
    // Channel and bin of value e of a RoI, in the order of memory.
    __device__ void place_of(int64_t e, int64_t* c, int64_t* bin) const {
        const int64_t inner = last ? features() : bins(), outer = e / inner, rest = e - outer * inner;
        *c = last ? rest : outer, *bin = last ? outer : rest;
    }
};

// Notes the first box that is refused. `twice`: twice its row.
template <class S>
__global__ void __launch_bounds__(kRoiThreads) roi_check_kernel(const RoiArgs<S> job, bool twice, int64_t* bad) {
    const int64_t k = thread_index();
    if (k < job.count && !is_good_box(job.box(k), job.images)) note_first(bad, twice ? 2 * k : k);
}

static __global__ void __launch_bounds__(kWarp) roi_tell_kernel(const int64_t* bad, int64_t* fault) {
    if (threadIdx.x == 0 && *bad >= 0) *fault = *bad + 1;
}

template <class S>
void check_boxes(const RoiCuda& call, bool twice, cudaStream_t stream) {
    check_cuda(cudaMemsetAsync(call.bad, 0xff, sizeof *call.bad, stream));
    const RoiArgs<S> job(call);
    FASTDET_LAUNCH((roi_check_kernel<S>), unsigned(blocks_for(job.count, kRoiThreads)), kRoiThreads, stream, job, twice,
                   call.bad);
}
inline void tell_fault(const RoiCuda& call, cudaStream_t stream) {
    FASTDET_LAUNCH((roi_tell_kernel), 1, kWarp, stream, call.bad, call.fault);
}

// The weight of pixel `place` for a bin, summed over the bin's samples in their order; false: no sample looks at it.
template <class T>
__device__ inline bool tap_weight(const RoiAxis<T>& axis, int64_t bin, int64_t place, int64_t size, T* weight) {
    *weight = 0;
    if (!axis.finite()) return false;
    const bool down = axis.bin < 0;
    // what is left of pixel 0 looks at pixels 0 and 1
    const T lowest = T(place > 1 ? place - 1 : -1), highest = place == size - 1 ? T(size) : T(place + 1);
    int64_t low = 0, high = axis.grid;
    while (low < high) {  // the first sample that is not on the near side
        const int64_t middle = low + (high - low) / 2;
        const T at = axis.at(bin, middle);
        if (down ? at > highest : at < lowest) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool seen = false;
    for (int64_t i = low; i < axis.grid; ++i) {
        const T at = axis.at(bin, i);
        if (down ? at < lowest : at > highest) break;
        Sample<T> s;
        if (!sample_at(at, size, &s)) continue;
        if (s.low == place) *weight = *weight + s.first, seen = true;
        if (s.high == place) *weight = *weight + s.second, seen = true;
    }
    return seen;
}

// Pixels among which are all that a bin looks at, without slack.
template <class T>
__device__ inline Range bin_reach(const RoiAxis<T>& axis, int64_t bin, int64_t size) {
    if (!axis.finite() || !axis.grid) return {0, 0};
    const T a = axis.at(bin, 0), b = axis.at(bin, axis.grid - 1), low = lesser(a, b), high = greater(a, b);
    if (!(high >= T(-1) && low <= T(size))) return {0, 0};
    const T most = T(size);
    const int64_t begin = low > 0 ? int64_t(low) : 0, end = high < most ? (high > 0 ? int64_t(high) : 0) + 2 : size;
    return {lesser(begin, size - 1), lesser(end, size)};
}

}  // namespace fastdet
