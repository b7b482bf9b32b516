// A vector of float or double in the widest registers of the instruction set this file is compiled for.
// Only what the kernels use; every operation is IEEE and lane-wise, so all widths give the same bits.
// Included only by the files that setup.py compiles once per instruction set, inside namespace FASTDET_ISA.
#pragma once

#ifndef FASTDET_ISA
#error "compile with -DFASTDET_ISA=name: see setup.py"
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/lanes.h"
#include "simd/mask_bits.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fastdet {
namespace FASTDET_ISA {

// Bit i of a mask is lane i.
template <class T>
struct Vec;

template <class T>
using Split = lanes::Split<T>;

#define FASTDET_VEC_COMMON(T, R, LANES) \
    using Scalar = T;                   \
    static constexpr int lanes = LANES; \
    R v;                                \
    Vec() = default;                    \
    Vec(R r) : v(r) {}

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

template <>
struct Vec<float> {
    FASTDET_VEC_COMMON(float, __m512, 16)
    static Vec set(float x) { return _mm512_set1_ps(x); }
    static Vec load(const float* p) { return _mm512_loadu_ps(p); }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    void stream(float* p) const { _mm512_stream_ps(p, v); }
    friend Vec operator+(Vec a, Vec b) { return _mm512_add_ps(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return _mm512_sub_ps(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return _mm512_mul_ps(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return _mm512_div_ps(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return _mm512_min_ps(a.v, b.v); }
    friend Vec max(Vec a, Vec b) { return _mm512_max_ps(a.v, b.v); }
    friend uint32_t gt(Vec a, Vec b) { return bits_of(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)); }
    friend uint32_t ge(Vec a, Vec b) { return bits_of(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)); }
    friend uint32_t eq(Vec a, Vec b) { return bits_of(_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)); }
    // a where test > 0, else b
    friend Vec where_positive(Vec test, Vec a, Vec b) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(test.v, _mm512_setzero_ps(), _CMP_GT_OQ), b.v, a.v);
    }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_GE_OQ), b.v, a.v);
    }
    // p * 2^n, n held in the low bits of t = n + magic
    friend Vec scale2(Vec p, Vec t) {
        const __m512i two_n =
            _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t.v), 23), _mm512_set1_epi32(0x3f800000));
        return _mm512_mul_ps(p.v, _mm512_castsi512_ps(two_n));
    }
    // m in [sqrt(1/2), sqrt(2)) and the integer n of x = m * 2^n; x positive, normal
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<float>;
        const __m512i i = _mm512_add_epi32(_mm512_castps_si512(x.v), _mm512_set1_epi32(S::offset));
        n = _mm512_sub_ps(_mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(i, 23), _mm512_set1_epi32(S::magic))),
                          _mm512_set1_ps(S::bias));
        return _mm512_castsi512_ps(
            _mm512_add_epi32(_mm512_and_si512(i, _mm512_set1_epi32(S::mask)), _mm512_set1_epi32(S::root)));
    }
};
template <>
struct Vec<double> {
    FASTDET_VEC_COMMON(double, __m512d, 8)
    static Vec set(double x) { return _mm512_set1_pd(x); }
    static Vec load(const double* p) { return _mm512_loadu_pd(p); }
    void store(double* p) const { _mm512_storeu_pd(p, v); }
    void stream(double* p) const { _mm512_stream_pd(p, v); }
    friend Vec operator+(Vec a, Vec b) { return _mm512_add_pd(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return _mm512_sub_pd(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return _mm512_mul_pd(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return _mm512_div_pd(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return _mm512_min_pd(a.v, b.v); }
    friend Vec max(Vec a, Vec b) { return _mm512_max_pd(a.v, b.v); }
    friend uint32_t gt(Vec a, Vec b) { return bits_of(_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)); }
    friend uint32_t ge(Vec a, Vec b) { return bits_of(_mm512_cmp_pd_mask(a.v, b.v, _CMP_GE_OQ)); }
    friend uint32_t eq(Vec a, Vec b) { return bits_of(_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)); }
    friend Vec where_positive(Vec test, Vec a, Vec b) {
        return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(test.v, _mm512_setzero_pd(), _CMP_GT_OQ), b.v, a.v);
    }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) {
        return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(x.v, y.v, _CMP_GE_OQ), b.v, a.v);
    }
    friend Vec scale2(Vec p, Vec t) {
        const __m512i two_n =
            _mm512_add_epi64(_mm512_slli_epi64(_mm512_castpd_si512(t.v), 52), _mm512_set1_epi64(0x3ff0000000000000));
        return _mm512_mul_pd(p.v, _mm512_castsi512_pd(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<double>;
        const __m512i i = _mm512_add_epi64(_mm512_castpd_si512(x.v), _mm512_set1_epi64(S::offset));
        n = _mm512_sub_pd(_mm512_castsi512_pd(_mm512_or_si512(_mm512_srli_epi64(i, 52), _mm512_set1_epi64(S::magic))),
                          _mm512_set1_pd(S::bias));
        return _mm512_castsi512_pd(
            _mm512_add_epi64(_mm512_and_si512(i, _mm512_set1_epi64(S::mask)), _mm512_set1_epi64(S::root)));
    }
};
static inline void store_fence() { _mm_sfence(); }

#elif defined(__AVX2__)

template <>
struct Vec<float> {
    FASTDET_VEC_COMMON(float, __m256, 8)
    static Vec set(float x) { return _mm256_set1_ps(x); }
    static Vec load(const float* p) { return _mm256_loadu_ps(p); }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
    void stream(float* p) const { _mm256_stream_ps(p, v); }
    friend Vec operator+(Vec a, Vec b) { return _mm256_add_ps(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return _mm256_sub_ps(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return _mm256_mul_ps(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return _mm256_div_ps(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return _mm256_min_ps(a.v, b.v); }
    friend Vec max(Vec a, Vec b) { return _mm256_max_ps(a.v, b.v); }
    friend uint32_t gt(Vec a, Vec b) { return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ))); }
    friend uint32_t ge(Vec a, Vec b) { return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ))); }
    friend uint32_t eq(Vec a, Vec b) { return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ))); }
    friend Vec where_positive(Vec test, Vec a, Vec b) {
        return _mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(test.v, _mm256_setzero_ps(), _CMP_GT_OQ));
    }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) {
        return _mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, y.v, _CMP_GE_OQ));
    }
    friend Vec scale2(Vec p, Vec t) {
        const __m256i two_n =
            _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t.v), 23), _mm256_set1_epi32(0x3f800000));
        return _mm256_mul_ps(p.v, _mm256_castsi256_ps(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<float>;
        const __m256i i = _mm256_add_epi32(_mm256_castps_si256(x.v), _mm256_set1_epi32(S::offset));
        n = _mm256_sub_ps(_mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32(i, 23), _mm256_set1_epi32(S::magic))),
                          _mm256_set1_ps(S::bias));
        return _mm256_castsi256_ps(
            _mm256_add_epi32(_mm256_and_si256(i, _mm256_set1_epi32(S::mask)), _mm256_set1_epi32(S::root)));
    }
};
template <>
struct Vec<double> {
    FASTDET_VEC_COMMON(double, __m256d, 4)
    static Vec set(double x) { return _mm256_set1_pd(x); }
    static Vec load(const double* p) { return _mm256_loadu_pd(p); }
    void store(double* p) const { _mm256_storeu_pd(p, v); }
    void stream(double* p) const { _mm256_stream_pd(p, v); }
    friend Vec operator+(Vec a, Vec b) { return _mm256_add_pd(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return _mm256_sub_pd(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return _mm256_mul_pd(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return _mm256_div_pd(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return _mm256_min_pd(a.v, b.v); }
    friend Vec max(Vec a, Vec b) { return _mm256_max_pd(a.v, b.v); }
    friend uint32_t gt(Vec a, Vec b) { return uint32_t(_mm256_movemask_pd(_mm256_cmp_pd(a.v, b.v, _CMP_GT_OQ))); }
    friend uint32_t ge(Vec a, Vec b) { return uint32_t(_mm256_movemask_pd(_mm256_cmp_pd(a.v, b.v, _CMP_GE_OQ))); }
    friend uint32_t eq(Vec a, Vec b) { return uint32_t(_mm256_movemask_pd(_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ))); }
    friend Vec where_positive(Vec test, Vec a, Vec b) {
        return _mm256_blendv_pd(b.v, a.v, _mm256_cmp_pd(test.v, _mm256_setzero_pd(), _CMP_GT_OQ));
    }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) {
        return _mm256_blendv_pd(b.v, a.v, _mm256_cmp_pd(x.v, y.v, _CMP_GE_OQ));
    }
    friend Vec scale2(Vec p, Vec t) {
        const __m256i two_n =
            _mm256_add_epi64(_mm256_slli_epi64(_mm256_castpd_si256(t.v), 52), _mm256_set1_epi64x(0x3ff0000000000000));
        return _mm256_mul_pd(p.v, _mm256_castsi256_pd(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<double>;
        const __m256i i = _mm256_add_epi64(_mm256_castpd_si256(x.v), _mm256_set1_epi64x(S::offset));
        n = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(_mm256_srli_epi64(i, 52), _mm256_set1_epi64x(S::magic))),
                          _mm256_set1_pd(S::bias));
        return _mm256_castsi256_pd(
            _mm256_add_epi64(_mm256_and_si256(i, _mm256_set1_epi64x(S::mask)), _mm256_set1_epi64x(S::root)));
    }
};
static inline void store_fence() { _mm_sfence(); }

#elif defined(__SSE2__)

template <>
struct Vec<float> {
    FASTDET_VEC_COMMON(float, __m128, 4)
    static Vec set(float x) { return _mm_set1_ps(x); }
    static Vec load(const float* p) { return _mm_loadu_ps(p); }
    void store(float* p) const { _mm_storeu_ps(p, v); }
    void stream(float* p) const { _mm_stream_ps(p, v); }
    friend Vec operator+(Vec a, Vec b) { return _mm_add_ps(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return _mm_sub_ps(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return _mm_mul_ps(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return _mm_div_ps(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return _mm_min_ps(a.v, b.v); }
    friend Vec max(Vec a, Vec b) { return _mm_max_ps(a.v, b.v); }
    friend uint32_t gt(Vec a, Vec b) { return uint32_t(_mm_movemask_ps(_mm_cmpgt_ps(a.v, b.v))); }
    friend uint32_t ge(Vec a, Vec b) { return uint32_t(_mm_movemask_ps(_mm_cmpge_ps(a.v, b.v))); }
    friend uint32_t eq(Vec a, Vec b) { return uint32_t(_mm_movemask_ps(_mm_cmpeq_ps(a.v, b.v))); }
    static __m128 blend(__m128 m, __m128 a, __m128 b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }
    friend Vec where_positive(Vec test, Vec a, Vec b) {
        return blend(_mm_cmpgt_ps(test.v, _mm_setzero_ps()), a.v, b.v);
    }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) { return blend(_mm_cmpge_ps(x.v, y.v), a.v, b.v); }
    friend Vec scale2(Vec p, Vec t) {
        const __m128i two_n = _mm_add_epi32(_mm_slli_epi32(_mm_castps_si128(t.v), 23), _mm_set1_epi32(0x3f800000));
        return _mm_mul_ps(p.v, _mm_castsi128_ps(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<float>;
        const __m128i i = _mm_add_epi32(_mm_castps_si128(x.v), _mm_set1_epi32(S::offset));
        n = _mm_sub_ps(_mm_castsi128_ps(_mm_or_si128(_mm_srli_epi32(i, 23), _mm_set1_epi32(S::magic))),
                       _mm_set1_ps(S::bias));
        return _mm_castsi128_ps(_mm_add_epi32(_mm_and_si128(i, _mm_set1_epi32(S::mask)), _mm_set1_epi32(S::root)));
    }
};
template <>
struct Vec<double> {
    FASTDET_VEC_COMMON(double, __m128d, 2)
    static Vec set(double x) { return _mm_set1_pd(x); }
    static Vec load(const double* p) { return _mm_loadu_pd(p); }
    void store(double* p) const { _mm_storeu_pd(p, v); }
    void stream(double* p) const { _mm_stream_pd(p, v); }
    friend Vec operator+(Vec a, Vec b) { return _mm_add_pd(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return _mm_sub_pd(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return _mm_mul_pd(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return _mm_div_pd(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return _mm_min_pd(a.v, b.v); }
    friend Vec max(Vec a, Vec b) { return _mm_max_pd(a.v, b.v); }
    friend uint32_t gt(Vec a, Vec b) { return uint32_t(_mm_movemask_pd(_mm_cmpgt_pd(a.v, b.v))); }
    friend uint32_t ge(Vec a, Vec b) { return uint32_t(_mm_movemask_pd(_mm_cmpge_pd(a.v, b.v))); }
    friend uint32_t eq(Vec a, Vec b) { return uint32_t(_mm_movemask_pd(_mm_cmpeq_pd(a.v, b.v))); }
    static __m128d blend(__m128d m, __m128d a, __m128d b) { return _mm_or_pd(_mm_and_pd(m, a), _mm_andnot_pd(m, b)); }
    friend Vec where_positive(Vec test, Vec a, Vec b) {
        return blend(_mm_cmpgt_pd(test.v, _mm_setzero_pd()), a.v, b.v);
    }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) { return blend(_mm_cmpge_pd(x.v, y.v), a.v, b.v); }
    friend Vec scale2(Vec p, Vec t) {
        const __m128i two_n =
            _mm_add_epi64(_mm_slli_epi64(_mm_castpd_si128(t.v), 52), _mm_set1_epi64x(0x3ff0000000000000));
        return _mm_mul_pd(p.v, _mm_castsi128_pd(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<double>;
        const __m128i i = _mm_add_epi64(_mm_castpd_si128(x.v), _mm_set1_epi64x(S::offset));
        n = _mm_sub_pd(_mm_castsi128_pd(_mm_or_si128(_mm_srli_epi64(i, 52), _mm_set1_epi64x(S::magic))),
                       _mm_set1_pd(S::bias));
        return _mm_castsi128_pd(_mm_add_epi64(_mm_and_si128(i, _mm_set1_epi64x(S::mask)), _mm_set1_epi64x(S::root)));
    }
};
static inline void store_fence() { _mm_sfence(); }

#elif defined(__aarch64__)

template <>
struct Vec<float> {
    FASTDET_VEC_COMMON(float, float32x4_t, 4)
    static Vec set(float x) { return vdupq_n_f32(x); }
    static Vec load(const float* p) { return vld1q_f32(p); }
    void store(float* p) const { vst1q_f32(p, v); }
    void stream(float* p) const { vst1q_f32(p, v); }
    friend Vec operator+(Vec a, Vec b) { return vaddq_f32(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return vsubq_f32(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return vmulq_f32(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return vdivq_f32(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v); }  // NaN: b, as on x86
    friend Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v); }
    static uint32_t bits(uint32x4_t m) {
        const uint32x4_t weight = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(m, weight));
    }
    friend uint32_t gt(Vec a, Vec b) { return bits(vcgtq_f32(a.v, b.v)); }
    friend uint32_t ge(Vec a, Vec b) { return bits(vcgeq_f32(a.v, b.v)); }
    friend uint32_t eq(Vec a, Vec b) { return bits(vceqq_f32(a.v, b.v)); }
    friend Vec where_positive(Vec test, Vec a, Vec b) { return vbslq_f32(vcgtzq_f32(test.v), a.v, b.v); }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) { return vbslq_f32(vcgeq_f32(x.v, y.v), a.v, b.v); }
    friend Vec scale2(Vec p, Vec t) {
        const int32x4_t two_n = vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(t.v), 23), vdupq_n_s32(0x3f800000));
        return vmulq_f32(p.v, vreinterpretq_f32_s32(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<float>;
        const uint32x4_t i = vaddq_u32(vreinterpretq_u32_f32(x.v), vdupq_n_u32(S::offset));
        n = vsubq_f32(vreinterpretq_f32_u32(vorrq_u32(vshrq_n_u32(i, 23), vdupq_n_u32(S::magic))),
                      vdupq_n_f32(S::bias));
        return vreinterpretq_f32_u32(vaddq_u32(vandq_u32(i, vdupq_n_u32(S::mask)), vdupq_n_u32(S::root)));
    }
};
template <>
struct Vec<double> {
    FASTDET_VEC_COMMON(double, float64x2_t, 2)
    static Vec set(double x) { return vdupq_n_f64(x); }
    static Vec load(const double* p) { return vld1q_f64(p); }
    void store(double* p) const { vst1q_f64(p, v); }
    void stream(double* p) const { vst1q_f64(p, v); }
    friend Vec operator+(Vec a, Vec b) { return vaddq_f64(a.v, b.v); }
    friend Vec operator-(Vec a, Vec b) { return vsubq_f64(a.v, b.v); }
    friend Vec operator*(Vec a, Vec b) { return vmulq_f64(a.v, b.v); }
    friend Vec operator/(Vec a, Vec b) { return vdivq_f64(a.v, b.v); }
    friend Vec min(Vec a, Vec b) { return vbslq_f64(vcltq_f64(a.v, b.v), a.v, b.v); }  // NaN: b, as on x86
    friend Vec max(Vec a, Vec b) { return vbslq_f64(vcgtq_f64(a.v, b.v), a.v, b.v); }
    static uint32_t bits(uint64x2_t m) { return uint32_t((vgetq_lane_u64(m, 0) & 1) | (vgetq_lane_u64(m, 1) & 2)); }
    friend uint32_t gt(Vec a, Vec b) { return bits(vcgtq_f64(a.v, b.v)); }
    friend uint32_t ge(Vec a, Vec b) { return bits(vcgeq_f64(a.v, b.v)); }
    friend uint32_t eq(Vec a, Vec b) { return bits(vceqq_f64(a.v, b.v)); }
    friend Vec where_positive(Vec test, Vec a, Vec b) { return vbslq_f64(vcgtzq_f64(test.v), a.v, b.v); }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) { return vbslq_f64(vcgeq_f64(x.v, y.v), a.v, b.v); }
    friend Vec scale2(Vec p, Vec t) {
        const int64x2_t two_n = vaddq_s64(vshlq_n_s64(vreinterpretq_s64_f64(t.v), 52), vdupq_n_s64(0x3ff0000000000000));
        return vmulq_f64(p.v, vreinterpretq_f64_s64(two_n));
    }
    friend Vec split2(Vec x, Vec& n) {
        using S = Split<double>;
        const uint64x2_t i = vaddq_u64(vreinterpretq_u64_f64(x.v), vdupq_n_u64(S::offset));
        n = vsubq_f64(vreinterpretq_f64_u64(vorrq_u64(vshrq_n_u64(i, 52), vdupq_n_u64(S::magic))),
                      vdupq_n_f64(S::bias));
        return vreinterpretq_f64_u64(vaddq_u64(vandq_u64(i, vdupq_n_u64(S::mask)), vdupq_n_u64(S::root)));
    }
};
static inline void store_fence() {}

#else  // any other processor: one lane

template <class T>
struct Vec {
    FASTDET_VEC_COMMON(T, T, 1)
    static Vec set(T x) { return x; }
    static Vec load(const T* p) { return *p; }
    void store(T* p) const { *p = v; }
    void stream(T* p) const { *p = v; }
    friend Vec operator+(Vec a, Vec b) { return a.v + b.v; }
    friend Vec operator-(Vec a, Vec b) { return a.v - b.v; }
    friend Vec operator*(Vec a, Vec b) { return a.v * b.v; }
    friend Vec operator/(Vec a, Vec b) { return a.v / b.v; }
    friend Vec min(Vec a, Vec b) { return a.v < b.v ? a.v : b.v; }
    friend Vec max(Vec a, Vec b) { return a.v > b.v ? a.v : b.v; }
    friend uint32_t gt(Vec a, Vec b) { return a.v > b.v; }
    friend uint32_t ge(Vec a, Vec b) { return a.v >= b.v; }
    friend uint32_t eq(Vec a, Vec b) { return a.v == b.v; }
    friend Vec where_positive(Vec test, Vec a, Vec b) { return test.v > 0 ? a.v : b.v; }
    friend Vec where_ge(Vec x, Vec y, Vec a, Vec b) { return x.v >= y.v ? a.v : b.v; }
    friend Vec scale2(Vec p, Vec t) { return lanes::scale2(p.v, t.v); }
    friend Vec split2(Vec x, Vec& n) { return lanes::split2(x.v, n.v); }
};
static inline void store_fence() {}

#endif

#undef FASTDET_VEC_COMMON

}  // namespace FASTDET_ISA
}  // namespace fastdet
