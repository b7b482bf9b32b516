// fastdet._cpp: overlaps of masks, group by group.
#include "core/pairs.h"
#include "masks/arguments.h"
#include "masks/groups.h"
#include "python/groups.h"

namespace fastdet {
namespace masks_bindings {
namespace {

py::array iou_of_groups(const py::array& counts1, const py::array& offsets1, const py::array& sizes1,
                        const py::array& counts2, const py::array& offsets2, const py::array& sizes2,
                        const py::array& crowd, const py::array& rows1, const py::array& start1, const py::array& rows2,
                        const py::array& start2) {
    const Runs a = runs_of(counts1, offsets1), b = runs_of(counts2, offsets2);
    const Numbers heights_a = heights_of(sizes1, a.size()), heights_b = heights_of(sizes2, b.size());
    const Numbers row_a = within(copy_of(rows1, rows1.size()), a.size() - 1),
                  row_b = within(copy_of(rows2, rows2.size()), b.size() - 1);
    const int64_t groups = start1.size() - 1;
    const Numbers start_a = starts(start1, groups, int64_t(row_a.size())),
                  start_b = starts(start2, groups, int64_t(row_b.size()));
    if (crowd.ndim() != 1 || crowd.shape(0) != b.size()) throw py::type_error("fastdet._cpp: invalid array");
    const bool* flags = data<bool>(crowd);
    py::array_t<double> out(pair_starts(start_a, start_b).back());
    double* to = out.mutable_data();
    const WithoutGil release;
    mask_iou_of_groups({a, heights_a.data(), row_a, start_a}, {b, heights_b.data(), row_b, start_b}, flags, to);
    return std::move(out);
}

const Bindings registered([](py::module_& m) { m.def("mask_iou_of_groups", iou_of_groups); });

}  // namespace
}  // namespace masks_bindings
}  // namespace fastdet
