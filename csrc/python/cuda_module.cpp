// fastdet._cuda: the module itself, and what can be said of the machine. See module_cuda.h.
#include "python/cuda.h"

#include "cuda/fault.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fastdet {

static std::atomic<int64_t*> fault_slots{nullptr};

int64_t* fault_slot(Fault op) {
    int64_t* slots = fault_slots.load();
    if (!slots) {
        void* memory = nullptr;
        cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;  // no stream takes part in this
        check_cuda(cudaThreadExchangeStreamCaptureMode(&mode));
        const cudaError_t code = cudaHostAlloc(&memory, sizeof(int64_t) * size_t(Fault::count), cudaHostAllocPortable);
        check_cuda(cudaThreadExchangeStreamCaptureMode(&mode));
        check_cuda(code);
        std::memset(memory, 0, sizeof(int64_t) * size_t(Fault::count));
        // For the life of the process, also where another thread has been quicker: to free it would wait.
        if (fault_slots.compare_exchange_strong(slots, static_cast<int64_t*>(memory)))
            slots = static_cast<int64_t*>(memory);
    }
    return slots + int(op);
}

bool sync_after_each() {
    static const bool wanted = [] {
        const char* value = std::getenv("FASTDET_SYNC");
        return value && std::strcmp(value, "0") && *value;
    }();
    return wanted;
}

namespace {

const char* const kFaultNames[] = {
    "confusion_matrix", "confusion_matrix_from_logits", "cross_entropy", "focal_loss",
    "dice_loss",        "max_pool2d_backward",          "max_unpool2d",  "max_unpool2d_backward"};
static_assert(sizeof kFaultNames / sizeof *kFaultNames == size_t(Fault::count), "a name each");

// The first fault that is noted, which is then forgotten: its op and code; None.
py::object take_fault() {
    volatile int64_t* slots = fault_slots.load();
    if (!slots) return py::none();
    for (int i = 0; i < int(Fault::count); ++i) {
        const int64_t noted = slots[i] ? __atomic_exchange_n(slots + i, int64_t(0), __ATOMIC_ACQ_REL) : 0;
        if (!noted) continue;
        return py::make_tuple(kFaultNames[i], noted - 1);
    }
    return py::none();
}

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number / 10 % 100); }

// Why no kernel can run here; empty where one can.
std::string unavailable() {
    int driver = 0, built = 0, devices = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || !driver) return "no NVIDIA driver is installed";
    cudaRuntimeGetVersion(&built);
    const cudaError_t code = cudaGetDeviceCount(&devices);
    if (code == cudaSuccess && devices > 0) return "";
    cudaGetLastError();  // it is told here, and of no kernel's launch
    if (built / 1000 > driver / 1000)
        return "the NVIDIA driver supports CUDA " + version(driver) + ", and this build needs " + version(built);
    if (code == cudaSuccess) return "no NVIDIA GPU is visible";
    return std::string("no NVIDIA GPU can be used: ") + cudaGetErrorString(code);
}

// `count` numbers of a device's memory, once the stream has come to them: the one way back to the host.
std::vector<int64_t> read_numbers(Pointer from, int64_t count, int device, Pointer stream) {
    if (count < 0 || count > 64) throw py::value_error("fastdet._cuda: read is for a few numbers");
    std::vector<int64_t> to(static_cast<size_t>(count));
    const int64_t* p = at<const int64_t>(from, 8);
    queue("read", {count}, device, stream, [&](cudaStream_t s) {
        check_cuda(cudaMemcpyAsync(to.data(), p, to.size() * sizeof(int64_t), cudaMemcpyDeviceToHost, s));
        check_cuda(cudaStreamSynchronize(s));
    });
    return to;
}

}  // namespace
}  // namespace fastdet

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
    using namespace fastdet;
    m.doc() = "fastdet's CUDA backend";
    m.def("unavailable", unavailable);
    m.def("read", read_numbers);
    m.def("take_fault", take_fault);
    m.def("waits", sync_after_each);
    bind_cuda_boxes(m);
    bind_cuda_fusion(m);
    bind_cuda_losses(m);
    bind_cuda_nms(m);
    bind_cuda_pool(m);
    bind_cuda_segmentation(m);
    bind_cuda_upsample(m);
    bind_cuda_yolo(m);
}
