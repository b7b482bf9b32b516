// fastdet._cuda: resampling.
#include <cmath>

#include "python/cuda_tensors.h"
#include "upsample/cuda.h"

namespace fastdet {
namespace upsample_bindings {
namespace {

// Of the forward direction, whatever the op.
UpsampleJob job_of(int64_t planes, int64_t channels, int64_t in_h, int64_t in_w, int64_t out_h, int64_t out_w,
                   bool align_corners, double factor_y, double factor_x) {
    constexpr int64_t max_size = (int64_t(1) << 30) - 1;
    const auto fits = [](int64_t in, int64_t out, double factor) {
        return in > 0 && out > 0 && in <= max_size && out <= max_size &&
               (!(factor > 0) || std::floor(double(in) * factor) == double(out));
    };
    if (planes < 0 || channels < 0 || !fits(in_h, out_h, factor_y) || !fits(in_w, out_w, factor_x) ||
        channels > max_size / in_w || channels > max_size / out_w)
        throw py::value_error("fastdet._cuda: invalid sizes");
    UpsampleJob job = {};
    job.planes = planes, job.channels = channels;
    job.in_h = in_h, job.in_w = in_w, job.out_h = out_h, job.out_w = out_w;
    job.align_corners = align_corners, job.factor_y = factor_y, job.factor_x = factor_x;
    return job;
}

void forward(char dtype, Pointer x, int64_t planes, int64_t channels, int64_t in_h, int64_t in_w, int64_t out_h,
             int64_t out_w, bool align_corners, double factor_y, double factor_x, Pointer out, int device,
             Pointer stream) {
    UpsampleJob job = job_of(planes, channels, in_h, in_w, out_h, out_w, align_corners, factor_y, factor_x);
    job.from = at<const void>(x), job.to = at<void>(out);
    queue("upsample_bilinear", {planes, in_h, in_w, channels}, device, stream, [&](cudaStream_t s) {
        if (dtype == 'B') return upsample_bilinear_cuda<uint8_t>(job, s);
        if (dtype == 'b') return upsample_bilinear_cuda<Signed8>(job, s);
        by_float(dtype, [&](auto t) { upsample_bilinear_cuda<decltype(t)>(job, s); });
    });
}

void backward(char dtype, Pointer grad, int64_t planes, int64_t channels, int64_t in_h, int64_t in_w, int64_t out_h,
              int64_t out_w, bool align_corners, double factor_y, double factor_x, Pointer out, int device,
              Pointer stream) {
    UpsampleJob job = job_of(planes, channels, in_h, in_w, out_h, out_w, align_corners, factor_y, factor_x);
    job.from = at<const void>(grad), job.to = at<void>(out);
    by_float(dtype, [&](auto t) {
        queue("upsample_bilinear_backward", {planes, out_h, out_w, channels}, device, stream,
              [&](cudaStream_t s) { upsample_bilinear_backward_cuda<decltype(t)>(job, s); });
    });
}

// (N, C, H, W) to (N, C, height, width).
py::object quick_forward(const DeviceTensors& tensors, py::handle image, int64_t height, int64_t width,
                         bool align_corners, double factor_y, double factor_x) {
    return tensors.quick([&] {
        const DeviceTensor x = tensors.take(image, "fdeVBb", 4);
        const int64_t limit = (int64_t(1) << 30) - 1;
        if (x.size(0, 4) == 0 || x.shape[2] > limit || x.shape[3] > limit || height > limit || width > limit)
            throw Declined();
        const NewTensor out = tensors.empty(x, {x.shape[0], x.shape[1], height, width}, x.dtype);
        forward(x.dtype, x.data, x.size(0, 2), 1, x.shape[2], x.shape[3], height, width, align_corners, factor_y,
                factor_x, out.data, x.device, tensors.stream(x));
        return out.object;
    });
}

const Bindings registered([](py::module_& m) {
    m.def("upsample_bilinear", forward);
    add_quick(m, "upsample_bilinear", quick_forward);
    m.def("upsample_bilinear_backward", backward);
});

}  // namespace
}  // namespace upsample_bindings
}  // namespace fastdet
