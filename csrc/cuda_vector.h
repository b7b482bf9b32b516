// A few neighbouring values that a thread loads or stores at once.
#pragma once

#include "cuda_launch.h"
#include "half.h"

namespace fastdet {

template <class S, int V>
struct alignas(sizeof(S) * V) Pack {
    S v[V];
};

template <int V, class S>
__device__ inline Pack<S, V> load_pack(const S* from) {
    return *reinterpret_cast<const Pack<S, V>*>(from);
}

template <class S, int V>
__device__ inline Pack<Compute<S>, V> widened(const Pack<S, V>& from) {
    Pack<Compute<S>, V> to;
#pragma unroll
    for (int k = 0; k < V; ++k) to.v[k] = widen(from.v[k]);
    return to;
}

template <class S, int V>
__device__ inline void store_pack(S* to, const Pack<Compute<S>, V>& from) {
    Pack<S, V> pack;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if constexpr (sizeof(S) == 2 && V % 2 == 0) {  // two in one instruction
        uint32_t pairs[V / 2];
#pragma unroll
        for (int k = 0; k < V; k += 2) {
            if constexpr (std::is_same<S, Half>::value) {
                asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pairs[k / 2]) : "f"(from.v[k + 1]), "f"(from.v[k]));
            } else {
                asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pairs[k / 2]) : "f"(from.v[k + 1]), "f"(from.v[k]));
            }
        }
        std::memcpy(&pack, pairs, sizeof pack);
        *reinterpret_cast<Pack<S, V>*>(to) = pack;
        return;
    }
#endif
#pragma unroll
    for (int k = 0; k < V; ++k) pack.v[k] = stored<S>(from.v[k]);
    *reinterpret_cast<Pack<S, V>*>(to) = pack;
}

}  // namespace fastdet
