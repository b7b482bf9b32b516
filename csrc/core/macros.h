// How a function is declared that several compilations share: g++'s, nvcc's, and one for each instruction set.
#pragma once

#if defined(__CUDACC__)
#define FASTDET_HD __host__ __device__ inline
#define FASTDET_MEMBER __host__ __device__ inline
#else
// Internal linkage, members inlined: these are compiled once per instruction set, and the linker must not mix the
// copies.
#define FASTDET_HD static inline
#define FASTDET_MEMBER __attribute__((always_inline)) inline
#endif
