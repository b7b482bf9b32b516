// NumPy arrays as boxes, for the bindings of the CPU.
#pragma once

#include "boxes/box.h"
#include "python/cpp.h"

namespace fastdet {

// (N, 4), or another number of axes, of which the last has 4 columns. The caller takes the sizes of the others from x.
template <class T>
const Box<T>* boxes_of(const py::array& x, int axes = 2) {
    if (x.ndim() != axes || x.shape(axes - 1) != 4) throw py::value_error("fastdet._cpp: boxes must end in 4 columns");
    return reinterpret_cast<const Box<T>*>(data<T>(x));
}

}  // namespace fastdet
