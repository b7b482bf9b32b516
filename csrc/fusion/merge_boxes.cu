// OverFeat's greedy merge, and the float64 input of all box fusion.
//
// Every box knows its best partner among the later ones: found by a warp a box. Then one block merges the best pair,
// over and over: an argmax, one new search by the whole block, and a search by one thread for each box whose partner
// was touched. Cost: n^2 / 2 pair tests at first, then a few barriers and n tests a merge, about 3 us with some
// thousand boxes. Floor: a dependent step a merge. Limit: one multiprocessor merges.
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "fusion/cuda.h"
#include "fusion/faults.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kMergeThreads = 512;

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const Box<T>* boxes, const S* scores, const int64_t* labels, int64_t n, int32_t model, int64_t first,
                  DeviceFusionInput to, FusionStatus* status) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const Box<T> b = load_box(boxes + i);
    const S s = scores[i];
    const int64_t row = first + i;
    note_faults(b, s, row, status);
    if (s < 0) note_first(&status->negative_score, row);
    store_box(to.boxes + row, {double(b.x1), double(b.y1), double(b.x2), double(b.y2)});
    to.scores[row] = double(s);
    to.labels[row] = labels ? labels[i] : 0;
    to.model[row] = model;
}

struct Pair {
    double value;
    int64_t index;
};
__device__ inline Pair better(const Pair& a, const Pair& b) {  // of equals the lower index
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}
__device__ inline Pair best_of_warp(Pair mine) {
    for (int step = kWarp / 2; step; step /= 2) {
        const Pair other = {__shfl_xor_sync(kAllLanes, mine.value, step), __shfl_xor_sync(kAllLanes, mine.index, step)};
        mine = better(mine, other);
    }
    return mine;
}

constexpr int64_t kNone = int64_t(1) << 62;  // the index of no box

struct Merge {
    Box<double>* boxes;
    int64_t n;
    double threshold;
    Measure kind;
    double* best;      // (n,) with its best partner; -1 without
    int64_t* partner;  // (n,)
    int64_t* owner;    // (n,) itself, or what it was merged into

    __device__ double overlap(int64_t i, int64_t j) const {
        return measure(load_box(boxes + i), load_box(boxes + j), kind, false, 0.0);
    }
    // The best partner among boxes first, first + step, ... that are still there.
    __device__ Pair look(int64_t i, int64_t first, int64_t step) const {
        Pair found = {-1, kNone};
        for (int64_t j = first; j < n; j += step) {
            if (owner[j] == j) found = better(found, {overlap(i, j), j});
        }
        return found;
    }
    __device__ void put(int64_t i, const Pair& found) const {
        best[i] = found.value;
        partner[i] = found.index;
    }
};

__global__ void __launch_bounds__(kThreads) start_kernel(Merge m) {
    const int64_t i = thread_index();
    if (i < m.n) m.owner[i] = i;
}

__global__ void __launch_bounds__(kThreads) look_kernel(Merge m) {
    const int64_t i = thread_index() / kWarp;
    if (i >= m.n) return;
    const Pair found = best_of_warp(m.look(i, i + 1 + threadIdx.x % kWarp, kWarp));
    if (threadIdx.x % kWarp == 0) m.put(i, found);
}

// One block.
__global__ void __launch_bounds__(kMergeThreads, 1) merge_kernel(Merge m) {
    FASTDET_SHARED(Pair, of_warp, [kMergeThreads / kWarp]);
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const auto best_of_block = [&](Pair mine) {
        mine = best_of_warp(mine);
        __syncthreads();  // of_warp has been read
        if (lane == 0) of_warp[warp] = mine;
        __syncthreads();
        return best_of_warp(of_warp[lane % (kMergeThreads / kWarp)]);
    };
    for (;;) {
        Pair top = {m.threshold, kNone};
        for (int64_t i = threadIdx.x; i < m.n; i += kMergeThreads) {
            if (m.best[i] > m.threshold) top = better(top, {m.best[i], i});
        }
        top = best_of_block(top);
        if (top.index == kNone) break;  // the same for all threads
        const int64_t i = top.index, j = m.partner[i];
        __syncthreads();
        if (threadIdx.x == 0) {
            const Box<double> a = load_box(m.boxes + i), b = load_box(m.boxes + j);
            store_box(m.boxes + i, {0.5 * a.x1 + 0.5 * b.x1, 0.5 * a.y1 + 0.5 * b.y1, 0.5 * a.x2 + 0.5 * b.x2,
                                    0.5 * a.y2 + 0.5 * b.y2});
            m.owner[j] = i;
            m.best[j] = -1;
        }
        __syncthreads();
        const Pair found = best_of_block(m.look(i, i + 1 + threadIdx.x, kMergeThreads));
        for (int64_t k = threadIdx.x; k < m.n; k += kMergeThreads) {
            if (m.owner[k] != k) continue;
            if (k == i) {
                m.put(i, found);
            } else if (m.partner[k] == i || m.partner[k] == j) {
                m.put(k, m.look(k, k + 1, 1));
            } else if (k < i) {
                m.put(k, better({m.best[k], m.partner[k]}, {m.overlap(i, k), i}));
            }
        }
        __syncthreads();
    }
}

// The remaining box of each box, and flags of the remaining boxes.
__global__ void __launch_bounds__(kThreads) resolve_kernel(Merge m, int64_t* root, uint8_t* flags) {
    const int64_t i = thread_index();
    if (i >= m.n) return;
    int64_t at = i;
    while (m.owner[at] != at) at = m.owner[at];
    root[i] = at;
    flags[i] = at == i;
}

// slots (*count,): the remaining boxes. number: the position of a remaining box among them.
__global__ void __launch_bounds__(kThreads)
    total_kernel(const double* scores, int64_t n, const int64_t* root, const int64_t* slots, const int64_t* count,
                 double* total, int64_t* number) {
    const int64_t c = thread_index();
    if (c >= *count) return;
    const int64_t slot = slots[c];
    double sum = 0;
    for (int64_t i = slot; i < n; ++i) {  // a box is merged into an earlier one
        if (root[i] == slot) sum += scores[i];
    }
    total[c] = sum;
    number[slot] = c;
}

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    place_kernel(const Box<double>* boxes, const int64_t* slots, const int64_t* count, const double* total,
                 int64_t* place, Box<T>* out_boxes, S* out_scores) {
    const int64_t c = thread_index();
    if (c >= *count) return;
    const double mine = total[c];
    int64_t before = 0;
    for (int64_t k = 0; k < *count; ++k) before += total[k] > mine || (total[k] == mine && k < c);
    const Box<double> b = load_box(boxes + slots[c]);
    store_box(out_boxes + before, {T(b.x1), T(b.y1), T(b.x2), T(b.y2)});
    out_scores[before] = S(mine);
    place[c] = before;
}

__global__ void __launch_bounds__(kThreads)
    group_kernel(const int64_t* root, const int64_t* number, const int64_t* place, int64_t n, int64_t* groups) {
    const int64_t i = thread_index();
    if (i < n) groups[i] = place[number[root[i]]];
}

struct Workspace {
    double *best, *total;
    int64_t *partner, *owner, *root, *slots, *number, *place;
    uint8_t* flags;
    int32_t* counters;

    Workspace(Parts& parts, int64_t n) {
        best = parts.take<double>(n), total = parts.take<double>(n);
        partner = parts.take<int64_t>(n), owner = parts.take<int64_t>(n), root = parts.take<int64_t>(n);
        slots = parts.take<int64_t>(n), number = parts.take<int64_t>(n), place = parts.take<int64_t>(n);
        flags = parts.take<uint8_t>(n);
        counters = parts.take<int32_t>(kCompactScratch);
    }
};

DeviceFusionInput take_input(Parts& parts, int64_t n) {
    DeviceFusionInput input;
    input.boxes = parts.take<Box<double>>(n);
    input.scores = parts.take<double>(n);
    input.labels = parts.take<int64_t>(n);
    input.model = parts.take<int32_t>(n);
    return input;
}

}  // namespace

int64_t fusion_input_bytes(int64_t n) {
    Parts parts;
    take_input(parts, n);
    return parts.bytes();
}

DeviceFusionInput fusion_input(void* memory, int64_t n) {
    Parts parts(memory);
    return take_input(parts, n);
}

template <class T, class S>
void fusion_gather_cuda(const Box<T>* boxes, const S* scores, const int64_t* labels, int64_t n, int32_t model,
                        int64_t first, const DeviceFusionInput& to, FusionStatus* status, cudaStream_t stream) {
    if (model == 0) check_cuda(cudaMemsetAsync(status, 0xff, sizeof *status, stream));
    if (!n) return;
    FASTDET_LAUNCH((gather_kernel<T, S>), unsigned(blocks_for(n, kThreads)), kThreads, stream, boxes, scores, labels, n,
                   model, first, to, status);
}

int64_t merge_boxes_workspace(int64_t n) {
    Parts parts;
    const Workspace w(parts, n);
    return parts.bytes();
}

template <class T, class S>
void merge_boxes_cuda(const DeviceFusionInput& input, int64_t n, double threshold, Measure kind, void* workspace,
                      Box<T>* out_boxes, S* out_scores, int64_t* groups, FusionStatus* status, cudaStream_t stream) {
    Parts parts(workspace);
    const Workspace w(parts, n);
    const Merge m{input.boxes, n, threshold, kind, w.best, w.partner, w.owner};
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    if (n) {
        FASTDET_LAUNCH((start_kernel), blocks, kThreads, stream, m);
        FASTDET_LAUNCH((look_kernel), unsigned(blocks_for(n * kWarp, kThreads)), kThreads, stream, m);
        FASTDET_LAUNCH((merge_kernel), 1, kMergeThreads, stream, m);
        FASTDET_LAUNCH((resolve_kernel), blocks, kThreads, stream, m, w.root, w.flags);
    }
    compact(w.flags, nullptr, n, -1, w.counters, w.slots, &status->count, stream);
    if (!n) return;
    FASTDET_LAUNCH((total_kernel), blocks, kThreads, stream, input.scores, n, w.root, w.slots, &status->count, w.total,
                   w.number);
    FASTDET_LAUNCH((place_kernel<T, S>), blocks, kThreads, stream, input.boxes, w.slots, &status->count, w.total,
                   w.place, out_boxes, out_scores);
    FASTDET_LAUNCH((group_kernel), blocks, kThreads, stream, w.root, w.number, w.place, n, groups);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                    \
    template void fusion_gather_cuda(const Box<T>*, const S*, const int64_t*, int64_t, int32_t, int64_t,             \
                                     const DeviceFusionInput&, FusionStatus*, cudaStream_t);                         \
    template void merge_boxes_cuda(const DeviceFusionInput&, int64_t, double, Measure, void*, Box<T>*, S*, int64_t*, \
                                   FusionStatus*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
