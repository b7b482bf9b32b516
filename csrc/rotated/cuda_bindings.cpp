// fastdet._cuda: rotated boxes.
#include "python/cuda.h"
#include "rotated/arguments.h"
#include "rotated/cuda.h"

namespace fastdet {
namespace rotated_bindings {
namespace {

void check_count(int64_t n) {
    if (n < 0 || n > kMaxBoxes) throw py::value_error("fastdet._cuda: invalid number of boxes");
}

void iou(char dtype, Pointer a, int64_t n, Pointer b, int64_t m, bool degrees, bool clockwise,
         const std::string& metric, bool aligned, Pointer out, int device, Pointer stream) {
    const RotatedMeasure kind = rotated_measure_of(metric);
    if (aligned && n != m) throw py::value_error("fastdet._cuda: invalid boxes");
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("box_iou_rotated", {n, m}, device, stream, [&](cudaStream_t s) {
            box_iou_rotated_cuda(at<const T>(a, sizeof(T)), n, at<const T>(b, sizeof(T)), m, {degrees, clockwise}, kind,
                                 aligned, at<T>(out, sizeof(T)), s);
        });
    });
}

void convert(char dtype, Pointer boxes, int64_t n, const std::string& from, const std::string& to, bool degrees,
             bool clockwise, bool out_degrees, bool out_clockwise, Pointer out, int device, Pointer stream) {
    const RotatedFormat source = rotated_format_of(from), target = rotated_format_of(to);
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("box_convert_rotated", {n}, device, stream, [&](cudaStream_t s) {
            box_convert_rotated_cuda(at<const T>(boxes, sizeof(T)), n, source, target, Angles{degrees, clockwise},
                                     Angles{out_degrees, out_clockwise}, at<T>(out, sizeof(T)), s);
        });
    });
}

void around(char dtype, Pointer points, int64_t n, int64_t count, bool degrees, bool clockwise, Pointer workspace,
            Pointer out, int device, Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("min_area_rect", {n, count, 2}, device, stream, [&](cudaStream_t s) {
            min_area_rect_cuda(at<const T>(points, sizeof(T)), n, count, {degrees, clockwise}, at<void>(workspace),
                               at<T>(out, sizeof(T)), s);
        });
    });
}

int64_t workspace_of(char dtype, char score_dtype, int64_t n, bool keys, int device) {
    check_count(n);
    int64_t bytes = 0;
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nms_rotated", {n, 5}, device, 0, [&](cudaStream_t) { bytes = nms_rotated_workspace<T, S>(n, keys); });
    });
    return bytes;
}

void nms(char dtype, char score_dtype, Pointer boxes, Pointer scores, Pointer keys, int64_t n, bool degrees,
         bool clockwise, double threshold, const py::object& score_threshold, int64_t max_output,
         const std::string& metric, Pointer workspace, Pointer keep, Pointer status, int device, Pointer stream) {
    check_count(n);
    const double above = score_threshold.is_none() ? 0 : score_threshold.cast<double>();
    const RotatedNmsOptions options{{degrees, clockwise},
                                    threshold,
                                    score_threshold.is_none() ? nullptr : &above,
                                    max_output,
                                    rotated_measure_of(metric)};
    by_dtypes(dtype, score_dtype, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        queue("nms_rotated", {n, 5}, device, stream, [&](cudaStream_t queued) {
            nms_rotated_cuda(at<const T>(boxes, sizeof(T)), at<const S>(scores, sizeof(S)), at<const int64_t>(keys, 8),
                             n, options, at<void>(workspace), at<int64_t>(keep, 8), at<Status>(status, 8), queued);
        });
    });
}

int64_t soft_workspace_of(char dtype, int64_t n, bool keys, int device) {
    check_count(n);
    int64_t bytes = 0;
    by_dtype(dtype, [&](auto t) {
        queue("soft_nms_rotated", {n, 5}, device, 0,
              [&](cudaStream_t) { bytes = soft_nms_rotated_workspace<decltype(t)>(n, keys); });
    });
    return bytes;
}

void soft(char dtype, Pointer boxes, Pointer scores, Pointer keys, int64_t n, bool degrees, bool clockwise,
          bool gaussian, double threshold, double sigma, double min_score, int64_t max_output, Pointer workspace,
          Pointer keep, Pointer new_scores, Pointer status, int device, Pointer stream) {
    check_count(n);
    if (!(min_score >= 0)) throw py::value_error("fastdet._cuda: invalid min_score");
    const RotatedSoftOptions options{{degrees, clockwise}, gaussian, threshold, sigma, min_score, max_output};
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("soft_nms_rotated", {n, 5}, device, stream, [&](cudaStream_t queued) {
            soft_nms_rotated_cuda(at<const T>(boxes, sizeof(T)), at<const T>(scores, sizeof(T)),
                                  at<const int64_t>(keys, 8), n, options, at<void>(workspace), at<int64_t>(keep, 8),
                                  at<T>(new_scores, sizeof(T)), at<Status>(status, 8), queued);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("box_iou_rotated", iou);
    m.def("box_convert_rotated", convert);
    m.def("min_area_rect_workspace", min_area_rect_workspace);
    m.def("min_area_rect", around);
    m.def("nms_rotated_workspace", workspace_of);
    m.def("nms_rotated", nms);
    m.def("soft_nms_rotated_workspace", soft_workspace_of);
    m.def("soft_nms_rotated", soft);
});

}  // namespace
}  // namespace rotated_bindings
}  // namespace fastdet
