// fastdet._cpp: non-maximum suppression.
#include <string>

#include "boxes/arguments.h"
#include "boxes/arrays.h"
#include "nms/groups.h"
#include "nms/multiclass_nms.h"
#include "nms/nms.h"
#include "nms/soft_nms.h"

namespace fastdet {
namespace nms_bindings {
namespace {

// The keys of n boxes; null for None. The caller holds idxs.
const int64_t* keys_of(const py::object& idxs, int64_t n) {
    if (idxs.is_none()) return nullptr;
    const py::array array = as_array(idxs);
    if (array.size() != n) throw py::value_error("fastdet._cpp: invalid idxs");
    return data<int64_t>(array);
}

// Kept indices, or the code of a NaN as check.find_nan in fastdet/_core gives it.
py::object nms_any(const py::array& boxes, const py::array& scores, const py::object& idxs, double threshold,
                   const py::object& score_threshold, int64_t max_output, const std::string& metric) {
    const double above = score_threshold.is_none() ? 0 : score_threshold.cast<double>();
    const NmsOptions options{threshold, score_threshold.is_none() ? nullptr : &above, max_output, -1,
                             measure_of(metric)};
    const int64_t n = rows_of(boxes);
    const int64_t* keys = keys_of(idxs, n);
    if (scores.size() != n) throw py::value_error("fastdet._cpp: invalid scores");
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = boxes_of<T>(boxes);
            const S* v = data<S>(scores);
            Buffer<int64_t> keep(n);
            int64_t kept;
            {
                const WithoutGil release;
                kept = nms(b, v, keys, n, options, keep.get());
            }
            if (kept < 0) return py::int_(-1 - kept);
            return copy(keep.get(), kept);
        });
    });
}

// nms for the usual arguments, which are checked here, since the checks in Python take longer than 10 boxes. Returns
// None for any other argument; the Python side then checks again, and raises if an argument is invalid.
// ordinary: None also for boxes whose areas may overflow, where other libraries' arithmetic has other answers.
py::object nms_quick(const py::array& boxes, const py::array& scores, double threshold, bool ordinary) {
    const auto usual = [](const py::array& x) {
        const auto* dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(x.ptr())->descr);
        return is_plain(x) && (dtype->type == 'f' || dtype->type == 'd');
    };
    if (boxes.ndim() != 2 || boxes.shape(1) != 4 || scores.ndim() != 1 || scores.shape(0) != boxes.shape(0) ||
        boxes.shape(0) > kMaxBoxes || !usual(boxes) || !usual(scores) || !(threshold >= 0 && threshold <= 1))
        return py::none();
    const int64_t n = boxes.shape(0);
    const NmsOptions options{threshold, nullptr, -1, -1, Measure::iou};
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = reinterpret_cast<const Box<T>*>(boxes.data());
            const S* v = static_cast<const S*>(scores.data());
            if (ordinary && look(&b->x1, 4 * n) != Input::ordinary) return py::none();
            Buffer<int64_t> keep(n);
            int64_t kept;
            {
                const WithoutGil release;
                kept = nms(b, v, static_cast<const int64_t*>(nullptr), n, options, keep.get());
            }
            if (kept < 0) return py::none();
            return copy(keep.get(), kept);
        });
    });
}

py::object soft_nms_any(const py::array& boxes, const py::array& scores, const py::object& idxs,
                        const std::string& method, double threshold, double sigma, double min_score,
                        int64_t max_output) {
    const SoftOptions options{method == "gaussian", threshold, sigma, min_score, max_output};
    const int64_t n = rows_of(boxes);
    const int64_t* keys = keys_of(idxs, n);
    if (scores.size() != n) throw py::value_error("fastdet._cpp: invalid scores");
    if (!(min_score >= 0)) throw py::value_error("fastdet._cpp: invalid min_score");
    if (method != "gaussian" && method != "linear") throw py::value_error("fastdet._cpp: unknown method " + method);
    return by_dtype(boxes, [&](auto t) -> py::object {
        using T = decltype(t);
        const Box<T>* b = boxes_of<T>(boxes);
        const T* v = data<T>(scores);
        Buffer<int64_t> keep(n);
        Buffer<T> score(n);
        int64_t kept;
        {
            const WithoutGil release;
            kept = soft_nms(b, v, keys, n, options, keep.get(), score.get());
        }
        if (kept < 0) return py::int_(-1 - kept);
        py::array_t<T> new_scores(kept);
        std::memcpy(new_scores.mutable_data(), score.get(), size_t(kept) * sizeof(T));
        return py::make_tuple(copy(keep.get(), kept), new_scores);
    });
}

py::object multiclass(const py::array& boxes, const py::array& scores, double threshold, double score_threshold,
                      int64_t max_output, int64_t max_per_class, const std::string& metric) {
    const NmsOptions options{threshold, &score_threshold, max_output, max_per_class, measure_of(metric)};
    if (boxes.ndim() != 3 || scores.ndim() != 3 || boxes.shape(0) != scores.shape(0) ||
        boxes.shape(1) != scores.shape(1))
        throw py::value_error("fastdet._cpp: invalid boxes or scores");
    const int64_t batch = scores.shape(0), n = scores.shape(1), classes = scores.shape(2);
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = boxes_of<T>(boxes, 3);
            const S* v = data<S>(scores);
            py::array_t<T> out_boxes({batch, max_output, int64_t(4)});
            py::array_t<S> out_scores({batch, max_output});
            py::array_t<int64_t> labels({batch, max_output}), count(batch);
            Box<T>* pb = reinterpret_cast<Box<T>*>(out_boxes.mutable_data());
            S* ps = out_scores.mutable_data();
            int64_t *pl = labels.mutable_data(), *pc = count.mutable_data();
            int64_t nan;
            {
                const WithoutGil release;
                nan = multiclass_nms(b, v, batch, n, classes, options, pb, ps, pl, pc);
            }
            if (nan >= 0) return py::int_(nan);
            return py::make_tuple(out_boxes, out_scores, labels, count);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("nms", nms_any);
    m.def("nms_quick", nms_quick, py::arg("boxes"), py::arg("scores"), py::arg("threshold"),
          py::arg("ordinary") = false);
    m.def("soft_nms", soft_nms_any);
    m.def("multiclass_nms", multiclass);
});

}  // namespace
}  // namespace nms_bindings
}  // namespace fastdet
