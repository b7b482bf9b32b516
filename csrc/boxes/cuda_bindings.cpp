// fastdet._cuda: the box operations.
#include "boxes/arguments.h"
#include "boxes/cuda.h"
#include "python/cuda_tensors.h"

namespace fastdet {
namespace boxes_bindings {
namespace {

void area_of(char dtype, Pointer boxes, int64_t n, Pointer out, int device, Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("box_area", {n, 4}, device, stream,
              [&](cudaStream_t s) { box_area_cuda(at<const Box<T>>(boxes), n, at<T>(out), s); });
    });
}

void convert(char dtype, Pointer boxes, int64_t n, const std::string& from, const std::string& to, Pointer out,
             int device, Pointer stream) {
    const Format source = format_of(from), target = format_of(to);
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("box_convert", {n, 4}, device, stream, [&](cudaStream_t s) {
            box_convert_cuda(at<const Box<T>>(boxes), n, source, target, at<Box<T>>(out), s);
        });
    });
}

void clip(char dtype, Pointer boxes, int64_t n, double height, double width, Pointer out, int device, Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("clip_boxes_to_image", {n, 4}, device, stream, [&](cudaStream_t s) {
            clip_boxes_to_image_cuda(at<const Box<T>>(boxes), n, T(height), T(width), at<Box<T>>(out), s);
        });
    });
}

void extend(char dtype, Pointer boxes, int64_t n, double offset, Pointer out, int device, Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("extend_boxes", {n, 4}, device, stream,
              [&](cudaStream_t s) { extend_boxes_cuda(at<const Box<T>>(boxes), n, T(offset), at<Box<T>>(out), s); });
    });
}

void remove_small(char dtype, Pointer boxes, int64_t n, double min_size, Pointer workspace, Pointer keep, Pointer count,
                  int device, Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("remove_small_boxes", {n, 4}, device, stream, [&](cudaStream_t s) {
            remove_small_boxes_cuda(at<const Box<T>>(boxes), n, T(min_size), at<void>(workspace), at<int64_t>(keep),
                                    at<int64_t>(count, 8), s);
        });
    });
}

void iou(char dtype, Pointer a, int64_t n, Pointer b, int64_t m, const std::string& kind, bool aligned, Pointer crowd,
         double eps, Pointer out, int device, Pointer stream) {
    const Measure measure = measure_of(kind);
    if (aligned && n != m) throw py::value_error("fastdet._cuda: invalid boxes");
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("box_iou", {n, m}, device, stream, [&](cudaStream_t s) {
            box_iou_cuda(at<const Box<T>>(a), n, at<const Box<T>>(b), m, measure, aligned, at<const bool>(crowd, 1),
                         eps, at<T>(out, sizeof(T)), s);
        });
    });
}

py::object quick_iou(const DeviceTensors& tensors, py::handle boxes1, py::handle boxes2, const std::string& metric,
                     double eps) {
    return tensors.quick([&] {
        const DeviceTensor a = tensors.take(boxes1, "fd", 2), b = tensors.take(boxes2, "fd", 2, &a);
        if (a.shape[1] != 4 || b.shape[1] != 4 || a.dtype != b.dtype) throw Declined();
        const NewTensor out = tensors.empty(a, {a.shape[0], b.shape[0]}, a.dtype);
        iou(a.dtype, a.data, a.shape[0], b.data, b.shape[0], metric, false, 0, eps, out.data, a.device,
            tensors.stream(a));
        return out.object;
    });
}

const Bindings registered([](py::module_& m) {
    m.def("box_area", area_of);
    m.def("box_convert", convert);
    m.def("clip_boxes_to_image", clip);
    m.def("extend_boxes", extend);
    m.def("remove_small_workspace", remove_small_workspace);
    m.def("remove_small_boxes", remove_small);
    m.def("box_iou", iou);
    add_quick(m, "box_iou", quick_iou);
});

}  // namespace
}  // namespace boxes_bindings
}  // namespace fastdet
