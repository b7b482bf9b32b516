// fastdet._cpp: box fusion.
#include <string>

#include "boxes/arguments.h"
#include "boxes/arrays.h"
#include "fusion/fusion.h"

namespace fastdet {
namespace fusion_bindings {
namespace {

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
    if (scores.size() != n || labels.size() != n) throw py::value_error("fastdet._cpp: invalid scores or labels");
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

const Bindings registered([](py::module_& m) {
    m.def("merge_boxes", merge);
    m.def("weighted_boxes_fusion", fuse);
});

}  // namespace
}  // namespace fusion_bindings
}  // namespace fastdet
