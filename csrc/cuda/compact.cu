// Stable compaction. Up to 1024 blocks take a contiguous part each: one launch counts, a second one sums the counts
// before its own and writes; a single block needs only the second. Reads n bytes of flags twice, writes 8 bytes an
// index.
#include "cuda/compact.h"
#include "cuda/launch.h"

namespace fastdet {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / kWarp;
constexpr int64_t kMinPart = 8 * kThreads;

__global__ void __launch_bounds__(kThreads)
    count_kernel(const uint8_t* flags, int64_t n, int64_t part, int32_t* counts) {
    FASTDET_SHARED(int, total, [kWarps]);
    const int64_t first = blockIdx.x * part, last = first + part < n ? first + part : n;
    int mine = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads) mine += flags[i] != 0;
    mine = warp_sum(mine);
    if (threadIdx.x % kWarp == 0) total[threadIdx.x / kWarp] = mine;
    __syncthreads();
    if (threadIdx.x >= kWarp) return;
    mine = warp_sum(total[threadIdx.x]);
    if (threadIdx.x == 0) counts[blockIdx.x] = mine;
}

__global__ void __launch_bounds__(kThreads)
    place_kernel(const uint8_t* flags, const int32_t* order, int64_t n, int64_t part, int64_t max_count,
                 const int32_t* counts, int64_t* keep, int64_t* count) {
    FASTDET_SHARED(int, in_warp, [kWarps]);
    FASTDET_SHARED(int, before_block, [kWarps]);
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    int before = 0;
    for (int b = threadIdx.x; b < int(blockIdx.x); b += kThreads) before += counts[b];
    before = warp_sum(before);
    if (lane == 0) before_block[warp] = before;
    __syncthreads();
    int64_t at = 0;
    for (int w = 0; w < kWarps; ++w) at += before_block[w];

    const int64_t first = blockIdx.x * part, last = first + part < n ? first + part : n;
    for (int64_t base = first; base < last; base += kThreads) {
        const int64_t i = base + threadIdx.x;
        const bool kept = i < last && flags[i];
        const uint32_t votes = __ballot_sync(kAllLanes, kept);
        if (lane == 0) in_warp[warp] = __popc(votes);
        __syncthreads();
        int64_t to = at + __popc(votes & ((1u << lane) - 1));
        for (int w = 0; w < kWarps; ++w) {
            to += w < warp ? in_warp[w] : 0;
            at += in_warp[w];
        }
        if (kept && (max_count < 0 || to < max_count)) keep[to] = order ? order[i] : i;
        __syncthreads();  // in_warp is written again
    }
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) *count = max_count >= 0 && at > max_count ? max_count : at;
}

}  // namespace

void compact(const uint8_t* flags, const int32_t* order, int64_t n, int64_t max_count, int32_t* scratch, int64_t* keep,
             int64_t* count, cudaStream_t stream) {
    int64_t part = blocks_for(n, kCompactScratch);
    part = part < kMinPart ? kMinPart : blocks_for(part, kThreads) * kThreads;
    const unsigned blocks = n ? unsigned(blocks_for(n, part)) : 1;
    if (blocks > 1) FASTDET_LAUNCH((count_kernel), blocks, kThreads, stream, flags, n, part, scratch);
    FASTDET_LAUNCH((place_kernel), blocks, kThreads, stream, flags, order, n, part, max_count, scratch, keep, count);
}

}  // namespace fastdet
