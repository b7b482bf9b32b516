// Greedy suppression in chunks of 1024 neighbours by segment and falling score: see nms.cu. `Item` is a box as it lies
// in memory by position, load_box reads it, and a Decides tells of two whether the first suppresses the second.
#pragma once

#include "boxes/load_box.h"
#include "boxes/order_boxes.h"
#include "cuda/launch.h"

namespace fastdet {
namespace {

constexpr int kWords = kChunk / 32;
constexpr int kMaskThreads = 256, kApplyThreads = 128;
constexpr int kApplyWords = 4;  // words of suppressors that one block of `apply` looks at

// masks[(chunk * 32 + w) * 1024 + t], bit b: box 32 w + b of the chunk suppresses box t, and comes before it.
template <class Item, class Decides>
__global__ void __launch_bounds__(kMaskThreads)
    mask_kernel(const Item* boxes, const int32_t* start, int64_t n, Decides rule, uint32_t* masks) {
    constexpr int kTiles = kChunk / kMaskThreads;
    FASTDET_SHARED(Item, earlier, [32]);
    const int64_t base = int64_t(blockIdx.x / kTiles) * kChunk;
    const int t = int(blockIdx.x % kTiles) * kMaskThreads + int(threadIdx.x), w = int(blockIdx.y);
    if (base + w * 32 >= n || t / kMaskThreads * kMaskThreads + kMaskThreads <= w * 32) return;  // the whole block
    if (threadIdx.x < 32 && base + w * 32 + threadIdx.x < n)
        earlier[threadIdx.x] = load_box(boxes + base + w * 32 + threadIdx.x);
    __syncthreads();
    const int64_t position = base + t;
    if (position >= n || t < w * 32) return;
    const Item mine = load_box(boxes + position);
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
    uint32_t by_word[kWords];  // all at once, in registers: a load behind each barrier would wait for memory each time
#pragma unroll
    for (int w = 0; w < kWords; ++w) by_word[w] = mine && warp >= w ? my_masks[w * kChunk] : 0;
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
        if (w >= words) break;  // of the whole block
        const uint32_t suppressors = by_word[w];
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
                kept[base / 32 + w] |= good;  // earlier launches set other bits; this word is this thread's
            }
        }
        __syncthreads();
        if (warp > w) gone |= (suppressors & kept_here[w]) != 0;
    }
    if (keep) flags[rank[position]] = 1;
}

// The boxes that step d kept against those of their segments in later chunks. blockIdx.y: a part of the chunk.
template <class Item, class Decides>
__global__ void __launch_bounds__(kApplyThreads)
    apply_kernel(const Item* boxes, const int32_t* start, int64_t n, int64_t step, Decides rule, const uint32_t* kept,
                 volatile uint8_t* dead) {  // written meanwhile by the other parts: old or new, the answer is the same
    const int64_t position = (step + 1) * kChunk + thread_index();
    if (position >= n || dead[position]) return;
    const int64_t first = start[position], source = first / kChunk + step;
    if (source >= position / kChunk) return;  // decided in its own chunk
    const Item mine = load_box(boxes + position);
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

// flags, by rank: 0 at first, 1 where kept. masks (chunks * kWords * kChunk,), kept (chunks * kWords,): scratch.
template <class Item, class T, class Decides>
void in_chunks(const Item* boxes, const Ordered<T>& o, int64_t n, const Decides& rule, uint32_t* masks, uint32_t* kept,
               uint8_t* flags, cudaStream_t stream) {
    const int64_t chunks = blocks_for(n, kChunk), rows = n < kChunk ? blocks_for(n, 32) : kWords;
    check_cuda(cudaMemsetAsync(kept, 0, sizeof(uint32_t) * size_t(chunks * kWords), stream));
    const dim3 tiles(unsigned(chunks * (kChunk / kMaskThreads)), unsigned(rows));
    FASTDET_LAUNCH((mask_kernel<Item, Decides>), tiles, kMaskThreads, stream, boxes, o.start, n, rule, masks);
    const unsigned threads = n < kChunk ? unsigned(blocks_for(n, kWarp) * kWarp) : kChunk;
    for (int64_t step = 0; step < chunks; ++step) {
        FASTDET_LAUNCH((decide_kernel), unsigned(chunks - step), threads, stream, masks, o.start, o.dropped, o.rank, n,
                       step, kept, flags);
        const int64_t later = n - (step + 1) * kChunk;
        if (later <= 0) break;
        const dim3 grid(unsigned(blocks_for(later, kApplyThreads)), kWords / kApplyWords);
        FASTDET_LAUNCH((apply_kernel<Item, Decides>), grid, kApplyThreads, stream, boxes, o.start, n, step, rule, kept,
                       o.dropped);
    }
}

}  // namespace
}  // namespace fastdet
