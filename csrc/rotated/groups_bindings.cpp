// fastdet._cpp: overlaps of rotated boxes, group by group.
#include "core/pairs.h"
#include "python/groups.h"
#include "rotated/groups.h"

namespace fastdet {
namespace rotated_group_bindings {
namespace {

int64_t rows_of(const py::array& boxes, int64_t numbers) {
    if (boxes.ndim() != 2 || boxes.shape(1) != numbers) throw py::value_error("fastdet._cpp: invalid boxes");
    return boxes.shape(0);
}

py::array iou_of_groups(const py::array& boxes1, const py::array& boxes2, const py::array& crowd,
                        const py::array& rows1, const py::array& start1, const py::array& rows2,
                        const py::array& start2) {
    const int64_t numbers = boxes1.ndim() == 2 ? boxes1.shape(1) : 0;
    if (numbers != 5 && numbers != 8) throw py::value_error("fastdet._cpp: invalid boxes");
    const int64_t n = rows_of(boxes1, numbers), m = rows_of(boxes2, numbers);
    const Numbers row_a = within(copy_of(rows1, rows1.size()), n - 1),
                  row_b = within(copy_of(rows2, rows2.size()), m - 1);
    const int64_t groups = start1.size() - 1;
    const Numbers start_a = starts(start1, groups, int64_t(row_a.size())),
                  start_b = starts(start2, groups, int64_t(row_b.size()));
    if (crowd.ndim() != 1 || crowd.shape(0) != m) throw py::type_error("fastdet._cpp: invalid array");
    const bool* flags = data<bool>(crowd);
    const double *a = data<double>(boxes1), *b = data<double>(boxes2);
    py::array_t<double> out(pair_starts(start_a, start_b).back());
    double* to = out.mutable_data();
    const WithoutGil release;
    rotated_iou_of_groups({a, row_a, start_a}, {b, row_b, start_b}, int(numbers), flags, to);
    return std::move(out);
}

const Bindings registered([](py::module_& m) { m.def("rotated_iou_of_groups", iou_of_groups); });

}  // namespace
}  // namespace rotated_group_bindings
}  // namespace fastdet
