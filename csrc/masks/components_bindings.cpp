// fastdet._cpp: connected components.
#include <cstring>
#include <vector>

#include "core/threads.h"
#include "masks/components.h"
#include "python/cpp.h"

namespace fastdet {
namespace components_bindings {
namespace {

// labels (n, height, width); gives the map, areas, boxes, labels and offsets.
py::tuple components(const py::array& labels, bool eight) {
    const char kind = labels.dtype().kind();
    constexpr int64_t kMost = (int64_t(1) << 31) - 1;
    if (labels.ndim() != 3 || !is_plain(labels) || kind != 'u' || labels.itemsize() > 8)
        throw py::type_error("fastdet._cpp: invalid labels");
    const int64_t n = labels.shape(0), height = labels.shape(1), width = labels.shape(2), pixels = height * width;
    if (width && (height > kMost / width || width == kMost)) throw py::value_error("fastdet._cpp: too many pixels");
    py::array_t<int32_t> out({n, height, width});
    std::vector<Components> found(static_cast<size_t>(n));
    const auto* from = static_cast<const char*>(labels.data());
    const int bytes = int(labels.itemsize());
    int32_t* to = out.mutable_data();
    {
        const WithoutGil release;
        parallel_for(n, [&](int64_t i) {
            found[size_t(i)] =
                connected_components(from + i * pixels * bytes, bytes, height, width, eight, to + i * pixels);
        });
    }
    py::array_t<int64_t> offsets(n + 1);
    int64_t* at = offsets.mutable_data();
    at[0] = 0;
    for (int64_t i = 0; i < n; ++i) at[i + 1] = at[i] + int64_t(found[size_t(i)].area.size());
    const int64_t count = at[n];
    py::array_t<int64_t> areas(count);
    py::array kinds(labels.dtype(), std::vector<py::ssize_t>{count});
    py::array_t<double> boxes({count, int64_t(4)});
    int64_t* area = areas.mutable_data();
    auto* kind_to = static_cast<char*>(kinds.mutable_data());
    double* box = boxes.mutable_data();
    for (int64_t i = 0; i < n; ++i) {
        const Components& each = found[size_t(i)];
        for (const int64_t x : each.area) *area++ = x;
        for (const int64_t x : each.first) {
            std::memcpy(kind_to, from + (x + i * pixels) * bytes, size_t(bytes));
            kind_to += bytes;
        }
        for (const int32_t x : each.box) *box++ = x;
    }
    return py::make_tuple(out, areas, boxes, kinds, offsets);
}

const Bindings registered([](py::module_& m) { m.def("connected_components", components); });

}  // namespace
}  // namespace components_bindings
}  // namespace fastdet
