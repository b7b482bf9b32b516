// fastdet._cpp: keypoints.
#include "core/pairs.h"
#include "keypoints/oks.h"
#include "python/groups.h"

namespace fastdet {
namespace keypoints_bindings {
namespace {

constexpr const char* kInvalid = "fastdet._cpp: invalid keypoints";

py::array oks(const py::array& points, const py::array& true_points, const py::array& areas, const py::array& boxes,
              const py::array& sigmas, const py::array& rows, const py::array& start, const py::array& true_rows,
              const py::array& true_start) {
    if (points.ndim() != 3 || true_points.ndim() != 3 || sigmas.ndim() != 1) throw py::value_error(kInvalid);
    const int64_t n = points.shape(0), m = true_points.shape(0), K = sigmas.shape(0);
    if (K < 1 || points.shape(1) != K || points.shape(2) != 3 || true_points.shape(1) != K ||
        true_points.shape(2) != 3 || areas.ndim() != 1 || areas.shape(0) != m || boxes.ndim() != 2 ||
        boxes.shape(0) != m || boxes.shape(1) != 4)
        throw py::value_error(kInvalid);
    const Numbers row = within(copy_of(rows, rows.size()), n - 1),
                  true_row = within(copy_of(true_rows, true_rows.size()), m - 1);
    const int64_t groups = start.size() - 1;
    const Numbers d_start = starts(start, groups, int64_t(row.size())),
                  g_start = starts(true_start, groups, int64_t(true_row.size()));
    const KeypointGroups d{data<double>(points), row, d_start}, g{data<double>(true_points), true_row, g_start};
    const double* sigma = data<double>(sigmas);
    std::vector<double> variances(size_t(K), 0);
    for (size_t k = 0; k < size_t(K); ++k) variances[k] = (sigma[k] * 2) * (sigma[k] * 2);
    const KeypointTruth truth{data<double>(areas), data<double>(boxes), variances.data(), K};
    py::array_t<double> out(pair_starts(d_start, g_start).back());
    double* to = out.mutable_data();
    const WithoutGil release;
    oks_of_groups(d, g, truth, to);
    return std::move(out);
}

const Bindings registered([](py::module_& m) { m.def("oks_of_groups", oks); });

}  // namespace
}  // namespace keypoints_bindings
}  // namespace fastdet
