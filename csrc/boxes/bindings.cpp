// fastdet._cpp: the box operations.
#include <string>

#include "boxes/arguments.h"
#include "boxes/arrays.h"
#include "boxes/box_iou.h"
#include "boxes/transforms.h"

namespace fastdet {
namespace boxes_bindings {
namespace {

py::array area_of(const py::array& boxes) {
    return by_dtype(boxes, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>* in = boxes_of<T>(boxes);
        const int64_t n = boxes.shape(0);
        py::array_t<T> out(n);
        T* to = out.mutable_data();
        {
            const WithoutGil release;
            box_area(in, n, to);
        }
        return std::move(out);
    });
}

template <class F>
py::array same_shape(const py::array& boxes, F&& f) {
    return by_dtype(boxes, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>* in = boxes_of<T>(boxes);
        const int64_t n = boxes.shape(0);
        py::array_t<T> out({n, int64_t(4)});
        Box<T>* to = reinterpret_cast<Box<T>*>(out.mutable_data());
        {
            const WithoutGil release;
            f(in, n, to);
        }
        return std::move(out);
    });
}

py::array convert(const py::array& boxes, const std::string& from, const std::string& to) {
    return same_shape(boxes,
                      [&](auto* in, int64_t n, auto* out) { box_convert(in, n, format_of(from), format_of(to), out); });
}

template <class T>
void clip(const Box<T>* in, int64_t n, double height, double width, Box<T>* out) {
    clip_boxes_to_image(in, n, T(height), T(width), out);
}

py::array clip_to_image(const py::array& boxes, double height, double width) {
    return same_shape(boxes, [&](auto* in, int64_t n, auto* out) { clip(in, n, height, width, out); });
}

py::array remove_small(const py::array& boxes, double min_size) {
    return by_dtype(boxes, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>* in = boxes_of<T>(boxes);
        const int64_t n = boxes.shape(0);
        Buffer<int64_t> keep(n);
        int64_t kept;
        {
            const WithoutGil release;
            kept = remove_small_boxes(in, n, T(min_size), keep.get());
        }
        return copy(keep.get(), kept);
    });
}

py::array iou(const py::array& a, const py::array& b, const std::string& kind, bool aligned, const py::object& crowd,
              double eps, const py::object& caller_out) {
    const Measure measure = measure_of(kind);
    return by_dtype(a, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>*x = boxes_of<T>(a), *y = boxes_of<T>(b);
        const int64_t n = a.shape(0), m = b.shape(0), size = aligned ? n : n * m;
        const bool* flags = nullptr;
        if (!crowd.is_none()) {
            const py::array array = as_array(crowd);
            flags = data<bool>(array);
            if (array.size() != m) throw py::value_error("fastdet._cpp: invalid crowd");
        }
        py::array out = caller_out.is_none()
                            ? aligned ? py::array(py::array_t<T>(n)) : py::array(py::array_t<T>({n, m}))
                            : as_array(caller_out);
        data<T>(out);
        if (out.size() != size || (aligned && n != m)) throw py::value_error("fastdet._cpp: invalid out");
        T* to = static_cast<T*>(out.mutable_data());
        {
            const WithoutGil release;
            box_iou(x, n, y, m, measure, aligned, flags, eps, to);
        }
        return out;
    });
}

const Bindings registered([](py::module_& m) {
    m.def("box_area", area_of);
    m.def("box_convert", convert);
    m.def("clip_boxes_to_image", clip_to_image);
    m.def("remove_small_boxes", remove_small);
    m.def("box_iou", iou);
});

}  // namespace
}  // namespace boxes_bindings
}  // namespace fastdet
