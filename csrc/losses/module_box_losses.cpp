// fastdet._cpp: losses of boxes, the sigmoid focal loss. See module_cpp.h.
#include <string>
#include <vector>

#include "losses/box_losses.h"
#include "losses/sigmoid_focal_loss.h"
#include "python/cpp.h"

namespace fastdet {
namespace {

template <class T>
const Box<T>* rows(const py::array& x) {
    if (x.ndim() != 2 || x.shape(1) != 4) throw py::value_error("fastdet._cpp: boxes must end in 4 columns");
    return reinterpret_cast<const Box<T>*>(data<T>(x));
}

bool is_reduced(const std::string& reduction) {
    if (reduction != "none" && reduction != "mean" && reduction != "sum")
        throw py::value_error("fastdet._cpp: unknown reduction " + reduction);
    return reduction != "none";
}

BoxLoss loss_of(const std::string& name) {
    static const char* const names[] = {"giou", "diou", "ciou"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return BoxLoss(i);
    }
    throw py::value_error("fastdet._cpp: unknown loss " + name);
}

py::tuple box_loss_any(const py::array& a, const py::array& b, const std::string& kind, double eps, double alpha_eps,
                       const std::string& reduction, bool grad) {
    const BoxLoss which = loss_of(kind);
    const bool reduced = is_reduced(reduction);
    return by_dtype(a, [&](auto t) -> py::tuple {
        using T = decltype(t);
        const Box<T>*p = rows<T>(a), *q = rows<T>(b);
        const int64_t n = a.shape(0);
        if (b.shape(0) != n) throw py::value_error("fastdet._cpp: unfit boxes");
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
    throw py::type_error("fastdet._cpp: unfit array");
}

py::tuple sigmoid_focal_any(const py::array& inputs, const py::array& targets, double alpha, double gamma,
                            const std::string& reduction, bool grad) {
    const bool reduced = is_reduced(reduction), mean = reduction == "mean" && inputs.size();
    const int64_t n = inputs.size();
    const FloatType type = type_of(inputs), target = type_of(targets);
    if (!is_plain(inputs) || !is_plain(targets)) throw py::type_error("fastdet._cpp: unfit array");
    if (targets.size() != n || (target != type && (target != FloatType::single || type == FloatType::twice)))
        throw py::value_error("fastdet._cpp: unfit targets");
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
    // a sum is taken before it is rounded to half precision, and given back as it is
    py::array loss = reduced ? py::array_t<double>(none) : py::array(inputs.dtype(), shape);
    if (!reduced) job.loss = loss.mutable_data();
    double total;
    {
        py::gil_scoped_release release;
        total = sigmoid_focal(job, n, reduced);
    }
    if (reduced) *static_cast<double*>(loss.mutable_data()) = total / count;
    return py::make_tuple(loss, grads);
}

}  // namespace

void bind_box_losses(py::module_& m) {
    m.def("box_loss", box_loss_any);
    m.def("sigmoid_focal_loss", sigmoid_focal_any);
}

}  // namespace fastdet
