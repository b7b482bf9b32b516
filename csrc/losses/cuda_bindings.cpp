// fastdet._cuda: losses.
#include "cuda/fault.h"
#include "losses/arguments.h"
#include "losses/cuda.h"
#include "python/cuda_tensors.h"

namespace fastdet {
namespace losses_bindings {
namespace {

// An integer's dtype character as numpy.dtype.char.
Labels labels_of(char dtype, Pointer target, const py::object& ignore, int64_t classes) {
    static const struct {
        char name;
        int bytes;
    } known[] = {{'b', 1}, {'h', 2}, {'i', 4}, {'l', 8}, {'q', 8}};
    for (const auto& type : known) {
        if ((dtype | 0x20) != type.name) continue;
        const bool is_signed = dtype == type.name;
        Labels labels{at<const void>(target), type.bytes, is_signed, !ignore.is_none(), INT64_MIN, classes};
        if (labels.ignores) labels.ignore = ignore.cast<int64_t>();
        return labels;
    }
    throw py::type_error(std::string("fastdet._cuda: no labels of dtype ") + dtype);
}

template <class S>
CudaLogits<S> logits_of(Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
                        const Labels& labels, Pointer weight, double even, Pointer loss, Pointer grad) {
    if (images < 0 || pixels < 0 || classes < 1 || classes >= int64_t(1) << 31)
        throw py::value_error("fastdet._cuda: invalid shape");
    using T = Compute<S>;
    return {at<const S>(logits), at<S>(grad), images,      classes, pixels, channels_last, labels,
            at<const T>(weight), T(even),     at<S>(loss), nullptr};
}

const Fault cross_entropy_fault("cross_entropy"), focal_fault("focal_loss"), dice_fault("dice_loss"),
    soft_fault("soft_cross_entropy"), ohem_fault("ohem_cross_entropy"), tversky_fault("tversky_loss"),
    lovasz_fault("lovasz_softmax_loss"), hinge_fault("lovasz_hinge_loss");

void softmax(const Fault& fault, const LossOptions& options, char dtype, Pointer logits, bool channels_last,
             int64_t images, int64_t classes, int64_t pixels, const Labels& labels, Pointer weight, double even,
             Pointer loss, Pointer grad, Pointer workspace, int device, Pointer stream) {
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const auto x = logits_of<S>(logits, channels_last, images, classes, pixels, labels, weight, even, loss, grad);
        queue(options.focal ? "focal_loss" : "cross_entropy", {images, classes, pixels}, device, stream,
              [&](cudaStream_t s) { softmax_loss_cuda(x, options, at<void>(workspace), fault.slot(), s); });
    });
}

void cross_entropy(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
                   char label_dtype, Pointer target, Pointer weight, double even, const py::object& ignore,
                   const std::string& reduction, double label_smoothing, Pointer loss, Pointer grad, Pointer workspace,
                   int device, Pointer stream) {
    softmax(cross_entropy_fault, {false, 0, label_smoothing, reduction_of(reduction)}, dtype, logits, channels_last,
            images, classes, pixels, labels_of(label_dtype, target, ignore, classes), weight, even, loss, grad,
            workspace, device, stream);
}

// Without weights. (loss, gradient); None for a gradient that is not wanted.
py::object quick_cross_entropy(const DeviceTensors& tensors, py::handle logits, py::handle target,
                               py::handle ignore_index, const std::string& reduction, py::handle label_smoothing,
                               bool gradient) {
    return tensors.quick([&]() -> py::object {
        const DeviceTensor x = tensors.take(logits, "fdeV", -1);
        if (x.ndim < 2 || x.size(0, x.ndim) == 0) throw Declined();
        const DeviceTensor labels = tensors.take(target, "bhiqB", x.ndim - 1, &x);
        bool fits = labels.shape[0] == x.shape[0];
        for (int i = 1; i < labels.ndim; ++i) fits &= labels.shape[i] == x.shape[i + 1];
        if (!fits) throw Declined();
        // an ignored label that the dtype cannot hold ignores nothing
        const int64_t ignored = integer_in(ignore_index, INT64_MIN, INT64_MAX);
        const int bits = labels.dtype == 'q' ? 64 : labels.dtype == 'i' ? 32 : labels.dtype == 'h' ? 16 : 8;
        const int64_t low = labels.dtype == 'B' ? 0 : INT64_MIN >> (64 - bits);
        const int64_t high = labels.dtype == 'B' ? 255 : INT64_MAX >> (64 - bits);
        const py::object ignore = ignored < low || ignored > high ? py::none() : py::object(py::int_(ignored));
        const double smoothing = number_in(label_smoothing, 0, 1);
        int64_t images = x.shape[0], classes = x.shape[1], pixels = x.size(2, x.ndim);
        const bool one_image = pixels == 1, last = one_image && images > 1 && classes > 1;  // see losses/pixels.py
        if (one_image) pixels = images, images = 1;
        const NewTensor loss = tensors.empty(x, labels.shape, reduction == "none" ? labels.ndim : 0, x.dtype);
        const NewTensor grad = gradient ? tensors.empty(x, x.shape, x.ndim, x.dtype) : NewTensor{py::none(), 0};
        const Workspace workspace = tensors.workspace(x, softmax_loss_workspace(images, classes, pixels));
        cross_entropy(x.dtype, x.data, last, images, classes, pixels, labels.dtype, labels.data, 0, 1, ignore,
                      reduction, smoothing, loss.data, grad.data, workspace, x.device, tensors.stream(x));
        return py::make_tuple(loss.object, grad.object);
    });
}

void focal(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
           char label_dtype, Pointer target, Pointer alpha, double even, double gamma, const py::object& ignore,
           const std::string& reduction, Pointer loss, Pointer grad, Pointer workspace, int device, Pointer stream) {
    if (!(gamma >= 0 && gamma <= 0x1p60)) throw py::value_error("fastdet._cuda: invalid gamma");
    softmax(focal_fault, {true, gamma, 0, reduction_of(reduction)}, dtype, logits, channels_last, images, classes,
            pixels, labels_of(label_dtype, target, ignore, classes), alpha, even, loss, grad, workspace, device,
            stream);
}

int64_t dice_workspace(char dtype, int64_t images, int64_t classes, int64_t pixels) {
    return by_float(dtype, [&](auto s) { return dice_loss_workspace<decltype(s)>(images, classes, pixels); });
}

void overlap(const char* op, const Fault& fault, const OverlapTerms& terms, char dtype, Pointer logits,
             bool channels_last, int64_t images, int64_t classes, int64_t pixels, const Labels& labels, Pointer loss,
             Pointer grad, Pointer workspace, int device, Pointer stream) {
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const auto x = logits_of<S>(logits, channels_last, images, classes, pixels, labels, 0, 1, loss, grad);
        queue(op, {images, classes, pixels}, device, stream,
              [&](cudaStream_t s) { overlap_loss_cuda(x, terms, at<void>(workspace), fault.slot(), s); });
    });
}

void dice(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
          char label_dtype, Pointer target, const py::object& ignore, double eps, Pointer loss, Pointer grad,
          Pointer workspace, int device, Pointer stream) {
    overlap("dice_loss", dice_fault, {false, 0, 0, eps}, dtype, logits, channels_last, images, classes, pixels,
            labels_of(label_dtype, target, ignore, classes), loss, grad, workspace, device, stream);
}

void tversky(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
             char label_dtype, Pointer target, const py::object& ignore, double alpha, double beta, double eps,
             Pointer loss, Pointer grad, Pointer workspace, int device, Pointer stream) {
    overlap("tversky_loss", tversky_fault, {true, alpha, beta, eps}, dtype, logits, channels_last, images, classes,
            pixels, labels_of(label_dtype, target, ignore, classes), loss, grad, workspace, device, stream);
}

void soft(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
          Pointer target, Pointer weight, double even, const std::string& reduction, double label_smoothing,
          Pointer loss, Pointer grad, Pointer workspace, int device, Pointer stream) {
    const LossOptions options{false, 0, label_smoothing, reduction_of(reduction)};
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const auto x = logits_of<S>(logits, channels_last, images, classes, pixels, Labels{}, weight, even, loss, grad);
        queue("soft_cross_entropy", {images, classes, pixels}, device, stream, [&](cudaStream_t s) {
            soft_cross_entropy_cuda(x, at<const Compute<S>>(target), options, at<void>(workspace), soft_fault.slot(),
                                    s);
        });
    });
}

int64_t ohem_workspace(char dtype, int64_t images, int64_t classes, int64_t pixels) {
    return by_float(dtype, [&](auto s) { return ohem_cross_entropy_workspace<decltype(s)>(images, classes, pixels); });
}

void check_count(int64_t n) {
    if (n < 0 || n >= int64_t(1) << 31) throw py::value_error("fastdet._cuda: too many pixels");
}

void ohem(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
          char label_dtype, Pointer target, Pointer weight, double even, const py::object& ignore, double fraction,
          int64_t min_kept, double threshold, Pointer loss, Pointer grad, Pointer workspace, int device,
          Pointer stream) {
    check_count(images * pixels);
    if (!(fraction >= 0 && fraction <= 1) || min_kept < 1 || !(threshold >= 0))
        throw py::value_error("fastdet._cuda: invalid fraction, min_kept or threshold");
    const Labels labels = labels_of(label_dtype, target, ignore, classes);
    const OhemOptions options{fraction, min_kept, threshold};
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const auto x = logits_of<S>(logits, channels_last, images, classes, pixels, labels, weight, even, loss, grad);
        queue("ohem_cross_entropy", {images, classes, pixels}, device, stream,
              [&](cudaStream_t s) { ohem_cross_entropy_cuda(x, options, at<void>(workspace), ohem_fault.slot(), s); });
    });
}

int64_t lovasz_workspace(char dtype, int64_t images, int64_t classes, int64_t pixels) {
    return by_float(dtype, [&](auto s) { return lovasz_softmax_loss_workspace<decltype(s)>(images, classes, pixels); });
}

void lovasz_softmax(char dtype, Pointer logits, bool channels_last, int64_t images, int64_t classes, int64_t pixels,
                    char label_dtype, Pointer target, const py::object& ignore, bool present, bool per_image,
                    Pointer loss, Pointer grad, Pointer workspace, int device, Pointer stream) {
    check_count(images * pixels);
    const Labels labels = labels_of(label_dtype, target, ignore, classes);
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const auto x = logits_of<S>(logits, channels_last, images, classes, pixels, labels, 0, 1, loss, grad);
        queue("lovasz_softmax_loss", {images, classes, pixels}, device, stream, [&](cudaStream_t s) {
            lovasz_softmax_loss_cuda(x, {present, per_image}, at<void>(workspace), lovasz_fault.slot(), s);
        });
    });
}

int64_t hinge_workspace(char dtype, int64_t images, int64_t pixels) {
    return by_float(dtype, [&](auto s) { return lovasz_hinge_loss_workspace<decltype(s)>(images, pixels); });
}

void lovasz_hinge(char dtype, Pointer inputs, int64_t images, int64_t pixels, char label_dtype, Pointer targets,
                  const py::object& ignore, Pointer loss, Pointer grad, Pointer workspace, int device, Pointer stream) {
    check_count(images * pixels);
    const Labels labels = labels_of(label_dtype, targets, ignore, 2);
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        const auto x = logits_of<S>(inputs, false, images, 1, pixels, labels, 0, 1, loss, grad);
        queue("lovasz_hinge_loss", {images, pixels}, device, stream,
              [&](cudaStream_t s) { lovasz_hinge_loss_cuda(x, at<void>(workspace), hinge_fault.slot(), s); });
    });
}

// The divisor of a sum, and the gradient of a mean or sum for one of n losses.
CudaTotal total_of(const std::string& reduction, int64_t n) {
    const Reduction which = reduction_of(reduction);
    return {which != Reduction::none, which == Reduction::mean && n ? double(n) : 1.0};
}

void box(char dtype, Pointer a, Pointer b, int64_t n, const std::string& kind, double eps, double alpha_eps,
         const std::string& reduction, Pointer loss, Pointer grad_a, Pointer grad_b, Pointer workspace, int device,
         Pointer stream) {
    const BoxLoss which = box_loss_of(kind);
    const CudaTotal total = total_of(reduction, n);
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        const CudaBoxLoss<T> x{at<const Box<T>>(a), at<const Box<T>>(b),  n,           T(eps),
                               T(alpha_eps),        T(1.0 / total.count), at<T>(loss), at<Box<T>>(grad_a),
                               at<Box<T>>(grad_b)};
        queue("box_loss", {n, 4}, device, stream,
              [&](cudaStream_t s) { box_loss_cuda(x, which, total, at<void>(workspace), s); });
    });
}

void sigmoid_focal(char dtype, Pointer inputs, Pointer targets, bool wide, int64_t n, double alpha, double gamma,
                   const std::string& reduction, Pointer loss, Pointer grad, Pointer workspace, int device,
                   Pointer stream) {
    const CudaTotal total = total_of(reduction, n);
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        using T = Compute<S>;
        const CudaSigmoidFocal<S> x{at<const S>(inputs),
                                    wide ? nullptr : at<const S>(targets),
                                    wide ? at<const T>(targets) : nullptr,
                                    n,
                                    T(alpha < 0 ? 1 : alpha),
                                    T(alpha < 0 ? 1 : 1 - alpha),
                                    T(gamma),
                                    T(1.0 / total.count),
                                    at<S>(loss),
                                    at<S>(grad)};
        queue("sigmoid_focal_loss", {n}, device, stream,
              [&](cudaStream_t s) { sigmoid_focal_loss_cuda(x, gamma, total, at<void>(workspace), s); });
    });
}

void scale(char dtype, Pointer grad, int64_t n, Pointer factor, int device, Pointer stream) {
    by_float(dtype, [&](auto s) {
        using S = decltype(s);
        queue("scale", {n}, device, stream,
              [&](cudaStream_t s) { scale_cuda(at<S>(grad), n, at<const S>(factor, sizeof(S)), s); });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("softmax_loss_workspace", softmax_loss_workspace);
    m.def("cross_entropy", cross_entropy);
    add_quick(m, "cross_entropy", quick_cross_entropy);
    m.def("focal_loss", focal);
    m.def("dice_loss_workspace", dice_workspace);
    m.def("dice_loss", dice);
    m.def("tversky_loss", tversky);
    m.def("soft_cross_entropy", soft);
    m.def("ohem_cross_entropy_workspace", ohem_workspace);
    m.def("ohem_cross_entropy", ohem);
    m.def("lovasz_softmax_loss_workspace", lovasz_workspace);
    m.def("lovasz_softmax_loss", lovasz_softmax);
    m.def("lovasz_hinge_loss_workspace", hinge_workspace);
    m.def("lovasz_hinge_loss", lovasz_hinge);
    m.def("loss_sum_workspace", loss_sum_workspace);
    m.def("box_loss", box);
    m.def("sigmoid_focal_loss", sigmoid_focal);
    m.def("scale", scale);
});

}  // namespace
}  // namespace losses_bindings
}  // namespace fastdet
