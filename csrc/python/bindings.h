// How the bindings of an area come into their module, _cpp or _cuda: each registers itself.
//
// Each bindings.cpp has a namespace of its own, since setup.py compiles several of them as one: pybind11 costs seconds
// a file, and little a function.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

namespace py = pybind11;

namespace fastdet {

// Of the module that this is linked into. Filled while the library is loaded.
using Bind = void (*)(py::module_&);
inline std::vector<Bind>& bindings() {
    static std::vector<Bind> all;
    return all;
}

// A static object of a bindings.cpp: `bind` adds the area's functions when the module is imported.
struct Bindings {
    explicit Bindings(Bind bind) { bindings().push_back(bind); }
};

inline void bind_all(py::module_& m) {
    for (const Bind bind : bindings()) bind(m);
}

}  // namespace fastdet
