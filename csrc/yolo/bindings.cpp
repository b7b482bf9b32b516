// fastdet._cpp: the candidates of YOLO.
#include "python/cpp.h"

#include "yolo/yolo_candidates.h"

namespace fastdet {
namespace yolo_bindings {
namespace {

py::object candidates(const py::array& output, bool planes, int64_t classes, bool objectness, bool multi_label,
                      double threshold) {
    if (output.ndim() != 3) throw py::type_error("fastdet._cpp: invalid array");
    return by_dtype(output, [&](auto t) -> py::object {
        using T = decltype(t);
        const YoloJob<T> job{data<T>(output),
                             output.shape(0),
                             output.shape(planes ? 2 : 1),
                             output.shape(planes ? 1 : 2),
                             classes,
                             planes,
                             objectness,
                             T(threshold)};
        if (classes < 1 || classes > job.channels - first_class(job))
            throw py::value_error("fastdet._cpp: invalid number of channels");
        YoloCandidates<T> found(job, multi_label);
        int64_t wrong;
        {
            const WithoutGil release;
            wrong = found.look();
        }
        if (wrong >= 0) return py::int_(wrong);
        const int64_t n = found.count();
        py::array_t<T> boxes({n, int64_t(4)}), scores(n);
        py::array_t<int64_t> labels(n), images(n), rows(n);
        found.write(reinterpret_cast<Box<T>*>(boxes.mutable_data()), scores.mutable_data(), labels.mutable_data(),
                    images.mutable_data(), rows.mutable_data());
        return py::make_tuple(boxes, scores, labels, images, rows);
    });
}

const Bindings registered([](py::module_& m) { m.def("yolo_candidates", candidates); });

}  // namespace
}  // namespace yolo_bindings
}  // namespace fastdet
