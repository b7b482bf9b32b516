// fastdet._cuda: masks.
#include "masks/cuda.h"
#include "python/cuda.h"

namespace fastdet {
namespace masks_bindings {
namespace {

// What a launch can count: blocks of 2^31 - 1.
constexpr int64_t kMost = int64_t(1) << 38;

CudaMasks image_of(int64_t count, int64_t height, int64_t width, bool bits, Pointer out) {
    constexpr int64_t side = int64_t(1) << 31;
    if (count < 0 || height < 0 || width < 0 || height >= side || width >= side || count >= side ||
        (height && width && count > kMost / (height * (width + 8))))
        throw py::value_error("fastdet._cuda: invalid size");
    return {count, height, width, bits, at<uint8_t>(out, 1)};
}

void check_sides(int64_t h, int64_t w) {
    if (h < 1 || w < 1 || h >= int64_t(1) << 30 || w >= int64_t(1) << 30)
        throw py::value_error("fastdet._cuda: invalid size");
}

void paste(Pointer masks, Pointer boxes, int64_t first, int64_t count, int64_t h, int64_t w, int64_t height,
           int64_t width, float threshold, bool bits, Pointer out, int device, Pointer stream) {
    check_sides(h, w);
    if (first < 0) throw py::value_error("fastdet._cuda: invalid size");
    const CudaMasks image = image_of(count, height, width, bits, out);
    queue("paste_masks", {count, h, w, height, width}, device, stream, [&](cudaStream_t s) {
        paste_masks_cuda(at<const float>(masks) + first * h * w, at<const double>(boxes) + 4 * first, h, w, threshold,
                         image, s);
    });
}

void process(Pointer prototypes, Pointer coefficients, Pointer boxes, int64_t first, int64_t count, int64_t k,
             int64_t h, int64_t w, int64_t height, int64_t width, Pointer logits, bool bits, Pointer out, int device,
             Pointer stream) {
    check_sides(h, w);
    if (first < 0 || k < 1) throw py::value_error("fastdet._cuda: invalid size");
    const CudaMasks image = image_of(count, height, width, bits, out);
    queue("process_mask", {count, k, h, w, height, width}, device, stream, [&](cudaStream_t s) {
        process_mask_cuda(at<const float>(prototypes), at<const float>(coefficients) + first * k,
                          at<const double>(boxes) + 4 * first, k, h, w, at<float>(logits), image, s);
    });
}

void decode_runs(Pointer ends, Pointer offsets, int64_t count, int64_t height, int64_t width, bool columns, Pointer out,
                 int device, Pointer stream) {
    const CudaMasks image = image_of(count, height, width, false, out);
    queue("decode", {count, height, width}, device, stream,
          [&](cudaStream_t s) { decode_cuda(at<const int64_t>(ends), at<const int64_t>(offsets), columns, image, s); });
}

void to_boxes(Pointer masks, int64_t n, int64_t height, int64_t width, Pointer boxes, int device, Pointer stream) {
    image_of(n, height, width, false, masks);
    queue("masks_to_boxes", {n, height, width}, device, stream, [&](cudaStream_t s) {
        masks_to_boxes_cuda(at<const uint8_t>(masks, 1), n, height, width, at<float>(boxes), s);
    });
}

const Bindings registered([](py::module_& m) {
    m.def("paste_masks", paste);
    m.def("process_mask", process);
    m.def("decode", decode_runs);
    m.def("masks_to_boxes", to_boxes);
});

}  // namespace
}  // namespace masks_bindings
}  // namespace fastdet
