// Python's arguments as a LabelMap, for the bindings of the CPU and of CUDA.
#pragma once

#include <pybind11/pybind11.h>

#include "segmentation/confusion_matrix.h"

namespace py = pybind11;

namespace fastdet {

inline int64_t class_count(int64_t classes) {
    if (classes < 1 || classes > 65535) throw py::value_error("fastdet: invalid number of classes");
    return classes;
}

// Labels of `classes` classes, integers of kind 'i' or 'u'; an ignored label that the dtype cannot hold ignores
// nothing.
inline LabelMap map_of(const void* labels, char kind, int bytes, int64_t classes, const py::object& ignore) {
    const int bits = bytes * 8 - (kind == 'i');
    const uint64_t highest = bits == 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
    LabelMap map{labels, bytes, uint64_t(classes - 1) < highest ? uint64_t(classes - 1) : highest, 0, 0};
    if (ignore.is_none()) return map;
    const py::int_ value(ignore), zero(0);
    const bool negative = value < zero;
    const uint64_t as_stored = negative ? uint64_t(value.cast<int64_t>()) : value.cast<uint64_t>();
    if (negative ? kind == 'u' || int64_t(as_stored) < -int64_t(highest) - 1 : as_stored > highest) return map;
    map.ignore = bytes == 8 ? as_stored : as_stored & ((uint64_t(1) << bytes * 8) - 1);
    map.void_code = uint16_t(classes);
    return map;
}

}  // namespace fastdet
