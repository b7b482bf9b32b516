// fastdet._cpp: boxes, NMS and fusion, and the module itself. See module_cpp.h.
#include "python/cpp.h"

#include <string>

#include "boxes/transforms.h"
#include "core/kernels.h"
#include "core/order.h"
#include "core/threads.h"
#include "fusion/fusion.h"
#include "nms/multiclass_nms.h"
#include "nms/nms.h"

namespace fastdet {
namespace {

constexpr int64_t kMostBoxes = int64_t(1) << 30;  // _check.MAX_COUNT

template <class T>
const Box<T>* boxes_of(const py::array& x) {
    if (x.ndim() < 2 || x.shape(x.ndim() - 1) != 4) throw py::value_error("fastdet._cpp: boxes must end in 4 columns");
    return reinterpret_cast<const Box<T>*>(data<T>(x));
}

// The keys of n boxes; null for None. The caller holds idxs.
const int64_t* keys_of(const py::object& idxs, int64_t n) {
    if (idxs.is_none()) return nullptr;
    const py::array array = as_array(idxs);
    if (array.size() != n) throw py::value_error("fastdet._cpp: unfit idxs");
    return data<int64_t>(array);
}

Measure measure_of(const std::string& name) {
    static const char* const names[] = {"iou", "ios", "giou", "diou", "ciou"};
    for (int i = 0; i < 5; ++i) {
        if (name == names[i]) return Measure(i);
    }
    throw py::value_error("fastdet._cpp: unknown measure " + name);
}

Format format_of(const std::string& name) {
    if (name == "xyxy") return Format::xyxy;
    if (name == "xywh") return Format::xywh;
    if (name == "cxcywh") return Format::cxcywh;
    throw py::value_error("fastdet._cpp: unknown format " + name);
}

py::array area_of(const py::array& boxes) {
    return by_dtype(boxes, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>* in = boxes_of<T>(boxes);
        const int64_t n = boxes.shape(0);
        py::array_t<T> out(n);
        T* to = out.mutable_data();
        {
            py::gil_scoped_release release;
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
            py::gil_scoped_release release;
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

py::array remove_small(const py::array& boxes, double least) {
    return by_dtype(boxes, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>* in = boxes_of<T>(boxes);
        const int64_t n = boxes.shape(0);
        Buffer<int64_t> keep(n);
        int64_t kept;
        {
            py::gil_scoped_release release;
            kept = remove_small_boxes(in, n, T(least), keep.get());
        }
        return copy(keep.get(), kept);
    });
}

py::array iou(const py::array& a, const py::array& b, const std::string& kind, bool aligned, const py::object& crowd,
              double eps, const py::object& given) {
    const Measure measure = measure_of(kind);
    return by_dtype(a, [&](auto t) -> py::array {
        using T = decltype(t);
        const Box<T>*x = boxes_of<T>(a), *y = boxes_of<T>(b);
        const int64_t n = a.shape(0), m = b.shape(0), size = aligned ? n : n * m;
        const bool* flags = nullptr;
        if (!crowd.is_none()) {
            const py::array array = as_array(crowd);
            flags = data<bool>(array);
            if (array.size() != m) throw py::value_error("fastdet._cpp: unfit crowd");
        }
        py::array out = given.is_none() ? aligned ? py::array(py::array_t<T>(n)) : py::array(py::array_t<T>({n, m}))
                                        : as_array(given);
        data<T>(out);
        if (out.size() != size || (aligned && n != m)) throw py::value_error("fastdet._cpp: unfit out");
        T* to = static_cast<T*>(out.mutable_data());
        {
            py::gil_scoped_release release;
            box_iou(x, n, y, m, measure, aligned, flags, eps, to);
        }
        return out;
    });
}

// Kept indices, or the code of a NaN as _check.find_nan gives it.
py::object nms_any(const py::array& boxes, const py::array& scores, const py::object& idxs, double threshold,
                   const py::object& least, int64_t max_output, const std::string& metric) {
    const double score_threshold = least.is_none() ? 0 : least.cast<double>();
    const NmsOptions options{threshold, least.is_none() ? nullptr : &score_threshold, max_output, -1,
                             measure_of(metric)};
    const int64_t n = boxes.shape(0);
    const int64_t* keys = keys_of(idxs, n);
    if (scores.size() != n) throw py::value_error("fastdet._cpp: unfit scores");
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = boxes_of<T>(boxes);
            const S* v = data<S>(scores);
            Buffer<int64_t> keep(n);
            int64_t kept;
            {
                py::gil_scoped_release release;
                kept = nms(b, v, keys, n, options, keep.get());
            }
            if (kept < 0) return py::int_(-1 - kept);
            return copy(keep.get(), kept);
        });
    });
}

// nms for the usual arguments, which are told from all others here: the checks in Python take longer than 10 boxes.
// None where an argument is not the usual one; fastdet/nms.py then looks again and says what is wrong.
py::object nms_quick(const py::array& boxes, const py::array& scores, double threshold) {
    const auto usual = [](const py::array& x) {
        const auto* dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(x.ptr())->descr);
        return is_plain(x) && (dtype->type == 'f' || dtype->type == 'd');
    };
    if (boxes.ndim() != 2 || boxes.shape(1) != 4 || scores.ndim() != 1 || scores.shape(0) != boxes.shape(0) ||
        boxes.shape(0) > kMostBoxes || !usual(boxes) || !usual(scores) || !(threshold >= 0 && threshold <= 1))
        return py::none();
    const int64_t n = boxes.shape(0);
    const NmsOptions options{threshold, nullptr, -1, -1, Measure::iou};
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = reinterpret_cast<const Box<T>*>(boxes.data());
            const S* v = static_cast<const S*>(scores.data());
            Buffer<int64_t> keep(n);
            int64_t kept;
            {
                py::gil_scoped_release release;
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
    const int64_t n = boxes.shape(0);
    const int64_t* keys = keys_of(idxs, n);
    if (scores.size() != n) throw py::value_error("fastdet._cpp: unfit scores");
    if (!(min_score >= 0)) throw py::value_error("fastdet._cpp: unfit min_score");
    if (method != "gaussian" && method != "linear") throw py::value_error("fastdet._cpp: unknown method " + method);
    return by_dtype(boxes, [&](auto t) -> py::object {
        using T = decltype(t);
        const Box<T>* b = boxes_of<T>(boxes);
        const T* v = data<T>(scores);
        Buffer<int64_t> keep(n);
        Buffer<T> score(n);
        int64_t kept;
        {
            py::gil_scoped_release release;
            kept = soft_nms(b, v, keys, n, options, keep.get(), score.get());
        }
        if (kept < 0) return py::int_(-1 - kept);
        py::array_t<T> new_scores(kept);
        std::memcpy(new_scores.mutable_data(), score.get(), size_t(kept) * sizeof(T));
        return py::make_tuple(copy(keep.get(), kept), new_scores);
    });
}

py::object multiclass(const py::array& boxes, const py::array& scores, double threshold, double least,
                      int64_t max_output, int64_t max_per_class, const std::string& metric) {
    const NmsOptions options{threshold, &least, max_output, max_per_class, measure_of(metric)};
    if (boxes.ndim() != 3 || scores.ndim() != 3 || boxes.shape(0) != scores.shape(0) ||
        boxes.shape(1) != scores.shape(1))
        throw py::value_error("fastdet._cpp: unfit boxes or scores");
    const int64_t batch = scores.shape(0), n = scores.shape(1), classes = scores.shape(2);
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = boxes_of<T>(boxes);
            const S* v = data<S>(scores);
            py::array_t<T> out_boxes({batch, max_output, int64_t(4)});
            py::array_t<S> out_scores({batch, max_output});
            py::array_t<int64_t> labels({batch, max_output}), count(batch);
            Box<T>* pb = reinterpret_cast<Box<T>*>(out_boxes.mutable_data());
            S* ps = out_scores.mutable_data();
            int64_t *pl = labels.mutable_data(), *pc = count.mutable_data();
            int64_t nan;
            {
                py::gil_scoped_release release;
                nan = multiclass_nms(b, v, batch, n, classes, options, pb, ps, pl, pc);
            }
            if (nan >= 0) return py::int_(nan);
            return py::make_tuple(out_boxes, out_scores, labels, count);
        });
    });
}

py::tuple merge(const py::array& boxes, double threshold, const std::string& metric) {
    const Measure kind = measure_of(metric);
    const int64_t n = boxes.shape(0);
    const Box<double>* in = boxes_of<double>(boxes);
    Buffer<Box<double>> work(n);
    py::array_t<int64_t> groups(n);
    int64_t* owner = groups.mutable_data();
    int64_t merged = 0;
    {
        py::gil_scoped_release release;
        std::memcpy(static_cast<void*>(work.get()), in, size_t(n) * sizeof(Box<double>));
        merge_boxes(work.get(), n, threshold, kind, owner);
        for (int64_t i = 0; i < n; ++i) {  // slots to rows of the result; an owner comes before what it owns
            if (owner[i] == i) {
                work[merged] = work[i];
                owner[i] = merged++;
            } else {
                owner[i] = owner[owner[i]];
            }
        }
    }
    py::array_t<double> out({merged, int64_t(4)});
    std::memcpy(out.mutable_data(), work.get(), size_t(merged) * sizeof(Box<double>));
    return py::make_tuple(out, groups);
}

py::tuple fuse(const py::array& boxes, const py::array& scores, const py::array& labels, double threshold) {
    const int64_t n = boxes.shape(0);
    const Box<double>* b = boxes_of<double>(boxes);
    const double* s = data<double>(scores);
    const int64_t* l = data<int64_t>(labels);
    if (scores.size() != n || labels.size() != n) throw py::value_error("fastdet._cpp: unfit scores or labels");
    Buffer<Box<double>> fused(n);
    py::array_t<int64_t> groups(n);
    int64_t* group = groups.mutable_data();
    int64_t count;
    {
        py::gil_scoped_release release;
        count = weighted_boxes_fusion(b, s, l, n, threshold, fused.get(), group);
    }
    py::array_t<double> out({count, int64_t(4)});
    std::memcpy(out.mutable_data(), fused.get(), size_t(count) * sizeof(Box<double>));
    return py::make_tuple(out, groups);
}

py::list isa_available() {
    int count;
    const char* const* names = isa_names(&count);
    py::list out;
    for (int i = 0; i < count; ++i) out.append(names[i]);
    return out;
}

void set_isa(const std::string& name) {
    if (!choose_isa(name.c_str())) {
        std::string have;
        int count;
        const char* const* names = isa_names(&count);
        for (int i = 0; i < count; ++i) have += std::string(i ? ", '" : "'") + names[i] + "'";
        throw py::value_error("set_isa: name must be one of " + have + ", got '" + name + "'");
    }
}

}  // namespace
}  // namespace fastdet

PYBIND11_MODULE(_cpp, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    using namespace fastdet;
    m.doc() = "fastdet's C++ backend";
    m.def("box_area", area_of);
    m.def("box_convert", convert);
    m.def("clip_boxes_to_image", clip_to_image);
    m.def("remove_small_boxes", remove_small);
    m.def("box_iou", iou);
    m.def("nms", nms_any);
    m.def("nms_quick", nms_quick);
    m.def("soft_nms", soft_nms_any);
    m.def("multiclass_nms", multiclass);
    m.def("merge_boxes", merge);
    m.def("weighted_boxes_fusion", fuse);
    bind_segmentation(m);
    bind_upsample(m);
    bind_pool(m);
    bind_losses(m);
    bind_box_losses(m);
    bind_detection(m);
    bind_coco(m);
    bind_yolo_candidates(m);
    m.def("isa", [] { return kernels().name; });
    m.def("isa_available", isa_available);
    m.def("set_isa", set_isa);
    m.def("get_num_threads", get_num_threads);
    m.def("set_num_threads", set_num_threads);
}
