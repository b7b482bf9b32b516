// For the bindings of the CUDA backend: raw pointers, dtypes, the launch of an op. Only bindings and this folder
// include Python. Bindings take raw pointers and shapes, which the Python side has made from checked arrays, a device
// and a stream.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "core/half.h"
#include "cuda/call.h"
#include "python/bindings.h"

namespace fastdet {

using Pointer = uintptr_t;  // of the device's memory, or a stream

// What keeps a wrong pointer from becoming a fault that ends the process's use of the GPU.
template <class T>
T* at(Pointer p, size_t alignment = 16) {
    if (p % alignment) throw py::value_error("fastdet._cuda: a pointer is not aligned");
    return reinterpret_cast<T*>(p);
}

// f(T()) for the dtype's character, as numpy.dtype.char; bfloat16's is V.
template <class F>
auto by_float(char dtype, F&& f) {
    if (dtype == 'd') return f(double());
    if (dtype == 'f') return f(float());
    if (dtype == 'e') return f(Half());
    if (dtype == 'V') return f(BFloat16());
    throw py::type_error(std::string("fastdet._cuda: no kernel for dtype ") + dtype);
}

// Of those that boxes and scores are computed in.
template <class F>
auto by_dtype(char dtype, F&& f) {
    if (dtype == 'd') return f(double());
    if (dtype == 'f') return f(float());
    throw py::type_error(std::string("fastdet._cuda: no kernel for dtype ") + dtype);
}

template <class F>
auto by_dtypes(char boxes, char scores, F&& f) {
    return by_dtype(boxes, [&](auto t) { return by_dtype(scores, [&](auto s) { return f(t, s); }); });
}

bool has_context(int device);  // whether anything has used the device in this process

// Makes a device current for a while. A device without a context is not made current again: that would create one, some
// hundred MB on a GPU that nobody uses. torch remembers its own choice and does the same.
class OnDevice {
  public:
    explicit OnDevice(int device) : device_(device) {
        check_cuda(cudaGetDevice(&before_));
        if (device != before_) check_cuda(cudaSetDevice(device));
    }
    ~OnDevice() {
        if (device_ != before_ && has_context(before_) && cudaSetDevice(before_) != cudaSuccess) cudaGetLastError();
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

  private:
    int device_, before_ = 0;
};

// A stream's capture, in any thread, does not forbid what this thread does meanwhile: the first launch of a kernel
// loads it, which a capture in the global mode refuses.
class CaptureRelaxed {
  public:
    CaptureRelaxed() { check_cuda(cudaThreadExchangeStreamCaptureMode(&mode_)); }
    ~CaptureRelaxed() {
        if (cudaThreadExchangeStreamCaptureMode(&mode_) != cudaSuccess) cudaGetLastError();
    }
    CaptureRelaxed(const CaptureRelaxed&) = delete;
    CaptureRelaxed& operator=(const CaptureRelaxed&) = delete;

  private:
    cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

bool sync_after_each();  // FASTDET_SYNC=1: an error is reported by the call that caused it

// Queues an op's launches, f(stream), on a device's stream. An error becomes a Python exception that names op and
// shape.
template <class F>
void queue(const char* op, std::initializer_list<int64_t> shape, int device, Pointer stream, F&& f) {
    try {
        const WithoutGil release;  // a full queue makes a launch wait
        const OnDevice guard(device);
        const CaptureRelaxed relaxed;
        f(reinterpret_cast<cudaStream_t>(stream));
        if (sync_after_each()) check_cuda(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(stream)));
    } catch (const CudaError& error) {
        std::string text = std::string(op) + ": CUDA error " + std::to_string(int(error.code)) + " (" +
                           cudaGetErrorName(error.code) + ": " + cudaGetErrorString(error.code) + ") for shape (";
        for (const int64_t* n = shape.begin(); n != shape.end(); ++n)
            text += (n == shape.begin() ? "" : ", ") + std::to_string(*n);
        throw std::runtime_error(text + ") on device " + std::to_string(device));
    }
}

// Copies `count` numbers from device memory after the work queued on the stream, and waits. Nothing else copies to the
// host.
inline void read_numbers(Pointer from, int64_t count, int64_t* to, int device, Pointer stream) {
    const int64_t* p = at<const int64_t>(from, 8);
    queue("read", {count}, device, stream, [&](cudaStream_t s) {
        check_cuda(cudaMemcpyAsync(to, p, size_t(count) * sizeof(int64_t), cudaMemcpyDeviceToHost, s));
        check_cuda(cudaStreamSynchronize(s));
    });
}

}  // namespace fastdet
