// Greedy NMS, exact, segments (boxes of one key) side by side, in O(n) memory and a number of launches that only n
// decides.
//
// Boxes lie by segment and falling score; 1024 neighbours are a chunk.
// 1. masks: within each chunk, who suppresses whom: a bit a pair of one segment, 32 words of earlier boxes a box.
// 2. For step d = 0, 1, ...: the boxes of a chunk whose segment began d chunks before are decided, one block a chunk:
// 32
//    boxes at a time, in rounds within a warp (kept: no undecided better one suppresses it; dead: a kept one does),
//    then one word tells every later box of the chunk whether it died. After that the boxes just kept are applied to
//    the later chunks of their segment, by the whole grid. Segments that began in the same or in different chunks do
//    not wait for each other; one large segment takes as many steps as it has chunks.
// 3. Kept flags by rank are compacted.
// Cost: n * 512 pair tests for the masks, kept * n / 2 for the rest, of 7 instructions where boxes do not overlap: an
// H200 does some 2e12 a second (10k: a few us; 100k, a third kept: 0.8 ms; 1M: 75 ms, where pruning by place would be
// next); and two launches a chunk, some 8 us (10k: 80 us). Floor: the sort. Memory: 128 bytes of masks and 50 others a
// box. Limit: 2^30 boxes.
#include "cuda_compact.h"
#include "cuda_launch.h"
#include "cuda_nms.h"

namespace fastdet {
namespace {

constexpr int kWords = kChunk / 32;
constexpr int kMaskThreads = 256, kApplyThreads = 128;
constexpr int kApplyWords = 4;  // words of suppressors that one block of `apply` looks at

template <class T>
struct Rule {
    T threshold;
    Measure kind;
    __device__ bool operator()(const Box<T>& a, const Box<T>& b) const {
        // boxes that do not meet have a measure of 0, whatever they hold, and that is above no threshold
        const T w = lesser(a.x2, b.x2) - greater(a.x1, b.x1), h = lesser(a.y2, b.y2) - greater(a.y1, b.y1);
        return w > 0 && h > 0 && suppresses(a, b, threshold, kind);
    }
};

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

// Leaves the first `most` kept boxes of each segment. A warp a position; that of a segment's first one does the work.
__global__ void __launch_bounds__(kApplyThreads)
    limit_kernel(const int32_t* start, const int32_t* rank, int64_t n, int64_t most, uint8_t* flags) {
    const int64_t first = thread_index() / kWarp;
    const int lane = threadIdx.x % kWarp;
    if (first >= n || start[first] != first) return;
    int64_t found = 0;
    for (int64_t base = first; base < n && start[base] == first; base += kWarp) {
        const int64_t position = base + lane;
        const bool mine = position < n && start[position] == first && flags[rank[position]];
        const uint32_t votes = __ballot_sync(kAllLanes, mine);
        if (mine && found + __popc(votes & ((1u << lane) - 1)) >= most) flags[rank[position]] = 0;
        found += __popc(votes);
    }
}

template <class T>
struct Workspace {
    Ordered<T> ordered;
    uint32_t *masks, *kept;
    uint8_t* flags;
    int64_t zeros;  // bytes of kept and flags, which are 0 at first
    int32_t* counters;

    Workspace(Parts& parts, int64_t n) {
        const int64_t chunks = blocks_for(n, kChunk);
        ordered = take_ordered<T>(parts, n);
        masks = parts.take<uint32_t>(chunks * kWords * kChunk);
        const int64_t before = parts.bytes();
        kept = parts.take<uint32_t>(chunks * kWords);
        flags = parts.take<uint8_t>(n);
        zeros = parts.bytes() - before;
        counters = parts.take<int32_t>(kCompactScratch);
    }
};

}  // namespace

int64_t nms_steps(int64_t n) { return blocks_for(n, kChunk); }

template <class T, class S>
int64_t nms_workspace(int64_t n, bool keys) {
    Parts parts;
    const Workspace<T> w(parts, n);
    return parts.bytes() + order_scratch<S>(n, keys);
}

template <class T, class S>
void nms_begin_cuda(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
                    void* workspace, Status* status, cudaStream_t stream) {
    Parts parts(workspace);
    const Workspace<T> w(parts, n);
    const S least = options.score_threshold ? S(*options.score_threshold) : S(0);
    const Candidates<T, S> given{boxes, scores, keys, n, options.score_threshold ? &least : nullptr};
    order_boxes(given, static_cast<char*>(workspace) + parts.bytes(), w.ordered, status, stream);
    if (!n) return;
    const int64_t chunks = blocks_for(n, kChunk);
    check_cuda(cudaMemsetAsync(w.kept, 0, size_t(w.zeros), stream));
    const int64_t rows = n < kChunk ? blocks_for(n, 32) : kWords;
    const dim3 grid(unsigned(chunks * (kChunk / kMaskThreads)), unsigned(rows));
    const Rule<T> rule{T(options.threshold), options.kind};
    FASTDET_LAUNCH((mask_kernel<T>), grid, kMaskThreads, stream, w.ordered.boxes, w.ordered.start, n, rule, w.masks);
}

template <class T>
void nms_end_cuda(int64_t n, const NmsOptions& options, int64_t steps, void* workspace, int64_t* keep, Status* status,
                  cudaStream_t stream) {
    Parts parts(workspace);
    const Workspace<T> w(parts, n);
    const Ordered<T>& o = w.ordered;
    const Rule<T> rule{T(options.threshold), options.kind};
    const int64_t chunks = blocks_for(n, kChunk);
    const unsigned threads = n < kChunk ? unsigned(blocks_for(n, kWarp) * kWarp) : kChunk;
    for (int64_t step = 0; step < steps && step < chunks; ++step) {
        FASTDET_LAUNCH((decide_kernel), unsigned(chunks - step), threads, stream, w.masks, o.start, o.dropped, o.rank,
                       n, step, w.kept, w.flags);
        const int64_t later = n - (step + 1) * kChunk;
        if (later <= 0 || step + 1 == steps) break;
        const dim3 grid(unsigned(blocks_for(later, kApplyThreads)), kWords / kApplyWords);
        FASTDET_LAUNCH((apply_kernel<T>), grid, kApplyThreads, stream, o.boxes, o.start, n, step, rule, w.kept,
                       o.dropped);
    }
    if (options.max_per_key >= 0 && n) {
        FASTDET_LAUNCH((limit_kernel), unsigned(blocks_for(n * kWarp, kApplyThreads)), kApplyThreads, stream, o.start,
                       o.rank, n, options.max_per_key, w.flags);
    }
    compact(w.flags, o.order, n, options.max_output, w.counters, keep, &status->count, stream);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                     \
    template int64_t nms_workspace<T, S>(int64_t, bool);                                                              \
    template void nms_begin_cuda(const Box<T>*, const S*, const int64_t*, int64_t, const NmsOptions&, void*, Status*, \
                                 cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)
template void nms_end_cuda<float>(int64_t, const NmsOptions&, int64_t, void*, int64_t*, Status*, cudaStream_t);
template void nms_end_cuda<double>(int64_t, const NmsOptions&, int64_t, void*, int64_t*, Status*, cudaStream_t);

}  // namespace fastdet
