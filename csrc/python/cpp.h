// For the bindings of the C++ backend: NumPy arrays as pointers. Only bindings and this folder include Python. The
// Python side has checked the arguments; the checks here are for memory safety alone.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstring>
#include <type_traits>

#include "core/memory.h"
#include "python/bindings.h"

namespace fastdet {

inline bool is_double(const py::array& x) { return x.dtype().num() == py::detail::npy_api::NPY_DOUBLE_; }

// Halves, for which pybind11 has no names: NumPy's float16, and bfloat16 as the bits of two bytes.
constexpr int kHalfNumber = 23;
inline bool is_half(const py::array& x) { return x.dtype().num() == kHalfNumber; }
inline bool is_bfloat16(const py::array& x) {
    return x.dtype().num() == py::detail::npy_api::NPY_VOID_ && x.itemsize() == 2;
}

template <class T>
constexpr int kNumber = std::is_same<T, float>::value    ? py::detail::npy_api::NPY_FLOAT_
                        : std::is_same<T, double>::value ? py::detail::npy_api::NPY_DOUBLE_
                                                         : py::detail::npy_api::NPY_BOOL_;

inline py::array as_array(const py::object& x) {
    if (!py::isinstance<py::array>(x)) throw py::type_error("fastdet._cpp: invalid array");
    return py::reinterpret_borrow<py::array>(x);
}

// C-contiguous, aligned, of native byte order.
inline bool is_plain(const py::array& x) {
    constexpr int kPlain = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    const auto* dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(x.ptr())->descr);
    return (x.flags() & kPlain) == kPlain && dtype->byteorder != '>';
}

// The data of a C-contiguous array of T (boxes: Box<T>).
template <class T>
const T* data(const py::array& x) {
    const bool fits =
        std::is_same<T, int64_t>::value ? x.dtype().kind() == 'i' && x.itemsize() == 8 : x.dtype().num() == kNumber<T>;
    if (!fits || !is_plain(x)) throw py::type_error("fastdet._cpp: invalid array");
    return static_cast<const T*>(x.data());
}
template <class F>
auto by_dtype(const py::array& x, F&& f) {
    return is_double(x) ? f(double()) : f(float());
}

inline py::array_t<int64_t> copy(const int64_t* from, int64_t n) {
    py::array_t<int64_t> out(n);
    if (n) std::memcpy(out.mutable_data(), from, size_t(n) * sizeof(int64_t));  // from may be null where n is 0
    return out;
}

}  // namespace fastdet
