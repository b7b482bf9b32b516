// fastdet._cpp: losses and their gradients. See module_cpp.h.
#include "python/cpp.h"

#include <string>

#include "losses/softmax_losses.h"

namespace fastdet {
namespace {

Storage storage_of(const py::array& x) {
    const int number = x.dtype().num();
    if (number == py::detail::npy_api::NPY_DOUBLE_) return Storage::twice;
    if (number == py::detail::npy_api::NPY_FLOAT_) return Storage::single;
    if (is_half(x)) return Storage::half;
    if (is_bfloat16(x)) return Storage::bfloat16;
    throw py::type_error("fastdet._cpp: unfit logits");
}

Reduction reduction_of(const std::string& name) {
    static const char* const names[] = {"mean", "sum", "none"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return Reduction(i);
    }
    throw py::value_error("fastdet._cpp: unknown reduction " + name);
}

Labels labels_of(const py::array& target, const py::object& ignore, int64_t classes) {
    const char kind = target.dtype().kind();
    const int64_t bytes = target.itemsize();
    if ((kind != 'i' && kind != 'u') || (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) || !is_plain(target))
        throw py::type_error("fastdet._cpp: unfit target");
    Labels labels{target.data(), int(bytes), kind == 'i', !ignore.is_none(), INT64_MIN, classes};
    if (labels.ignores) labels.ignore = ignore.cast<int64_t>();
    return labels;
}

// (loss, gradient or None, divisor), or the position of a label that is out of range. `compute` is
// compute(job, storage, each): LossResult, without the GIL.
template <class F>
py::object loss_of(const py::array& logits, bool channels_last, const py::array& target, const py::object& ignore,
                   bool each, bool gradient, F&& compute) {
    if (logits.ndim() != 3 || !is_plain(logits)) throw py::type_error("fastdet._cpp: unfit logits");
    const int64_t images = logits.shape(0), classes = logits.shape(channels_last ? 2 : 1),
                  pixels = logits.shape(channels_last ? 1 : 2);
    if (target.size() != images * pixels || classes < 1 || classes >= int64_t(1) << 31)
        throw py::value_error("fastdet._cpp: unfit target or classes");
    const Storage storage = storage_of(logits);
    const Labels labels = labels_of(target, ignore, classes);
    py::object grad = py::none();
    void* to = nullptr;
    if (gradient) {
        py::array made(logits.dtype(), {logits.shape(0), logits.shape(1), logits.shape(2)});
        to = made.mutable_data();
        grad = std::move(made);
    }
    const auto with = [&](auto t) -> py::object {
        using T = decltype(t);
        SoftmaxJob<T> job{};
        job.logits = logits.data();
        job.grad = to;
        job.images = images, job.classes = classes, job.pixels = pixels;
        job.channels_last = channels_last;
        job.labels = labels;
        py::array_t<T> losses({each ? images : 0, each ? pixels : 0});
        job.each = each ? losses.mutable_data() : nullptr;
        LossResult result;
        {
            py::gil_scoped_release release;
            result = compute(job, storage);
        }
        if (result.bad_label >= 0) return py::int_(result.bad_label);
        if (each) return py::make_tuple(losses, grad, result.divisor);
        return py::make_tuple(result.loss, grad, result.divisor);
    };
    return storage == Storage::twice ? with(double()) : with(float());
}

py::object softmax(const py::array& logits, bool channels_last, const py::array& target, const py::array& weight,
                   const py::object& ignore, const LossOptions& options, bool gradient) {
    if (logits.ndim() != 3 || weight.size() != logits.shape(channels_last ? 2 : 1))
        throw py::value_error("fastdet._cpp: unfit weight");
    if (!(options.gamma >= 0 && options.gamma <= 0x1p60)) throw py::value_error("fastdet._cpp: unfit gamma");
    return loss_of(logits, channels_last, target, ignore, options.reduction == Reduction::none, gradient,
                   [&, values = weight.data(), is_twice = is_double(weight)](auto& job, Storage storage) {
                       using T = std::remove_const_t<std::remove_pointer_t<decltype(job.weight)>>;
                       if (is_twice != std::is_same<T, double>::value)
                           throw py::type_error("fastdet._cpp: unfit weight");
                       return softmax_loss(job, storage, static_cast<const T*>(values), options);
                   });
}

py::object cross_entropy(const py::array& logits, bool channels_last, const py::array& target, const py::array& weight,
                         const py::object& ignore, const std::string& reduction, double label_smoothing,
                         bool gradient) {
    by_dtype(weight, [&](auto t) { return data<decltype(t)>(weight) != nullptr; });
    return softmax(logits, channels_last, target, weight, ignore, {false, 0, label_smoothing, reduction_of(reduction)},
                   gradient);
}

py::object focal(const py::array& logits, bool channels_last, const py::array& target, const py::array& alpha,
                 double gamma, const py::object& ignore, const std::string& reduction, bool gradient) {
    by_dtype(alpha, [&](auto t) { return data<decltype(t)>(alpha) != nullptr; });
    return softmax(logits, channels_last, target, alpha, ignore, {true, gamma, 0, reduction_of(reduction)}, gradient);
}

py::object dice(const py::array& logits, bool channels_last, const py::array& target, const py::object& ignore,
                double eps, bool gradient) {
    return loss_of(logits, channels_last, target, ignore, false, gradient,
                   [&](auto& job, Storage storage) { return dice_loss(job, storage, eps); });
}

}  // namespace

void bind_losses(py::module_& m) {
    m.def("cross_entropy", cross_entropy);
    m.def("focal_loss", focal);
    m.def("dice_loss", dice);
}

}  // namespace fastdet
