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
#include "nms/cuda.h"
#include "nms/soft_rounds.h"

namespace fastdet {
namespace {

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
    soft_rounds(w.ordered.boxes, boxes, w.ordered, scores, keys != nullptr, n, rule, options.max_output, w.current,
                w.rescored, w.scratch, w.status, keep, new_scores, status, stream);
}

#define FASTDET_INSTANTIATE(T)                                                                                         \
    template int64_t soft_nms_workspace<T>(int64_t, bool);                                                             \
    template void soft_nms_cuda(const Box<T>*, const T*, const int64_t*, int64_t, const SoftOptions&, void*, int64_t*, \
                                T*, Status*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
