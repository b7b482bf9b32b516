// Weighted boxes fusion: a block a label, all labels at once.
//
// Boxes lie by label and falling weighted score. One at a time, the block searches the fused box of maximum
// overlap, and one thread adds it there: two barriers a box, about 1 us. The sums of the confidence are made on the
// way, in the order of the CPU's. Fused boxes are then ranked like any boxes. Floor: a dependent step a box. Limit: a
// label is the work of one multiprocessor.
#include "boxes/load_box.h"
#include "boxes/order_boxes.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "fusion/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kFuseThreads = 128;

// Of a fused box, kept at the position of its label's first box plus its number there.
struct Fused {
    double score, x1, y1, x2, y2;  // sums of score, and of score * box
    double members, weight;        // boxes in it, and the sum of their models' weights
    double max_score;              // the highest weighted score
};

__global__ void __launch_bounds__(kThreads)
    value_kernel(DeviceFusionInput input, int64_t n, const double* share, double min_score, double* value) {
    const int64_t i = thread_index();
    if (i < n) value[i] = input.scores[i] >= min_score ? input.scores[i] * share[input.model[i]] : -1;
}

struct Nearest {
    double value;
    int64_t index;  // of a fused box; kNaN: one whose overlap is NaN
};
constexpr int64_t kNaN = -1;
__device__ inline Nearest nearer(const Nearest& a, const Nearest& b) {
    if (a.index == kNaN || b.index == kNaN) return {0, kNaN};
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}
__device__ inline Nearest nearest_of_warp(Nearest mine) {
    for (int step = kWarp / 2; step; step /= 2) {
        const Nearest other = {__shfl_xor_sync(kAllLanes, mine.value, step),
                               __shfl_xor_sync(kAllLanes, mine.index, step)};
        mine = nearer(mine, other);
    }
    return mine;
}

// present: a bit a model, `words` of a fused box. exists: at first 0.
__global__ void __launch_bounds__(kFuseThreads)
    fuse_kernel(Ordered<double> o, DeviceFusionInput input, const double* value, int64_t n, double threshold,
                const double* share, int words, Fused* sums, Box<double>* fused, uint32_t* present, uint8_t* exists) {
    FASTDET_SHARED(Nearest, of_warp, [kFuseThreads / kWarp]);
    const int64_t first = blockIdx.x;
    if (o.start[first] != first) return;  // the whole block
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    int64_t count = 0;
    for (int64_t p = first; p < n && o.start[p] == first && !o.dropped[p]; ++p) {
        const Box<double> box = load_box(o.boxes + p);
        const Nearest none = {threshold, count};
        Nearest mine = none;
        for (int64_t k = threadIdx.x; k < count; k += kFuseThreads) {
            const double iou = measure(box, load_box(fused + first + k), Measure::iou, false, 0.0);
            if (iou != iou) mine = {0, kNaN};
            if (iou > threshold) mine = nearer(mine, {iou, k});
        }
        mine = nearest_of_warp(mine);
        if (lane == 0) of_warp[warp] = mine;
        __syncthreads();
        mine = nearest_of_warp(of_warp[lane % (kFuseThreads / kWarp)]);
        const int64_t at = mine.index == kNaN ? count : mine.index;
        if (threadIdx.x == 0) {
            const int32_t i = o.order[o.rank[p]], model = input.model[i];
            Fused& s = sums[first + at];
            uint32_t* const mark = present + (first + at) * words;
            if (at == count) {
                s = {0, 0, 0, 0, 0, 0, 0, 0};
                for (int w = 0; w < words; ++w) mark[w] = 0;
                exists[first + at] = 1;
            }
            const double score = value[i];
            s.score += score;
            s.x1 += score * box.x1, s.y1 += score * box.y1, s.x2 += score * box.x2, s.y2 += score * box.y2;
            s.members += 1;
            s.weight += share[model];
            s.max_score = score > s.max_score ? score : s.max_score;
            mark[model / 32] |= uint32_t(1) << model % 32;
            const double total = s.score;
            store_box(fused + first + at,
                      total > 0 ? Box<double>{s.x1 / total, s.y1 / total, s.x2 / total, s.y2 / total} : box);
        }
        count += at == count;
        __syncthreads();
    }
}

// Box and score of each fused box, in order of creation; the other entries get a score of -1.
__global__ void __launch_bounds__(kThreads)
    confidence_kernel(const Fused* sums, const Box<double>* fused, const uint32_t* present, int words,
                      FusionOptions options, const int64_t* places, const int64_t* count, int64_t n, Box<double>* boxes,
                      double* scores) {
    const int64_t c = thread_index();
    if (c >= n) return;
    if (c >= *count) {
        store_box(boxes + c, {0, 0, 0, 0});
        scores[c] = -1;
        return;
    }
    const int64_t at = places[c];
    const Fused s = sums[at];
    const double mean = s.score / s.members;
    double there = 0, absent = 0;  // weights of the models that have a box in it, and of the others
    for (int m = 0; m < options.models; ++m) {
        const bool has = present[at * words + m / 32] >> m % 32 & 1;
        there += has ? options.share[m] : 0;
        absent += has ? 0 : options.share[m];
    }
    double score = 0;
    if (options.confidence == Confidence::max) {
        score = s.max_score / options.max_share;
    } else if (options.confidence == Confidence::average) {
        const double used = options.allows_overflow ? s.members : lesser(s.members, double(options.models));
        score = mean * used / options.share_sum;
    } else if (options.confidence == Confidence::box_and_model) {
        score = mean * s.members / (s.weight > 0 ? s.weight : 1) * there / options.share_sum;
    } else {
        score = mean * s.members / (s.weight + absent > 0 ? s.weight + absent : 1);
    }
    store_box(boxes + c, load_box(fused + at));
    scores[c] = score;
}

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    place_kernel(const Ordered<double> o, const int32_t* rank, const Box<double>* boxes, const double* scores,
                 const int64_t* labels, const int64_t* places, const int64_t* count, Box<T>* out_boxes, S* out_scores,
                 int64_t* out_labels) {
    const int64_t r = thread_index();
    if (r >= *count) return;
    const int32_t c = rank[r];
    const Box<double> b = load_box(boxes + c);
    store_box(out_boxes + r, {T(b.x1), T(b.y1), T(b.x2), T(b.y2)});
    out_scores[r] = S(scores[c]);
    out_labels[r] = labels[o.order[o.rank[places[c]]]];
}

int words_for(int models) { return (models + 31) / 32; }

struct Workspace {
    Ordered<double> ordered, ranked;
    double *value, *scores;
    Fused* sums;
    Box<double>*fused, *boxes;
    uint32_t* present;
    uint8_t* exists;
    int64_t* places;
    int32_t* counters;
    Status* status;
    char* scratch;

    Workspace(Parts& parts, int64_t n, int models) {
        ordered = take_ordered<double>(parts, n), ranked = take_ordered<double>(parts, n);
        value = parts.take<double>(n), scores = parts.take<double>(n);
        sums = parts.take<Fused>(n);
        fused = parts.take<Box<double>>(n), boxes = parts.take<Box<double>>(n);
        present = parts.take<uint32_t>(n * words_for(models));
        exists = parts.take<uint8_t>(n);
        places = parts.take<int64_t>(n);
        counters = parts.take<int32_t>(kCompactScratch);
        status = parts.take<Status>(1);
        scratch = parts.take<char>(order_scratch<double>(n, true));
    }
};

}  // namespace

int64_t weighted_boxes_fusion_workspace(int64_t n, int models) {
    Parts parts;
    const Workspace w(parts, n, models);
    return parts.bytes();
}

template <class T, class S>
void weighted_boxes_fusion_cuda(const DeviceFusionInput& input, int64_t n, const FusionOptions& options,
                                void* workspace, Box<T>* out_boxes, S* out_scores, int64_t* out_labels,
                                FusionStatus* status, cudaStream_t stream) {
    Parts parts(workspace);
    const Workspace w(parts, n, options.models);
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    const int words = words_for(options.models);
    const double score_threshold = -0.5;  // what is left out has -1
    if (n) {
        FASTDET_LAUNCH((value_kernel), blocks, kThreads, stream, input, n, options.share, options.min_score, w.value);
        order_boxes(Candidates<double, double>{input.boxes, w.value, input.labels, n, &score_threshold}, w.scratch,
                    w.ordered, w.status, stream);
        check_cuda(cudaMemsetAsync(w.exists, 0, size_t(n), stream));
        FASTDET_LAUNCH((fuse_kernel), unsigned(n), kFuseThreads, stream, w.ordered, input, w.value, n,
                       options.threshold, options.share, words, w.sums, w.fused, w.present, w.exists);
    }
    compact(w.exists, nullptr, n, -1, w.counters, w.places, &status->count, stream);
    if (!n) return;
    FASTDET_LAUNCH((confidence_kernel), blocks, kThreads, stream, w.sums, w.fused, w.present, words, options, w.places,
                   &status->count, n, w.boxes, w.scores);
    order_boxes(Candidates<double, double>{w.boxes, w.scores, nullptr, n, &score_threshold}, w.scratch, w.ranked,
                w.status, stream);
    FASTDET_LAUNCH((place_kernel<T, S>), blocks, kThreads, stream, w.ordered, w.ranked.order, w.boxes, w.scores,
                   input.labels, w.places, &status->count, out_boxes, out_scores, out_labels);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                     \
    template void weighted_boxes_fusion_cuda(const DeviceFusionInput&, int64_t, const FusionOptions&, void*, Box<T>*, \
                                             S*, int64_t*, FusionStatus*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
