// NumPy arrays as boxes, for the bindings of the CPU.
#pragma once

#include <string>

#include "boxes/box.h"
#include "python/cpp.h"

namespace fastdet {

// The size of the first axis of (N, 4), or of another number of axes, of which the last has 4 columns.
inline int64_t rows_of(const py::array& boxes, int axes = 2) {
    if (boxes.ndim() != axes || boxes.shape(axes - 1) != 4)
        throw py::value_error(std::string("fastdet._cpp: boxes must be (") + (axes == 2 ? "N, 4)" : "B, N, 4)"));
    return boxes.shape(0);
}

// Boxes of as many axes. The caller takes the sizes of the others from x.
template <class T>
const Box<T>* boxes_of(const py::array& x, int axes = 2) {
    rows_of(x, axes);
    return reinterpret_cast<const Box<T>*>(data<T>(x));
}

}  // namespace fastdet
