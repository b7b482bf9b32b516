// A few neighbouring values that a thread loads or stores at once.
#pragma once

#include "cuda_launch.h"
#include "half.h"

namespace fastdet {

template <class S, int V>
struct alignas(sizeof(S) * V) Pack {
    S v[V];
};

// A number of bytes that is one load or store.
template <size_t Bytes>
struct Word;
template <>
struct Word<2> {
    using type = uint16_t;
};
template <>
struct Word<4> {
    using type = uint32_t;
};
template <>
struct Word<8> {
    using type = uint2;
};
template <>
struct Word<16> {
    using type = uint4;
};
template <class S, int V>
using WordOf = typename Word<sizeof(S) * V>::type;

template <int V, class S>
__device__ inline Pack<S, V> load_pack(const S* from) {
    const WordOf<S, V> word = *reinterpret_cast<const WordOf<S, V>*>(from);
    Pack<S, V> x;
    std::memcpy(&x, &word, sizeof x);
    return x;
}
template <class S, int V>
__device__ inline void store_as_is(S* to, const Pack<S, V>& from) {
    WordOf<S, V> word;
    std::memcpy(&word, &from, sizeof word);
    *reinterpret_cast<WordOf<S, V>*>(to) = word;
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

template <class S, int V>
__device__ inline void store_pack(S* to, const Pack<Compute<S>, V>& from) {
    if constexpr (sizeof(S) == 2 && V == 4) {
        *reinterpret_cast<uint2*>(to) =
            make_uint2(two_stored(S{}, from.v[0], from.v[1]), two_stored(S{}, from.v[2], from.v[3]));
    } else {
        Pack<S, V> x;
#pragma unroll
        for (int k = 0; k < V; ++k) x.v[k] = stored<S>(from.v[k]);
        store_as_is<S, V>(to, x);
    }
}

}  // namespace fastdet
