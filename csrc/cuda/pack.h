// Neighbouring values that a thread loads or stores at once.
#pragma once

#include <cstring>

#include "cuda/launch.h"

namespace fastdet {

// N neighbouring values.
template <class S, int N>
struct alignas(sizeof(S) * N < 16 ? sizeof(S) * N : 16) Pack {
    S v[N];
};

// What is loaded and stored by one instruction.
template <int kBytes>
struct Word {
    using Type = uint4;
};
template <>
struct Word<8> {
    using Type = uint2;
};
template <>
struct Word<4> {
    using Type = uint32_t;
};
template <>
struct Word<2> {
    using Type = uint16_t;
};
template <>
struct Word<1> {
    using Type = uint8_t;
};

template <int N, class S>
__device__ inline Pack<S, N> load_pack(const S* p) {
    using W = typename Word<int(sizeof(S)) * N>::Type;
    constexpr int kWords = int(sizeof(S)) * N / int(sizeof(W));
    W words[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const W*>(p)[i];
    Pack<S, N> x;
    memcpy(&x, words, sizeof x);
    return x;
}
// To global memory alone.
template <class S, int N>
__device__ inline void store_pack(S* p, const Pack<S, N>& x) {
    using W = typename Word<int(sizeof(S)) * N>::Type;
    constexpr int kWords = int(sizeof(S)) * N / int(sizeof(W));
    W words[kWords];
    memcpy(words, &x, sizeof x);
#pragma unroll
    for (int i = 0; i < kWords; ++i) __stwb(reinterpret_cast<W*>(p) + i, words[i]);  // an assignment is taken apart
}

}  // namespace fastdet
