// Soft-NMS: a block a segment, all segments at once.
//
// Every thread holds every blockDim-th box of its segment. One pass a selection: re-score by the box just selected and
// find the best of what is left, the lowest index among equals; two barriers. Boxes that do not overlap cost 7
// instructions. The order over all segments is that of the new scores (within a segment they never rise, and equal ones
// come with rising index), so the selected are ranked like any scores. Latency is what it costs, about 1 us a
// selection; floor: a dependent step through a block's barrier, 0.15 us. Limit: one segment of more than some 10k boxes
// is the work of one multiprocessor.
#include "boxes/load_box.h"
#include "core/elementary.h"
#include "cuda/launch.h"
#include "nms/cuda.h"

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

template <class T>
struct Soft {
    bool gaussian;
    T threshold, sigma, min_score;

    __device__ T rescored(T score, const Box<T>& best, const Box<T>& other) const {
        const T w = lesser(best.x2, other.x2) - greater(best.x1, other.x1);
        const T h = lesser(best.y2, other.y2) - greater(best.y1, other.y1);
        if (!(w > 0 && h > 0)) return score;  // a weight of 1
        const T iou = measure(best, other, Measure::iou, false, 0.0);
        if (gaussian) return score * lanes::exp_negative(-(iou * iou) / sigma);
        return iou >= threshold ? score * (T(1) - iou) : score;
    }
};

// Without keys: keep and new_scores in order of selection. With keys: each box's new score, and -1 of those not
// selected.
template <class T>
__global__ void __launch_bounds__(kMany, 1)
    soft_kernel(Ordered<T> o, const T* scores, int64_t n, Soft<T> rule, int64_t limit, bool keys, T* current,
                int64_t* keep, T* new_scores, unsigned long long* count) {
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
    Box<T> selected = {0, 0, 0, 0};  // overlaps nothing
    int64_t taken = 0;
    for (;; ++taken) {
        Best<T> mine = {T(-1), 0, -1};
        for (int64_t p = first + threadIdx.x; p < end; p += blockDim.x) {
            const T before = current[p];
            if (!(before >= rule.min_score)) continue;
            const T score = rule.rescored(before, selected, load_box(o.boxes + p));
            if (score != before) current[p] = score;
            if (score >= rule.min_score) mine = better(mine, {score, o.order[o.rank[p]], int(p)});
        }
        mine = best_of_warp(mine);
        if (lane == 0) best_of[warp] = mine;
        __syncthreads();
        mine = best_of_warp(lane < warps ? best_of[lane] : Best<T>{T(-1), 0, -1});
        if (mine.position < 0 || taken == limit) break;  // the same for all threads
        selected = load_box(o.boxes + mine.position);
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
    const int64_t found = max_output >= 0 && *count > max_output ? max_output : *count;
    if (r == 0) *count = found;
    if (r >= found || r >= n) return;
    keep[r] = order[r];
    new_scores[r] = scores[order[r]];
}

template <class T>
struct Workspace {
    Ordered<T> ordered;
    T *current, *rescored;
    Status* status;
    char* scratch;

    Workspace(Parts& parts, int64_t n, bool keys) {
        ordered = take_ordered<T>(parts, n);
        current = parts.take<T>(n);
        rescored = parts.take<T>(keys ? n : 0);
        status = parts.take<Status>(1);
        scratch = parts.take<char>(order_scratch<T>(n, keys));
    }
};

}  // namespace

template <class T>
int64_t soft_nms_workspace(int64_t n, bool keys) {
    Parts parts;
    const Workspace<T> w(parts, n, keys);
    return parts.bytes();
}

template <class T>
void soft_nms_cuda(const Box<T>* boxes, const T* scores, const int64_t* keys, int64_t n, const SoftOptions& options,
                   void* workspace, int64_t* keep, T* new_scores, Status* status, cudaStream_t stream) {
    Parts parts(workspace);
    const Workspace<T> w(parts, n, keys != nullptr);
    order_boxes(Candidates<T, T>{boxes, scores, keys, n, nullptr}, w.scratch, w.ordered, status, stream);
    check_cuda(cudaMemsetAsync(&status->count, 0, sizeof status->count, stream));
    if (!n) return;
    const Soft<T> rule{options.gaussian, T(options.threshold), T(options.sigma), T(options.min_score)};
    const unsigned blocks = keys ? unsigned(n) : 1;
    const unsigned threads = keys || n <= kFew ? kFew : n < kMany ? unsigned(blocks_for(n, kWarp) * kWarp) : kMany;
    FASTDET_LAUNCH((soft_kernel<T>), blocks, threads, stream, w.ordered, scores, n, rule, options.max_output,
                   keys != nullptr, w.current, keep, keys ? w.rescored : new_scores,
                   reinterpret_cast<unsigned long long*>(&status->count));
    if (!keys) return;
    const T score_threshold = T(-0.5);  // what is not selected has -1
    order_boxes(Candidates<T, T>{boxes, w.rescored, nullptr, n, &score_threshold}, w.scratch, w.ordered, w.status,
                stream);
    FASTDET_LAUNCH((gather_kernel<T>), unsigned(blocks_for(n, kGatherThreads)), kGatherThreads, stream, w.ordered.order,
                   w.rescored, n, options.max_output, keep, new_scores, &status->count);
}

#define FASTDET_INSTANTIATE(T)                                                                                         \
    template int64_t soft_nms_workspace<T>(int64_t, bool);                                                             \
    template void soft_nms_cuda(const Box<T>*, const T*, const int64_t*, int64_t, const SoftOptions&, void*, int64_t*, \
                                T*, Status*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
