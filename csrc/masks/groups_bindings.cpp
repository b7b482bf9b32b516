// fastdet._cpp: overlaps of masks, group by group.
#include "masks/arguments.h"
#include "masks/groups.h"

namespace fastdet {
namespace masks_bindings {
namespace {

using Numbers = std::vector<int64_t>;

// Copies of the rows and starts of groups, which decide addresses: rows within n; starts from 0 to the number of rows.
Numbers rows_within(const py::array& x, int64_t n) {
    const int64_t* from = flat<int64_t>(x);
    Numbers rows(from, from + x.shape(0));
    for (const int64_t row : rows) {
        if (row < 0 || row >= n) throw py::value_error("fastdet._cpp: invalid rows");
    }
    return rows;
}

Numbers starts_of(const py::array& x, const Numbers& rows) {
    Numbers start = rising(x, int64_t(rows.size()));
    if (start.front() != 0 || start.back() != int64_t(rows.size()))
        throw py::value_error("fastdet._cpp: invalid start");
    return start;
}

py::array iou_of_groups(const py::array& counts1, const py::array& offsets1, const py::array& sizes1,
                        const py::array& counts2, const py::array& offsets2, const py::array& sizes2,
                        const py::array& crowd, const py::array& rows1, const py::array& start1, const py::array& rows2,
                        const py::array& start2) {
    const Runs a = runs_of(counts1, offsets1), b = runs_of(counts2, offsets2);
    const Numbers heights_a = heights_of(sizes1, a.size()), heights_b = heights_of(sizes2, b.size());
    const Numbers row_a = rows_within(rows1, a.size()), row_b = rows_within(rows2, b.size());
    const Numbers start_a = starts_of(start1, row_a), start_b = starts_of(start2, row_b);
    if (start_a.size() != start_b.size() || crowd.ndim() != 1 || crowd.shape(0) != b.size())
        throw py::type_error("fastdet._cpp: invalid array");
    const bool* flags = data<bool>(crowd);
    int64_t pairs = 0;
    for (size_t i = 1; i < start_a.size(); ++i) pairs += (start_a[i] - start_a[i - 1]) * (start_b[i] - start_b[i - 1]);
    py::array_t<double> out(pairs);
    double* to = out.mutable_data();
    const WithoutGil release;
    mask_iou_of_groups({a, heights_a.data(), row_a, start_a}, {b, heights_b.data(), row_b, start_b}, flags, to);
    return std::move(out);
}

const Bindings registered([](py::module_& m) { m.def("mask_iou_of_groups", iou_of_groups); });

}  // namespace
}  // namespace masks_bindings
}  // namespace fastdet
