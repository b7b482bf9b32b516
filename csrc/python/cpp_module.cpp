// fastdet._cpp: the module itself, and its functions for instruction sets and threads.
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

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

// Threads of other libraries that ask for the GIL while the interpreter ends are unwound as ours are (see bindings.h),
// and std::terminate ends the process where a function of theirs must not throw: PyTorch's backward, say, which calls
// fastdet. Such a thread waits instead. Anything else is left to the handler that was there before.
std::terminate_handler handler_before = nullptr;
std::thread::id ending_thread;

bool is_ending() {
#if PY_VERSION_HEX >= 0x030d0000
    return Py_IsFinalizing() || !Py_IsInitialized();
#else
    return _Py_IsFinalizing() || !Py_IsInitialized();
#endif
}

void on_terminate() {
    if (is_ending() && !std::current_exception() && std::this_thread::get_id() != ending_thread) wait_for_the_end();
    if (handler_before) handler_before();
    std::abort();
}

void watch_the_end() {
    if (std::get_terminate() == on_terminate) return;  // of another interpreter of this process
    ending_thread = std::this_thread::get_id();
    handler_before = std::set_terminate(on_terminate);
}

const Bindings registered([](py::module_& m) {
    py::module_::import("atexit").attr("register")(py::cpp_function(watch_the_end));
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
