// The host memory in which kernels report invalid values. See fault.h.
#include "cuda/fault.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace fastdet {
namespace {

constexpr int kMaxFaults = 64;  // ops
const char* names[kMaxFaults];  // filled while the library is loaded
int count = 0;
std::atomic<int64_t*> all_slots{nullptr};

}  // namespace

Fault::Fault(const char* op) : index_(count++) {
    if (index_ >= kMaxFaults) std::abort();
    names[index_] = op;
}

int64_t* Fault::slot() const {
    int64_t* slots = all_slots.load();
    if (!slots) {
        void* memory = nullptr;
        cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;  // no stream takes part in this
        check_cuda(cudaThreadExchangeStreamCaptureMode(&mode));
        const cudaError_t code = cudaHostAlloc(&memory, sizeof(int64_t) * kMaxFaults, cudaHostAllocPortable);
        check_cuda(cudaThreadExchangeStreamCaptureMode(&mode));
        check_cuda(code);
        std::memset(memory, 0, sizeof(int64_t) * kMaxFaults);
        // Never freed, even if another thread was first: freeing would wait for the device.
        if (all_slots.compare_exchange_strong(slots, static_cast<int64_t*>(memory)))
            slots = static_cast<int64_t*>(memory);
    }
    return slots + index_;
}

bool has_fault() {
    const volatile int64_t* slots = all_slots.load();
    for (int i = 0; slots && i < count; ++i) {
        if (slots[i]) return true;
    }
    return false;
}

bool take_fault(const char** op, int64_t* code) {
    volatile int64_t* slots = all_slots.load();
    for (int i = 0; slots && i < count; ++i) {
        const int64_t noted = slots[i] ? __atomic_exchange_n(slots + i, int64_t(0), __ATOMIC_ACQ_REL) : 0;
        if (!noted) continue;
        *op = names[i];
        *code = noted - 1;
        return true;
    }
    return false;
}

}  // namespace fastdet
