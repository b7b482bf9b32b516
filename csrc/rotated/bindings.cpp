// fastdet._cpp: rotated boxes.
#include <string>

#include "boxes/box.h"
#include "python/cpp.h"
#include "rotated/arguments.h"
#include "rotated/box_iou_rotated.h"
#include "rotated/nms_rotated.h"

namespace fastdet {
namespace rotated_bindings {
namespace {

int64_t rows_of(const py::array& boxes, int64_t numbers) {
    if (boxes.ndim() != 2 || boxes.shape(1) != numbers || boxes.shape(0) > kMaxBoxes)
        throw py::value_error("fastdet._cpp: invalid boxes");
    return boxes.shape(0);
}

const int64_t* keys_of(const py::object& idxs, int64_t n) {
    if (idxs.is_none()) return nullptr;
    const py::array array = as_array(idxs);
    if (array.size() != n) throw py::value_error("fastdet._cpp: invalid idxs");
    return data<int64_t>(array);
}

py::object iou(const py::array& a, const py::array& b, bool degrees, bool clockwise, const std::string& metric,
               bool aligned, const py::object& out) {
    const int64_t n = rows_of(a, 5), m = rows_of(b, 5);
    const RotatedMeasure kind = rotated_measure_of(metric);
    if (aligned && n != m) throw py::value_error("fastdet._cpp: invalid boxes");
    return by_dtype(a, [&](auto t) -> py::object {
        using T = decltype(t);
        const T *pa = data<T>(a), *pb = data<T>(b);
        py::array_t<T> result;
        if (out.is_none()) {
            result = aligned ? py::array_t<T>(n) : py::array_t<T>({n, m});
        } else {
            const py::array given = as_array(out);
            data<T>(given);
            if (given.size() != (aligned ? n : n * m)) throw py::value_error("fastdet._cpp: invalid out");
            result = py::reinterpret_borrow<py::array_t<T>>(given);
        }
        T* to = result.mutable_data();
        {
            const WithoutGil release;
            box_iou_rotated(pa, n, pb, m, {degrees, clockwise}, kind, aligned, to);
        }
        return result;
    });
}

py::object nms(const py::array& boxes, const py::array& scores, const py::object& idxs, bool degrees, bool clockwise,
               double threshold, const py::object& score_threshold, int64_t max_output, const std::string& metric) {
    const double above = score_threshold.is_none() ? 0 : score_threshold.cast<double>();
    const RotatedNmsOptions options{{degrees, clockwise},
                                    threshold,
                                    score_threshold.is_none() ? nullptr : &above,
                                    max_output,
                                    rotated_measure_of(metric)};
    const int64_t n = rows_of(boxes, 5);
    const int64_t* keys = keys_of(idxs, n);
    if (scores.size() != n) throw py::value_error("fastdet._cpp: invalid scores");
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            const auto* b = data<decltype(t)>(boxes);
            const auto* v = data<decltype(s)>(scores);
            Buffer<int64_t> keep(n);
            int64_t kept;
            {
                const WithoutGil release;
                kept = nms_rotated(b, v, keys, n, options, keep.get());
            }
            if (kept < 0) return py::int_(-1 - kept);
            return copy(keep.get(), kept);
        });
    });
}

py::object soft(const py::array& boxes, const py::array& scores, const py::object& idxs, bool degrees, bool clockwise,
                const std::string& method, double threshold, double sigma, double min_score, int64_t max_output) {
    const RotatedSoftOptions options{
        {degrees, clockwise}, method == "gaussian", threshold, sigma, min_score, max_output};
    const int64_t n = rows_of(boxes, 5);
    const int64_t* keys = keys_of(idxs, n);
    if (scores.size() != n) throw py::value_error("fastdet._cpp: invalid scores");
    if (!(min_score >= 0)) throw py::value_error("fastdet._cpp: invalid min_score");
    if (method != "gaussian" && method != "linear") throw py::value_error("fastdet._cpp: unknown method " + method);
    return by_dtype(boxes, [&](auto t) -> py::object {
        using T = decltype(t);
        const T *b = data<T>(boxes), *v = data<T>(scores);
        Buffer<int64_t> keep(n);
        Buffer<T> score(n);
        int64_t kept;
        {
            const WithoutGil release;
            kept = soft_nms_rotated(b, v, keys, n, options, keep.get(), score.get());
        }
        if (kept < 0) return py::int_(-1 - kept);
        py::array_t<T> new_scores(kept);
        if (kept) std::memcpy(new_scores.mutable_data(), score.get(), size_t(kept) * sizeof(T));
        return py::make_tuple(copy(keep.get(), kept), new_scores);
    });
}

py::array convert(const py::array& boxes, const std::string& from, const std::string& to, bool degrees, bool clockwise,
                  bool out_degrees, bool out_clockwise) {
    const RotatedFormat source = rotated_format_of(from), target = rotated_format_of(to);
    const int64_t n = rows_of(boxes, numbers_of(source)), width = numbers_of(source), out_width = numbers_of(target);
    return by_dtype(boxes, [&](auto t) -> py::array {
        using T = decltype(t);
        const T* from_row = data<T>(boxes);
        py::array_t<T> result({n, out_width});
        T* to_row = result.mutable_data();
        const WithoutGil release;
        for (int64_t i = 0; i < n; ++i) {
            convert_rotated(from_row + i * width, source, target, Angles{degrees, clockwise},
                            Angles{out_degrees, out_clockwise}, to_row + i * out_width);
        }
        return result;
    });
}

py::array around(const py::array& points, bool degrees, bool clockwise) {
    if (points.ndim() != 3 || points.shape(1) < 1 || points.shape(2) != 2)
        throw py::value_error("fastdet._cpp: invalid points");
    const int64_t n = points.shape(0), count = points.shape(1);
    return by_dtype(points, [&](auto t) -> py::array {
        using T = decltype(t);
        const T* from = data<T>(points);
        py::array_t<T> result({n, int64_t(5)});
        T* to = result.mutable_data();
        const WithoutGil release;
        Buffer<double> work(4 * count + 6);
        for (int64_t i = 0; i < n; ++i)
            min_area_rect_of(from + i * 2 * count, count, Angles{degrees, clockwise}, work.get(), to + 5 * i);
        return result;
    });
}

const Bindings registered([](py::module_& m) {
    m.def("box_iou_rotated", iou);
    m.def("nms_rotated", nms);
    m.def("soft_nms_rotated", soft);
    m.def("box_convert_rotated", convert);
    m.def("min_area_rect", around);
});

}  // namespace
}  // namespace rotated_bindings
}  // namespace fastdet
