// NumPy arrays as boxes, for the bindings of the CPU.
#pragma once

#include "boxes/box.h"
#include "python/cpp.h"

namespace fastdet {

template <class T>
const Box<T>* boxes_of(const py::array& x) {
    if (x.ndim() < 2 || x.shape(x.ndim() - 1) != 4) throw py::value_error("fastdet._cpp: boxes must end in 4 columns");
    return reinterpret_cast<const Box<T>*>(data<T>(x));
}

}  // namespace fastdet
