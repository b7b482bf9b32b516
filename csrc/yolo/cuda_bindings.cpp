// fastdet._cuda: YOLO's candidates.
#include "python/cuda.h"
#include "yolo/cuda.h"

namespace fastdet {
namespace yolo_bindings {
namespace {

template <class T>
YoloJob<T> job_of(Pointer x, int64_t images, int64_t candidates, int64_t channels, int64_t classes, bool planes,
                  bool objectness, double threshold) {
    if (images < 0 || candidates < 0 || classes < 1 || classes > channels - (objectness ? 5 : 4))
        throw py::value_error("fastdet._cuda: invalid outputs");
    return {at<const T>(x, sizeof(T)), images, candidates, channels, classes, planes, objectness, T(threshold)};
}

void look(char dtype, Pointer x, int64_t images, int64_t candidates, int64_t channels, int64_t classes, bool planes,
          bool objectness, double threshold, bool multi_label, Pointer workspace, Pointer places, Pointer status,
          int device, Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        const auto job = job_of<decltype(t)>(x, images, candidates, channels, classes, planes, objectness, threshold);
        queue("yolo_candidates", {images, candidates, channels}, device, stream, [&](cudaStream_t queued) {
            yolo_look_cuda(job, multi_label, at<void>(workspace), at<int64_t>(places, 8), at<Status>(status, 8),
                           queued);
        });
    });
}

void write(char dtype, Pointer x, int64_t images, int64_t candidates, int64_t channels, int64_t classes, bool planes,
           bool objectness, double threshold, bool multi_label, Pointer workspace, Pointer places, int64_t count,
           Pointer boxes, Pointer scores, Pointer labels, Pointer of_image, Pointer rows, Pointer keys, int device,
           Pointer stream) {
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        const auto job = job_of<T>(x, images, candidates, channels, classes, planes, objectness, threshold);
        queue("yolo_candidates", {images, candidates, channels}, device, stream, [&](cudaStream_t queued) {
            yolo_write_cuda(job, multi_label, at<const void>(workspace), at<const int64_t>(places, 8), count,
                            at<Box<T>>(boxes), at<T>(scores, sizeof(T)), at<int64_t>(labels, 8),
                            at<int64_t>(of_image, 8), at<int64_t>(rows, 8), at<int64_t>(keys, 8), queued);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("yolo_workspace", yolo_workspace);
    m.def("yolo_look", look);
    m.def("yolo_write", write);
});

}  // namespace
}  // namespace yolo_bindings
}  // namespace fastdet
