// The steps of multiclass_nms around nms: select the (box, class) entries above the score threshold, make boxes with
// keys of them, and pad the kept ones image by image. Floor: one read of the scores (8 x 8400 x 80 float32: 21 MB,
// 5 us); the flags cost a quarter of that once more.
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "nms/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

template <class T>
__global__ void __launch_bounds__(kThreads) nan_kernel(const T* x, int64_t n, int64_t* first) {
    const int64_t i = thread_index();
    if (i < n && x[i] != x[i]) note_first(first, i);
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    select_kernel(const S* scores, int64_t n, S score_threshold, uint8_t* flags, int64_t* nan) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const S score = scores[i];
    flags[i] = score > score_threshold;
    if (score != score) note_first(nan, i);
}

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const Box<T>* boxes, const S* scores, int64_t classes, const int64_t* entries, int64_t count,
                  int64_t per_image, Box<T>* candidates, S* values, int64_t* keys) {
    const int64_t i = thread_index();
    if (i >= count) return;
    const int64_t entry = entries[i];
    store_box(candidates + i, load_box(boxes + entry / classes));
    values[i] = scores[entry];
    keys[i] = entry / per_image * classes + entry % classes;
}

// A block an image: those of the kept candidates that are its, in order, then padding.
template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    place_kernel(const Box<T>* candidates, const S* values, const int64_t* keys, const int64_t* keep,
                 const Status* status, int64_t classes, int64_t max_output, Box<T>* out_boxes, S* out_scores,
                 int64_t* out_labels, int64_t* counts) {
    FASTDET_SHARED(int, in_warp, [kWarps]);
    const int64_t image = blockIdx.x, kept = status->count;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    out_boxes += image * max_output, out_scores += image * max_output, out_labels += image * max_output;
    int64_t at = 0;
    for (int64_t base = 0; base < kept && at < max_output; base += kThreads) {
        const int64_t k = base + threadIdx.x;
        const int64_t i = k < kept ? keep[k] : 0;
        const bool mine = k < kept && keys[i] / classes == image;
        const uint32_t votes = __ballot_sync(kAllLanes, mine);
        if (lane == 0) in_warp[warp] = __popc(votes);
        __syncthreads();
        int64_t to = at + __popc(votes & ((1u << lane) - 1));
        for (int w = 0; w < kWarps; ++w) {
            to += w < warp ? in_warp[w] : 0;
            at += in_warp[w];
        }
        if (mine && to < max_output) {
            store_box(out_boxes + to, load_box(candidates + i));
            out_scores[to] = values[i];
            out_labels[to] = keys[i] % classes;
        }
        __syncthreads();  // in_warp is written again
    }
    at = at < max_output ? at : max_output;
    for (int64_t k = at + threadIdx.x; k < max_output; k += kThreads) {
        store_box(out_boxes + k, {0, 0, 0, 0});
        out_scores[k] = S(0);
        out_labels[k] = -1;
    }
    if (threadIdx.x == 0) counts[image] = at;
}

unsigned blocks(int64_t n) { return unsigned(blocks_for(n, kThreads)); }

}  // namespace

int64_t multiclass_workspace(int64_t entries) {
    Parts parts;
    parts.take<uint8_t>(entries);
    parts.take<int32_t>(kCompactScratch);
    return parts.bytes();
}

template <class T, class S>
void multiclass_select_cuda(const Box<T>* boxes, const S* scores, int64_t batch, int64_t n, int64_t classes,
                            S score_threshold, void* workspace, int64_t* entries, Status* status, cudaStream_t stream) {
    Parts parts(workspace);
    const int64_t all = batch * n * classes, coordinates = batch * n * 4;
    uint8_t* flags = parts.take<uint8_t>(all);
    int32_t* scratch = parts.take<int32_t>(kCompactScratch);
    check_cuda(cudaMemsetAsync(status, 0xff, sizeof *status, stream));
    if (coordinates) {
        FASTDET_LAUNCH((nan_kernel<T>), blocks(coordinates), kThreads, stream, &boxes->x1, coordinates,
                       &status->nan_box);
    }
    if (all) {
        FASTDET_LAUNCH((select_kernel<S>), blocks(all), kThreads, stream, scores, all, score_threshold, flags,
                       &status->nan_score);
    }
    compact(flags, nullptr, all, -1, scratch, entries, &status->count, stream);
}

template <class T, class S>
void multiclass_gather_cuda(const Box<T>* boxes, const S* scores, int64_t classes, const int64_t* entries,
                            int64_t count, int64_t per_image, Box<T>* candidates, S* values, int64_t* keys,
                            cudaStream_t stream) {
    if (!count) return;
    FASTDET_LAUNCH((gather_kernel<T, S>), blocks(count), kThreads, stream, boxes, scores, classes, entries, count,
                   per_image, candidates, values, keys);
}

template <class T, class S>
void multiclass_place_cuda(const Box<T>* candidates, const S* values, const int64_t* keys, const int64_t* keep,
                           const Status* status, int64_t batch, int64_t classes, int64_t max_output, Box<T>* out_boxes,
                           S* out_scores, int64_t* out_labels, int64_t* counts, cudaStream_t stream) {
    if (!batch) return;
    FASTDET_LAUNCH((place_kernel<T, S>), unsigned(batch), kThreads, stream, candidates, values, keys, keep, status,
                   classes, max_output, out_boxes, out_scores, out_labels, counts);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                     \
    template void multiclass_select_cuda(const Box<T>*, const S*, int64_t, int64_t, int64_t, S, void*, int64_t*,      \
                                         Status*, cudaStream_t);                                                      \
    template void multiclass_gather_cuda(const Box<T>*, const S*, int64_t, const int64_t*, int64_t, int64_t, Box<T>*, \
                                         S*, int64_t*, cudaStream_t);                                                 \
    template void multiclass_place_cuda(const Box<T>*, const S*, const int64_t*, const int64_t*, const Status*,       \
                                        int64_t, int64_t, int64_t, Box<T>*, S*, int64_t*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
