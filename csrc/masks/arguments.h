// Arrays of run lengths as arguments of the bindings.
#pragma once

#include "masks/rle.h"
#include "python/cpp.h"

namespace fastdet {
namespace masks_bindings {

// (n,) integers; n < 0: of any length.
template <class T>
const T* flat(const py::array& x, int64_t n = -1) {
    const bool fits = x.dtype().kind() == (std::is_signed<T>::value ? 'i' : 'u') && x.itemsize() == sizeof(T);
    if (!fits || !is_plain(x) || x.ndim() != 1 || (n >= 0 && x.shape(0) != n))
        throw py::type_error("fastdet._cpp: invalid array");
    return static_cast<const T*>(x.data());
}

// A copy of offsets that do not fall, the last of which is `end` at most.
inline std::vector<int64_t> rising(const py::array& x, int64_t end) {
    const int64_t* p = flat<int64_t>(x);
    std::vector<int64_t> out(p, p + x.shape(0));
    bool wrong = out.empty() || out.front() < 0 || out.back() > end;
    for (size_t i = 1; i < out.size(); ++i) wrong |= out[i] < out[i - 1];
    if (wrong) throw py::value_error("fastdet._cpp: offsets must rise");
    return out;
}

inline Runs runs_of(const py::array& counts, const py::array& offsets) {
    const uint32_t* p = flat<uint32_t>(counts);
    return {p, rising(offsets, counts.shape(0))};
}

// The heights of sizes (n, 2).
inline std::vector<int64_t> heights_of(const py::array& sizes, int64_t n) {
    if (sizes.ndim() != 2 || sizes.shape(0) != n || sizes.shape(1) != 2)
        throw py::type_error("fastdet._cpp: invalid sizes");
    const int64_t* p = data<int64_t>(sizes);
    std::vector<int64_t> out(size_t(n) + 1);
    for (int64_t i = 0; i < n; ++i) out[size_t(i)] = p[2 * i];
    return out;
}

}  // namespace masks_bindings
}  // namespace fastdet
