// fastdet._cpp: max-pooling and unpooling.
#include "pool/arguments.h"
#include "python/cpp.h"

#include <string>

#include "pool/max_unpool2d.h"

namespace fastdet {
namespace pool_bindings {
namespace {

PoolType scalar_of(const py::array& x) {
    const char kind = x.dtype().kind();
    const py::ssize_t size = x.itemsize();
    if (kind == 'f' && size == 4) return PoolType::f32;
    if (kind == 'f' && size == 8) return PoolType::f64;
    if (kind == 'f' && size == 2) return PoolType::f16;
    if (kind == 'V' && size == 2) return PoolType::bf16;
    if (kind == 'u' && size == 1) return PoolType::u8;
    if (kind == 'i' && size == 1) return PoolType::i8;
    if (kind == 'i' && size == 4) return PoolType::i32;
    if (kind == 'i' && size == 8) return PoolType::i64;
    throw py::type_error("fastdet._cpp: invalid array");
}

// Unpooling only moves values: those of one size are all alike.
PoolType bits_of(const py::array& x) {
    const char kind = x.dtype().kind();
    if (kind != 'f' && kind != 'i' && kind != 'u' && kind != 'V') throw py::type_error("fastdet._cpp: invalid array");
    return fastdet::bits_of(int64_t(x.itemsize()));
}

void expect_image(const py::array& x) {
    if (x.ndim() != 4 || !is_plain(x)) throw py::type_error("fastdet._cpp: invalid array");
}

// Planes and channels of a 4-d array in memory order.
struct Shape {
    int64_t planes, height, width, inner;
    explicit Shape(const py::array& x, bool last)
        : planes(last ? x.shape(0) : x.shape(0) * x.shape(1)),
          height(x.shape(last ? 1 : 2)),
          width(x.shape(last ? 2 : 3)),
          inner(last ? x.shape(3) : 1) {}
};

// An array like x with another height and width; the caller's `out` if there is one.
py::array result(const py::array& x, bool last, int64_t height, int64_t width, const py::dtype& dtype,
                 const py::object& caller_out) {
    const py::ssize_t n = x.shape(0), c = x.shape(last ? 3 : 1);
    const py::array::ShapeContainer shape =
        last ? py::array::ShapeContainer{n, height, width, c} : py::array::ShapeContainer{n, c, height, width};
    if (caller_out.is_none()) return py::array(dtype, shape);
    const py::array out = as_array(caller_out);
    expect_image(out);
    for (int i = 0; i < 4; ++i) {
        if (out.shape(i) != shape->at(size_t(i))) throw py::value_error("fastdet._cpp: invalid out");
    }
    if (out.dtype().kind() != dtype.kind() || out.itemsize() != dtype.itemsize() || !out.writeable())
        throw py::value_error("fastdet._cpp: invalid out");
    return out;
}

py::tuple pool(const py::array& x, bool last, const py::tuple& window, const py::tuple& size, const std::string& kind,
               const py::object& values, const py::object& indices) {
    expect_image(x);
    const Shape shape(x, last);
    PoolJob job = {};
    job.type = scalar_of(x);
    job.x = x.data();
    job.planes = shape.planes, job.height = shape.height, job.width = shape.width, job.inner = shape.inner;
    job.window = window_of(window);
    if (size.size() != 2) throw py::value_error("fastdet._cpp: invalid size");
    job.rows = entry(size, 0, 1), job.columns = entry(size, 1, 1);
    const PoolWindow& w = job.window;
    job.compact = kind == "compact";
    if (job.height < 1 || job.width < 1 || (job.rows - 1) * w.sh - w.ph >= job.height ||
        (job.columns - 1) * w.sw - w.pw >= job.width || w.kh >= (int64_t(1) << 31) / job.width ||
        (job.compact && w.kh * w.kw > 256))
        throw py::value_error("fastdet._cpp: invalid window");
    py::array out = result(x, last, job.rows, job.columns, x.dtype(), values);
    job.values = out.mutable_data();
    py::object where = py::none();
    if (kind != "none") {
        const py::dtype dtype = job.compact ? py::dtype::of<uint8_t>() : py::dtype::of<int64_t>();
        py::array array = result(x, last, job.rows, job.columns, dtype, indices);
        job.indices = array.mutable_data();
        where = std::move(array);
    }
    {
        const WithoutGil release;
        max_pool2d(job);
    }
    return py::make_tuple(out, where);
}

void set_indices(PlaceJob& job, const py::array& indices, const Shape& pooled, const py::tuple& window) {
    expect_image(indices);
    job.compact = indices.dtype().kind() == 'u' && indices.itemsize() == 1;
    if (!job.compact && !(indices.dtype().kind() == 'i' && indices.itemsize() == 8))
        throw py::type_error("fastdet._cpp: invalid indices");
    job.indices = indices.data();
    job.planes = pooled.planes, job.rows = pooled.height, job.columns = pooled.width, job.inner = pooled.inner;
    job.window = window_of(window);
}

py::object scatter(const py::array& x, const py::array& indices, bool last, const py::tuple& window,
                   const py::tuple& size, int64_t fill, const py::object& caller_out, bool add) {
    expect_image(x);
    const Shape shape(x, last);
    PlaceJob job = {};
    set_indices(job, indices, shape, window);
    for (int i = 0; i < 4; ++i) {
        if (x.shape(i) != indices.shape(i)) throw py::value_error("fastdet._cpp: invalid indices");
    }
    job.type = add ? scalar_of(x) : bits_of(x);
    if (add && job.type > PoolType::bf16) throw py::type_error("fastdet._cpp: invalid array");
    job.add = add;
    job.fill = fill;
    job.x = x.data();
    if (size.size() != 2) throw py::value_error("fastdet._cpp: invalid size");
    job.height = entry(size, 0, 1), job.width = entry(size, 1, 1);
    const PoolWindow& w = job.window;
    if ((job.rows - 1) * w.sh > job.height + w.sh || (job.columns - 1) * w.sw > job.width + w.sw)
        throw py::value_error("fastdet._cpp: invalid window");
    py::array out = result(x, last, job.height, job.width, x.dtype(), caller_out);
    job.out = out.mutable_data();
    bool fits;
    {
        const WithoutGil release;
        fits = max_unpool2d(job);
    }
    if (!fits) return py::none();
    return std::move(out);
}

py::object unpool(const py::array& x, const py::array& indices, bool last, const py::tuple& window,
                  const py::tuple& size, int64_t zero_point, const py::object& out) {
    return scatter(x, indices, last, window, size, zero_point, out, false);
}

py::object pool_backward(const py::array& grad, const py::array& indices, bool last, const py::tuple& window,
                         const py::tuple& size) {
    return scatter(grad, indices, last, window, size, 0, py::none(), true);
}

py::object unpool_backward(const py::array& grad, const py::array& indices, bool last, const py::tuple& window) {
    expect_image(grad);
    const Shape shape(grad, last);
    PlaceJob job = {};
    set_indices(job, indices, Shape(indices, last), window);
    if (job.planes != shape.planes || job.inner != shape.inner || grad.shape(0) != indices.shape(0))
        throw py::value_error("fastdet._cpp: invalid indices");
    job.type = bits_of(grad);
    job.x = grad.data();
    job.height = shape.height, job.width = shape.width;
    py::array out = result(grad, last, job.rows, job.columns, grad.dtype(), py::none());
    job.out = out.mutable_data();
    bool fits;
    {
        const WithoutGil release;
        fits = max_unpool2d_backward(job);
    }
    if (!fits) return py::none();
    return std::move(out);
}

const Bindings registered([](py::module_& m) {
    m.def("max_pool2d", pool);
    m.def("max_pool2d_backward", pool_backward);
    m.def("max_unpool2d", unpool);
    m.def("max_unpool2d_backward", unpool_backward);
});

}  // namespace
}  // namespace pool_bindings
}  // namespace fastdet
