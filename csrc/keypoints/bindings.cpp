// fastdet._cpp: keypoints.
#include "keypoints/oks.h"
#include "python/cpp.h"

namespace fastdet {
namespace keypoints_bindings {
namespace {

using Numbers = std::vector<int64_t>;

constexpr const char* kInvalid = "fastdet._cpp: invalid keypoints";

// Copies of what decides addresses: rows within n, and starts of groups from 0 to the number of rows.
Numbers rows_within(const py::array& x, int64_t n) {
    const int64_t* from = data<int64_t>(x);
    Numbers rows(from, from + x.size());
    for (const int64_t row : rows) {
        if (row < 0 || row >= n) throw py::value_error(kInvalid);
    }
    return rows;
}

Numbers starts_of(const py::array& x, const Numbers& rows) {
    const int64_t* from = data<int64_t>(x);
    Numbers start(from, from + x.size());
    bool fits = !start.empty() && start.front() == 0 && start.back() == int64_t(rows.size());
    for (size_t i = 1; i < start.size(); ++i) fits = fits && start[i - 1] <= start[i];
    if (!fits) throw py::value_error(kInvalid);
    return start;
}

py::array oks(const py::array& points, const py::array& true_points, const py::array& areas, const py::array& boxes,
              const py::array& sigmas, const py::array& rows, const py::array& start, const py::array& true_rows,
              const py::array& true_start) {
    if (points.ndim() != 3 || true_points.ndim() != 3 || sigmas.ndim() != 1) throw py::value_error(kInvalid);
    const int64_t n = points.shape(0), m = true_points.shape(0), K = sigmas.shape(0);
    if (K < 1 || points.shape(1) != K || points.shape(2) != 3 || true_points.shape(1) != K ||
        true_points.shape(2) != 3 || areas.ndim() != 1 || areas.shape(0) != m || boxes.ndim() != 2 ||
        boxes.shape(0) != m || boxes.shape(1) != 4)
        throw py::value_error(kInvalid);
    const Numbers row = rows_within(rows, n), true_row = rows_within(true_rows, m);
    const Numbers d_start = starts_of(start, row), g_start = starts_of(true_start, true_row);
    if (d_start.size() != g_start.size()) throw py::value_error(kInvalid);
    int64_t pairs = 0;
    for (size_t i = 1; i < d_start.size(); ++i) pairs += (d_start[i] - d_start[i - 1]) * (g_start[i] - g_start[i - 1]);
    const KeypointGroups d{data<double>(points), row, d_start}, g{data<double>(true_points), true_row, g_start};
    const double* sigma = data<double>(sigmas);
    std::vector<double> variances(size_t(K), 0);
    for (size_t k = 0; k < size_t(K); ++k) variances[k] = (sigma[k] * 2) * (sigma[k] * 2);
    const KeypointTruth truth{data<double>(areas), data<double>(boxes), variances.data(), K};
    py::array_t<double> out(pairs);
    double* to = out.mutable_data();
    const WithoutGil release;
    oks_of_groups(d, g, truth, to);
    return std::move(out);
}

const Bindings registered([](py::module_& m) { m.def("oks_of_groups", oks); });

}  // namespace
}  // namespace keypoints_bindings
}  // namespace fastdet
