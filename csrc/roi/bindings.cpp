// fastdet._cpp: RoI ops.
#include "python/cpp.h"

#include <pybind11/stl.h>

#include "roi/roi_align.h"
#include "roi/roi_pool.h"
#include "roi/taps.h"

namespace fastdet {
namespace roi_bindings {
namespace {

// f(S()) for how values are stored.
template <class F>
auto by_stored(const py::array& x, F&& f) {
    if (is_plain(x)) {
        if (is_double(x)) return f(double());
        if (is_half(x)) return f(Half());
        if (is_bfloat16(x)) return f(BFloat16());
        if (x.dtype().num() == kNumber<float>) return f(float());
    }
    throw py::type_error("fastdet._cpp: invalid array");
}

// The checks of both directions: `map` is the input of the forward one, `pooled` its result.
RoiAlignJob job_of(const py::array& map, const py::array& pooled, bool channels_last, const py::array& boxes,
                   const py::object& levels, int64_t level, double scale, int64_t ratio, bool aligned,
                   bool own_channels = false) {
    const auto sizes = [&](const py::array& x, int64_t* to) {
        if (x.ndim() != 4) throw py::value_error("fastdet._cpp: a map must have 4 axes");
        const int order[2][4] = {{0, 1, 2, 3}, {0, 3, 1, 2}};
        for (int i = 0; i < 4; ++i) to[i] = x.shape(order[channels_last][i]);
    };
    int64_t m[4], p[4];
    sizes(map, m), sizes(pooled, p);
    constexpr int64_t kMax = int64_t(1) << 31;
    const bool fits =
        own_channels ? p[2] > 0 && p[3] > 0 && p[2] <= kMax / p[3] && m[1] == p[1] * p[2] * p[3] : m[1] == p[1];
    if (!fits || m[2] < 1 || m[3] < 1 || m[2] >= kMax || m[3] >= kMax || p[2] < 1 || p[3] < 1 || p[2] >= kMax ||
        p[3] >= kMax || ratio < 0 || ratio > 4096 || boxes.ndim() != 2 || boxes.shape(0) != p[0] || boxes.shape(1) != 5)
        throw py::value_error("fastdet._cpp: invalid sizes");
    RoiAlignJob job = {};
    job.channels_last = channels_last;
    job.images = m[0], job.channels = m[1], job.height = m[2], job.width = m[3];
    job.count = p[0], job.bins_y = p[2], job.bins_x = p[3];
    if (!levels.is_none()) {
        const py::array array = as_array(levels);
        if (array.ndim() != 1 || array.shape(0) != job.count) throw py::value_error("fastdet._cpp: invalid levels");
        job.levels = data<int64_t>(array);
    }
    job.level = level, job.scale = scale, job.ratio = ratio, job.aligned = aligned;
    return job;
}

template <class F>
py::object run(const py::array& from, py::array& to, const py::array& boxes, RoiAlignJob& job, F&& f) {
    const int64_t bad = by_stored(from, [&](auto s) {
        using S = decltype(s);
        if (!to.dtype().is(from.dtype()) && to.dtype().num() != from.dtype().num())
            throw py::type_error("fastdet._cpp: invalid array");
        if (!is_plain(to) || to.itemsize() != from.itemsize()) throw py::type_error("fastdet._cpp: invalid array");
        job.boxes = data<Compute<S>>(boxes);
        job.from = from.data(), job.to = to.mutable_data();
        const WithoutGil release;
        return f(s);
    });
    if (bad < 0) return py::none();
    return py::int_(bad);
}

py::object forward(const py::array& x, bool channels_last, const py::array& boxes, const py::object& levels,
                   int64_t level, double scale, int64_t ratio, bool aligned, py::array& out) {
    RoiAlignJob job = job_of(x, out, channels_last, boxes, levels, level, scale, ratio, aligned);
    return run(x, out, boxes, job, [&](auto s) { return roi_align<decltype(s)>(job); });
}

py::object backward(const py::array& grad, bool channels_last, const py::array& boxes, const py::object& levels,
                    int64_t level, double scale, int64_t ratio, bool aligned, py::array& out) {
    RoiAlignJob job = job_of(out, grad, channels_last, boxes, levels, level, scale, ratio, aligned);
    return run(grad, out, boxes, job, [&](auto s) { return roi_align_backward<decltype(s)>(job); });
}

// For each box how many of the ascending bounds its area reaches.
void levels(const py::array& boxes, const std::vector<double>& bounds, py::array& out) {
    if (boxes.ndim() != 2 || boxes.shape(1) != 5 || out.ndim() != 1 || out.shape(0) != boxes.shape(0))
        throw py::value_error("fastdet._cpp: invalid sizes");
    data<int64_t>(out);
    int64_t* to = static_cast<int64_t*>(out.mutable_data());
    by_dtype(boxes, [&](auto t) {
        using T = decltype(t);
        const T* box = data<T>(boxes);
        for (int64_t k = 0; k < boxes.shape(0); ++k, box += 5)
            to[k] = roi_level(box, bounds.data(), int(bounds.size()));
    });
}

int64_t* places_of(const py::object& places, const py::array& like) {
    if (places.is_none()) return nullptr;
    py::array array = as_array(places);
    bool same = array.ndim() == like.ndim();
    for (int i = 0; same && i < like.ndim(); ++i) same = array.shape(i) == like.shape(i);
    if (!same) throw py::value_error("fastdet._cpp: invalid places");
    return const_cast<int64_t*>(data<int64_t>(array));
}

py::object pool(const py::array& x, bool channels_last, const py::array& boxes, double scale, py::array& out,
                const py::object& places) {
    RoiAlignJob job = job_of(x, out, channels_last, boxes, py::none(), 0, scale, 0, false);
    int64_t* to = places_of(places, out);
    if (to) as_array(places).mutable_data();  // raises where it must not be written to
    return run(x, out, boxes, job, [&](auto s) { return roi_pool<decltype(s)>(job, to); });
}

py::object pool_backward(const py::array& grad, bool channels_last, const py::array& places, const py::array& boxes,
                         py::array& out) {
    RoiAlignJob job = job_of(out, grad, channels_last, boxes, py::none(), 0, 1, 0, false);
    const int64_t* at = places_of(places, grad);
    return run(grad, out, boxes, job, [&](auto s) { return roi_pool_backward<decltype(s)>(job, at); });
}

py::object ps_align(const py::array& x, bool channels_last, const py::array& boxes, double scale, int64_t ratio,
                    py::array& out) {
    RoiAlignJob job = job_of(x, out, channels_last, boxes, py::none(), 0, scale, ratio, true, true);
    return run(x, out, boxes, job, [&](auto s) { return ps_roi_align<decltype(s)>(job); });
}

py::object ps_align_backward(const py::array& grad, bool channels_last, const py::array& boxes, double scale,
                             int64_t ratio, py::array& out) {
    RoiAlignJob job = job_of(out, grad, channels_last, boxes, py::none(), 0, scale, ratio, true, true);
    return run(grad, out, boxes, job, [&](auto s) { return ps_roi_align_backward<decltype(s)>(job); });
}

py::object ps_pool(const py::array& x, bool channels_last, const py::array& boxes, double scale, py::array& out) {
    RoiAlignJob job = job_of(x, out, channels_last, boxes, py::none(), 0, scale, 0, false, true);
    return run(x, out, boxes, job, [&](auto s) { return ps_roi_pool<decltype(s)>(job); });
}

py::object ps_pool_backward(const py::array& grad, bool channels_last, const py::array& boxes, double scale,
                            py::array& out) {
    RoiAlignJob job = job_of(out, grad, channels_last, boxes, py::none(), 0, scale, 0, false, true);
    return run(grad, out, boxes, job, [&](auto s) { return ps_roi_pool_backward<decltype(s)>(job); });
}

const Bindings registered([](py::module_& m) {
    m.def("roi_align", forward);
    m.def("roi_align_backward", backward);
    m.def("roi_levels", levels);
    m.def("roi_pool", pool);
    m.def("roi_pool_backward", pool_backward);
    m.def("ps_roi_align", ps_align);
    m.def("ps_roi_align_backward", ps_align_backward);
    m.def("ps_roi_pool", ps_pool);
    m.def("ps_roi_pool_backward", ps_pool_backward);
});

}  // namespace
}  // namespace roi_bindings
}  // namespace fastdet
