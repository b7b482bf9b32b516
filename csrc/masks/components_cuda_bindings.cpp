// fastdet._cuda: connected components.
#include <array>

#include "masks/components_cuda.h"
#include "python/cuda.h"

namespace fastdet {
namespace components_bindings {
namespace {

ComponentMaps maps_of(int bytes, Pointer labels, const std::array<int64_t, 3>& shape, bool eight) {
    const auto [n, height, width] = shape;
    constexpr int64_t kMost = (int64_t(1) << 31) - 1;
    const bool whole = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    if (!whole || n < 0 || height < 0 || width < 0 || n > kMost || height > kMost || width > kMost ||
        (height > 0 && width > kMost / height) || (height * width > 0 && n > kMost / (height * width)))
        throw py::value_error("fastdet._cuda: invalid labels");
    return {at<const void>(labels), bytes, n, height, width, eight};
}

void find(int bytes, Pointer labels, const std::array<int64_t, 3>& shape, bool eight, Pointer workspace, Pointer first,
          Pointer count, int device, Pointer stream) {
    const ComponentMaps maps = maps_of(bytes, labels, shape, eight);
    queue("connected_components", {shape[0], shape[1], shape[2]}, device, stream, [&](cudaStream_t s) {
        find_components(maps, at<void>(workspace), at<int64_t>(first, 8), at<int64_t>(count, 8), s);
    });
}

// results: the pointers of the map, areas, boxes, labels and offsets.
void measure(int bytes, Pointer labels, const std::array<int64_t, 3>& shape, Pointer workspace, Pointer first,
             int64_t count, Pointer ends, const std::array<Pointer, 5>& results, int device, Pointer stream) {
    const ComponentMaps maps = maps_of(bytes, labels, shape, false);
    if (count < 0 || count > maps.pixels()) throw py::value_error("fastdet._cuda: invalid number of components");
    const ComponentResults to{at<int32_t>(results[0], 4), at<int64_t>(results[1], 8), at<double>(results[2], 8),
                              at<void>(results[3], size_t(bytes)), at<int64_t>(results[4], 8)};
    queue("connected_components", {shape[0], shape[1], shape[2]}, device, stream, [&](cudaStream_t s) {
        measure_components(maps, at<void>(workspace), at<const int64_t>(first, 8), count, at<int32_t>(ends, 4), to, s);
    });
}

const Bindings registered([](py::module_& m) {
    m.def("components_workspace", components_workspace);
    m.def("find_components", find);
    m.def("measure_components", measure);
});

}  // namespace
}  // namespace components_bindings
}  // namespace fastdet
