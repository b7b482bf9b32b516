// fastdet._cuda: non-maximum suppression.
#include "boxes/arguments.h"
#include "nms/cuda.h"
#include "python/cuda.h"

namespace fastdet {
namespace nms_bindings {
namespace {

void check_count(int64_t n) {
    if (n < 0 || n > kMaxBoxes) throw py::value_error("fastdet._cuda: invalid number of boxes");
}

int64_t workspace_of(char dtype, char score_dtype, int64_t n, bool keys, double threshold, const std::string& metric,
                     int device) {
    check_count(n);
    const NmsOptions options{threshold, nullptr, -1, -1, measure_of(metric)};
    int64_t bytes = 0;
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nms", {n, 4}, device, 0, [&](cudaStream_t) { bytes = nms_workspace<T, S>(n, keys, options); });
    });
    return bytes;
}

void nms_of(char dtype, char score_dtype, Pointer boxes, Pointer scores, Pointer keys, int64_t n, double threshold,
            const py::object& score_threshold, const std::string& metric, int64_t max_output, int64_t max_per_key,
            Pointer workspace, Pointer keep, Pointer status, int device, Pointer stream) {
    check_count(n);
    const double above = score_threshold.is_none() ? 0 : score_threshold.cast<double>();
    const NmsOptions options{threshold, score_threshold.is_none() ? nullptr : &above, max_output, max_per_key,
                             measure_of(metric)};
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nms", {n, 4}, device, stream, [&](cudaStream_t queued) {
            nms_cuda(at<const Box<T>>(boxes), at<const S>(scores, sizeof(S)), at<const int64_t>(keys, 8), n, options,
                     at<void>(workspace), at<int64_t>(keep, 8), at<Status>(status, 8), queued);
        });
    });
}

int64_t soft_workspace_of(char dtype, int64_t n, bool keys, int device) {
    check_count(n);
    int64_t bytes = 0;
    by_dtype(dtype, [&](auto t) {
        queue("soft_nms", {n, 4}, device, 0, [&](cudaStream_t) { bytes = soft_nms_workspace<decltype(t)>(n, keys); });
    });
    return bytes;
}

void soft(char dtype, Pointer boxes, Pointer scores, Pointer keys, int64_t n, bool gaussian, double threshold,
          double sigma, double min_score, int64_t max_output, Pointer workspace, Pointer keep, Pointer new_scores,
          Pointer status, int device, Pointer stream) {
    check_count(n);
    if (!(min_score >= 0)) throw py::value_error("fastdet._cuda: invalid min_score");
    const SoftOptions options{gaussian, threshold, sigma, min_score, max_output};
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("soft_nms", {n, 4}, device, stream, [&](cudaStream_t queued) {
            soft_nms_cuda(at<const Box<T>>(boxes), at<const T>(scores, sizeof(T)), at<const int64_t>(keys, 8), n,
                          options, at<void>(workspace), at<int64_t>(keep, 8), at<T>(new_scores, sizeof(T)),
                          at<Status>(status, 8), queued);
        });
    });
}

void multiclass_select(char dtype, char score_dtype, Pointer boxes, Pointer scores, int64_t batch, int64_t n,
                       int64_t classes, double score_threshold, Pointer workspace, Pointer entries, Pointer status,
                       int device, Pointer stream) {
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("multiclass_nms", {batch, n, classes}, device, stream, [&](cudaStream_t queued) {
            multiclass_select_cuda(at<const Box<T>>(boxes), at<const S>(scores, sizeof(S)), batch, n, classes,
                                   S(score_threshold), at<void>(workspace), at<int64_t>(entries, 8),
                                   at<Status>(status, 8), queued);
        });
    });
}

void multiclass_gather(char dtype, char score_dtype, Pointer boxes, Pointer scores, int64_t n, int64_t classes,
                       Pointer entries, int64_t count, Pointer candidates, Pointer values, Pointer keys, int device,
                       Pointer stream) {
    check_count(count);
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("multiclass_nms", {count}, device, stream, [&](cudaStream_t queued) {
            multiclass_gather_cuda(at<const Box<T>>(boxes), at<const S>(scores, sizeof(S)), classes,
                                   at<const int64_t>(entries, 8), count, n * classes, at<Box<T>>(candidates),
                                   at<S>(values, sizeof(S)), at<int64_t>(keys, 8), queued);
        });
    });
}

void multiclass_place(char dtype, char score_dtype, Pointer candidates, Pointer values, Pointer keys, Pointer keep,
                      Pointer status, int64_t batch, int64_t classes, int64_t max_output, Pointer out_boxes,
                      Pointer out_scores, Pointer out_labels, Pointer counts, int device, Pointer stream) {
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("multiclass_nms", {batch, max_output}, device, stream, [&](cudaStream_t queued) {
            multiclass_place_cuda(at<const Box<T>>(candidates), at<const S>(values, sizeof(S)),
                                  at<const int64_t>(keys, 8), at<const int64_t>(keep, 8), at<const Status>(status, 8),
                                  batch, classes, max_output, at<Box<T>>(out_boxes), at<S>(out_scores, sizeof(S)),
                                  at<int64_t>(out_labels, 8), at<int64_t>(counts, 8), queued);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("nms_workspace", workspace_of);
    m.def("nms", nms_of);
    m.def("soft_nms_workspace", soft_workspace_of);
    m.def("soft_nms", soft);
    m.def("multiclass_workspace", multiclass_workspace);
    m.def("multiclass_select", multiclass_select);
    m.def("multiclass_gather", multiclass_gather);
    m.def("multiclass_place", multiclass_place);
});

}  // namespace
}  // namespace nms_bindings
}  // namespace fastdet
