// Where neighbouring integers differ, 64 at a time, as bits. For files that are compiled once per instruction set.
#pragma once

#ifndef FASTDET_ISA
#error "compile with -DFASTDET_ISA=name: see setup.py"
#endif

#include <cstdint>

#include "simd/mask_bits.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fastdet {
namespace FASTDET_ISA {

// changes(x): bit i is set where x[i] != x[i - 1], i in [0, 64); x[-1] must be there. Unsigned, of any width.

#if defined(__AVX512BW__) && defined(__AVX512DQ__)

static inline uint64_t changed(__m512i a, __m512i b, uint8_t) { return _mm512_cmpneq_epi8_mask(a, b); }
static inline uint64_t changed(__m512i a, __m512i b, uint16_t) { return _mm512_cmpneq_epi16_mask(a, b); }
static inline uint64_t changed(__m512i a, __m512i b, uint32_t) { return bits_of(_mm512_cmpneq_epi32_mask(a, b)); }
static inline uint64_t changed(__m512i a, __m512i b, uint64_t) { return bits_of(_mm512_cmpneq_epi64_mask(a, b)); }

template <class T>
static inline uint64_t changes(const T* x) {
    constexpr int lanes = 64 / int(sizeof(T));
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += lanes) {
        bits |= changed(_mm512_loadu_si512(x + i), _mm512_loadu_si512(x + i - 1), T()) << i;
    }
    return bits;
}

#elif defined(__AVX2__)

static inline __m256i load256(const void* x) { return _mm256_loadu_si256(static_cast<const __m256i*>(x)); }

static inline uint64_t changes(const uint8_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 32) {
        const __m256i equal = _mm256_cmpeq_epi8(load256(x + i), load256(x + i - 1));
        same |= uint64_t(uint32_t(_mm256_movemask_epi8(equal))) << i;
    }
    return ~same;
}
static inline uint64_t changes(const uint16_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 32) {
        const __m256i low = _mm256_cmpeq_epi16(load256(x + i), load256(x + i - 1));
        const __m256i high = _mm256_cmpeq_epi16(load256(x + i + 16), load256(x + i + 15));
        const __m256i equal = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
        same |= uint64_t(uint32_t(_mm256_movemask_epi8(equal))) << i;
    }
    return ~same;
}
static inline uint64_t changes(const uint32_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 8) {
        const __m256i equal = _mm256_cmpeq_epi32(load256(x + i), load256(x + i - 1));
        same |= uint64_t(_mm256_movemask_ps(_mm256_castsi256_ps(equal))) << i;
    }
    return ~same;
}
static inline uint64_t changes(const uint64_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 4) {
        const __m256i equal = _mm256_cmpeq_epi64(load256(x + i), load256(x + i - 1));
        same |= uint64_t(_mm256_movemask_pd(_mm256_castsi256_pd(equal))) << i;
    }
    return ~same;
}

#elif defined(__SSE2__)

static inline __m128i load128(const void* x) { return _mm_loadu_si128(static_cast<const __m128i*>(x)); }

static inline uint64_t changes(const uint8_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 16) {
        same |= uint64_t(_mm_movemask_epi8(_mm_cmpeq_epi8(load128(x + i), load128(x + i - 1)))) << i;
    }
    return ~same;
}
static inline uint64_t changes(const uint16_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 16) {
        const __m128i low = _mm_cmpeq_epi16(load128(x + i), load128(x + i - 1));
        const __m128i high = _mm_cmpeq_epi16(load128(x + i + 8), load128(x + i + 7));
        same |= uint64_t(_mm_movemask_epi8(_mm_packs_epi16(low, high))) << i;
    }
    return ~same;
}
static inline uint64_t changes(const uint32_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 4) {
        const __m128i equal = _mm_cmpeq_epi32(load128(x + i), load128(x + i - 1));
        same |= uint64_t(_mm_movemask_ps(_mm_castsi128_ps(equal))) << i;
    }
    return ~same;
}
static inline uint64_t changes(const uint64_t* x) {
    uint64_t same = 0;
    for (int i = 0; i < 64; i += 2) {
        const __m128i half = _mm_cmpeq_epi32(load128(x + i), load128(x + i - 1));
        const __m128i equal = _mm_and_si128(half, _mm_shuffle_epi32(half, 0xb1));
        same |= uint64_t(_mm_movemask_pd(_mm_castsi128_pd(equal))) << i;
    }
    return ~same;
}

#elif defined(__aarch64__)

// Of 16 neighbours, 0xff where equal.
static inline uint8x16_t same16(const uint8_t* x) { return vceqq_u8(vld1q_u8(x), vld1q_u8(x - 1)); }
static inline uint8x8_t same8(const uint16_t* x) { return vmovn_u16(vceqq_u16(vld1q_u16(x), vld1q_u16(x - 1))); }
static inline uint16x4_t same4(const uint32_t* x) { return vmovn_u32(vceqq_u32(vld1q_u32(x), vld1q_u32(x - 1))); }
static inline uint32x2_t same2(const uint64_t* x) { return vmovn_u64(vceqq_u64(vld1q_u64(x), vld1q_u64(x - 1))); }
static inline uint16x4_t same4(const uint64_t* x) { return vmovn_u32(vcombine_u32(same2(x), same2(x + 2))); }
template <class T>
static inline uint8x8_t same8(const T* x) {
    return vmovn_u16(vcombine_u16(same4(x), same4(x + 4)));
}
template <class T>
static inline uint8x16_t same16(const T* x) {
    return vcombine_u8(same8(x), same8(x + 8));
}

template <class T>
static inline uint64_t changes(const T* x) {
    const uint8x16_t weight = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t low = vpaddq_u8(vandq_u8(same16(x), weight), vandq_u8(same16(x + 16), weight));
    const uint8x16_t high = vpaddq_u8(vandq_u8(same16(x + 32), weight), vandq_u8(same16(x + 48), weight));
    const uint8x16_t sums = vpaddq_u8(low, high);
    return ~vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

#else

template <class T>
static inline uint64_t changes(const T* x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; ++i) bits |= uint64_t(x[i] != x[i - 1]) << i;
    return bits;
}

#endif

}  // namespace FASTDET_ISA
}  // namespace fastdet
