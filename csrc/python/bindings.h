// How the bindings of an area come into their module, _cpp or _cuda: each registers itself.
//
// Each bindings.cpp has a namespace of its own, since setup.py compiles several of them as one: pybind11 costs seconds
// a file, and little a function.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>
#include <vector>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

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

// Before Python 3.14, a thread that asks for the GIL while the interpreter ends is ended by pthread_exit. With glibc
// that unwinds the thread's frames, and a destructor among them ends the whole process. Such a thread waits here
// instead, as Python 3.14 makes it do, until the process is gone.
[[noreturn]] inline void wait_for_the_end() {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// What a function of Python's C interface gave, or its exception.
inline py::object owned(PyObject* x) {
    if (!x) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(x);
}

// call(), which runs Python code, and owns nothing. A thread that is ended there waits there: unwound further, its
// frames would give Python's objects back without the lock. The unwinding of a thread is no object: what is caught
// refers to nothing, on which the sanitizer would end the process.
template <class F>
__attribute__((no_sanitize("null"))) PyObject* run_python(F&& call) {
#if defined(__GLIBCXX__)
    try {
        return call();
    } catch (abi::__forced_unwind&) {
        wait_for_the_end();
    }
#else
    return call();
#endif
}

// Other threads run Python while it lives.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    ~WithoutGil() noexcept(false) { take(); }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

    // f() with the lock, in the thread that made this object. What f runs of Python goes through `run_python`.
    template <class F>
    auto with_gil(F&& f) {
        take();
        const Released released{state_};
        return f();
    }

  private:
    void take() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {  // it throws nothing of its own
            wait_for_the_end();
        }
    }
    struct Released {
        PyThreadState*& state;
        ~Released() { state = PyEval_SaveThread(); }
    };

    PyThreadState* state_;
};

inline void bind_all(py::module_& m) {
    for (const Bind bind : bindings()) bind(m);
}

}  // namespace fastdet
