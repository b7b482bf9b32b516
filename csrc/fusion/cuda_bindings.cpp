// fastdet._cuda: box fusion.
#include "boxes/arguments.h"
#include "fusion/cuda.h"
#include "python/cuda.h"

namespace fastdet {
namespace fusion_bindings {
namespace {

void gather(char dtype, char score_dtype, Pointer boxes, Pointer scores, Pointer labels, int64_t n, int32_t model,
            int64_t first, Pointer input, int64_t all, Pointer status, int device, Pointer stream) {
    if (n < 0 || first < 0 || first + n > all) throw py::value_error("fastdet._cuda: invalid number of boxes");
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("fusion", {n, 4}, device, stream, [&](cudaStream_t queued) {
            fusion_gather_cuda(at<const Box<T>>(boxes), at<const S>(scores, sizeof(S)), at<const int64_t>(labels, 8), n,
                               model, first, fusion_input(at<void>(input), all), at<FusionStatus>(status, 8), queued);
        });
    });
}

void merge(char dtype, char score_dtype, Pointer input, int64_t n, double threshold, const std::string& metric,
           Pointer workspace, Pointer out_boxes, Pointer out_scores, Pointer groups, Pointer status, int device,
           Pointer stream) {
    const Measure kind = measure_of(metric);
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("merge_boxes", {n, 4}, device, stream, [&](cudaStream_t queued) {
            merge_boxes_cuda(fusion_input(at<void>(input), n), n, threshold, kind, at<void>(workspace),
                             at<Box<T>>(out_boxes), at<S>(out_scores, sizeof(S)), at<int64_t>(groups, 8),
                             at<FusionStatus>(status, 8), queued);
        });
    });
}

void fuse(char dtype, char score_dtype, Pointer input, int64_t n, double threshold, double min_score, int confidence,
          bool allows_overflow, Pointer share, int models, double share_sum, double max_share, Pointer workspace,
          Pointer out_boxes, Pointer out_scores, Pointer out_labels, Pointer status, int device, Pointer stream) {
    if (confidence < 0 || confidence > 3 || models < 1) throw py::value_error("fastdet._cuda: invalid options");
    const FusionOptions options{
        threshold, min_score, Confidence(confidence), allows_overflow, at<const double>(share, 8), models,
        share_sum, max_share};
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("weighted_boxes_fusion", {n, 4}, device, stream, [&](cudaStream_t queued) {
            weighted_boxes_fusion_cuda(fusion_input(at<void>(input), n), n, options, at<void>(workspace),
                                       at<Box<T>>(out_boxes), at<S>(out_scores, sizeof(S)), at<int64_t>(out_labels, 8),
                                       at<FusionStatus>(status, 8), queued);
        });
    });
}

// The sorter asks the device how much memory it takes.
int64_t fuse_workspace(int64_t n, int models, int device) {
    int64_t bytes = 0;
    queue("weighted_boxes_fusion", {n, 4}, device, 0,
          [&](cudaStream_t) { bytes = weighted_boxes_fusion_workspace(n, models); });
    return bytes;
}

int64_t groups_workspace(char dtype, char score_dtype, int64_t n, bool keys, double threshold,
                         const std::string& metric, bool transitive, int device) {
    if (n < 0 || n > kMaxBoxes) throw py::value_error("fastdet._cuda: invalid number of boxes");
    const MergingRule rule{threshold, measure_of(metric), transitive};
    int64_t bytes = 0;
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nmm", {n, 4}, device, 0, [&](cudaStream_t) { bytes = nmm_workspace<T, S>(n, keys, rule); });
    });
    return bytes;
}

void merge_groups(char dtype, char score_dtype, Pointer boxes, Pointer scores, Pointer keys, int64_t n,
                  double threshold, const std::string& metric, bool transitive, Pointer workspace, Pointer out_boxes,
                  Pointer out_scores, Pointer keep, Pointer groups, Pointer order, Pointer parents, Pointer status,
                  int device, Pointer stream) {
    if (n < 0 || n > kMaxBoxes) throw py::value_error("fastdet._cuda: invalid number of boxes");
    const MergingRule rule{threshold, measure_of(metric), transitive};
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nmm", {n, 4}, device, stream, [&](cudaStream_t queued) {
            const DeviceGroups out{at<int64_t>(keep, 8), at<int64_t>(groups, 8), at<int64_t>(order, 8),
                                   at<int64_t>(parents, 8)};
            nmm_cuda(at<const Box<T>>(boxes), at<const S>(scores, sizeof(S)), at<const int64_t>(keys, 8), n, rule,
                     at<void>(workspace), at<Box<T>>(out_boxes), at<S>(out_scores, sizeof(S)), out,
                     at<FusionStatus>(status, 8), queued);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("fusion_input_bytes", fusion_input_bytes);
    m.def("fusion_gather", gather);
    m.def("merge_boxes_workspace", merge_boxes_workspace);
    m.def("merge_boxes", merge);
    m.def("nmm_workspace", groups_workspace);
    m.def("nmm", merge_groups);
    m.def("weighted_boxes_fusion_workspace", fuse_workspace);
    m.def("weighted_boxes_fusion", fuse);
});

}  // namespace
}  // namespace fusion_bindings
}  // namespace fastdet
