// What DLPack 1.2 calls the exchange API: C functions with which a library lends its tensors to C code. torch offers
// them as the capsule `torch.Tensor.__dlpack_c_exchange_api__` since version 2.10.
#pragma once

#include <cstdint>

namespace fastdet {
namespace dlpack {

enum Place : int32_t { kCpu = 1, kCuda = 2 };
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };
constexpr uint32_t kMajor = 1, kMinor = 2;  // the version whose structures these are

struct Version {
    uint32_t major, minor;
};

struct Device {
    int32_t type, id;
};

struct DataType {
    uint8_t code, bits;
    uint16_t lanes;
};

// shape and strides (in elements) belong to the tensor.
struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    DataType dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
};

// A tensor with its owner, which `deleter` ends.
struct Managed {
    Version version;
    void* owner;
    void (*deleter)(Managed*);
    uint64_t flags;
    Tensor tensor;
};

// Each returns 0, or -1 with a Python exception.
struct ExchangeApi {
    Version version;
    ExchangeApi* previous;
    int (*allocate)(Tensor*, Managed**, void*, void (*)(void*, const char*, const char*));
    int (*managed_of_object)(void*, Managed**);
    int (*object_of_managed)(Managed*, void**);
    int (*tensor_of_object)(void*, Tensor*);
    int (*current_stream)(int32_t, int32_t, void**);
};

}  // namespace dlpack
}  // namespace fastdet
