// The gradients of RoIAlign, with shared or own channels, and of pooling with own channels, as a gather: each sum in
// the CPU's order, RoI after RoI, without atomic additions.
//
// A block has a tile of pixels of an image and some of its channels, and keeps their sums in registers. Its threads
// look through the boxes, a block's worth at a time, and note in their order those that reach the tile; for each of
// these, the weights of the tile's rows and columns are made in shared memory, one thread for each pair of line and
// bin. Very many bins have no table: their weights are computed for each value.
//
// Floor: reading the gradient (1000 x 256 x 7 x 7 float32: 50 MB, 12 us at 4.3 TB/s). What costs is a barrier or two
// for each RoI and tile that meet. Limit: 2^31 blocks.
#include "roi/roi_kernels.h"

namespace fastdet {
namespace {

constexpr int kTileRows = 4, kTileColumns = 8, kTilePixels = kTileRows * kTileColumns;
constexpr int kLines = kTileRows + kTileColumns;
constexpr int kTileChannels = 32;
constexpr int kEach = kTilePixels * kTileChannels / kRoiThreads;  // sums of a thread
constexpr int kTableBins = 64;                                    // along one axis

// Pooling with own channels: whether the bin has the pixel. Its weight is 1, so that the rest is as RoIAlign's.
template <class T>
__device__ inline bool pixel_weight(const PixelAxis<T>& axis, int64_t bin, int64_t place, T* weight) {
    *weight = 1;
    return place >= axis.begin(bin) && place < axis.end(bin);
}

// One RoI for a block. kPooled: of whole pixels, each with an equal share.
template <class S, bool kPooled>
struct Met {
    using T = Compute<S>;
    RoiAxes<T> sampled;
    PixelAxes<T> pixels;

    __device__ void set(const RoiArgs<S>& job, int64_t k) {
        if constexpr (kPooled) {
            pixels = job.pixel_axes_of(k);
        } else {
            sampled = job.axes(k);
        }
    }
    __device__ Range rows(const RoiArgs<S>& job) const {
        if constexpr (kPooled) return {pixels.y.begin(0), pixels.y.end(job.bins_y - 1)};
        return reach_of(sampled.y, job.bins_y, job.height);
    }
    __device__ Range columns(const RoiArgs<S>& job) const {
        if constexpr (kPooled) return {pixels.x.begin(0), pixels.x.end(job.bins_x - 1)};
        return reach_of(sampled.x, job.bins_x, job.width);
    }
    __device__ bool row(const RoiArgs<S>& job, int64_t bin, int64_t y, T* weight) const {
        if constexpr (kPooled) return pixel_weight(pixels.y, bin, y, weight);
        return tap_weight(sampled.y, bin, y, job.height, weight);
    }
    __device__ bool column(const RoiArgs<S>& job, int64_t bin, int64_t x, T* weight) const {
        if constexpr (kPooled) return pixel_weight(pixels.x, bin, x, weight);
        return tap_weight(sampled.x, bin, x, job.width, weight);
    }
    // What the gradient of a bin is divided by.
    __device__ T count(int64_t p, int64_t q) const {
        if constexpr (kPooled) return T((pixels.y.end(p) - pixels.y.begin(p)) * (pixels.x.end(q) - pixels.x.begin(q)));
        return sampled.count;
    }
};

template <class S, bool kPooled>
__global__ void __launch_bounds__(kRoiThreads, sizeof(S) == 8 ? 1 : 2)
    spread_kernel(const RoiArgs<S> job, int64_t tiles_y, int64_t tiles_x, int64_t chunks) {
    using T = Compute<S>;
    FASTDET_SHARED(T, weight, [kLines][kTableBins]);
    FASTDET_SHARED(bool, there, [kLines][kTableBins]);
    using Roi = Met<S, kPooled>;
    FASTDET_SHARED(Roi, kept, [1]);  // the RoI at hand
    FASTDET_SHARED(int32_t, met, [kRoiThreads]);
    FASTDET_SHARED(int, in_warp, [kRoiThreads / kWarp]);
    const int me = int(threadIdx.x), lane = me % kWarp, warp = me / kWarp;
    int64_t rest = blockIdx.x;
    const int64_t chunk = rest % chunks, left = rest / chunks % tiles_x * kTileColumns;
    rest /= chunks * tiles_x;
    const int64_t top = rest % tiles_y * kTileRows, image = rest / tiles_y;
    const bool tables = job.bins_y <= kTableBins && job.bins_x <= kTableBins;
    T sum[kEach];
    // Sum i of this thread; neighbours in memory are neighbours here.
    const auto pixel_of = [&](int i) {
        const int e = me + i * kRoiThreads;
        return job.last ? e / kTileChannels : e % kTilePixels;
    };
    const auto channel_of = [&](int i) {
        const int e = me + i * kRoiThreads;
        return chunk * kTileChannels + (job.last ? e % kTileChannels : e / kTilePixels);
    };
#pragma unroll
    for (int i = 0; i < kEach; ++i) sum[i] = 0;
    for (int64_t from = 0; from < job.count; from += kRoiThreads) {
        const int64_t mine = from + me;
        bool meets = mine < job.count && job.takes(mine) && int64_t(*job.box(mine)) == image;
        if (meets) {
            Met<S, kPooled> roi;
            roi.set(job, mine);
            const Range rows = roi.rows(job), columns = roi.columns(job);
            meets = rows.begin < top + kTileRows && rows.end > top && columns.begin < left + kTileColumns &&
                    columns.end > left;
        }
        const uint32_t votes = __ballot_sync(kAllLanes, meets);
        if (lane == 0) in_warp[warp] = __popc(votes);
        __syncthreads();
        int to = __popc(votes & ((1u << lane) - 1)), n = 0;
        for (int w = 0; w < kRoiThreads / kWarp; ++w) to += w < warp ? in_warp[w] : 0, n += in_warp[w];
        if (meets) met[to] = int32_t(me);
        __syncthreads();
        for (int m = 0; m < n; ++m) {
            const int64_t k = from + met[m];
            if (tables || me == 0) {
                Met<S, kPooled> roi;
                roi.set(job, k);
                if (me == 0) kept[0] = roi;

                const int bins_y = int(job.bins_y), bins_x = int(job.bins_x);
                for (int i = me; tables && i < kTileRows * bins_y + kTileColumns * bins_x; i += kRoiThreads) {
                    const bool of_row = i < kTileRows * bins_y;
                    const int j = of_row ? i : i - kTileRows * bins_y, bins = of_row ? bins_y : bins_x;
                    const int line = j / bins, bin = j - line * bins, at = of_row ? line : kTileRows + line;
                    T w = 0;
                    const int64_t place = (of_row ? top : left) + line;
                    bool seen = place < (of_row ? job.height : job.width);
                    if (seen) seen = of_row ? roi.row(job, bin, place, &w) : roi.column(job, bin, place, &w);
                    weight[at][bin] = w, there[at][bin] = seen;
                }
            }
            __syncthreads();
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                const int line_y = pixel_of(i) / kTileColumns, line_x = pixel_of(i) % kTileColumns;
                const int64_t channel = channel_of(i);
                const int64_t y = top + line_y, x = left + line_x;
                if (y >= job.height || x >= job.width || channel >= job.channels) continue;
                // Own channels: below 2^31, so that their bins are, too.
                const int bins = job.own ? int(job.bins_y) * int(job.bins_x) : 1, c = int(channel) / bins;
                const int own = int(channel) - c * bins, row = job.own ? own / int(job.bins_x) : 0;
                const int64_t p0 = row, p1 = job.own ? p0 + 1 : job.bins_y;
                const int64_t q0 = job.own ? own - row * int(job.bins_x) : 0, q1 = job.own ? q0 + 1 : job.bins_x;
                T tall = 0;
                bool begun = false;
#pragma unroll 1
                for (int64_t p = p0; p < p1; ++p) {
                    T wy = tables ? weight[line_y][p] : T(0);
                    if (!(tables ? there[line_y][p] : kept[0].row(job, p, y, &wy))) continue;
                    T wide = 0;
                    bool first = true;
#pragma unroll 1
                    for (int64_t q = q0; q < q1; ++q) {
                        T wx = tables ? weight[kTileRows + line_x][q] : T(0);
                        if (!(tables ? there[kTileRows + line_x][q] : kept[0].column(job, q, x, &wx))) continue;
                        const T g = widen(job.from[job.feature_at(k, c, p * job.bins_x + q)]);
                        const T term = wx * (g / kept[0].count(p, q));
                        wide = first ? term : wide + term;
                        first = false;
                    }
                    if (first) break;  // no column
                    tall = begun ? tall + wy * wide : wy * wide;
                    begun = true;
                }
                if (begun) sum[i] = sum[i] + tall;
            }
            __syncthreads();  // the tables have been read
        }
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        const int64_t y = top + pixel_of(i) / kTileColumns, x = left + pixel_of(i) % kTileColumns;
        const int64_t channel = channel_of(i);
        if (y < job.height && x < job.width && channel < job.channels)
            job.to[job.map_at(image, channel, y, x)] = stored<S>(sum[i]);
    }
}

template <class S, bool kPooled>
void spread(const RoiCuda& call, cudaStream_t stream) {
    const RoiArgs<S> job(call);
    if (job.count) check_boxes<S>(call, false, stream);
    const int64_t tiles_y = blocks_for(job.height, kTileRows), tiles_x = blocks_for(job.width, kTileColumns);
    const int64_t chunks = blocks_for(job.channels, kTileChannels), blocks = job.images * tiles_y * tiles_x * chunks;
    if (blocks) {
        FASTDET_LAUNCH((spread_kernel<S, kPooled>), unsigned(blocks), kRoiThreads, stream, job, tiles_y, tiles_x,
                       chunks);
    }
    if (job.count) tell_fault(call, stream);
}

}  // namespace

template <class S>
void roi_align_backward_cuda(const RoiCuda& call, cudaStream_t stream) {
    spread<S, false>(call, stream);
}
template <class S>
void ps_roi_pool_backward_cuda(const RoiCuda& call, cudaStream_t stream) {
    spread<S, true>(call, stream);
}

template void roi_align_backward_cuda<float>(const RoiCuda&, cudaStream_t);
template void roi_align_backward_cuda<double>(const RoiCuda&, cudaStream_t);
template void roi_align_backward_cuda<Half>(const RoiCuda&, cudaStream_t);
template void roi_align_backward_cuda<BFloat16>(const RoiCuda&, cudaStream_t);
template void ps_roi_pool_backward_cuda<float>(const RoiCuda&, cudaStream_t);
template void ps_roi_pool_backward_cuda<double>(const RoiCuda&, cudaStream_t);
template void ps_roi_pool_backward_cuda<Half>(const RoiCuda&, cudaStream_t);
template void ps_roi_pool_backward_cuda<BFloat16>(const RoiCuda&, cudaStream_t);

}  // namespace fastdet
