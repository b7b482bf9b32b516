// fastdet._cuda: RoI ops.
#include "cuda/fault.h"
#include "python/cuda.h"
#include "roi/cuda.h"
#include "roi/taps.h"

namespace fastdet {
namespace roi_bindings {
namespace {

// (dtype, input, result, channels_last, boxes, levels or 0, level, scale, ratio, aligned, scratch of 16 bytes)
using Arrays = std::tuple<char, Pointer, Pointer, bool, Pointer, Pointer, int64_t, double, int64_t, bool, Pointer>;
// images, channels, height, width, count, bins_y, bins_x
using Sizes = std::array<int64_t, 7>;

RoiCuda call_of(const Arrays& arrays, const Sizes& sizes, bool own_channels, int64_t* fault) {
    const auto [dtype, from, to, last, boxes, levels, level, scale, ratio, aligned, scratch] = arrays;
    const auto [images, channels, height, width, count, bins_y, bins_x] = sizes;
    constexpr int64_t kMax = int64_t(1) << 31, kMost = int64_t(1) << 38;  // sides; values, for blocks below 2^31
    for (const int64_t n : sizes) {
        if (n < 0 || n >= kMax) throw py::value_error("fastdet._cuda: invalid size");
    }
    const auto too_many = [&](int64_t a, int64_t b, int64_t c, int64_t d) {
        return a && b && c && d && (a > kMost / b || a * b > kMost / c || a * b * c > kMost / d);
    };
    if (!height || !width || !bins_y || !bins_x || ratio < 0 || ratio > 4096 || bins_y > kMost / bins_x ||
        too_many(images, channels + 64, height + 4, width + 8) || too_many(count, channels, bins_y, bins_x) ||
        (own_channels && channels % (bins_y * bins_x)))
        throw py::value_error("fastdet._cuda: invalid size");
    RoiCuda call = {};
    call.job = {at<const void>(from),
                at<void>(to),
                last,
                images,
                channels,
                height,
                width,
                count,
                bins_y,
                bins_x,
                at<const void>(boxes),
                at<const int64_t>(levels, 8),
                level,
                scale,
                ratio,
                aligned};
    call.own_channels = own_channels;
    call.bad = at<int64_t>(scratch, 8), call.fault = fault;
    return call;
}

template <class F>
void run(const char* op, const Fault& fault, const Arrays& arrays, const Sizes& sizes, bool own, int device,
         Pointer stream, F&& f) {
    RoiCuda call = call_of(arrays, sizes, own, nullptr);
    by_float(std::get<0>(arrays), [&](auto s) {
        queue(op, {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]}, device, stream, [&](cudaStream_t stream_) {
            call.fault = fault.slot();
            f(s, call, stream_);
        });
    });
}

const Fault align_fault("roi_align"), align_back_fault("roi_align_backward"), pool_fault("roi_pool"),
    pool_back_fault("roi_pool_backward"), own_align_fault("ps_roi_align"),
    own_align_back_fault("ps_roi_align_backward"), own_pool_fault("ps_roi_pool"),
    own_pool_back_fault("ps_roi_pool_backward");

void align(const Arrays& arrays, const Sizes& sizes, int device, Pointer stream) {
    run("roi_align", align_fault, arrays, sizes, false, device, stream,
        [](auto s, const RoiCuda& call, cudaStream_t to) { roi_align_cuda<decltype(s)>(call, to); });
}
void align_backward(const Arrays& arrays, const Sizes& sizes, int device, Pointer stream) {
    run("roi_align_backward", align_back_fault, arrays, sizes, false, device, stream,
        [](auto s, const RoiCuda& call, cudaStream_t to) { roi_align_backward_cuda<decltype(s)>(call, to); });
}
void own_align(const Arrays& arrays, const Sizes& sizes, int device, Pointer stream) {
    run("ps_roi_align", own_align_fault, arrays, sizes, true, device, stream,
        [](auto s, const RoiCuda& call, cudaStream_t to) { roi_align_cuda<decltype(s)>(call, to); });
}
void own_align_backward(const Arrays& arrays, const Sizes& sizes, int device, Pointer stream) {
    run("ps_roi_align_backward", own_align_back_fault, arrays, sizes, true, device, stream,
        [](auto s, const RoiCuda& call, cudaStream_t to) { roi_align_backward_cuda<decltype(s)>(call, to); });
}
void own_pool(const Arrays& arrays, const Sizes& sizes, int device, Pointer stream) {
    run("ps_roi_pool", own_pool_fault, arrays, sizes, true, device, stream,
        [](auto s, const RoiCuda& call, cudaStream_t to) { ps_roi_pool_cuda<decltype(s)>(call, to); });
}
void own_pool_backward(const Arrays& arrays, const Sizes& sizes, int device, Pointer stream) {
    run("ps_roi_pool_backward", own_pool_back_fault, arrays, sizes, true, device, stream,
        [](auto s, const RoiCuda& call, cudaStream_t to) { ps_roi_pool_backward_cuda<decltype(s)>(call, to); });
}

void pool(const Arrays& arrays, const Sizes& sizes, Pointer places, int device, Pointer stream) {
    int64_t* to = at<int64_t>(places);
    run("roi_pool", pool_fault, arrays, sizes, false, device, stream,
        [&](auto s, const RoiCuda& call, cudaStream_t on) { roi_pool_cuda<decltype(s)>(call, to, on); });
}
void pool_backward(const Arrays& arrays, const Sizes& sizes, Pointer places, Pointer sums, int device, Pointer stream) {
    const int64_t* from = at<const int64_t>(places);
    void* scratch = at<void>(sums);
    run("roi_pool_backward", pool_back_fault, arrays, sizes, false, device, stream,
        [&](auto s, const RoiCuda& call, cudaStream_t on) {
            roi_pool_backward_cuda<decltype(s)>(call, from, scratch, on);
        });
}

void levels(char dtype, Pointer boxes, int64_t count, const std::vector<double>& bounds, Pointer out, int device,
            Pointer stream) {
    if (count < 0 || count >= int64_t(1) << 31 || bounds.size() > size_t(RoiBounds::kMax))
        throw py::value_error("fastdet._cuda: invalid size");
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("multiscale_roi_align", {count}, device, stream, [&](cudaStream_t s) {
            roi_levels_cuda(at<const T>(boxes), count, bounds.data(), int(bounds.size()), at<int64_t>(out), s);
        });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("roi_align", align);
    m.def("roi_align_backward", align_backward);
    m.def("roi_levels", levels);
    m.def("roi_pool", pool);
    m.def("roi_pool_backward", pool_backward);
    m.def("ps_roi_align", own_align);
    m.def("ps_roi_align_backward", own_align_backward);
    m.def("ps_roi_pool", own_pool);
    m.def("ps_roi_pool_backward", own_pool_backward);
});

}  // namespace
}  // namespace roi_bindings
}  // namespace fastdet
