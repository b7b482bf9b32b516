// Half precision as it is stored: rows are widened to float32, computed on, and rounded back to the nearest, ties to
// even. For files that are compiled once per instruction set; the scalar conversions also for nvcc.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/macros.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace fastdet {

struct Half {  // IEEE binary16
    uint16_t bits;
};
struct BFloat16 {  // the upper half of a float
    uint16_t bits;
};

FASTDET_HD uint32_t float_bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    return u;
}
FASTDET_HD float bits_float(uint32_t u) {
    float x;
    std::memcpy(&x, &u, sizeof x);
    return x;
}

FASTDET_HD float widen(float x) { return x; }
FASTDET_HD double widen(double x) { return x; }
FASTDET_HD float widen(uint8_t x) { return float(x); }
FASTDET_HD float widen(BFloat16 x) { return bits_float(uint32_t(x.bits) << 16); }
FASTDET_HD float widen(Half x) {
#if defined(__CUDA_ARCH__)
    float wide;  // one instruction
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
#else
    const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, rest = x.bits & 0x7fff;
    if (rest >= 0x7c00) {  // infinity; NaN, made quiet as the processor does
        const uint32_t payload = (rest & 0x3ff) << 13;
        return bits_float(sign | 0x7f800000 | payload | (payload ? 0x400000 : 0));
    }
    const float scaled = bits_float(rest << 13) * 0x1p112f;  // exact: a power of two
    return bits_float(sign | float_bits(scaled));
#endif
}

FASTDET_HD float narrow_to(float, float x) { return x; }
FASTDET_HD double narrow_to(double, double x) { return x; }
FASTDET_HD uint8_t narrow_to(uint8_t, float x) { return uint8_t(int32_t(x + 0.5f)); }  // halves up; of [0, 255]
FASTDET_HD BFloat16 narrow_to(BFloat16, float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    BFloat16 to;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
    return to;
#else
    const uint32_t u = float_bits(x);
    if ((u & 0x7fffffff) > 0x7f800000) return {uint16_t(u >> 16 | 0x40)};
    return {uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
#endif
}
FASTDET_HD Half narrow_to(Half, float x) {
#if defined(__CUDA_ARCH__)
    Half to;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
    return to;
#else
    const uint32_t u = float_bits(x), sign = u >> 16 & 0x8000, rest = u & 0x7fffffff;
    if (rest > 0x7f800000) return {uint16_t(sign | 0x7e00 | (rest >> 13 & 0x3ff))};
    if (rest >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // 65520 and more
    if (rest < 0x38800000) {                                   // denormal: the addition rounds
        return {uint16_t(sign | (float_bits(bits_float(rest) + 0.5f) - 0x3f000000))};
    }
    return {uint16_t(sign | ((rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13))};
#endif
}

template <class S>
FASTDET_HD S narrow(float x) {
    return narrow_to(S{}, x);
}

// The type in which values stored as S are computed, and the conversion back.
template <class S>
using Compute = std::conditional_t<std::is_same<S, double>::value, double, float>;
template <class S>
FASTDET_HD S stored(Compute<S> x) {
    return narrow_to(S{}, x);
}

#if defined(FASTDET_ISA)
namespace FASTDET_ISA {

// n values widened, or narrowed, at once. uint8: to the nearest, halves up; within [0, 255].
static inline void widen_row(const uint8_t* from, int64_t n, float* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = widen(from[i]);
}
static inline void narrow_row(const float* from, int64_t n, uint8_t* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = narrow<uint8_t>(from[i]);
}
static inline void widen_row(const BFloat16* from, int64_t n, float* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = widen(from[i]);
}
static inline void narrow_row(const float* from, int64_t n, BFloat16* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = narrow<BFloat16>(from[i]);
}
static inline void widen_row(const Half* from, int64_t n, float* to) {
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
    }
#endif
    for (; i < n; ++i) to[i] = widen(from[i]);
}
static inline void narrow_row(const float* from, int64_t n, Half* to) {
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), 0));
    }
#endif
    for (; i < n; ++i) to[i] = narrow<Half>(from[i]);
}

}  // namespace FASTDET_ISA
#endif

}  // namespace fastdet
