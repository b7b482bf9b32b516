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
#include "nms/nms_rounds.h"

namespace fastdet {
namespace {

constexpr int kWords = kChunk / 32;
constexpr int kMaskThreads = 256, kApplyThreads = 128;
constexpr int kApplyWords = 4;  // words of suppressors that one block of `apply` looks at

// masks[(chunk * 32 + w) * 1024 + t], bit b: box 32 w + b of the chunk suppresses box t, and comes before it.
template <class T>
__global__ void __launch_bounds__(kMaskThreads)
    mask_kernel(const Box<T>* boxes, const int32_t* start, int64_t n, Rule<T> rule, uint32_t* masks) {
    constexpr int kTiles = kChunk / kMaskThreads;
    FASTDET_SHARED(Box<T>, earlier, [32]);
    const int64_t base = int64_t(blockIdx.x / kTiles) * kChunk;
    const int t = int(blockIdx.x % kTiles) * kMaskThreads + int(threadIdx.x), w = int(blockIdx.y);
    if (base + w * 32 >= n || t / kMaskThreads * kMaskThreads + kMaskThreads <= w * 32) return;  // the whole block
    if (threadIdx.x < 32 && base + w * 32 + threadIdx.x < n)
        earlier[threadIdx.x] = load_box(boxes + base + w * 32 + threadIdx.x);
    __syncthreads();
    const int64_t position = base + t;
    if (position >= n || t < w * 32) return;
    const Box<T> mine = load_box(boxes + position);
    const int64_t first = start[position] - (base + w * 32);
    const int from = first > 0 ? int(first < 32 ? first : 32) : 0, to = t - w * 32 < 32 ? t - w * 32 : 32;
    uint32_t word = 0;
    for (int b = from; b < to; ++b) word |= uint32_t(rule(earlier[b], mine)) << b;
    masks[(base / kChunk * kWords + w) * kChunk + t] = word;
}

// Step d of chunk d + blockIdx.x. kept: a bit a position; flags: by rank.
__global__ void __launch_bounds__(kChunk)
    decide_kernel(const uint32_t* masks, const int32_t* start, const uint8_t* dead, const int32_t* rank, int64_t n,
                  int64_t step, uint32_t* kept, uint8_t* flags) {
    FASTDET_SHARED(uint32_t, kept_here, [kWords]);
    const int64_t chunk = step + blockIdx.x, base = chunk * kChunk, position = base + threadIdx.x;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    if (step && base / kChunk - start[base] / kChunk != step) return;  // the whole block: no segment is that deep here
    const bool mine = position < n && (start[position] < base) == (step > 0);
    bool gone = !mine || dead[position];
    bool keep = false;
    const uint32_t* my_masks = masks + chunk * kWords * kChunk + threadIdx.x;
    const int words = n - base < kChunk ? int(n - base + 31) / 32 : kWords;
    for (int w = 0; w < words; ++w) {
        const uint32_t suppressors = mine && warp >= w ? my_masks[w * kChunk] : 0;
        if (warp == w) {
            uint32_t undecided = __ballot_sync(kAllLanes, !gone), good = 0;
            while (undecided) {  // at most 32 rounds: the first undecided one is always decided
                const bool open = undecided >> lane & 1;
                good |= __ballot_sync(kAllLanes, open && !(suppressors & undecided));
                undecided &= ~(good | __ballot_sync(kAllLanes, open && (suppressors & good)));
            }
            keep = good >> lane & 1;
            if (lane == 0) {
                kept_here[w] = good;
                if (good) atomicOr(kept + base / 32 + w, good);  // another step has other bits of it
            }
        }
        __syncthreads();
        if (warp > w) gone |= (suppressors & kept_here[w]) != 0;
    }
    if (keep) flags[rank[position]] = 1;
}

// The boxes that step d kept against those of their segments in later chunks. blockIdx.y: a part of the chunk.
template <class T>
__global__ void __launch_bounds__(kApplyThreads)
    apply_kernel(const Box<T>* boxes, const int32_t* start, int64_t n, int64_t step, Rule<T> rule, const uint32_t* kept,
                 uint8_t* dead) {
    const int64_t position = (step + 1) * kChunk + thread_index();
    if (position >= n || dead[position]) return;
    const int64_t first = start[position], source = first / kChunk + step;
    if (source >= position / kChunk) return;  // decided in its own chunk
    const Box<T> mine = load_box(boxes + position);
    const int64_t begin = source * kWords + blockIdx.y * kApplyWords;
    for (int64_t word = begin; word < begin + kApplyWords; ++word) {
        if (word * 32 + 32 <= first) continue;
        uint32_t bits = kept[word];
        if (word * 32 < first) bits &= ~0u << (first - word * 32);
        for (; bits; bits &= bits - 1) {
            if (rule(load_box(boxes + word * 32 + (__ffs(bits) - 1)), mine)) {
                dead[position] = 1;  // others may write the same
                return;
            }
        }
    }
}

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

template <class T>
void in_chunks(const Workspace<T>& w, int64_t n, const Rule<T>& rule, cudaStream_t stream) {
    const Ordered<T>& o = w.ordered;
    const int64_t chunks = blocks_for(n, kChunk), rows = n < kChunk ? blocks_for(n, 32) : kWords;
    check_cuda(cudaMemsetAsync(w.kept, 0, sizeof(uint32_t) * size_t(chunks * kWords), stream));
    const dim3 tiles(unsigned(chunks * (kChunk / kMaskThreads)), unsigned(rows));
    FASTDET_LAUNCH((mask_kernel<T>), tiles, kMaskThreads, stream, o.boxes, o.start, n, rule, w.masks);
    const unsigned threads = n < kChunk ? unsigned(blocks_for(n, kWarp) * kWarp) : kChunk;
    for (int64_t step = 0; step < chunks; ++step) {
        FASTDET_LAUNCH((decide_kernel), unsigned(chunks - step), threads, stream, w.masks, o.start, o.dropped, o.rank,
                       n, step, w.kept, w.flags);
        const int64_t later = n - (step + 1) * kChunk;
        if (later <= 0) break;
        const dim3 grid(unsigned(blocks_for(later, kApplyThreads)), kWords / kApplyWords);
        FASTDET_LAUNCH((apply_kernel<T>), grid, kApplyThreads, stream, o.boxes, o.start, n, step, rule, w.kept,
                       o.dropped);
    }
}

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
            in_chunks(w, n, rule, stream);
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
