// fastdet._cpp: losses and their gradients.
#include <string>
#include <type_traits>
#include <vector>

#include "boxes/arrays.h"
#include "core/half.h"
#include "losses/arguments.h"
#include "losses/box_losses.h"
#include "losses/lovasz.h"
#include "losses/sigmoid_focal_loss.h"
#include "losses/softmax_losses.h"
#include "python/cpp.h"

namespace fastdet {
namespace losses_bindings {
namespace {

Storage storage_of(const py::array& x) {
    const int number = x.dtype().num();
    if (number == py::detail::npy_api::NPY_DOUBLE_) return Storage::twice;
    if (number == py::detail::npy_api::NPY_FLOAT_) return Storage::single;
    if (is_half(x)) return Storage::half;
    if (is_bfloat16(x)) return Storage::bfloat16;
    throw py::type_error("fastdet._cpp: invalid logits");
}

Labels labels_of(const py::array& target, const py::object& ignore, int64_t classes) {
    const char kind = target.dtype().kind();
    const int64_t bytes = target.itemsize();
    if ((kind != 'i' && kind != 'u') || (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) || !is_plain(target))
        throw py::type_error("fastdet._cpp: invalid target");
    Labels labels{target.data(), int(bytes), kind == 'i', !ignore.is_none(), INT64_MIN, classes};
    if (labels.ignores) labels.ignore = ignore.cast<int64_t>();
    return labels;
}

// Numbers in the type that logits are computed in.
void check_numbers(const py::array& x, const py::array& logits) {
    by_dtype(x, [&](auto t) { return data<decltype(t)>(x) != nullptr; });
    if (is_double(x) != (storage_of(logits) == Storage::twice)) throw py::type_error("fastdet._cpp: invalid array");
}
void check_weight(const py::array& weight, const py::array& logits, bool channels_last) {
    if (logits.ndim() != 3 || weight.size() != logits.shape(channels_last ? 2 : 1))
        throw py::value_error("fastdet._cpp: invalid weight");
    check_numbers(weight, logits);
}

// (loss, gradient or None, divisor), or the position of a label that is out of range. `compute` is
// compute(job): LossResult, without the GIL. Without a target the job has no labels.
template <class F>
py::object loss_of(const py::array& logits, bool channels_last, const py::array* target, const py::object& ignore,
                   bool each, bool gradient, F&& compute) {
    if (logits.ndim() != 3 || !is_plain(logits)) throw py::type_error("fastdet._cpp: invalid logits");
    const int64_t images = logits.shape(0), classes = logits.shape(channels_last ? 2 : 1),
                  pixels = logits.shape(channels_last ? 1 : 2);
    if ((target && target->size() != images * pixels) || classes < 1 || classes >= int64_t(1) << 31)
        throw py::value_error("fastdet._cpp: invalid target or classes");
    const Storage storage = storage_of(logits);
    const Labels labels = target ? labels_of(*target, ignore, classes) : Labels{};
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
        job.storage = storage;
        job.images = images, job.classes = classes, job.pixels = pixels;
        job.channels_last = channels_last;
        job.labels = labels;
        py::array_t<T> losses({each ? images : 0, each ? pixels : 0});
        job.each = each ? losses.mutable_data() : nullptr;
        LossResult result;
        {
            py::gil_scoped_release release;
            result = compute(job);
        }
        if (result.bad_label >= 0) return py::int_(result.bad_label);
        if (each) return py::make_tuple(losses, grad, result.divisor);
        return py::make_tuple(result.loss, grad, result.divisor);
    };
    return storage == Storage::twice ? with(double()) : with(float());
}

py::object softmax(const py::array& logits, bool channels_last, const py::array& target, const py::array& weight,
                   const py::object& ignore, const LossOptions& options, bool gradient) {
    check_weight(weight, logits, channels_last);
    if (!(options.gamma >= 0 && options.gamma <= 0x1p60)) throw py::value_error("fastdet._cpp: invalid gamma");
    return loss_of(logits, channels_last, &target, ignore, options.reduction == Reduction::none, gradient,
                   [&, values = weight.data()](auto& job) {
                       using T = typename std::decay_t<decltype(job)>::Value;
                       return softmax_loss(job, static_cast<const T*>(values), options);
                   });
}

py::object cross_entropy(const py::array& logits, bool channels_last, const py::array& target, const py::array& weight,
                         const py::object& ignore, const std::string& reduction, double label_smoothing,
                         bool gradient) {
    return softmax(logits, channels_last, target, weight, ignore, {false, 0, label_smoothing, reduction_of(reduction)},
                   gradient);
}

py::object focal(const py::array& logits, bool channels_last, const py::array& target, const py::array& alpha,
                 double gamma, const py::object& ignore, const std::string& reduction, bool gradient) {
    return softmax(logits, channels_last, target, alpha, ignore, {true, gamma, 0, reduction_of(reduction)}, gradient);
}

py::object soft_cross_entropy_any(const py::array& logits, bool channels_last, const py::array& target,
                                  const py::array& weight, const std::string& reduction, double label_smoothing,
                                  bool gradient) {
    check_weight(weight, logits, channels_last);
    check_numbers(target, logits);
    for (int k = 0; k < 3; ++k) {
        if (target.ndim() != 3 || target.shape(k) != logits.shape(k))
            throw py::value_error("fastdet._cpp: invalid target");
    }
    const LossOptions options{false, 0, label_smoothing, reduction_of(reduction)};
    return loss_of(logits, channels_last, nullptr, py::none(), options.reduction == Reduction::none, gradient,
                   [&, soft = target.data(), values = weight.data()](auto& job) {
                       using T = typename std::decay_t<decltype(job)>::Value;
                       job.soft = static_cast<const T*>(soft);
                       return soft_cross_entropy(job, static_cast<const T*>(values), options);
                   });
}

py::object ohem(const py::array& logits, bool channels_last, const py::array& target, const py::array& weight,
                const py::object& ignore, double fraction, int64_t min_kept, double threshold, bool gradient) {
    check_weight(weight, logits, channels_last);
    if (!(fraction >= 0 && fraction <= 1) || min_kept < 1 || !(threshold >= 0))
        throw py::value_error("fastdet._cpp: invalid fraction, min_kept or threshold");
    return loss_of(logits, channels_last, &target, ignore, false, gradient, [&, values = weight.data()](auto& job) {
        using T = typename std::decay_t<decltype(job)>::Value;
        return ohem_cross_entropy(job, static_cast<const T*>(values), {fraction, min_kept, threshold});
    });
}

py::object overlap(const py::array& logits, bool channels_last, const py::array& target, const py::object& ignore,
                   const OverlapTerms& terms, bool gradient) {
    return loss_of(logits, channels_last, &target, ignore, false, gradient,
                   [&](auto& job) { return overlap_loss(job, terms); });
}

py::object dice(const py::array& logits, bool channels_last, const py::array& target, const py::object& ignore,
                double eps, bool gradient) {
    return overlap(logits, channels_last, target, ignore, {false, 0, 0, eps}, gradient);
}

py::object tversky(const py::array& logits, bool channels_last, const py::array& target, const py::object& ignore,
                   double alpha, double beta, double eps, bool gradient) {
    return overlap(logits, channels_last, target, ignore, {true, alpha, beta, eps}, gradient);
}

py::object lovasz_softmax(const py::array& logits, bool channels_last, const py::array& target,
                          const py::object& ignore, bool present, bool per_image, bool gradient) {
    return loss_of(logits, channels_last, &target, ignore, false, gradient,
                   [&](auto& job) { return lovasz_softmax_loss(job, {present, per_image}); });
}

// Inputs and the gradient are of any type: they are widened before, and narrowed after.
py::object lovasz_hinge(const py::array& inputs, const py::array& targets, const py::object& ignore, bool,
                        bool gradient) {
    if (inputs.ndim() != 2 || targets.size() != inputs.size() || !is_plain(inputs))
        throw py::value_error("fastdet._cpp: invalid inputs or targets");
    const Storage storage = storage_of(inputs);
    const Labels labels = labels_of(targets, ignore, 2);
    const int64_t images = inputs.shape(0), pixels = inputs.shape(1), n = images * pixels;
    py::object grad = py::none();
    void* to = nullptr;
    if (gradient) {
        py::array made(inputs.dtype(), {inputs.shape(0), inputs.shape(1)});
        to = made.mutable_data();
        grad = std::move(made);
    }
    const void* from = inputs.data();
    LossResult result;
    {
        py::gil_scoped_release release;
        if (storage == Storage::twice) {
            result =
                lovasz_hinge_loss(static_cast<const double*>(from), labels, images, pixels, static_cast<double*>(to));
        } else if (storage == Storage::single) {
            result =
                lovasz_hinge_loss(static_cast<const float*>(from), labels, images, pixels, static_cast<float*>(to));
        } else {
            Buffer<float> x(n), slope(gradient ? n : 0);
            const auto with = [&](auto s) {
                using S = decltype(s);
                for (int64_t i = 0; i < n; ++i) x[i] = widen(static_cast<const S*>(from)[i]);
                result = lovasz_hinge_loss(static_cast<const float*>(x.get()), labels, images, pixels,
                                           gradient ? slope.get() : nullptr);
                for (int64_t i = 0; gradient && i < n; ++i) static_cast<S*>(to)[i] = stored<S>(slope[i]);
            };
            if (storage == Storage::half) {
                with(Half());
            } else {
                with(BFloat16());
            }
        }
    }
    if (result.bad_label >= 0) return py::int_(result.bad_label);
    return py::make_tuple(result.loss, grad, result.divisor);
}

py::tuple box_loss_any(const py::array& a, const py::array& b, const std::string& kind, double eps, double alpha_eps,
                       const std::string& reduction, bool grad) {
    const BoxLoss which = box_loss_of(kind);
    const bool reduced = reduction_of(reduction) != Reduction::none;
    return by_dtype(a, [&](auto t) -> py::tuple {
        using T = decltype(t);
        const Box<T>*p = boxes_of<T>(a), *q = boxes_of<T>(b);
        const int64_t n = a.shape(0);
        if (a.ndim() != 2 || b.ndim() != 2 || b.shape(0) != n) throw py::value_error("fastdet._cpp: invalid boxes");
        const double mean = reduction == "mean" && n ? 1.0 / double(n) : 1.0;
        const std::vector<int64_t> none;
        py::array_t<T> loss = reduced ? py::array_t<T>(none) : py::array_t<T>(n);
        py::object grad_a = py::none(), grad_b = py::none();
        BoxLossJob<T> job{
            p,       q,       which,  T(eps), T(alpha_eps), T(mean), reduced ? nullptr : loss.mutable_data(),
            nullptr, nullptr, nullptr};
        if (grad) {
            py::array_t<T> ga({n, int64_t(4)}), gb({n, int64_t(4)});
            job.grad_a = reinterpret_cast<Box<T>*>(ga.mutable_data());
            job.grad_b = reinterpret_cast<Box<T>*>(gb.mutable_data());
            grad_a = ga, grad_b = gb;
        }
        double total;
        {
            py::gil_scoped_release release;
            total = box_losses(job, n, reduced);
        }
        if (reduced) *loss.mutable_data() = T(reduction == "mean" && n ? total / double(n) : total);
        return py::make_tuple(loss, grad_a, grad_b);
    });
}

FloatType type_of(const py::array& x) {
    const int number = x.dtype().num();
    if (number == py::detail::npy_api::NPY_FLOAT_) return FloatType::single;
    if (number == py::detail::npy_api::NPY_DOUBLE_) return FloatType::twice;
    if (is_half(x)) return FloatType::half;
    if (is_bfloat16(x)) return FloatType::bfloat16;
    throw py::type_error("fastdet._cpp: invalid array");
}

py::tuple sigmoid_focal_any(const py::array& inputs, const py::array& targets, double alpha, double gamma,
                            const std::string& reduction, bool grad) {
    const bool reduced = reduction_of(reduction) != Reduction::none, mean = reduction == "mean" && inputs.size();
    const int64_t n = inputs.size();
    const FloatType type = type_of(inputs), target = type_of(targets);
    if (!is_plain(inputs) || !is_plain(targets)) throw py::type_error("fastdet._cpp: invalid array");
    if (targets.size() != n || (target != type && (target != FloatType::single || type == FloatType::twice)))
        throw py::value_error("fastdet._cpp: invalid targets");
    const std::vector<py::ssize_t> shape(inputs.shape(), inputs.shape() + inputs.ndim()), none;
    const double count = mean ? double(n) : 1.0;
    SigmoidFocalJob job{};
    job.inputs = inputs.data(), job.targets = targets.data();
    job.type = type, job.wide_targets = target != type;
    job.alpha = alpha < 0 ? 1 : alpha, job.beta = alpha < 0 ? 1 : 1 - alpha;
    job.gamma = gamma, job.scale = 1.0 / count;
    py::object grads = py::none();
    if (grad) {
        py::array to(inputs.dtype(), shape);
        job.grad = to.mutable_data();
        grads = to;
    }
    // the sum is of losses before they are rounded to half precision, and is not rounded itself
    py::array loss = reduced ? py::array_t<double>(none) : py::array(inputs.dtype(), shape);
    if (!reduced) job.loss = loss.mutable_data();
    double total;
    {
        py::gil_scoped_release release;
        total = sigmoid_focal_loss(job, n, reduced);
    }
    if (reduced) *static_cast<double*>(loss.mutable_data()) = total / count;
    return py::make_tuple(loss, grads);
}

const Bindings registered([](py::module_& m) {
    m.def("cross_entropy", cross_entropy);
    m.def("focal_loss", focal);
    m.def("soft_cross_entropy", soft_cross_entropy_any);
    m.def("ohem_cross_entropy", ohem);
    m.def("dice_loss", dice);
    m.def("tversky_loss", tversky);
    m.def("lovasz_softmax_loss", lovasz_softmax);
    m.def("lovasz_hinge_loss", lovasz_hinge);
    m.def("box_loss", box_loss_any);
    m.def("sigmoid_focal_loss", sigmoid_focal_any);
});

}  // namespace
}  // namespace losses_bindings
}  // namespace fastdet
