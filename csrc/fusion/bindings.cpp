// fastdet._cpp: box fusion.
#include <pybind11/stl.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "boxes/arguments.h"
#include "boxes/arrays.h"
#include "fusion/fusion.h"
#include "fusion/nmm.h"

namespace fastdet {
namespace fusion_bindings {
namespace {

// Values of any float dtype as doubles.
std::vector<double> doubles(const py::array& x) {
    return by_dtype(x, [&](auto t) {
        const auto* from = data<decltype(t)>(x);
        return std::vector<double>(from, from + x.size());
    });
}

// Boxes (n, 4) of any float dtype as doubles, at the end of `to`.
void append_boxes(const py::array& boxes, std::vector<Box<double>>& to) {
    by_dtype(boxes, [&](auto t) {
        const auto* from = boxes_of<decltype(t)>(boxes);
        for (int64_t i = 0; i < boxes.shape(0); ++i) to.push_back({from[i].x1, from[i].y1, from[i].x2, from[i].y2});
    });
}

// Doubles as an array of the dtype of `like`.
py::array rounded(const double* from, const std::vector<int64_t>& shape, const py::array& like) {
    return by_dtype(like, [&](auto t) -> py::array {
        using T = decltype(t);
        py::array_t<T> out(shape);
        T* to = out.mutable_data();
        for (int64_t i = 0; i < out.size(); ++i) to[i] = T(from[i]);
        return std::move(out);
    });
}

py::array rounded(const std::vector<Box<double>>& boxes, const py::array& like) {
    return rounded(reinterpret_cast<const double*>(boxes.data()), {int64_t(boxes.size()), 4}, like);
}

py::tuple merge(const py::array& boxes, const py::array& scores, double threshold, const std::string& metric) {
    const Measure kind = measure_of(metric);
    std::vector<Box<double>> work;
    append_boxes(boxes, work);
    const std::vector<double> values = doubles(scores);
    if (values.size() != work.size()) throw py::value_error("fastdet._cpp: invalid scores");
    const int64_t n = int64_t(work.size());
    py::array_t<int64_t> groups(n);
    int64_t* group = groups.mutable_data();
    MergedBoxes merged;
    {
        const WithoutGil release;
        merged = merge_boxes_by_score(work.data(), values.data(), n, threshold, kind, group);
    }
    return py::make_tuple(rounded(merged.boxes, boxes),
                          rounded(merged.scores.data(), {int64_t(merged.scores.size())}, scores), groups);
}

py::tuple fuse(const std::vector<py::array>& boxes, const std::vector<py::array>& scores,
               const std::vector<py::array>& labels, const std::vector<double>& share, double threshold,
               double min_score, const std::string& conf_type, bool allows_overflow) {
    static const char* const names[] = {"avg", "max", "box_and_model_avg", "absent_model_aware_avg"};
    const auto* name = std::find(std::begin(names), std::end(names), conf_type);
    const size_t models = boxes.size();
    if (!models || scores.size() != models || labels.size() != models || share.size() != models ||
        name == std::end(names)) {
        throw py::value_error("fastdet._cpp: invalid models");
    }
    FusionInput input;
    for (size_t m = 0; m < models; ++m) {
        append_boxes(boxes[m], input.boxes);
        const std::vector<double> values = doubles(scores[m]);
        const int64_t* keys = data<int64_t>(labels[m]);
        input.scores.insert(input.scores.end(), values.begin(), values.end());
        input.labels.insert(input.labels.end(), keys, keys + labels[m].size());
        input.model.resize(input.boxes.size(), int32_t(m));
        if (input.scores.size() != input.boxes.size() || input.labels.size() != input.boxes.size()) {
            throw py::value_error("fastdet._cpp: invalid scores or labels");
        }
    }
    FusedBoxes fused;
    {
        const WithoutGil release;
        fused = weighted_boxes_fusion(
            input, {share, threshold, min_score, Confidence(name - std::begin(names)), allows_overflow});
    }
    const int64_t count = int64_t(fused.boxes.size());
    return py::make_tuple(rounded(fused.boxes, boxes[0]), rounded(fused.scores.data(), {count}, scores[0]),
                          copy(fused.labels.data(), count));
}

py::object merge_groups(const py::array& boxes, const py::array& scores, const py::object& idxs, double threshold,
                        const std::string& metric, bool transitive) {
    const MergingRule rule{threshold, measure_of(metric), transitive};
    const int64_t n = rows_of(boxes);
    const py::array keys = idxs.is_none() ? py::array() : as_array(idxs);
    const int64_t* key = idxs.is_none() ? nullptr : data<int64_t>(keys);
    if (scores.size() != n || n > kMaxBoxes || (key && keys.size() != n))
        throw py::value_error("fastdet._cpp: invalid scores or idxs");
    return by_dtype(boxes, [&](auto t) {
        return by_dtype(scores, [&](auto s) -> py::object {
            using T = decltype(t);
            using S = decltype(s);
            const Box<T>* b = boxes_of<T>(boxes);
            const S* v = data<S>(scores);
            py::array_t<int64_t> groups(n), order(n), parents(n);
            MergedGroups<T> out{{}, {}, groups.mutable_data(), order.mutable_data(), parents.mutable_data()};
            {
                const WithoutGil release;
                nmm(b, v, key, n, rule, out);
            }
            const int64_t kept = int64_t(out.keep.size());
            py::array_t<T> united({kept, int64_t(4)});
            py::array_t<S> best(kept);
            std::copy(out.boxes.begin(), out.boxes.end(), reinterpret_cast<Box<T>*>(united.mutable_data()));
            for (int64_t k = 0; k < kept; ++k) best.mutable_data()[k] = v[out.keep[size_t(k)]];
            return py::make_tuple(united, best, copy(out.keep.data(), kept), groups, order, parents);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("merge_boxes", merge);
    m.def("nmm", merge_groups);
    m.def("weighted_boxes_fusion", fuse);
});

}  // namespace
}  // namespace fusion_bindings
}  // namespace fastdet
