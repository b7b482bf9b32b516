// fastdet._cpp: the module itself, and its functions for instruction sets and threads.
#include <string>

#include "core/isa.h"
#include "core/threads.h"
#include "core/work.h"
#include "python/bindings.h"

namespace fastdet {
namespace python_bindings {
namespace {

py::list isa_available() {
    int count;
    const char* const* names = isa_names(&count);
    py::list out;
    for (int i = 0; i < count; ++i) out.append(names[i]);
    return out;
}

void set_isa(const std::string& name) {
    if (!choose_isa(name.c_str())) {
        std::string have;
        int count;
        const char* const* names = isa_names(&count);
        for (int i = 0; i < count; ++i) have += std::string(i ? ", '" : "'") + names[i] + "'";
        throw py::value_error("set_isa: name must be one of " + have + ", got '" + name + "'");
    }
}

const Bindings registered([](py::module_& m) {
    m.def("isa", isa_name);
    m.def("isa_available", isa_available);
    m.def("set_isa", set_isa);
    m.def("get_num_threads", get_num_threads);
    m.def("set_num_threads", set_num_threads);
    m.def("pairs_counted", pairs_counted);
});

}  // namespace
}  // namespace python_bindings
}  // namespace fastdet

PYBIND11_MODULE(_cpp, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    m.doc() = "fastdet's C++ backend";
    fastdet::bind_all(m);
}
