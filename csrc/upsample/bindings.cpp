// fastdet._cpp: bilinear resampling.
#include "python/cpp.h"

#include <cmath>

#include "upsample/upsample_bilinear.h"

namespace fastdet {
namespace upsample_bindings {
namespace {

Pixel pixel_of(const py::array& x) {
    const auto* dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(x.ptr())->descr);
    if (is_plain(x)) {
        switch (dtype->type) {
            case 'f':
                return Pixel::f32;
            case 'd':
                return Pixel::f64;
            case 'e':
                return Pixel::f16;
            case 'B':
                return Pixel::u8;
            case 'b':
                return Pixel::i8;
            case 'V':
                if (x.itemsize() == 2) return Pixel::bf16;
        }
    }
    throw py::type_error("fastdet._cpp: invalid array");
}

struct Image {
    int64_t planes, height, width, channels;
};

Image image_of(const py::array& x, bool channels_last) {
    if (x.ndim() != 4) throw py::value_error("fastdet._cpp: an image must have 4 axes");
    if (channels_last) return {x.shape(0), x.shape(1), x.shape(2), x.shape(3)};
    return {x.shape(0) * x.shape(1), x.shape(2), x.shape(3), 1};
}

// The checks of both directions: `small` is the input of the forward one, `large` its result.
UpsampleJob job_of(const py::array& small, const py::array& large, bool channels_last, bool align_corners,
                   double factor_y, double factor_x) {
    const Image a = image_of(small, channels_last), b = image_of(large, channels_last);
    const auto fits = [](int64_t in, int64_t out, double factor) {
        return in > 0 && out > 0 && (!(factor > 0) || std::floor(double(in) * factor) == double(out));
    };
    if (a.planes != b.planes || a.channels != b.channels || !fits(a.height, b.height, factor_y) ||
        !fits(a.width, b.width, factor_x))
        throw py::value_error("fastdet._cpp: invalid sizes");
    UpsampleJob job = {};
    job.planes = a.planes, job.channels = a.channels;
    job.in_h = a.height, job.in_w = a.width, job.out_h = b.height, job.out_w = b.width;
    job.align_corners = align_corners, job.factor_y = factor_y, job.factor_x = factor_x;
    return job;
}

void forward(const py::array& x, bool channels_last, bool align_corners, double factor_y, double factor_x,
             py::array& out) {
    UpsampleJob job = job_of(x, out, channels_last, align_corners, factor_y, factor_x);
    const Pixel pixel = pixel_of(x);
    if (pixel_of(out) != pixel) throw py::type_error("fastdet._cpp: invalid array");
    job.from = x.data(), job.to = out.mutable_data();
    const WithoutGil release;
    upsample_bilinear(job, pixel);
}

void backward(const py::array& grad, bool channels_last, bool align_corners, double factor_y, double factor_x,
              py::array& out) {
    UpsampleJob job = job_of(out, grad, channels_last, align_corners, factor_y, factor_x);
    const Pixel pixel = pixel_of(grad);
    if (pixel_of(out) != pixel || pixel == Pixel::u8 || pixel == Pixel::i8)
        throw py::type_error("fastdet._cpp: invalid array");
    job.from = grad.data(), job.to = out.mutable_data();
    const WithoutGil release;
    upsample_bilinear_backward(job, pixel);
}

const Bindings registered([](py::module_& m) {
    m.def("upsample_bilinear", forward);
    m.def("upsample_bilinear_backward", backward);
});

}  // namespace
}  // namespace upsample_bindings
}  // namespace fastdet
