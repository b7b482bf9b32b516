// Quick calls: one native function checks plain tensors of one GPU, allocates by torch, and launches. Where a kernel
// takes microseconds, this is most of a call. What a quick call has no short way for it declines, with None: then
// Python checks, converts and raises, as for any array.
#pragma once

#include <cstring>
#include <initializer_list>
#include <string>

#include "cuda/fault.h"
#include "python/cuda.h"
#include "tensors/torch_tensors.h"

namespace fastdet {

struct Declined {};  // thrown, within `DeviceTensors::quick`

// As kernels take it: C-contiguous, aligned.
struct DeviceTensor {
    py::handle owner;
    Pointer data;
    char dtype;  // as numpy.dtype.char; int64 is q, bfloat16 is V
    int ndim, device;
    const int64_t* shape;

    int64_t size(int first, int end) const {
        int64_t n = 1;
        for (int i = first; i < end; ++i) n *= shape[i];
        return n;
    }
};

struct NewTensor {
    py::object object;
    Pointer data;
};

// Bytes of a GPU, from torch's allocator, until the end of the scope. Work that is queued may still use them: the
// allocator hands them on to later work of the same stream only.
class Workspace {
  public:
    explicit Workspace(dlpack::Managed* memory) : memory_(memory) {}
    ~Workspace() { memory_->deleter(memory_); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    operator Pointer() const { return reinterpret_cast<Pointer>(memory_->tensor.data) + memory_->tensor.byte_offset; }

  private:
    dlpack::Managed* memory_;
};

class DeviceTensors : public TorchTensors {
  public:
    // place: of the tensors' memory, as DLPack has it. Tests say kCpu, where kernels are emulated.
    DeviceTensors(const py::module_& torch, int place)
        : TorchTensors(torch),
          place_(place),
          empty_(torch.attr("empty")),
          names_(py::make_tuple("dtype", "device")),
          dtypes_(py::dict()) {
        const struct {
            char letter;
            const char* name;
        } known[] = {{'f', "float32"}, {'d', "float64"}, {'e', "float16"}, {'V', "bfloat16"},
                     {'q', "int64"},   {'i', "int32"},   {'b', "int8"},    {'B', "uint8"}};
        for (const auto& [letter, name] : known) dtypes_[py::int_(int(letter))] = torch.attr(name);
    }

    // f(), or None where something declines: a call that is to wait, a fault of an earlier call that is to be raised,
    // no memory, a tensor or an argument that takes the long way.
    template <class F>
    py::object quick(F&& f) const {
        if (sync_after_each() || has_fault()) return py::none();
        try {
            return f();
        } catch (const Declined&) {
            return py::none();
        }
    }

    // A tensor of one of the `dtypes`, with `ndim` axes (-1: any), on the device of `other`.
    DeviceTensor take(py::handle x, const char* dtypes, int ndim, const DeviceTensor* other = nullptr) const {
        dlpack::Tensor t;
        if (!lend(x, &t) || t.device.type != place_ || (ndim >= 0 && t.ndim != ndim)) throw Declined();
        const DeviceTensor taken{
            x, reinterpret_cast<Pointer>(t.data) + t.byte_offset, letter(t.dtype), t.ndim, t.device.id, t.shape};
        if (!taken.dtype || !std::strchr(dtypes, taken.dtype) || taken.data % 16 ||
            (other && other->device != taken.device))
            throw Declined();
        const bool empty = taken.size(0, t.ndim) == 0;  // its strides are of no account
        int64_t step = 1;
        for (int i = t.ndim - 1; i >= 0; --i) {
            if (!empty && t.shape[i] != 1 && t.strides[i] != step) throw Declined();
            step *= t.shape[i];
        }
        return taken;
    }

    // torch.empty on the device of `like`.
    NewTensor empty(const DeviceTensor& like, std::initializer_list<int64_t> shape, char dtype) const {
        return empty(like, shape.begin(), int(shape.size()), dtype);
    }
    NewTensor empty(const DeviceTensor& like, const int64_t* sizes, int ndim, char dtype) const {
        py::tuple shape(static_cast<size_t>(ndim));
        for (int i = 0; i < ndim; ++i) shape[size_t(i)] = sizes[i];
        const py::object device = owned(PyObject_GetAttr(like.owner.ptr(), device_.ptr()));
        PyObject* arguments[] = {shape.ptr(), PyDict_GetItem(dtypes_.ptr(), py::int_(int(dtype)).ptr()), device.ptr()};
        PyObject* made = PyObject_Vectorcall(empty_.ptr(), arguments, 1, names_.ptr());
        dlpack::Tensor t;
        if (!made || api_->tensor_of_object(made, &t)) {  // no memory: the long way says how much was asked for
            Py_XDECREF(made);
            PyErr_Clear();
            throw Declined();
        }
        return {py::reinterpret_steal<py::object>(made), reinterpret_cast<Pointer>(t.data) + t.byte_offset};
    }

    Workspace workspace(const DeviceTensor& like, int64_t bytes) const {
        int64_t step = 1;
        dlpack::Tensor wanted{nullptr, {place_, like.device}, 1, {dlpack::kUInt, 8, 1}, &bytes, &step, 0};
        dlpack::Managed* memory = nullptr;
        if (api_->allocate(&wanted, &memory, nullptr, [](void*, const char*, const char*) {})) throw Declined();
        return Workspace(memory);
    }

    // The caller's current one.
    Pointer stream(const DeviceTensor& like) const {
        void* current = nullptr;
        if (place_ == dlpack::kCuda && api_->current_stream(place_, like.device, &current)) {
            PyErr_Clear();
            throw Declined();
        }
        return reinterpret_cast<Pointer>(current);
    }

  private:
    static char letter(dlpack::DataType dtype) {
        if (dtype.lanes != 1) return 0;
        const int size = dtype.bits == 8 ? 0 : dtype.bits == 16 ? 1 : dtype.bits == 32 ? 2 : dtype.bits == 64 ? 3 : 4;
        if (size == 4) return 0;
        switch (dtype.code) {
            case dlpack::kInt:
                return "bhiq"[size];
            case dlpack::kUInt:
                return "BHIQ"[size];
            case dlpack::kFloat:
                return "\0efd"[size];
            case dlpack::kBfloat:
                return size == 1 ? 'V' : 0;
            default:
                return 0;
        }
    }

    int32_t place_;
    py::object empty_;
    py::tuple names_;
    py::dict dtypes_;
    py::str device_{"device"};
};

// Arguments of Python's own types; another one, as NumPy's, takes the long way.
inline double number_in(py::handle x, double low, double high) {
    if (!PyFloat_CheckExact(x.ptr())) throw Declined();
    const double value = PyFloat_AS_DOUBLE(x.ptr());
    if (!(value >= low && value <= high)) throw Declined();
    return value;
}
inline int64_t integer_in(py::handle x, int64_t low, int64_t high) {
    int overflow = 0;
    if (!PyLong_CheckExact(x.ptr())) throw Declined();
    const long long value = PyLong_AsLongLongAndOverflow(x.ptr(), &overflow);
    if (overflow || value < low || value > high) throw Declined();
    return value;
}
inline std::string word(py::handle x) {
    if (!PyUnicode_CheckExact(x.ptr())) throw Declined();
    return x.cast<std::string>();
}

// Adds a quick call, f(tensors, arguments ...), to the class `Tensors` of the module.
template <class F>
void add_quick(py::module_& m, const char* name, F&& f) {
    const py::object tensors = m.attr("Tensors");
    tensors.attr(name) = py::cpp_function(std::forward<F>(f), py::name(name), py::is_method(tensors));
}

}  // namespace fastdet
