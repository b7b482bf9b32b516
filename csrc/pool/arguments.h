// For the bindings of pooling of the CPU and of CUDA.
#pragma once

#include <pybind11/pybind11.h>

#include "pool/max_pool2d.h"

namespace fastdet {

// Of values that are only moved: `itemsize` bytes each.
inline PoolType bits_of(int64_t itemsize) {
    switch (itemsize) {
        case 1:
            return PoolType::u8;
        case 2:
            return PoolType::u16;
        case 4:
            return PoolType::u32;
        case 8:
            return PoolType::i64;
    }
    throw pybind11::type_error("fastdet: invalid item size");
}

// Entry i of a tuple of lengths, from `min_value` up.
inline int64_t entry(const pybind11::tuple& of, size_t i, int64_t min_value) {
    const int64_t value = of[i].cast<int64_t>();
    if (value < min_value || value >= int64_t(1) << 31) throw pybind11::value_error("fastdet: invalid window or size");
    return value;
}

inline PoolWindow window_of(const pybind11::tuple& of) {
    if (of.size() != 6) throw pybind11::value_error("fastdet: invalid window");
    const PoolWindow w{entry(of, 0, 1), entry(of, 1, 1), entry(of, 2, 1),
                       entry(of, 3, 1), entry(of, 4, 0), entry(of, 5, 0)};
    if (w.ph * 2 > w.kh || w.pw * 2 > w.kw) throw pybind11::value_error("fastdet: invalid window");
    return w;
}

}  // namespace fastdet
