// What the launchers of the kernels and the Python module share on the host's side.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace fastdet {

struct CudaError {
    cudaError_t code;
};

inline void check_cuda(cudaError_t code) {
    if (code == cudaSuccess) return;
    cudaGetLastError();  // this call reports it; a later launch must not
    throw CudaError{code};
}

// Of the current device.
inline int64_t device_attribute(cudaDeviceAttr which) {
    int device, value;
    check_cuda(cudaGetDevice(&device));
    check_cuda(cudaDeviceGetAttribute(&value, which, device));
    return value;
}

inline int64_t blocks_for(int64_t items, int64_t per_block) { return (items + per_block - 1) / per_block; }

// Parts of a workspace, one after the other. Without memory it only counts the bytes.
class Parts {
  public:
    explicit Parts(void* memory = nullptr) : memory_(static_cast<char*>(memory)) {}
    template <class T>
    T* take(int64_t n) {
        T* here = memory_ ? reinterpret_cast<T*>(memory_ + bytes_) : nullptr;
        bytes_ += (int64_t(sizeof(T)) * n + 255) / 256 * 256;
        return here;
    }
    int64_t bytes() const { return bytes_; }

  private:
    char* memory_;
    int64_t bytes_ = 0;
};

}  // namespace fastdet
