// Soft-NMS, a block a segment: see soft_nms.cu. `Item` is a box as it lies in memory by position, load_box reads it,
// and a Rule rescores a box by one that was selected.
#pragma once

#include "boxes/load_box.h"
#include "boxes/order_boxes.h"
#include "cuda/launch.h"

namespace fastdet {
namespace {

constexpr int kFew = 128, kMany = 512;  // threads a segment: with keys, and without
constexpr int kGatherThreads = 256;

template <class T>
struct Best {
    T score;    // below 0: none
    int index;  // of the box
    int position;
};

template <class T>
__device__ inline Best<T> better(const Best<T>& a, const Best<T>& b) {
    return b.score > a.score || (b.score == a.score && b.index < a.index) ? b : a;
}

template <class T>
__device__ inline Best<T> best_of_warp(Best<T> mine) {
    for (int step = kWarp / 2; step; step /= 2) {
        Best<T> other;
        other.score = __shfl_xor_sync(kAllLanes, mine.score, step);
        other.index = __shfl_xor_sync(kAllLanes, mine.index, step);
        other.position = __shfl_xor_sync(kAllLanes, mine.position, step);
        mine = better(mine, other);
    }
    return mine;
}

// Without keys: keep and new_scores in order of selection. With keys: each box's new score, and -1 of those not
// selected.
template <class Item, class T, class Rule>
__global__ void __launch_bounds__(kMany, 1)
    soft_kernel(const Item* boxes, Ordered<T> o, const T* scores, int64_t n, Rule rule, int64_t limit, bool keys,
                T* current, int64_t* keep, T* new_scores, unsigned long long* count) {
    FASTDET_SHARED(Best<T>, best_of, [kMany / kWarp]);
    const int64_t first = blockIdx.x;
    if (o.start[first] != first) return;  // the whole block
    int64_t end = n;
    for (int64_t low = first; low + 1 < end;) {  // the last position of this segment is in [low, end)
        const int64_t middle = (low + end) / 2;
        if (o.start[middle] == first) {
            low = middle;
        } else {
            end = middle;
        }
    }
    const int warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    for (int64_t p = first + threadIdx.x; p < end; p += blockDim.x) {
        const int32_t index = o.order[o.rank[p]];
        current[p] = scores[index];
        if (keys) new_scores[index] = T(-1);
    }
    Item selected = {};  // overlaps nothing
    int64_t taken = 0;
    for (;; ++taken) {
        Best<T> mine = {T(-1), 0, -1};
        for (int64_t p = first + threadIdx.x; p < end; p += blockDim.x) {
            const T before = current[p];
            if (!(before >= rule.min_score)) continue;
            const T score = rule.rescored(before, selected, load_box(boxes + p));
            if (score != before) current[p] = score;
            if (score >= rule.min_score) mine = better(mine, {score, o.order[o.rank[p]], int(p)});
        }
        mine = best_of_warp(mine);
        if (lane == 0) best_of[warp] = mine;
        __syncthreads();
        mine = best_of_warp(lane < warps ? best_of[lane] : Best<T>{T(-1), 0, -1});
        if (mine.position < 0 || taken == limit) break;  // the same for all threads
        selected = load_box(boxes + mine.position);
        if (mine.position % blockDim.x == (first + threadIdx.x) % blockDim.x) {  // whose box it is
            const T score = current[mine.position];
            current[mine.position] = T(-1);
            if (keys) {
                new_scores[mine.index] = score;
            } else {
                keep[taken] = mine.index;
                new_scores[taken] = score;
            }
        }
        __syncthreads();  // best_of is written again
    }
    if (threadIdx.x == 0 && taken) atomicAdd(count, static_cast<unsigned long long>(taken));
}

// The first *count ranks, at most `max_output`, are the selected boxes.
template <class T>
__global__ void __launch_bounds__(kGatherThreads)
    gather_kernel(const int32_t* order, const T* scores, int64_t n, int64_t max_output, int64_t* keep, T* new_scores,
                  int64_t* count) {
    const int64_t r = thread_index();
    volatile int64_t* const total = count;  // one thread lowers it meanwhile: old or new, `found` is the same
    const int64_t all = *total, found = max_output >= 0 && all > max_output ? max_output : all;
    if (r == 0) *total = found;
    if (r >= found || r >= n) return;
    keep[r] = order[r];
    new_scores[r] = scores[order[r]];
}

// boxes by position as o has them; `plain`, the caller's, for the second order; current, rescored, scratch and again:
// of the workspace.
template <class Item, class T, class Rule>
void soft_rounds(const Item* boxes, const Box<T>* plain, const Ordered<T>& o, const T* scores, bool keys, int64_t n,
                 const Rule& rule, int64_t max_output, T* current, T* rescored, void* scratch, Status* again,
                 int64_t* keep, T* new_scores, Status* status, cudaStream_t stream) {
    const unsigned blocks = keys ? unsigned(n) : 1;
    const unsigned threads = keys || n <= kFew ? kFew : n < kMany ? unsigned(blocks_for(n, kWarp) * kWarp) : kMany;
    FASTDET_LAUNCH((soft_kernel<Item, T, Rule>), blocks, threads, stream, boxes, o, scores, n, rule, max_output, keys,
                   current, keep, keys ? rescored : new_scores, reinterpret_cast<unsigned long long*>(&status->count));
    if (!keys) return;
    const T score_threshold = T(-0.5);  // what is not selected has -1
    order_boxes(Candidates<T, T>{plain, rescored, nullptr, n, &score_threshold}, scratch, o, again, stream);
    FASTDET_LAUNCH((gather_kernel<T>), unsigned(blocks_for(n, kGatherThreads)), kGatherThreads, stream, o.order,
                   rescored, n, max_output, keep, new_scores, &status->count);
}

}  // namespace
}  // namespace fastdet
