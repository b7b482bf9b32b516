// fastdet._cpp: scoring detections.
#include "python/groups.h"

#include <vector>

#include "core/pairs.h"
#include "detection/detection.h"

namespace fastdet {
namespace detection_bindings {
namespace {

constexpr const char* kInvalid = "fastdet._cpp: invalid detections";

// (n, columns) doubles; columns 0: (n,).
const double* doubles(const py::array& x, int64_t n, int64_t columns) {
    const bool fits =
        columns ? x.ndim() == 2 && x.shape(0) == n && x.shape(1) == columns : x.ndim() == 1 && x.shape(0) == n;
    if (!fits) throw py::value_error(kInvalid);
    return data<double>(x);
}

const uint8_t* bytes_of(const py::array& x, int64_t size) {
    if (x.dtype().kind() != 'u' || x.itemsize() != 1 || !is_plain(x) || x.size() != size)
        throw py::value_error(kInvalid);
    return static_cast<const uint8_t*>(x.data());
}

// Numbers without NaN, which no sort could place.
std::vector<double> levels_of(const py::array& x) {
    const double* from = doubles(x, x.size(), 0);
    std::vector<double> levels(from, from + x.size());
    for (const double level : levels) {
        if (level != level) throw py::value_error(kInvalid);
    }
    return levels;
}

constexpr int64_t kMaxCells = int64_t(1) << 24;  // thresholds times ranges

py::tuple match(const py::array& boxes, const py::array& scores, const py::array& areas, const py::array& rows,
                const py::array& start, const py::array& truth, const py::array& truth_areas, const py::array& flags,
                const py::array& truth_rows, const py::array& truth_start, const py::array& thresholds,
                const py::array& ranges, int64_t max_detections, double offset, bool voc, bool with_matched,
                const py::object& overlaps) {
    const int64_t every = boxes.shape(0), n = rows.size(), m = truth.shape(0), groups = start.size() - 1;
    const int64_t T = thresholds.size(), A = ranges.shape(0);
    if (groups < 0 || T < 1 || A < 1 || T > kMaxCells || A > kMaxCells / T) throw py::value_error(kInvalid);
    const Numbers row = within(copy_of(rows, n), every - 1), true_row = within(copy_of(truth_rows, m), m - 1),
                  d_start = starts(start, groups, n), g_start = starts(truth_start, groups, m);
    const std::vector<double> levels = levels_of(thresholds);
    const Detections d{reinterpret_cast<const BoxWH*>(doubles(boxes, every, 4)), doubles(scores, every, 0),
                       doubles(areas, every, 0), row.data()};
    const Truths g{reinterpret_cast<const BoxWH*>(doubles(truth, m, 4)), doubles(truth_areas, m, 0), bytes_of(flags, m),
                   true_row.data()};
    const MatchRule rule{levels.data(), T, doubles(ranges, A, 2), A, max_detections, offset, voc};
    const double* given =
        overlaps.is_none() ? nullptr : doubles(as_array(overlaps), pair_starts(d_start, g_start).back(), 0);
    const int64_t bytes = packed_bytes(T * A);
    py::array_t<int64_t> order(n), kept(groups), counted({groups, A});
    py::array_t<uint8_t> outcomes({n, bytes});
    py::object matched = py::none();
    int64_t* to = nullptr;
    if (with_matched) {
        py::array_t<int64_t> all({n, T, A});
        to = all.mutable_data();
        matched = all;
    }
    int64_t *o = order.mutable_data(), *k = kept.mutable_data(), *c = counted.mutable_data();
    uint8_t* out = outcomes.mutable_data();
    {
        const WithoutGil release;
        match_groups(d, d_start.data(), g, g_start.data(), groups, rule, given, o, k, out, c, to);
    }
    return py::make_tuple(order, kept, outcomes, counted, matched);
}

py::tuple accumulate_all(const py::array& scores, const py::array& outcomes, const py::array& start,
                         const py::array& counted, const py::array& of_class, int64_t T, const py::array& recalls,
                         const py::array& max_detections) {
    const int64_t n = scores.size(), groups = start.size() - 1, classes = of_class.size() - 1;
    if (groups < 0 || classes < 0 || counted.ndim() != 2 || counted.shape(0) != groups) throw py::value_error(kInvalid);
    const int64_t A = counted.shape(1), R = recalls.size(), M = max_detections.size();
    if (T < 1 || T > kMaxCells || A > kMaxCells / T) throw py::value_error(kInvalid);
    const Numbers starting = starts(start, groups, n), first_group = starts(of_class, classes, groups),
                  limits = copy_of(max_detections, M);
    const int64_t* of_groups = data<int64_t>(counted);
    const Numbers count = within(Numbers(of_groups, of_groups + groups * A), int64_t(1) << 40);
    const std::vector<double> levels = levels_of(recalls);
    const Records records{doubles(scores, n, 0), bytes_of(outcomes, n * packed_bytes(T * A)),
                          starting.data(),       count.data(),
                          first_group.data(),    classes};
    for (int64_t i = 0, size = outcomes.size(); i < size; ++i) {
        if (records.outcomes[i] >= 243) throw py::value_error(kInvalid);
    }
    py::array_t<double> precision({T, R, classes, A, M}), recall({T, classes, A, M}), at({T, R, classes, A, M});
    const Curve curve{levels.data(),    R, limits.data(), M, precision.mutable_data(), recall.mutable_data(),
                      at.mutable_data()};
    {
        const WithoutGil release;
        accumulate(records, T, A, curve);
    }
    return py::make_tuple(precision, recall, at);
}

py::tuple group(const py::array& keys, const py::array& truth_keys) {
    const int64_t n = keys.size(), m = truth_keys.size();
    const Numbers d_key = within(copy_of(keys, n), INT64_MAX), g_key = within(copy_of(truth_keys, m), INT64_MAX);
    py::array_t<int64_t> rows(n), truth_rows(m);
    Buffer<int64_t> found(n + m), start(n + m + 1), truth_start(n + m + 1);
    int64_t *d_row = rows.mutable_data(), *g_row = truth_rows.mutable_data();
    int64_t groups;
    {
        const WithoutGil release;
        groups =
            group_rows(d_key.data(), n, g_key.data(), m, found.get(), d_row, start.get(), g_row, truth_start.get());
    }
    return py::make_tuple(copy(found.get(), groups), rows, copy(start.get(), groups + 1), truth_rows,
                          copy(truth_start.get(), groups + 1));
}

const Bindings registered([](py::module_& m) {
    m.def("match_groups", match);
    m.def("accumulate", accumulate_all);
    m.def("group_rows", group);
});

}  // namespace
}  // namespace detection_bindings
}  // namespace fastdet
