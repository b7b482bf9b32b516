// Greedy NMS, exact, segments (boxes of one key) side by side, in O(n) memory and a number of launches that only n
// decides. Many boxes go to nms_rounds.cu. This file serves few boxes, small thresholds, and intersection over the
// smaller area, which does not bound places.
//
// Boxes lie by segment and falling score; 1024 neighbours are a chunk.
// 1. masks: which box suppresses which within a chunk: a bit a pair of one segment, 32 words of earlier boxes a box.
// 2. For step d = 0, 1, ...: the boxes of a chunk whose segment began d chunks before are decided, one block a chunk,
//    32 boxes at a time, in rounds within a warp (kept: no undecided better one suppresses it; dead: a kept one does),
//    then one word tells every later box of the chunk whether it died. After that the boxes just kept are applied to
//    the later chunks of their segment, by the whole grid. Segments that began in the same or in different chunks do
//    not wait for each other; one large segment takes as many steps as it has chunks.
// 3. Kept flags by rank are compacted.
// Cost: n * 512 pair tests for the masks, kept * n / 2 for the rest, of 7 instructions where boxes do not overlap: an
// H200 does some 2e12 a second (4k: a few us); and two launches a chunk, some 8 us. Floor: the sort. Memory: 128 bytes
// of masks and 50 others a box. Limit: 2^30 boxes.
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "nms/cuda.h"
#include "nms/nms_chunks.h"
#include "nms/nms_rounds.h"

namespace fastdet {
namespace {

// Keeps the first `max_per_key` kept boxes of each segment. One warp per position; the warp of a segment's first
// position does the work.
__global__ void __launch_bounds__(kApplyThreads)
    limit_kernel(const int32_t* start, const int32_t* rank, int64_t n, int64_t max_per_key, uint8_t* flags) {
    const int64_t first = thread_index() / kWarp;
    const int lane = threadIdx.x % kWarp;
    if (first >= n || start[first] != first) return;
    int64_t found = 0;
    for (int64_t base = first; base < n && start[base] == first; base += kWarp) {
        const int64_t position = base + lane;
        const bool mine = position < n && start[position] == first && flags[rank[position]];
        const uint32_t votes = __ballot_sync(kAllLanes, mine);
        if (mine && found + __popc(votes & ((1u << lane) - 1)) >= max_per_key) flags[rank[position]] = 0;
        found += __popc(votes);
    }
}

// The workspace of nms itself; the larger of one of the two ways and of ordering follows it.
template <class T>
struct Workspace {
    Ordered<T> ordered;
    uint8_t* flags;
    int32_t* counters;
    // chunks
    uint32_t *masks, *kept;

    Workspace(Parts& parts, int64_t n, bool rounds) {
        const int64_t chunks = rounds ? 0 : blocks_for(n, kChunk);
        ordered = take_ordered<T>(parts, n);
        flags = parts.take<uint8_t>(n);
        counters = parts.take<int32_t>(kCompactScratch);
        masks = parts.take<uint32_t>(chunks * kWords * kChunk);
        kept = parts.take<uint32_t>(chunks * kWords);
    }
};

}  // namespace

template <class T, class S>
int64_t nms_workspace(int64_t n, bool keys, const NmsOptions& options) {
    const bool rounds = nms_in_rounds(n, options.threshold, options.kind);
    Parts parts;
    const Workspace<T> w(parts, n, rounds);
    const int64_t way = rounds ? nms_rounds_workspace<T>(n) : 0, order = order_scratch<S>(n, keys);
    return parts.bytes() + (way > order ? way : order);  // they run one after the other and share memory
}

template <class T, class S>
void nms_cuda(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
              void* workspace, int64_t* keep, Status* status, cudaStream_t stream) {
    const bool rounds = nms_in_rounds(n, options.threshold, options.kind);
    Parts parts(workspace);
    const Workspace<T> w(parts, n, rounds);
    void* const rest = static_cast<char*>(workspace) + parts.bytes();
    const S score_threshold = options.score_threshold ? S(*options.score_threshold) : S(0);
    order_boxes(Candidates<T, S>{boxes, scores, keys, n, options.score_threshold ? &score_threshold : nullptr}, rest,
                w.ordered, status, stream);
    if (n) {
        const Rule<T> rule{T(options.threshold), options.kind};
        check_cuda(cudaMemsetAsync(w.flags, 0, size_t(n), stream));
        if (rounds) {
            nms_rounds(w.ordered, n, rule, rest, w.flags, stream);
        } else {
            const Ordered<T>& o = w.ordered;
            in_chunks(o.boxes, o, n, rule, w.masks, w.kept, w.flags, stream);
        }
        if (options.max_per_key >= 0) {
            FASTDET_LAUNCH((limit_kernel), unsigned(blocks_for(n * kWarp, kApplyThreads)), kApplyThreads, stream,
                           w.ordered.start, w.ordered.rank, n, options.max_per_key, w.flags);
        }
    }
    compact(w.flags, w.ordered.order, n, options.max_output, w.counters, keep, &status->count, stream);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                \
    template int64_t nms_workspace<T, S>(int64_t, bool, const NmsOptions&);                                      \
    template void nms_cuda(const Box<T>*, const S*, const int64_t*, int64_t, const NmsOptions&, void*, int64_t*, \
                           Status*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
