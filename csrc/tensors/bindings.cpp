// fastdet._cpp: torch's tensors as NumPy arrays, quicker than Python can do it. For small inputs a call is mostly this.
#include "python/cpp.h"
#include "tensors/torch_tensors.h"

namespace fastdet {
namespace tensor_bindings {
namespace {

constexpr int kMaxAxes = 32;  // NumPy before 2.0 has no more

// NumPy's number of a dtype; -1 where it is none that the kernels take.
int number_of(dlpack::DataType dtype) {
    if (dtype.lanes != 1) return -1;
    const int size = dtype.bits == 8 ? 0 : dtype.bits == 16 ? 1 : dtype.bits == 32 ? 2 : dtype.bits == 64 ? 3 : -1;
    using Api = py::detail::npy_api;
    constexpr int kInts[] = {Api::NPY_INT8_, Api::NPY_INT16_, Api::NPY_INT32_, Api::NPY_INT64_};
    constexpr int kUInts[] = {Api::NPY_UINT8_, Api::NPY_UINT16_, Api::NPY_UINT32_, Api::NPY_UINT64_};
    constexpr int kFloats[] = {-1, kHalfNumber, Api::NPY_FLOAT_, Api::NPY_DOUBLE_};
    if (size < 0) return -1;
    switch (dtype.code) {
        case dlpack::kInt:
            return kInts[size];
        case dlpack::kUInt:
            return kUInts[size];
        case dlpack::kFloat:
            return kFloats[size];
        case dlpack::kBool:
            return size ? -1 : int(Api::NPY_BOOL_);
        default:
            return -1;
    }
}

class Tensors : public TorchTensors {
  public:
    explicit Tensors(const py::module_& torch)
        : TorchTensors(torch),
          parameter_(torch.attr("nn").attr("Parameter")),
          own_dispatch_(tensor_.attr("__torch_dispatch__")),
          forward_(torch.attr("autograd").attr("forward_ad").attr("__dict__")),
          recording_(torch.attr("is_grad_enabled")) {
        const py::object native = torch.attr("_C");
        dispatch_modes_ = native.attr("_len_torch_dispatch_stack");
        function_modes_ = native.attr("_len_torch_function_stack");
        autocast_ = native.attr("_is_any_autocast_enabled");
        transforms_ = native.attr("_are_functorch_transforms_active");
        if (!forward_.contains(level_)) throw py::attribute_error("forward_ad has no _current_level");
    }

    // Whether a call with these arguments may read the tensors' memory: see `registered` in fastdet/_core/dispatch.py.
    bool direct(const py::tuple& xs, bool grad) const {
        bool any = false;
        for (const py::handle x : xs) any |= is_tensor(x);
        if (!any) return true;
        if (count(dispatch_modes_) || count(function_modes_) || is_true(call(transforms_)) || is_tracing() ||
            is_true(call(autocast_)) || PyLong_AsLong(PyDict_GetItem(forward_.ptr(), level_.ptr())) >= 0)
            return false;
        const bool recording = grad && is_true(call(recording_));
        for (const py::handle x : xs) {
            if (!is_tensor(x)) continue;
            const py::handle type = py::type::handle_of(x);
            if (!type.is(tensor_) && !type.is(parameter_) && (grad || !only_adds(type))) return false;
            if (grad && (flag(x, is_meta_) || (recording && flag(x, requires_grad_)))) return false;
        }
        return true;
    }

    // A plain tensor of the CPU as an array over its memory; None for any other, and for what NumPy has no dtype for.
    py::object array(const py::object& x) const {
        dlpack::Tensor tensor;
        if (!lend(x, &tensor)) return py::none();
        const int number = number_of(tensor.dtype);
        if (tensor.device.type != dlpack::kCpu || tensor.ndim > kMaxAxes || number < 0) return py::none();
        const auto& numpy = py::detail::npy_api::get();
        PyObject* dtype = numpy.PyArray_DescrFromType_(number);
        Py_intptr_t shape[kMaxAxes], strides[kMaxAxes];
        for (int i = 0; i < tensor.ndim; ++i) {
            shape[i] = tensor.shape[i];
            strides[i] = tensor.strides[i] * (tensor.dtype.bits / 8);
        }
        char* data = static_cast<char*>(tensor.data) + tensor.byte_offset;
        if (!data) return py::none();  // an empty tensor; for NumPy a null pointer asks for memory
        py::object made = owned(numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, dtype, tensor.ndim, shape, strides,
                                                            data, py::detail::npy_api::NPY_ARRAY_WRITEABLE_, nullptr));
        if (numpy.PyArray_SetBaseObject_(made.ptr(), x.inc_ref().ptr())) throw py::error_already_set();
        return made;
    }

  private:
    static long count(const py::object& function) { return PyLong_AsLong(call(function).ptr()); }
    bool is_tensor(py::handle x) const {
        if (py::type::handle_of(x).is(tensor_)) return true;
        if (py::isinstance<py::array>(x) || x.is_none()) return false;
        return py::isinstance(x, tensor_);
    }
    bool only_adds(py::handle type) const {
        const py::object dispatch = type.attr("__torch_dispatch__");
        return dispatch.is(own_dispatch_);
    }

    py::object parameter_, own_dispatch_;
    py::dict forward_;
    py::object recording_, dispatch_modes_, function_modes_, autocast_, transforms_;
    py::str is_meta_{"is_meta"}, level_{"_current_level"};
};

const Bindings registered([](py::module_& m) {
    py::class_<Tensors>(m, "Tensors", py::module_local())
        .def(py::init<py::module_>())
        .def("direct", &Tensors::direct)
        .def("array", &Tensors::array);
});

}  // namespace
}  // namespace tensor_bindings
}  // namespace fastdet
