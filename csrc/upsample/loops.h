// What the loops of bilinear resampling share. Compiled once per instruction set, in upsample.cpp (forward) and
// upsample_backward.cpp.
#pragma once

#include <cstdint>
#include <type_traits>

#include "upsample/upsample_bilinear.h"

namespace fastdet {
namespace FASTDET_ISA {

// Units [first, last) of a job whose values are stored as S, and the scratch memory that it takes.
template <class S>
void upsample_forward(const UpsampleJob& job, int64_t first, int64_t last, void* scratch);
template <class S>
int64_t upsample_forward_scratch(const UpsampleJob& job);
template <class S>
void upsample_backward(const UpsampleJob& job, int64_t first, int64_t last, void* scratch);
template <class S>
int64_t upsample_backward_scratch(const UpsampleJob& job);

template <class S>
struct ComputeOf {
    using T = float;
};
template <>
struct ComputeOf<double> {
    using T = double;
};

template <class A, class B>
constexpr bool kSame = std::is_same<A, B>::value;

static inline int64_t lesser_of(int64_t a, int64_t b) { return a < b ? a : b; }

// Takes pieces of scratch memory, 64-byte aligned; with a base of 0, measures.
struct Scratch {
    uintptr_t base;
    int64_t used;
    template <class T>
    T* take(int64_t n) {
        T* p = reinterpret_cast<T*>(base + uintptr_t(used));
        used += (n * int64_t(sizeof(T)) + 63) / 64 * 64;
        return p;
    }
};

}  // namespace FASTDET_ISA
}  // namespace fastdet
