// Neighbouring values widened to what they are computed in, and narrowed back.
#pragma once

#include "core/half.h"
#include "cuda/pack.h"

namespace fastdet {

// To shared memory, up to 16 bytes.
template <class S, int V>
__device__ inline void store_shared(S* to, const Pack<S, V>& from) {
    using W = typename Word<int(sizeof(S)) * V>::Type;
    static_assert(sizeof(W) == sizeof from, "one store");
    W word;
    std::memcpy(&word, &from, sizeof word);
    *reinterpret_cast<W*>(to) = word;
}

template <class S, int V>
__device__ inline Pack<Compute<S>, V> widened(const Pack<S, V>& from) {
    Pack<Compute<S>, V> to;
#pragma unroll
    for (int k = 0; k < V; ++k) to.v[k] = widen(from.v[k]);
    return to;
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ inline uint32_t two_stored(Half, float low, float high) {
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ inline uint32_t two_stored(BFloat16, float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
#else
template <class S>
__device__ inline uint32_t two_stored(S, float low, float high) {
    return uint32_t(stored<S>(low).bits) | uint32_t(stored<S>(high).bits) << 16;
}
#endif

// To global memory alone, in one store: an assignment is taken apart.
template <class S, int V>
__device__ inline void store_narrowed(S* to, const Pack<Compute<S>, V>& from) {
    if constexpr (sizeof(S) == 2 && V == 4) {
        __stwb(reinterpret_cast<uint2*>(to),
               make_uint2(two_stored(S{}, from.v[0], from.v[1]), two_stored(S{}, from.v[2], from.v[3])));
    } else {
        Pack<S, V> x;
#pragma unroll
        for (int k = 0; k < V; ++k) x.v[k] = stored<S>(from.v[k]);
        store_pack(to, x);
    }
}

}  // namespace fastdet
