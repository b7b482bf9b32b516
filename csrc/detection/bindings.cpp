// fastdet._cpp: scoring detections.
#include "python/cpp.h"

#include <vector>

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

const int64_t* integers(const py::array& x, int64_t n) {
    if (x.ndim() != 1 || x.shape(0) != n) throw py::value_error(kInvalid);
    return data<int64_t>(x);
}

const uint8_t* bytes_of(const py::array& x, int64_t size) {
    if (x.dtype().kind() != 'u' || x.itemsize() != 1 || !is_plain(x) || x.size() != size)
        throw py::value_error(kInvalid);
    return static_cast<const uint8_t*>(x.data());
}

// 0 = start[0] <= start[1] <= ... <= start[groups] = last.
const int64_t* starts(const py::array& x, int64_t groups, int64_t last) {
    const int64_t* start = integers(x, groups + 1);
    bool fits = start[0] == 0 && start[groups] == last;
    for (int64_t i = 0; i < groups; ++i) fits = fits && start[i] <= start[i + 1];
    if (!fits) throw py::value_error(kInvalid);
    return start;
}

// Places of n rows.
const int64_t* rows_of(const py::array& x, int64_t n) {
    const int64_t* row = integers(x, n);
    bool fits = true;
    for (int64_t i = 0; i < n; ++i) fits &= row[i] >= 0 && row[i] < n;
    if (!fits) throw py::value_error(kInvalid);
    return row;
}

py::tuple match(const py::array& boxes, const py::array& scores, const py::array& areas, const py::array& rows,
                const py::array& start, const py::array& truth, const py::array& truth_areas, const py::array& flags,
                const py::array& truth_rows, const py::array& truth_start, const py::array& thresholds,
                const py::array& ranges, int64_t max_detections, double offset, bool voc, bool with_matched) {
    const int64_t n = boxes.shape(0), m = truth.shape(0), groups = start.size() - 1;
    const int64_t T = thresholds.size(), A = ranges.shape(0);
    if (groups < 0) throw py::value_error(kInvalid);
    const Detections d{reinterpret_cast<const BoxWH*>(doubles(boxes, n, 4)), doubles(scores, n, 0),
                       doubles(areas, n, 0), rows_of(rows, n)};
    const Truths g{reinterpret_cast<const BoxWH*>(doubles(truth, m, 4)), doubles(truth_areas, m, 0), bytes_of(flags, m),
                   rows_of(truth_rows, m)};
    const int64_t *d_start = starts(start, groups, n), *g_start = starts(truth_start, groups, m);
    const MatchRule rule{doubles(thresholds, T, 0), T, doubles(ranges, A, 2), A, max_detections, offset, voc};
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
        match_groups(d, d_start, g, g_start, groups, rule, o, k, out, c, to);
    }
    return py::make_tuple(order, kept, outcomes, counted, matched);
}

py::tuple accumulate_all(const py::array& scores, const py::array& outcomes, const py::array& start,
                         const py::array& counted, const py::array& of_class, int64_t T, const py::array& recalls,
                         const py::array& max_detections) {
    const int64_t n = scores.size(), groups = start.size() - 1, classes = of_class.size() - 1;
    if (groups < 0 || classes < 0 || T < 1 || counted.ndim() != 2 || counted.shape(0) != groups)
        throw py::value_error(kInvalid);
    const int64_t A = counted.shape(1), R = recalls.size(), M = max_detections.size();
    const Records records{doubles(scores, n, 0),  bytes_of(outcomes, n * packed_bytes(T * A)), starts(start, groups, n),
                          data<int64_t>(counted), starts(of_class, classes, groups),           classes};
    for (int64_t i = 0, size = outcomes.size(); i < size; ++i) {
        if (records.outcomes[i] >= 243) throw py::value_error(kInvalid);
    }
    py::array_t<double> precision({T, R, classes, A, M}), recall({T, classes, A, M}), at({T, R, classes, A, M});
    const Curve curve{
        doubles(recalls, R, 0), R, integers(max_detections, M), M, precision.mutable_data(), recall.mutable_data(),
        at.mutable_data()};
    {
        const WithoutGil release;
        accumulate(records, T, A, curve);
    }
    return py::make_tuple(precision, recall, at);
}

const int64_t* keys_of(const py::array& x) {
    const int64_t* key = integers(x, x.size());
    bool fits = true;
    for (int64_t i = 0; i < x.size(); ++i) fits &= key[i] >= 0;
    if (!fits) throw py::value_error(kInvalid);
    return key;
}

py::tuple group(const py::array& keys, const py::array& truth_keys) {
    const int64_t n = keys.size(), m = truth_keys.size();
    const int64_t *d_key = keys_of(keys), *g_key = keys_of(truth_keys);
    py::array_t<int64_t> rows(n), truth_rows(m);
    Buffer<int64_t> found(n + m), start(n + m + 1), truth_start(n + m + 1);
    int64_t *d_row = rows.mutable_data(), *g_row = truth_rows.mutable_data();
    int64_t groups;
    {
        const WithoutGil release;
        groups = group_rows(d_key, n, g_key, m, found.get(), d_row, start.get(), g_row, truth_start.get());
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
