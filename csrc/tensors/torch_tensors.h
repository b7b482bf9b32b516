// Plain tensors of torch, by the C functions with which torch lends their memory: see dlpack.h.
#pragma once

#include "python/bindings.h"
#include "tensors/dlpack.h"

namespace fastdet {

// What this needs of one torch.
class TorchTensors {
  public:
    // Raises AttributeError where that torch has another form: then Python does it.
    explicit TorchTensors(const py::module_& torch)
        : tensor_(torch.attr("Tensor")), trace_(torch.attr("_C").attr("_get_tracing_state")) {
        const py::object capsule = tensor_.attr("__dlpack_c_exchange_api__");
        api_ = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
        if (!api_) PyErr_Clear();  // a capsule of another name
        if (!api_ || api_->version.major != dlpack::kMajor || api_->version.minor < dlpack::kMinor ||
            !api_->tensor_of_object || !api_->allocate || !api_->current_stream)
            throw py::attribute_error("torch has another version of DLPack's exchange API");
    }

    // The memory of a plain tensor. False for any other object, and for a tensor that is sparse or quantised, has a
    // gradient or a sign that is not yet applied, or is traced.
    bool lend(py::handle x, dlpack::Tensor* to) const {
        if (!py::type::handle_of(x).is(tensor_) || is_tracing() || flag(x, requires_grad_) ||
            is_true(owned(PyObject_CallMethodNoArgs(x.ptr(), is_neg_.ptr()))))
            return false;
        if (!api_->tensor_of_object(x.ptr(), to)) return true;
        PyErr_Clear();
        return false;
    }

  protected:
    static py::object call(const py::object& function) { return owned(PyObject_CallNoArgs(function.ptr())); }
    static bool is_true(const py::object& x) { return x.ptr() != Py_False; }
    static bool flag(py::handle x, const py::str& name) {
        return is_true(owned(PyObject_GetAttr(x.ptr(), name.ptr())));
    }
    bool is_tracing() const { return !call(trace_).is_none(); }

    py::object tensor_, trace_;
    py::str requires_grad_{"requires_grad"}, is_neg_{"is_neg"};
    const dlpack::ExchangeApi* api_;
};

}  // namespace fastdet
