// fastdet._cuda: the module itself, and its functions for the machine and for faults.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/fault.h"
#include "python/cuda.h"
#include "python/cuda_tensors.h"

namespace fastdet {

bool sync_after_each() {
    static const bool wanted = [] {
        const char* value = std::getenv("FASTDET_SYNC");
        return value && std::strcmp(value, "0") && *value;
    }();
    return wanted;
}

// By the driver's own function, which the runtime finds: nothing is linked with the driver. In doubt the answer is yes.
bool has_context(int device) {
#if CUDART_VERSION >= 12050
    using State = int (*)(int device, unsigned* flags, int* active);
    static const State state = [] {
        void* found = nullptr;
        cudaDriverEntryPointQueryResult result;
        const cudaError_t code =
            cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &found, 12000, cudaEnableDefault, &result);
        if (code != cudaSuccess) cudaGetLastError();
        return code == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<State>(found) : nullptr;
    }();
    unsigned flags;
    int active = 1;
    return !state || state(device, &flags, &active) || active;
#else
    return device >= 0;
#endif
}

namespace python_bindings {
namespace {

// The op and the code of a fault that a kernel has noted, or None.
py::object take_noted() {
    const char* op;
    int64_t code;
    if (!take_fault(&op, &code)) return py::none();
    return py::make_tuple(op, code);
}

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number / 10 % 100); }

// Why no kernel can run here; empty where one can.
std::string unavailable() {
    int driver = 0, built = 0, devices = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || !driver) return "no NVIDIA driver is installed";
    cudaRuntimeGetVersion(&built);
    const cudaError_t code = cudaGetDeviceCount(&devices);
    if (code == cudaSuccess && devices > 0) return "";
    cudaGetLastError();  // this call reports it; a kernel's launch must not
    if (built / 1000 > driver / 1000)
        return "the NVIDIA driver supports CUDA " + version(driver) + ", and this build needs " + version(built);
    if (code == cudaSuccess) return "no NVIDIA GPU is visible";
    return std::string("no NVIDIA GPU can be used: ") + cudaGetErrorString(code);
}

std::vector<int64_t> read_some(Pointer from, int64_t count, int device, Pointer stream) {
    if (count < 0 || count > 64) throw py::value_error("fastdet._cuda: read is for a few numbers");
    std::vector<int64_t> to(static_cast<size_t>(count));
    read_numbers(from, count, to.data(), device, stream);
    return to;
}

const Bindings registered([](py::module_& m) {
    m.def("unavailable", unavailable);
    m.def("read", read_some);
    m.def("take_fault", take_noted);
    m.def("waits", sync_after_each);
});

}  // namespace
}  // namespace python_bindings
}  // namespace fastdet

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
    m.doc() = "fastdet's CUDA backend";
    py::class_<fastdet::DeviceTensors>(m, "Tensors", py::module_local())  // first: the areas add their quick calls
        .def(py::init<py::module_, int>(), py::arg("torch"), py::arg("place") = int(fastdet::dlpack::kCuda));
    fastdet::bind_all(m);
}
