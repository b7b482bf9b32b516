// RoIAlign forward, with channels shared by all bins or own ones for each: a block has one RoI and some of its
// channels.
//
// The taps of the RoI, the pixels of each bin along an axis with their weights, are made once a block, in shared
// memory, one thread a bin; then each thread computes values in the order in which they lie in memory. Where a table is
// too short (bins of many pixels, or very many bins) weights are computed again for each value: slow, and rare.
//
// Floor: writing the features (1000 x 256 x 7 x 7 float32: 50 MB, 12 us at 4.3 TB/s); the maps are read from the cache,
// 10 to 16 values for each one written. Limit: 2^31 blocks.
#include "roi/roi_kernels.h"

namespace fastdet {
namespace {

constexpr int kTaps = 512;  // of all bins along one axis
constexpr int kBins = 256;  // along one axis
constexpr int kEach = 8;    // values of a thread, about

// The taps of a bin, in slots [begin, begin + slots). -1: more than fit.
template <class T>
__device__ int make_taps(const RoiAxis<T>& axis, int64_t bin, int64_t size, int slots, int32_t* place, T* weight) {
    const Range reach = bin_reach(axis, bin, size);
    int n = 0;
    for (int64_t i = reach.begin; i < reach.end; ++i) {
        T w;
        if (!tap_weight(axis, bin, i, size, &w)) continue;
        if (n == slots) return -1;
        place[n] = int32_t(i), weight[n] = w;
        ++n;
    }
    return n;
}

// The sum of a bin without tables. x: the map's channel.
template <class S, class T>
__device__ T bin_sum(const RoiArgs<S>& job, const RoiAxes<T>& axes, int64_t p, int64_t q, int64_t image, int64_t c) {
    const Range rows = bin_reach(axes.y, p, job.height), columns = bin_reach(axes.x, q, job.width);
    T total = 0;
    bool begun = false;
    for (int64_t y = rows.begin; y < rows.end; ++y) {
        T wy, wx, line = 0;
        if (!tap_weight(axes.y, p, y, job.height, &wy)) continue;
        bool first = true;
        for (int64_t x = columns.begin; x < columns.end; ++x) {
            if (!tap_weight(axes.x, q, x, job.width, &wx)) continue;
            const T term = wx * widen(job.from[job.map_at(image, c, y, x)]);
            line = first ? term : line + term;
            first = false;
        }
        if (first) return 0;  // no column
        total = begun ? total + wy * line : wy * line;
        begun = true;
    }
    return total;
}

template <class S>
__global__ void __launch_bounds__(kRoiThreads, 2) align_kernel(const RoiArgs<S> job, int64_t chunks, int64_t chunk) {
    using T = Compute<S>;
    FASTDET_SHARED(int32_t, place, [2][kTaps]);
    FASTDET_SHARED(T, weight, [2][kTaps]);
    FASTDET_SHARED(int, taps, [2][kBins]);
    FASTDET_SHARED(int, short_of, [1]);
    const int64_t k = blockIdx.x / chunks, first = (blockIdx.x - k * chunks) * chunk;
    const int64_t end = lesser(first + chunk, job.values());
    if (job.levels && job.levels[k] != job.level) return;  // as all threads of the block
    const bool good = is_good_box(job.box(k), job.images);
    const RoiAxes<T> axes = job.axes(k);
    const int64_t image = good ? int64_t(*job.box(k)) : 0;
    const bool fits = job.bins_y <= kBins && job.bins_x <= kBins;
    const int slots_y = fits ? kTaps / int(job.bins_y) : 0, slots_x = fits ? kTaps / int(job.bins_x) : 0;
    if (threadIdx.x == 0) short_of[0] = !fits;
    __syncthreads();
    if (fits && good) {
        const int bins_y = int(job.bins_y), bins = bins_y + int(job.bins_x);
        for (int i = int(threadIdx.x); i < bins; i += int(blockDim.x)) {
            const bool across = i >= bins_y;
            const int which = across, bin = across ? i - bins_y : i, slots = across ? slots_x : slots_y;
            const RoiAxis<T> axis = {across ? axes.x.start : axes.y.start, across ? axes.x.bin : axes.y.bin,
                                     across ? axes.x.grid : axes.y.grid};
            const int n = make_taps(axis, bin, across ? job.width : job.height, slots, place[which] + bin * slots,
                                    weight[which] + bin * slots);
            taps[which][bin] = n;
            if (n < 0) short_of[0] = 1;
        }
    }
    __syncthreads();
    for (int64_t e = first + threadIdx.x; e < end; e += blockDim.x) {
        int64_t c, bin;
        job.place_of(e, &c, &bin);
        const int64_t p = bin / job.bins_x, q = bin - p * job.bins_x, channel = job.own ? c * job.bins() + bin : c;
        T total = 0;
        if (!good) {
        } else if (short_of[0]) {
            total = bin_sum(job, axes, p, q, image, channel);
        } else {
            const int y0 = int(p) * slots_y, y1 = y0 + taps[0][p], x0 = int(q) * slots_x, x1 = x0 + taps[1][q];
            for (int i = y0; x0 < x1 && i < y1; ++i) {
                const S* row = job.from + job.map_at(image, channel, place[0][i], 0);
                const int64_t step = job.last ? job.channels : 1;
                T line = weight[1][x0] * widen(row[place[1][x0] * step]);
                for (int j = x0 + 1; j < x1; ++j) line = line + weight[1][j] * widen(row[place[1][j] * step]);
                total = i == y0 ? weight[0][i] * line : total + weight[0][i] * line;
            }
        }
        job.to[k * job.values() + e] = stored<S>(total / axes.count);
    }
}

template <class T>
__global__ void __launch_bounds__(kRoiThreads)
    levels_kernel(const T* boxes, int64_t count, const RoiBounds bounds, int64_t* out) {
    const int64_t k = thread_index();
    if (k >= count) return;
    const T* const box = boxes + 5 * k;
    const T area = (box[3] - box[1]) * (box[4] - box[2]);
    int64_t level = 0;
#pragma unroll
    for (int i = 0; i < RoiBounds::kMax; ++i) level += i < bounds.count && area >= T(bounds.area[i]);
    out[k] = level;
}

}  // namespace

template <class S>
void roi_align_cuda(const RoiCuda& call, cudaStream_t stream) {
    const RoiArgs<S> job(call);
    if (!job.count) return;
    check_boxes<S>(call, false, stream);
    if (job.values()) {
        const int64_t chunk = lesser<int64_t>(job.values(), kRoiThreads * kEach),
                      chunks = blocks_for(job.values(), chunk);
        FASTDET_LAUNCH((align_kernel<S>), unsigned(job.count * chunks), kRoiThreads, stream, job, chunks, chunk);
    }
    tell_fault(call, stream);
}

template <class T>
void roi_levels_cuda(const T* boxes, int64_t count, const double* bounds, int n_bounds, int64_t* out,
                     cudaStream_t stream) {
    if (!count) return;
    RoiBounds given = {};
    given.count = n_bounds;
    for (int i = 0; i < n_bounds; ++i) given.area[i] = bounds[i];
    FASTDET_LAUNCH((levels_kernel<T>), unsigned(blocks_for(count, kRoiThreads)), kRoiThreads, stream, boxes, count,
                   given, out);
}

template void roi_align_cuda<float>(const RoiCuda&, cudaStream_t);
template void roi_align_cuda<double>(const RoiCuda&, cudaStream_t);
template void roi_align_cuda<Half>(const RoiCuda&, cudaStream_t);
template void roi_align_cuda<BFloat16>(const RoiCuda&, cudaStream_t);
template void roi_levels_cuda<float>(const float*, int64_t, const double*, int, int64_t*, cudaStream_t);
template void roi_levels_cuda<double>(const double*, int64_t, const double*, int, int64_t*, cudaStream_t);

}  // namespace fastdet
