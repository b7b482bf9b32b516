// Ranks by score, and positions by segment and score.
//
// Few boxes: every warp counts for one box how many stand before it, by score and by (key, score) at once: n^2
// comparisons, which the whole grid does in less time than a radix sort needs to launch its passes (4096 boxes: 17
// million comparisons, some 3 us). More boxes: CUB's radix sort by score, then, stable, by key; floor: per pass of 8
// bits 16-24 bytes a box, 4 passes for float scores, 8 for double ones and for keys.
#include "boxes/load_box.h"
#include "boxes/order_boxes.h"
#include "core/score_key.h"
#include "cuda/launch.h"
#include "cuda/sort.h"

namespace fastdet {
namespace {

constexpr int64_t kCounted = 4096;  // boxes up to which counting is quicker
constexpr int kThreads = 256;

// The score's key of a box, that of the dropped ones above all others.
template <class S>
struct Keys {
    const S* scores;
    bool drop;
    S score_threshold;
    __device__ bool is_dropped(int64_t i) const { return drop && !(scores[i] > score_threshold); }
    __device__ auto operator()(int64_t i) const -> decltype(falling_key(S())) {
        return is_dropped(i) ? ~decltype(falling_key(S()))(0) : falling_key(scores[i]);
    }
};

template <class T, class S>
__device__ inline void look_for_nan(const Box<T>& box, S score, int64_t i, Status* status) {
    if (is_nan(box)) note_first(&status->nan_box, i);
    if (score != score) note_first(&status->nan_score, i);
}

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    count_kernel(const Box<T>* boxes, Keys<S> key, const int64_t* keys, int64_t n, Ordered<T> to, Status* status) {
    const int64_t i = thread_index() / kWarp;
    const int lane = threadIdx.x % kWarp;
    if (i >= n) return;
    const auto mine = key(i);
    const int64_t group = keys ? keys[i] : 0;
    int before = 0, groups_before = 0, before_in_group = 0;
    for (int64_t j = lane; j < n; j += kWarp) {
        const auto other = key(j);
        const bool first = other < mine || (other == mine && j < i);
        before += first;
        if (keys) {
            const int64_t its = keys[j];
            groups_before += its < group;
            before_in_group += its == group && first;
        }
    }
    before = warp_sum(before);
    if (keys) {
        groups_before = warp_sum(groups_before);
        before_in_group = warp_sum(before_in_group);
    }
    if (lane) return;
    const int start = groups_before, position = keys ? start + before_in_group : before;
    const Box<T> box = load_box(boxes + i);
    look_for_nan(box, key.scores[i], i, status);
    to.order[before] = int32_t(i);
    to.rank[position] = before;
    to.start[position] = start;
    to.dropped[position] = key.is_dropped(i);
    store_box(to.boxes + position, box);
}

template <class T, class S, class K>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const Box<T>* boxes, Keys<S> key, int64_t n, K* by, int32_t* index, Status* status) {
    const int64_t i = thread_index();
    if (i >= n) return;
    look_for_nan(load_box(boxes + i), key.scores[i], i, status);
    by[i] = key(i);
    index[i] = int32_t(i);
}

// The keys in order of rank, as unsigned numbers of the same order.
__global__ void __launch_bounds__(kThreads)
    gather_keys_kernel(const int64_t* keys, const int32_t* order, int64_t n, uint64_t* by, int32_t* rank) {
    const int64_t r = thread_index();
    if (r >= n) return;
    by[r] = uint64_t(keys[order[r]]) ^ uint64_t(1) << 63;
    rank[r] = int32_t(r);
}

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const Box<T>* boxes, Keys<S> key, const uint64_t* segment, int64_t n, Ordered<T> to) {
    const int64_t p = thread_index();
    if (p >= n) return;
    int64_t start = 0;
    if (segment) {  // the first position of an equal key
        int64_t end = p;
        while (start < end) {
            const int64_t middle = (start + end) / 2;
            if (segment[middle] < segment[p]) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
    } else {
        to.rank[p] = int32_t(p);
    }
    const int32_t box = to.order[segment ? to.rank[p] : p];
    to.start[p] = int32_t(start);
    to.dropped[p] = key.is_dropped(box);
    store_box(to.boxes + p, load_box(boxes + box));
}

template <class S>
struct Scratch {
    using K = decltype(falling_key(S()));
    K *score_key, *score_sorted;
    uint64_t *segment_key, *segment_sorted;
    int32_t* index;
    char* sorter;

    Scratch(Parts& parts, int64_t n, bool keys) {
        score_key = parts.take<K>(n);
        score_sorted = parts.take<K>(n);
        segment_key = parts.take<uint64_t>(keys ? n : 0);
        segment_sorted = parts.take<uint64_t>(keys ? n : 0);
        index = parts.take<int32_t>(n);
        sorter = parts.take<char>(sort_scratch(n));
    }
};

}  // namespace

template <class S>
int64_t order_scratch(int64_t n, bool keys) {
    if (n <= kCounted) return 0;
    Parts parts;
    const Scratch<S> scratch(parts, n, keys);
    return parts.bytes();
}

template <class T, class S>
void order_boxes(const Candidates<T, S>& input, void* memory, const Ordered<T>& to, Status* status,
                 cudaStream_t stream) {
    const int64_t n = input.n;
    check_cuda(cudaMemsetAsync(status, 0xff, sizeof *status, stream));
    if (!n) return;
    const Keys<S> key{input.scores, input.score_threshold != nullptr,
                      input.score_threshold ? *input.score_threshold : S(0)};
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    if (n <= kCounted) {
        FASTDET_LAUNCH((count_kernel<T, S>), unsigned(blocks_for(n * kWarp, kThreads)), kThreads, stream, input.boxes,
                       key, input.keys, n, to, status);
        return;
    }
    Parts parts(memory);
    const Scratch<S> scratch(parts, n, input.keys != nullptr);
    using K = typename Scratch<S>::K;
    FASTDET_LAUNCH((prepare_kernel<T, S, K>), blocks, kThreads, stream, input.boxes, key, n, scratch.score_key,
                   scratch.index, status);
    sort_pairs(scratch.sorter, scratch.score_key, scratch.score_sorted, scratch.index, to.order, n, 8 * int(sizeof(K)),
               stream);
    if (input.keys) {
        FASTDET_LAUNCH((gather_keys_kernel), blocks, kThreads, stream, input.keys, to.order, n, scratch.segment_key,
                       scratch.index);
        sort_pairs(scratch.sorter, scratch.segment_key, scratch.segment_sorted, scratch.index, to.rank, n, 64, stream);
    }
    const uint64_t* segment = input.keys ? scratch.segment_sorted : nullptr;
    FASTDET_LAUNCH((gather_kernel<T, S>), blocks, kThreads, stream, input.boxes, key, segment, n, to);
}

template int64_t order_scratch<float>(int64_t, bool);
template int64_t order_scratch<double>(int64_t, bool);
#define FASTDET_INSTANTIATE(T, S) \
    template void order_boxes(const Candidates<T, S>&, void*, const Ordered<T>&, Status*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
