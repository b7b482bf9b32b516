// Suppression of rotated boxes, greedy and soft: the order, the chunks and the rounds of csrc/nms with another rule.
//
// order_boxes sees, in place of each box, four of its numbers, one of them NaN where the box has any. Cost: as nms.cu
// says, with pairs of 6 double operations where upright boxes do not meet, and some 250 where they do. Memory: 110
// bytes a box more. Limit: 2^30 boxes.
#include "core/elementary.h"
#include "cuda/compact.h"
#include "nms/nms_chunks.h"
#include "nms/soft_rounds.h"
#include "rotated/cuda.h"
#include "rotated/item.h"

namespace fastdet {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void __launch_bounds__(kThreads) stand_in_kernel(const T* boxes, int64_t n, Box<T>* out) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const T* b = boxes + 5 * i;
    store_box(out + i, Box<T>{b[0], b[1], b[2], b[3] != b[3] || b[4] != b[4] ? T(NAN) : T(0)});
}

template <class T>
__global__ void __launch_bounds__(kThreads) items_kernel(const T* boxes, const int32_t* order, const int32_t* rank,
                                                         int64_t n, Angles angles, RotatedItem* items) {
    const int64_t i = thread_index();
    if (i < n) items[i] = item_of(boxes + 5 * int64_t(order[rank[i]]), angles);
}

template <class T>
struct RotatedRule {
    T threshold;
    RotatedMeasure kind;
    __device__ bool operator()(const RotatedItem& a, const RotatedItem& b) const {
        return T(item_measure(a, b, kind)) > threshold;
    }
};

template <class T>
struct RotatedSoft {
    bool gaussian;
    T threshold, sigma, min_score;
    __device__ T rescored(T score, const RotatedItem& best, const RotatedItem& other) const {
        const T iou = T(item_measure(best, other, RotatedMeasure::iou));
        if (!(iou > 0)) return score;  // a weight of 1
        if (gaussian) return score * lanes::exp_negative(-(iou * iou) / sigma);
        return iou >= threshold ? score * (T(1) - iou) : score;
    }
};

// Boxes by position, and scratch of ordering them.
template <class T>
struct Sorted {
    Ordered<T> ordered;
    Box<T>* stand_in;
    RotatedItem* items;
    char* scratch;

    Sorted(Parts& parts, int64_t n, int64_t bytes) {
        ordered = take_ordered<T>(parts, n);
        stand_in = parts.take<Box<T>>(n);
        items = parts.take<RotatedItem>(n);
        scratch = parts.take<char>(bytes);
    }

    template <class S>
    void fill(const T* boxes, const S* scores, const int64_t* keys, int64_t n, const S* score_threshold, Angles angles,
              Status* status, cudaStream_t stream) const {
        const unsigned blocks = unsigned(blocks_for(n, kThreads));
        if (n) FASTDET_LAUNCH((stand_in_kernel<T>), blocks, kThreads, stream, boxes, n, stand_in);
        order_boxes(Candidates<T, S>{stand_in, scores, keys, n, score_threshold}, scratch, ordered, status, stream);
        if (n)
            FASTDET_LAUNCH((items_kernel<T>), blocks, kThreads, stream, boxes, ordered.order, ordered.rank, n, angles,
                           items);
    }
};

template <class T, class S>
struct Greedy {
    Sorted<T> sorted;
    uint8_t* flags;
    int32_t* counters;
    uint32_t *masks, *kept;

    Greedy(Parts& parts, int64_t n, bool keys) : sorted(parts, n, order_scratch<S>(n, keys)) {
        const int64_t chunks = blocks_for(n, kChunk);
        flags = parts.take<uint8_t>(n);
        counters = parts.take<int32_t>(kCompactScratch);
        masks = parts.take<uint32_t>(chunks * kWords * kChunk);
        kept = parts.take<uint32_t>(chunks * kWords);
    }
};

template <class T>
struct SoftParts {
    Sorted<T> sorted;
    T *current, *rescored;
    Status* status;

    SoftParts(Parts& parts, int64_t n, bool keys) : sorted(parts, n, order_scratch<T>(n, keys)) {
        current = parts.take<T>(n);
        rescored = parts.take<T>(keys ? n : 0);
        status = parts.take<Status>(1);
    }
};

}  // namespace

template <class T, class S>
int64_t nms_rotated_workspace(int64_t n, bool keys) {
    Parts parts;
    const Greedy<T, S> w(parts, n, keys);
    return parts.bytes();
}

template <class T, class S>
void nms_rotated_cuda(const T* boxes, const S* scores, const int64_t* keys, int64_t n, const RotatedNmsOptions& options,
                      void* workspace, int64_t* keep, Status* status, cudaStream_t stream) {
    Parts parts(workspace);
    const Greedy<T, S> w(parts, n, keys != nullptr);
    const S score_threshold = options.score_threshold ? S(*options.score_threshold) : S(0);
    w.sorted.fill(boxes, scores, keys, n, options.score_threshold ? &score_threshold : nullptr, options.angles, status,
                  stream);
    if (n) {
        check_cuda(cudaMemsetAsync(w.flags, 0, size_t(n), stream));
        in_chunks(w.sorted.items, w.sorted.ordered, n, RotatedRule<T>{T(options.threshold), options.kind}, w.masks,
                  w.kept, w.flags, stream);
    }
    compact(w.flags, w.sorted.ordered.order, n, options.max_output, w.counters, keep, &status->count, stream);
}

template <class T>
int64_t soft_nms_rotated_workspace(int64_t n, bool keys) {
    Parts parts;
    const SoftParts<T> w(parts, n, keys);
    return parts.bytes();
}

template <class T>
void soft_nms_rotated_cuda(const T* boxes, const T* scores, const int64_t* keys, int64_t n,
                           const RotatedSoftOptions& options, void* workspace, int64_t* keep, T* new_scores,
                           Status* status, cudaStream_t stream) {
    Parts parts(workspace);
    const SoftParts<T> w(parts, n, keys != nullptr);
    w.sorted.fill(boxes, scores, keys, n, static_cast<const T*>(nullptr), options.angles, status, stream);
    check_cuda(cudaMemsetAsync(&status->count, 0, sizeof status->count, stream));
    if (!n) return;
    const RotatedSoft<T> rule{options.gaussian, T(options.threshold), T(options.sigma), T(options.min_score)};
    soft_rounds(w.sorted.items, w.sorted.stand_in, w.sorted.ordered, scores, keys != nullptr, n, rule,
                options.max_output, w.current, w.rescored, w.sorted.scratch, w.status, keep, new_scores, status,
                stream);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                \
    template int64_t nms_rotated_workspace<T, S>(int64_t, bool);                                                 \
    template void nms_rotated_cuda(const T*, const S*, const int64_t*, int64_t, const RotatedNmsOptions&, void*, \
                                   int64_t*, Status*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)
#define FASTDET_INSTANTIATE_SOFT(T)                                                                                    \
    template int64_t soft_nms_rotated_workspace<T>(int64_t, bool);                                                     \
    template void soft_nms_rotated_cuda(const T*, const T*, const int64_t*, int64_t, const RotatedSoftOptions&, void*, \
                                        int64_t*, T*, Status*, cudaStream_t);
FASTDET_INSTANTIATE_SOFT(float)
FASTDET_INSTANTIATE_SOFT(double)

}  // namespace fastdet
