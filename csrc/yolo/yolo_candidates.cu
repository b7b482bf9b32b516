// YOLO's candidates: the best class of each, or each class, above a threshold; then their boxes, in order.
//
// Planes: a thread a candidate goes down the channels, and a warp's loads are side by side. Rows: a warp a candidate,
// the lanes side by side over its channels. What is found is flagged, compacted in order, and written. Floor: the
// outputs read once (1 x 8400 x 84 float32: 2.8 MB, 0.7 us; some five launches and one read are the cost, about 25 us).
// Limit: 2^30 values an image.
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "yolo/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

// One image's candidate, by channel.
template <class T>
struct Candidate {
    const T* x;
    int64_t step, start;  // start: of it in the outputs

    __device__ Candidate(const YoloJob<T>& job, int64_t at) {
        const int64_t image = at / job.candidates, i = at % job.candidates;
        step = job.planes ? job.candidates : 1;
        start = image * job.candidates * job.channels + i * (job.planes ? 1 : job.channels);
        x = job.x + start;
    }
    __device__ T operator[](int64_t channel) const { return x[channel * step]; }
    __device__ Box<T> box() const {
        const T cx = x[0], cy = x[step], half_w = T(0.5) * x[2 * step], half_h = T(0.5) * x[3 * step];
        return {cx - half_w, cy - half_h, cx + half_w, cy + half_h};
    }
};

template <class T>
struct BestClass {
    T score;
    int32_t label;
    __device__ void meet(T its, int32_t c) {  // the lower class wins equal scores
        if (its > score || (its == score && c < label)) score = its, label = c;
    }
};

// LANES threads a candidate: 1, or a warp.
template <class T, int LANES>
__global__ void __launch_bounds__(kThreads, 2)
    look_kernel(YoloJob<T> job, bool multi_label, uint8_t* flags, int32_t* label, Status* status) {
    const int64_t at = thread_index() / LANES;
    const int lane = int(threadIdx.x % LANES);
    if (at >= job.images * job.candidates) return;  // whole warps where a warp works together
    const int first = int(first_class(job));
    const int64_t classes = job.classes;
    const Candidate<T> candidate(job, at);
    int64_t wrong = -1;
    for (int k = first - 1 - lane; k >= 0; k -= LANES) {
        if (is_wrong(candidate[k], k)) wrong = candidate.start + k * candidate.step;
    }
    const T object = job.objectness ? candidate[4] : T(1);
    BestClass<T> best = {-T(INFINITY), 0};
    bool any = false;
    for (int64_t c = lane; c < classes; c += LANES) {
        const T value = candidate[first + c];
        if (is_wrong(value, first + c) && wrong < 0) wrong = candidate.start + (first + c) * candidate.step;
        const T score = class_score(value, object, job.objectness);
        best.meet(score, int32_t(c));
        any |= score > job.threshold;
        if (multi_label) flags[at * classes + c] = score > job.threshold;
    }
    if (wrong >= 0) note_first(&status->nan_box, wrong);
    if constexpr (LANES > 1) {
        for (int step = LANES / 2; step; step /= 2) {
            const T score = __shfl_xor_sync(kAllLanes, best.score, step);
            best.meet(score, __shfl_xor_sync(kAllLanes, best.label, step));
        }
        any = __any_sync(kAllLanes, any);
    }
    if (lane) return;
    if (!multi_label) {
        flags[at] = any;
        label[at] = best.label;
    }
    if (any && is_nan(candidate.box())) note_first(&status->nan_score, at);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    write_kernel(YoloJob<T> job, bool multi_label, const int32_t* label, const int64_t* places, int64_t count,
                 Box<T>* boxes, T* scores, int64_t* labels, int64_t* images, int64_t* rows, int64_t* keys) {
    const int64_t k = thread_index();
    if (k >= count) return;
    const int64_t first = first_class(job), classes = job.classes, place = places[k];
    const int64_t at = multi_label ? place / classes : place, c = multi_label ? place % classes : label[place];
    const Candidate<T> candidate(job, at);
    store_box(boxes + k, candidate.box());
    scores[k] = class_score(candidate[first + c], job.objectness ? candidate[4] : T(1), job.objectness);
    labels[k] = c;
    images[k] = at / job.candidates;
    rows[k] = at % job.candidates;
    keys[k] = at / job.candidates * classes + c;
}

struct Workspace {
    uint8_t* flags;
    int32_t *label, *counters;

    Workspace(Parts& parts, int64_t entries) {
        flags = parts.take<uint8_t>(entries);
        label = parts.take<int32_t>(entries);
        counters = parts.take<int32_t>(kCompactScratch);
    }
};

template <class T>
int64_t entries_of(const YoloJob<T>& job, bool multi_label) {
    return job.images * job.candidates * (multi_label ? job.classes : 1);
}

}  // namespace

int64_t yolo_workspace(int64_t entries) {
    Parts parts;
    const Workspace w(parts, entries);
    return parts.bytes();
}

template <class T>
void yolo_look_cuda(const YoloJob<T>& job, bool multi_label, void* workspace, int64_t* places, Status* status,
                    cudaStream_t stream) {
    const int64_t entries = entries_of(job, multi_label), candidates = job.images * job.candidates;
    Parts parts(workspace);
    const Workspace w(parts, entries);
    check_cuda(cudaMemsetAsync(status, 0xff, sizeof *status, stream));
    if (candidates && job.planes) {
        FASTDET_LAUNCH((look_kernel<T, 1>), unsigned(blocks_for(candidates, kThreads)), kThreads, stream, job,
                       multi_label, w.flags, w.label, status);
    } else if (candidates) {
        FASTDET_LAUNCH((look_kernel<T, kWarp>), unsigned(blocks_for(candidates * kWarp, kThreads)), kThreads, stream,
                       job, multi_label, w.flags, w.label, status);
    }
    compact(w.flags, nullptr, entries, -1, w.counters, places, &status->count, stream);
}

template <class T>
void yolo_write_cuda(const YoloJob<T>& job, bool multi_label, const void* workspace, const int64_t* places,
                     int64_t count, Box<T>* boxes, T* scores, int64_t* labels, int64_t* images, int64_t* rows,
                     int64_t* keys, cudaStream_t stream) {
    if (!count) return;
    Parts parts(const_cast<void*>(workspace));
    const Workspace w(parts, entries_of(job, multi_label));
    FASTDET_LAUNCH((write_kernel<T>), unsigned(blocks_for(count, kThreads)), kThreads, stream, job, multi_label,
                   w.label, places, count, boxes, scores, labels, images, rows, keys);
}

#define FASTDET_INSTANTIATE(T)                                                                                \
    template void yolo_look_cuda(const YoloJob<T>&, bool, void*, int64_t*, Status*, cudaStream_t);            \
    template void yolo_write_cuda(const YoloJob<T>&, bool, const void*, const int64_t*, int64_t, Box<T>*, T*, \
                                  int64_t*, int64_t*, int64_t*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
