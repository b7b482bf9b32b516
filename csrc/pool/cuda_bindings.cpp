// fastdet._cuda: pooling.
#include "pool/arguments.h"
#include "pool/cuda.h"
#include "python/cuda_tensors.h"

namespace fastdet {
namespace pool_bindings {
namespace {

PoolType scalar_of(char dtype) {
    switch (dtype) {
        case 'f':
            return PoolType::f32;
        case 'd':
            return PoolType::f64;
        case 'e':
            return PoolType::f16;
        case 'V':
            return PoolType::bf16;
        case 'B':
            return PoolType::u8;
        case 'b':
            return PoolType::i8;
        case 'i':
            return PoolType::i32;
        case 'l':
        case 'q':
            return PoolType::i64;
    }
    throw py::type_error(std::string("fastdet._cuda: no kernel for dtype ") + dtype);
}

// Images are (planes, height, width, inner), as in max_pool2d.h.
template <class Job>
Job job_of(const py::tuple& image, const py::tuple& pooled, const py::tuple& window) {
    if (image.size() != 4 || pooled.size() != 2) throw py::value_error("fastdet._cuda: invalid size");
    Job job = {};
    job.planes = image[0].cast<int64_t>(), job.inner = image[3].cast<int64_t>();
    if (job.planes < 0 || job.inner < 0) throw py::value_error("fastdet._cuda: invalid size");
    job.height = entry(image, 1, 1), job.width = entry(image, 2, 1);
    job.rows = entry(pooled, 0, 1), job.columns = entry(pooled, 1, 1);
    job.window = window_of(window);
    const PoolWindow& w = job.window;
    if ((job.rows - 1) * w.sh > job.height + w.sh || (job.columns - 1) * w.sw > job.width + w.sw)
        throw py::value_error("fastdet._cuda: invalid window");
    return job;
}

void pool(char dtype, Pointer x, const py::tuple& image, const py::tuple& pooled, const py::tuple& window, bool compact,
          Pointer values, Pointer indices, int device, Pointer stream) {
    PoolJob job = job_of<PoolJob>(image, pooled, window);
    job.type = scalar_of(dtype);
    job.x = at<const void>(x), job.values = at<void>(values), job.indices = at<void>(indices);
    job.compact = compact;
    const PoolWindow& w = job.window;
    if ((job.rows - 1) * w.sh - w.ph >= job.height || (job.columns - 1) * w.sw - w.pw >= job.width ||
        w.kh >= (int64_t(1) << 31) / job.width || (compact && w.kh * w.kw > 256))
        throw py::value_error("fastdet._cuda: invalid window");
    queue("max_pool2d", {job.planes, job.height, job.width, job.inner}, device, stream,
          [&](cudaStream_t s) { max_pool2d_cuda(job, s); });
}

PlaceJob places_of(PoolType type, bool add, const py::tuple& image, const py::tuple& pooled, const py::tuple& window,
                   bool compact) {
    PlaceJob job = job_of<PlaceJob>(image, pooled, window);
    if (add && type > PoolType::bf16) throw py::type_error("fastdet._cuda: invalid dtype");
    job.type = type, job.add = add, job.compact = compact;
    return job;
}

int64_t scatter_workspace(char dtype, bool add, const py::tuple& image, const py::tuple& pooled,
                          const py::tuple& window, bool compact) {
    return pool_places_workspace(places_of(add ? scalar_of(dtype) : PoolType::u8, add, image, pooled, window, compact));
}

const Fault pool_backward_fault("max_pool2d_backward"), unpool_fault("max_unpool2d"),
    unpool_backward_fault("max_unpool2d_backward");

void move(const char* op, const Fault& fault, PlaceJob job, Pointer x, Pointer indices, Pointer workspace, Pointer out,
          void (*kernel)(const PlaceJob&, void*, int64_t*, cudaStream_t), int device, Pointer stream) {
    job.x = at<const void>(x), job.indices = at<const void>(indices), job.out = at<void>(out);
    queue(op, {job.planes, job.height, job.width, job.inner}, device, stream,
          [&](cudaStream_t s) { kernel(job, at<void>(workspace), fault.slot(), s); });
}

void unpool(int64_t itemsize, Pointer x, Pointer indices, const py::tuple& image, const py::tuple& pooled,
            const py::tuple& window, bool compact, int64_t zero_point, Pointer workspace, Pointer out, int device,
            Pointer stream) {
    PlaceJob job = places_of(bits_of(itemsize), false, image, pooled, window, compact);
    job.fill = zero_point;
    move("max_unpool2d", unpool_fault, job, x, indices, workspace, out, max_unpool2d_cuda, device, stream);
}

void pool_backward(char dtype, Pointer grad, Pointer indices, const py::tuple& image, const py::tuple& pooled,
                   const py::tuple& window, bool compact, Pointer workspace, Pointer out, int device, Pointer stream) {
    move("max_pool2d_backward", pool_backward_fault, places_of(scalar_of(dtype), true, image, pooled, window, compact),
         grad, indices, workspace, out, max_unpool2d_cuda, device, stream);
}

void unpool_backward(int64_t itemsize, Pointer grad, Pointer indices, const py::tuple& image, const py::tuple& pooled,
                     const py::tuple& window, bool compact, Pointer workspace, Pointer out, int device,
                     Pointer stream) {
    move("max_unpool2d_backward", unpool_backward_fault,
         places_of(bits_of(itemsize), false, image, pooled, window, compact), grad, indices, workspace, out,
         max_unpool2d_backward_cuda, device, stream);
}

// (N, C, H, W): the values, and the places where they are wanted.
py::object quick_pool(const DeviceTensors& tensors, py::handle image, const py::tuple& window, const py::tuple& size,
                      bool compact, bool places) {
    return tensors.quick([&]() -> py::object {
        const DeviceTensor x = tensors.take(image, "fdeVBbiq", 4);
        const int64_t limit = (int64_t(1) << 30) - 1;
        for (const py::handle length : window) integer_in(length, 0, limit);  // kernel, stride, padding
        if (x.size(0, 4) == 0 || x.shape[2] > limit || x.shape[3] > limit) throw Declined();
        if (compact && window[0].cast<int64_t>() > 256 / window[1].cast<int64_t>()) throw Declined();
        const int64_t shape[] = {x.shape[0], x.shape[1], size[0].cast<int64_t>(), size[1].cast<int64_t>()};
        const NewTensor values = tensors.empty(x, shape, 4, x.dtype);
        const NewTensor indices = places ? tensors.empty(x, shape, 4, compact ? 'B' : 'q') : NewTensor{py::none(), 0};
        pool(x.dtype, x.data, py::make_tuple(x.size(0, 2), x.shape[2], x.shape[3], 1), size, window, compact,
             values.data, indices.data, x.device, tensors.stream(x));
        return places ? py::object(py::make_tuple(values.object, indices.object)) : values.object;
    });
}

const Bindings registered([](py::module_& m) {
    m.def("max_pool2d", pool);
    add_quick(m, "max_pool2d", quick_pool);
    m.def("pool_places_workspace", scatter_workspace);
    m.def("max_pool2d_backward", pool_backward);
    m.def("max_unpool2d", unpool);
    m.def("max_unpool2d_backward", unpool_backward);
});

}  // namespace
}  // namespace pool_bindings
}  // namespace fastdet
