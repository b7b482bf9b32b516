// A libcudart for nvcc's host code: one device, whose work is done when a call returns. Every call is counted.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "machine.h"

#define COUNTED ptx::count(__func__)

namespace {

struct Configuration {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};
std::vector<Configuration> configurations;
std::map<const void*, std::string>& names() {  // of kernels, by the host's function
    static std::map<const void*, std::string> all;
    return all;
}
std::map<const void*, int> shared_allowed;
cudaError_t last_error = cudaSuccess;

cudaError_t noted(cudaError_t code) {
    if (code) last_error = code;
    return code;
}

const ptx::Kernel* kernel_of(const void* host) {
    const ptx::Kernel* kernel = ptx::kernel_of(names()[host].c_str());
    static const ptx::Site site{ptx::Kind::none, false, "launch", "a kernel without PTX"};
    if (!kernel) ptx::give_up(names()[host].c_str(), &site, 0);
    return kernel;
}

cudaError_t launch(const void* host, dim3 grid, dim3 block, void** arguments, size_t shared) {
    const ptx::Kernel* kernel = kernel_of(host);
    ptx::count((std::string("launch ") + kernel->name).c_str());
    std::vector<uint64_t> parameters(1);
    for (int i = 0; i < kernel->parameter_count; ++i) {
        const ptx::Parameter& p = kernel->parameters[i];
        parameters.resize(std::max<size_t>(parameters.size(), (p.offset + p.bytes + 7) / 8));
        std::memcpy(reinterpret_cast<char*>(parameters.data()) + p.offset, arguments[i], p.bytes);
    }
    const auto allowed = shared_allowed.find(host);
    return noted(cudaError_t(ptx::launch(kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
                                         unsigned(shared), allowed == shared_allowed.end() ? 0 : allowed->second,
                                         reinterpret_cast<const unsigned char*>(parameters.data()))));
}

int context_state(int, unsigned* flags, int* active) {  // cuDevicePrimaryCtxGetState: the device is in use
    *flags = 0;
    *active = 1;
    return 0;
}

}  // namespace

// What nvcc's host code calls by itself.
PTX_API void** __cudaRegisterFatBinary(void*) {
    static void* handle;
    return &handle;
}
PTX_API void __cudaRegisterFatBinaryEnd(void**) {}
PTX_API void __cudaUnregisterFatBinary(void**) {}
PTX_API void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*,
                                    dim3*, int*) {
    names()[host] = name;
}
PTX_API void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
PTX_API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
    configurations.push_back({grid, block, shared, stream});
    return 0;
}
PTX_API cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    const Configuration c = configurations.back();
    configurations.pop_back();
    *grid = c.grid, *block = c.block, *shared = c.shared, *static_cast<cudaStream_t*>(stream) = c.stream;
    return cudaSuccess;
}
PTX_API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(host));
    return cudaSuccess;
}
PTX_API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                                       cudaStream_t) {
    return launch(kernel, grid, block, arguments, shared);
}

cudaError_t cudaLaunchKernel(const void* host, dim3 grid, dim3 block, void** arguments, size_t shared, cudaStream_t) {
    return launch(host, grid, block, arguments, shared);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* host, void** arguments) {
    return launch(host, c->gridDim, c->blockDim, arguments, c->dynamicSmemBytes);
}
cudaError_t cudaGetLastError() {
    COUNTED;
    const cudaError_t code = last_error;
    last_error = cudaSuccess;
    return code;
}
cudaError_t cudaPeekAtLastError() {
    COUNTED;
    return last_error;
}
const char* cudaGetErrorName(cudaError_t code) { return code ? "cudaErrorEmulated" : "cudaSuccess"; }
const char* cudaGetErrorString(cudaError_t) { return "an error that a test asked for"; }
cudaError_t cudaGetDevice(int* device) {
    COUNTED;
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
    COUNTED;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
    COUNTED;
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** found, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
    COUNTED;
    *found = reinterpret_cast<void*>(&context_state);
    *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    COUNTED;
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    COUNTED;
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
    COUNTED;
    switch (which) {
        case cudaDevAttrMultiProcessorCount:
            *value = 2;
            break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = int(ptx::kSharedMost);
            break;
        case cudaDevAttrMaxSharedMemoryPerBlock:
            *value = int(ptx::kSharedUnasked);
            break;
        case cudaDevAttrComputeCapabilityMajor:
            *value = 9;
            break;
        case cudaDevAttrComputeCapabilityMinor:
            *value = 0;
            break;
        case cudaDevAttrMaxGridDimX:
            *value = 2147483647;
            break;
        case cudaDevAttrWarpSize:
            *value = 32;
            break;
        default:
            return noted(cudaErrorNotSupported);  // a stub would hide what a GPU says
    }
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* host) {
    COUNTED;
    std::memset(attributes, 0, sizeof *attributes);
    attributes->ptxVersion = PTX_ARCH, attributes->binaryVersion = 90;
    attributes->maxThreadsPerBlock = int(kernel_of(host)->max_threads);
    attributes->sharedSizeBytes = kernel_of(host)->shared_bytes;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* host, cudaFuncAttribute which, int value) {
    COUNTED;
    if (which != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (unsigned(value) + kernel_of(host)->shared_bytes > ptx::kSharedMost) return noted(cudaErrorInvalidValue);
    shared_allowed[host] = value;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
    COUNTED;
    *blocks = 2;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) {
    COUNTED;
    *blocks = 2;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
    COUNTED;
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
    COUNTED;
    std::memset(to, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    COUNTED;
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
    COUNTED;
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
    COUNTED;
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** to, size_t bytes, unsigned) {
    COUNTED;
    *to = std::malloc(bytes);
    return *to ? cudaSuccess : noted(cudaErrorMemoryAllocation);
}
