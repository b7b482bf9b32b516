// fastdet._cuda: confusion matrices.
#include "cuda/fault.h"
#include "python/cuda_tensors.h"
#include "segmentation/arguments.h"
#include "segmentation/cuda.h"

namespace fastdet {
namespace segmentation_bindings {
namespace {

// (kind, bytes of a label, pointer)
using Map = std::tuple<char, int, Pointer>;

LabelMap labels_of(const Map& map, int64_t classes, const py::object& ignore) {
    const auto [kind, bytes, labels] = map;
    const bool whole = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    if (!whole || (kind != 'i' && kind != 'u')) throw py::type_error("fastdet._cuda: invalid labels");
    return map_of(at<const void>(labels), kind, bytes, classes, ignore);
}

// (cells, whether each image has its own, workspace, fault): fault 0 is the op's place in the host's memory, another
// one the device's.
using Result = std::tuple<Pointer, bool, Pointer, Pointer>;

MatrixJob job_of(const Result& result, int64_t classes, const py::object& ignore) {
    const auto [cells, each, workspace, fault] = result;
    return {at<int64_t>(cells),  classes + !ignore.is_none(), each,
            at<void>(workspace), at<int64_t>(fault, 8),       fault != 0};
}

const Fault labels_fault("confusion_matrix"), logits_fault("confusion_matrix_from_logits");

void count(const Map& target, const Map& prediction, int64_t images, int64_t pixels, int64_t width, int64_t num_classes,
           const py::object& ignore, const Result& result, int device, Pointer stream) {
    const int64_t classes = class_count(num_classes);
    const LabelMap truth = labels_of(target, classes, ignore), predicted = labels_of(prediction, classes, ignore);
    MatrixJob job = job_of(result, classes, ignore);
    queue("confusion_matrix", {images, pixels}, device, stream, [&](cudaStream_t s) {
        if (!job.fault) job.fault = labels_fault.slot();
        confusion_matrix_cuda(truth, predicted, images, pixels, width, job, s);
    });
}

void count_logits(const Map& target, char dtype, Pointer logits, const std::array<int64_t, 4>& shape, int64_t height,
                  int64_t width, bool channels_last, bool align_corners, const py::object& ignore, const Result& result,
                  int device, Pointer stream) {
    const auto [images, num_classes, in_height, in_width] = shape;
    const int64_t classes = class_count(num_classes);
    const LabelMap truth = labels_of(target, classes, ignore), predicted = map_of(nullptr, 'u', 2, classes, ignore);
    MatrixJob job = job_of(result, classes, ignore);
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const Scores<S> scores{at<const S>(logits), channels_last, classes, in_height, in_width, height, width,
                               align_corners,       nullptr,       0};
        queue("confusion_matrix_from_logits", {shape[0], classes, shape[2], shape[3]}, device, stream,
              [&](cudaStream_t stream) {
                  if (!job.fault) job.fault = logits_fault.slot();
                  confusion_matrix_from_logits_cuda(truth, predicted, scores, shape[0], job, stream);
              });
    });
}

py::object quick_count(const DeviceTensors& tensors, py::handle target, py::handle prediction, int64_t classes,
                       const py::object& ignore) {
    return tensors.quick([&] {
        static const char integers[] = "bhiqBHIQ";
        const DeviceTensor a = tensors.take(target, integers, -1), b = tensors.take(prediction, integers, a.ndim, &a);
        if (!std::equal(a.shape, a.shape + a.ndim, b.shape)) throw Declined();
        const int64_t side = classes + !ignore.is_none();
        const NewTensor cells = tensors.empty(a, {side, side}, 'q');
        const Workspace workspace = tensors.workspace(a, confusion_workspace());
        const auto map = [](const DeviceTensor& x) {
            const auto place = std::strchr(integers, x.dtype) - integers;
            return Map{place < 4 ? 'i' : 'u', 1 << place % 4, x.data};
        };
        count(map(a), map(b), 1, a.size(0, a.ndim), a.ndim ? a.shape[a.ndim - 1] : 1, classes, ignore,
              Result{cells.data, false, workspace, 0}, a.device, tensors.stream(a));
        return cells.object;
    });
}

const Bindings registered([](py::module_& m) {
    m.def("confusion_workspace", confusion_workspace);
    m.def("confusion_matrix", count);
    add_quick(m, "confusion_matrix", quick_count);
    m.def("confusion_matrix_from_logits", count_logits);
});

}  // namespace
}  // namespace segmentation_bindings
}  // namespace fastdet
