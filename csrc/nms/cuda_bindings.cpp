// fastdet._cuda: non-maximum suppression.
#include <algorithm>
#include <limits>

#include "boxes/arguments.h"
#include "nms/cuda.h"
#include "python/cuda_tensors.h"

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

// The first `count` rows; a copy where it would keep much more memory alive: see DeviceArray.first.
py::object first_rows(const py::object& x, int64_t n, int64_t count, int64_t bytes) {
    constexpr int64_t kept_bytes = 1 << 16;
    if (count == n) return x;
    x.attr("resize_")(count);  // its memory stays
    return (n - count) * bytes > std::max(count * bytes, kept_bytes) ? py::object(x.attr("clone")()) : x;
}

// Waits, and reads the status. A NaN is declined: Python then says where it is.
int64_t count_of(Pointer status, int device, Pointer stream) {
    Status read;
    read_numbers(status, sizeof read / sizeof(int64_t), reinterpret_cast<int64_t*>(&read), device, stream);
    if (read.nan_box >= 0 || read.nan_score >= 0) throw Declined();
    return read.count;
}

struct Group {
    DeviceTensor boxes, scores;
    Pointer keys;
    int64_t n;
};

Group take_group(const DeviceTensors& tensors, py::handle boxes, py::handle scores, py::handle idxs) {
    const DeviceTensor b = tensors.take(boxes, "fd", 2), s = tensors.take(scores, "fd", 1, &b);
    const int64_t n = b.shape[0];
    if (b.shape[1] != 4 || s.shape[0] != n || n > kMaxBoxes) throw Declined();
    if (idxs.is_none()) return {b, s, 0, n};
    const DeviceTensor k = tensors.take(idxs, "q", 1, &b);
    if (k.shape[0] != n) throw Declined();
    return {b, s, k.data, n};
}

int64_t limit_of(py::handle max_output) { return max_output.is_none() ? -1 : integer_in(max_output, 0, INT64_MAX); }

py::object quick_nms(const DeviceTensors& tensors, py::handle boxes, py::handle scores, py::handle idxs,
                     py::handle iou_threshold, py::handle score_threshold, py::handle max_output, py::handle metric) {
    return tensors.quick([&] {
        constexpr double large = std::numeric_limits<double>::max();
        const Group g = take_group(tensors, boxes, scores, idxs);
        const double threshold = number_in(iou_threshold, 0, 1);
        const auto least = py::reinterpret_borrow<py::object>(score_threshold);
        if (!least.is_none()) number_in(least, -large, large);
        const int64_t limit = limit_of(max_output);
        const std::string measure = word(metric);
        if (measure != "iou" && measure != "ios") throw Declined();
        const NewTensor keep = tensors.empty(g.boxes, {g.n}, 'q');
        const int64_t bytes =
            workspace_of(g.boxes.dtype, g.scores.dtype, g.n, g.keys, threshold, measure, g.boxes.device);
        const Workspace workspace = tensors.workspace(g.boxes, bytes + int64_t(sizeof(Status)));
        const Pointer status = workspace + Pointer(bytes), stream = tensors.stream(g.boxes);
        nms_of(g.boxes.dtype, g.scores.dtype, g.boxes.data, g.scores.data, g.keys, g.n, threshold, least, measure,
               limit, -1, workspace, keep.data, status, g.boxes.device, stream);
        return first_rows(keep.object, g.n, count_of(status, g.boxes.device, stream), 8);
    });
}

py::object quick_soft(const DeviceTensors& tensors, py::handle boxes, py::handle scores, py::handle idxs,
                      py::handle method, py::handle iou_threshold, py::handle sigma, py::handle min_score,
                      py::handle max_output) {
    return tensors.quick([&] {
        const Group g = take_group(tensors, boxes, scores, idxs);
        const char dtype = g.boxes.dtype;
        if (g.scores.dtype != dtype) throw Declined();
        const std::string name = word(method);
        if (name != "linear" && name != "gaussian") throw Declined();
        const double threshold = number_in(iou_threshold, 0, 1), least = number_in(min_score, 0, 1e30);
        const double width = number_in(sigma, 1e-30, 1e30);  // a float, too
        const int64_t limit = limit_of(max_output);
        const NewTensor keep = tensors.empty(g.boxes, {g.n}, 'q'), values = tensors.empty(g.boxes, {g.n}, dtype);
        const int64_t bytes = soft_workspace_of(dtype, g.n, g.keys, g.boxes.device);
        const Workspace workspace = tensors.workspace(g.boxes, bytes + int64_t(sizeof(Status)));
        const Pointer status = workspace + Pointer(bytes), stream = tensors.stream(g.boxes);
        soft(dtype, g.boxes.data, g.scores.data, g.keys, g.n, name == "gaussian", threshold, width, least, limit,
             workspace, keep.data, values.data, status, g.boxes.device, stream);
        const int64_t count = count_of(status, g.boxes.device, stream);
        return py::make_tuple(first_rows(keep.object, g.n, count, 8),
                              first_rows(values.object, g.n, count, dtype == 'd' ? 8 : 4));
    });
}

const Bindings registered([](py::module_& m) {
    m.def("nms_workspace", workspace_of);
    m.def("nms", nms_of);
    add_quick(m, "nms", quick_nms);
    m.def("soft_nms_workspace", soft_workspace_of);
    m.def("soft_nms", soft);
    add_quick(m, "soft_nms", quick_soft);
    m.def("multiclass_workspace", multiclass_workspace);
    m.def("multiclass_select", multiclass_select);
    m.def("multiclass_gather", multiclass_gather);
    m.def("multiclass_place", multiclass_place);
});

}  // namespace
}  // namespace nms_bindings
}  // namespace fastdet
