// fastdet._cuda: non-maximum suppression. See module_cuda.h.
#include "cuda_nms.h"
#include "module_cuda.h"

namespace fastdet {
namespace {

constexpr int64_t kMostBoxes = int64_t(1) << 30;  // _check.MAX_COUNT

void check_count(int64_t n) {
    if (n < 0 || n > kMostBoxes) throw py::value_error("fastdet._cuda: unfit number of boxes");
}

template <class F>
auto by_dtypes(char boxes, char scores, F&& f) {
    return by_dtype(boxes, [&](auto t) { return by_dtype(scores, [&](auto s) { return f(t, s); }); });
}

int64_t workspace_of(char dtype, char score_dtype, int64_t n, bool keys, int device) {
    check_count(n);
    int64_t bytes = 0;
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nms", {n, 4}, device, 0, [&](cudaStream_t) { bytes = nms_workspace<T, S>(n, keys); });
    });
    return bytes;
}

void begin(char dtype, char score_dtype, Pointer boxes, Pointer scores, Pointer keys, int64_t n, double threshold,
           const py::object& least, const std::string& metric, Pointer workspace, Pointer status, int device,
           Pointer stream) {
    check_count(n);
    const double score_threshold = least.is_none() ? 0 : least.cast<double>();
    const NmsOptions options{threshold, least.is_none() ? nullptr : &score_threshold, -1, -1, measure_of(metric)};
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nms", {n, 4}, device, stream, [&](cudaStream_t queued) {
            nms_begin_cuda(at<const Box<T>>(boxes), at<const S>(scores, sizeof(S)), at<const int64_t>(keys, 8), n,
                           options, at<void>(workspace, 256), at<Status>(status, 8), queued);
        });
    });
}

void end(char dtype, int64_t n, double threshold, const std::string& metric, int64_t max_output, int64_t steps,
         Pointer workspace, Pointer keep, Pointer status, int device, Pointer stream) {
    check_count(n);
    const NmsOptions options{threshold, nullptr, max_output, -1, measure_of(metric)};
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("nms", {n, 4}, device, stream, [&](cudaStream_t queued) {
            nms_end_cuda<T>(n, options, steps, at<void>(workspace, 256), at<int64_t>(keep, 8), at<Status>(status, 8),
                            queued);
        });
    });
}

}  // namespace

void bind_cuda_nms(py::module_& m) {
    m.def("nms_workspace", workspace_of);
    m.def("nms_steps", nms_steps);
    m.def("nms_begin", begin);
    m.def("nms_end", end);
}

}  // namespace fastdet
