// The horizontal half of bilinear resampling: one row of `in` values becomes one of `out` values. A row of the result
// lies between two expanded rows, which are shared by all the rows of the result between the same two of the input.
//
// As outputs rise so do the inputs they take, so the inputs of a vector of outputs lie in one short window: it is
// loaded once and its lanes are permuted, twice, in registers (AVX-512: two registers of window, AVX2: one). Where they
// do not (reduction by more than 2, or 1.1) they are gathered, within 256 values; farther apart, and on other
// processors, they are loaded one by one.
// Cost: two permutations, two products and a sum a vector; 6 bytes of table an output (float).
#pragma once

#include "core/half.h"
#include "simd/simd.h"
#include "upsample/bilinear.h"

namespace fastdet {
namespace FASTDET_ISA {

// `span` neighbouring values in registers; those at and past `in` are 0 and not read. `gather`: a vector of values up
// to 255 apart, from memory.
template <class T>
struct Window {
    static constexpr int lanes = 1, span = 0;
    Window(const T*, int64_t) {}
    Vec<T> at(const uint8_t*) const { return Vec<T>::set(0); }
};

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

template <>
struct Window<float> {
    static constexpr int lanes = 16, span = 32;
    __m512 low, high;
    FASTDET_MEMBER Window(const float* p, int64_t in)
        : low(_mm512_maskz_loadu_ps(first(in), p)), high(_mm512_maskz_loadu_ps(first(in - lanes), p + lanes)) {}
    FASTDET_MEMBER static __mmask16 first(int64_t n) {
        return n >= lanes ? __mmask16(0xffff) : n > 0 ? __mmask16((1u << n) - 1) : __mmask16(0);
    }
    FASTDET_MEMBER Vec<float> at(const uint8_t* index) const {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(index));
        return _mm512_permutex2var_ps(low, _mm512_cvtepu8_epi32(bytes), high);
    }
    FASTDET_MEMBER static Vec<float> gather(const float* p, const uint8_t* index) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(index));
        return _mm512_i32gather_ps(_mm512_cvtepu8_epi32(bytes), p, 4);
    }
};
template <>
struct Window<double> {
    static constexpr int lanes = 8, span = 16;
    __m512d low, high;
    FASTDET_MEMBER Window(const double* p, int64_t in)
        : low(_mm512_maskz_loadu_pd(first(in), p)), high(_mm512_maskz_loadu_pd(first(in - lanes), p + lanes)) {}
    FASTDET_MEMBER static __mmask8 first(int64_t n) {
        return n >= lanes ? __mmask8(0xff) : n > 0 ? __mmask8((1u << n) - 1) : __mmask8(0);
    }
    FASTDET_MEMBER Vec<double> at(const uint8_t* index) const {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(index));
        return _mm512_permutex2var_pd(low, _mm512_cvtepu8_epi64(bytes), high);
    }
    FASTDET_MEMBER static Vec<double> gather(const double* p, const uint8_t* index) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(index));
        return _mm512_i32gather_pd(_mm256_cvtepu8_epi32(bytes), p, 8);
    }
};

#elif defined(__AVX2__)

template <>
struct Window<float> {
    static constexpr int lanes = 8, span = 8;
    __m256 values;
    FASTDET_MEMBER Window(const float* p, int64_t in) : values(_mm256_maskload_ps(p, first(in))) {}
    FASTDET_MEMBER static __m256i first(int64_t n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < lanes ? int(n) : lanes),
                                  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    FASTDET_MEMBER Vec<float> at(const uint8_t* index) const {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(index));
        return _mm256_permutevar8x32_ps(values, _mm256_cvtepu8_epi32(bytes));
    }
    FASTDET_MEMBER static Vec<float> gather(const float* p, const uint8_t* index) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(index));
        const __m256 all = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
        return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), p, _mm256_cvtepu8_epi32(bytes), all, 4);
    }
};
template <>
struct Window<double> {
    static constexpr int lanes = 4, span = 4;
    __m256d values;
    FASTDET_MEMBER Window(const double* p, int64_t in) : values(_mm256_maskload_pd(p, first(in))) {}
    FASTDET_MEMBER static __m256i first(int64_t n) {
        return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    }
    FASTDET_MEMBER Vec<double> at(const uint8_t* index) const {
        int32_t four;
        std::memcpy(&four, index, sizeof four);
        const __m256i even = _mm256_slli_epi64(_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four)), 1);
        const __m256i odd = _mm256_add_epi64(even, _mm256_set1_epi64x(1));
        const __m256i halves = _mm256_or_si256(even, _mm256_slli_epi64(odd, 32));
        return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(values), halves));
    }
    FASTDET_MEMBER static Vec<double> gather(const double* p, const uint8_t* index) {
        int32_t four;
        std::memcpy(&four, index, sizeof four);
        const __m256d all = _mm256_castsi256_pd(_mm256_set1_epi32(-1));
        return _mm256_mask_i32gather_pd(_mm256_setzero_pd(), p, _mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)), all, 8);
    }
};

#endif

// What all rows of one width share: of one tile of a row, outputs [begin, end) of it. Channels last, a pixel is
// `channels` values, each an output of its own. An expanded row, and each of the tables, is `padded` long; padding
// expands to what the last value does.
template <class T>
struct RowTaps {
    int64_t in, out, padded;  // values: read, from `start` on; made; and room for them
    int64_t start;            // first value of the input that the tile reads; i0 and base count from there
    int64_t unit;             // from an output's first input to its second; 0 where the sizes are equal
    int64_t last;             // from here on the second input is the first
    int64_t* i0;              // (padded,)
    T* w1;                    // (padded,)
    int64_t* base;  // (padded / lanes,) first value of a vector's window; -2 less it where inputs lie beyond the
                    // window, -1 where they lie too far apart for `first` and `second`
    uint8_t *first, *second;  // (padded,) each output's two inputs, from the base on
};

static inline int64_t row_padded(int64_t out) { return (out + 15) / 16 * 16; }

// Bytes of scratch that `row_taps` needs for `out` values, aligned as T and int64_t are.
template <class T>
static inline int64_t row_taps_bytes(int64_t out) {
    return row_padded(out) * int64_t(sizeof(int64_t) * 2 + sizeof(T) + 2) + 16;
}

// Of pixels [begin, end) of `out`. step: of `tap_step`.
template <class T>
static inline RowTaps<T> row_taps(int64_t in, int64_t out, bool align_corners, T step, void* scratch, int64_t channels,
                                  int64_t begin, int64_t end) {
    using W = Window<T>;
    RowTaps<T> taps;
    const int64_t count = (end - begin) * channels, padded = row_padded(count);
    const int64_t from = tap(begin, in, out, align_corners, step).i0;
    const int64_t to = tap(end - 1, in, out, align_corners, step).i1;
    taps.in = (to - from + 1) * channels, taps.out = count, taps.padded = padded, taps.start = from * channels;
    taps.unit = in == out ? 0 : channels;
    taps.last = (in - 1 - from) * channels;
    taps.i0 = static_cast<int64_t*>(scratch);
    taps.base = taps.i0 + padded;
    taps.w1 = reinterpret_cast<T*>(taps.base + padded);
    taps.first = reinterpret_cast<uint8_t*>(taps.w1 + padded);
    taps.second = taps.first + padded;
    for (int64_t j = begin, k = 0; j < end; ++j) {
        const Tap<T> t = tap(j, in, out, align_corners, step);
        for (int64_t c = 0; c < channels; ++c, ++k) taps.i0[k] = (t.i0 - from) * channels + c, taps.w1[k] = t.w1;
    }
    for (int64_t j = count; j < padded; ++j) taps.i0[j] = taps.i0[count - 1], taps.w1[j] = taps.w1[count - 1];
    if (W::span == 0) return taps;
    for (int64_t j = 0; j < padded; j += W::lanes) {
        int64_t base = taps.in - W::span, max_offset = 0;
        for (int64_t k = j; k < j + W::lanes; ++k) base = taps.i0[k] < base ? taps.i0[k] : base;
        base = base > 0 ? base : 0;
        for (int64_t k = j; k < j + W::lanes; ++k) {
            const int64_t i0 = taps.i0[k], i1 = i0 < taps.last ? i0 + taps.unit : i0;
            max_offset = i1 - base > max_offset ? i1 - base : max_offset;
            taps.first[k] = uint8_t(i0 - base);
            taps.second[k] = uint8_t(i1 - base);
        }
        taps.base[j / W::lanes] = max_offset < W::span ? base : max_offset < 256 ? -2 - base : -1;
    }
    return taps;
}
template <class T>
static inline RowTaps<T> row_taps(int64_t in, int64_t out, bool align_corners, T step, void* scratch) {
    RowTaps<T> taps = row_taps(in, out, align_corners, step, scratch, 1, 0, out);
    return taps;
}

// One by one, from x as it is stored (S: half precision too).
template <class T, class S>
static inline void expand_each(const RowTaps<T>& taps, const S* x, int64_t first, int64_t end, T* to) {
    for (int64_t j = first; j < end; ++j) {
        const int64_t i0 = taps.i0[j], i1 = i0 < taps.last ? i0 + taps.unit : i0;
        const T w1 = taps.w1[j];
        to[j - first] = (T(1) - w1) * T(widen(x[i0])) + w1 * T(widen(x[i1]));
    }
}

// to[j - first] = w0[j] * x[i0[j]] + w1[j] * x[i1[j]] for j in [first, end), two multiples of 16 (`padded` is one).
// x is the row from `start` on, read in [0, in) only.
template <class T>
static inline void expand_part(const RowTaps<T>& taps, const T* x, int64_t first, int64_t end, T* to) {
    using W = Window<T>;
    using V = Vec<T>;
    if constexpr (W::span == 0) {
        expand_each(taps, x, first, end, to);
    } else {
        const V one = V::set(1);
        for (int64_t j = first; j < end; j += W::lanes, to += W::lanes) {
            const int64_t base = taps.base[j / W::lanes];
            if (base == -1) {
                expand_each(taps, x, j, j + W::lanes, to);
                continue;
            }
            const V w1 = V::load(taps.w1 + j);
            if (base < -1) {
                const T* p = x + (-2 - base);
                const V a = W::gather(p, taps.first + j), b = W::gather(p, taps.second + j);
                ((one - w1) * a + w1 * b).store(to);
                continue;
            }
            const W window(x + base, taps.in);
            ((one - w1) * window.at(taps.first + j) + w1 * window.at(taps.second + j)).store(to);
        }
    }
}

// A whole row: `to` has room for `padded` values.
template <class T>
static inline void expand_row(const RowTaps<T>& taps, const T* x, T* to) {
    expand_part(taps, x, 0, taps.padded, to);
}

// The values of x that `expand_part` may take, of pixels of one channel: [from, to).
template <class T>
static inline void part_inputs(const RowTaps<T>& taps, int64_t first, int64_t end, int64_t* from, int64_t* to) {
    constexpr int64_t span = Window<T>::span;
    const int64_t low = taps.i0[first] < taps.in - span ? taps.i0[first] : taps.in - span;
    const int64_t high = taps.i0[end - 1] + 2 + span;
    *from = low > 0 ? low : 0;
    *to = high < taps.in ? high : taps.in;
}

// `expand_row` of pixels that are each a vector or more: taps of the pixels alone (channels = 1), and no table.
template <class T>
static inline void expand_pixels(const RowTaps<T>& taps, int64_t channels, const T* x, T* to) {
    using V = Vec<T>;
    for (int64_t j = 0; j < taps.out; ++j, to += channels) {
        const int64_t i0 = taps.i0[j], i1 = i0 < taps.last ? i0 + taps.unit : i0;
        const T *a = x + i0 * channels, *b = x + i1 * channels;
        const V w1 = V::set(taps.w1[j]), w0 = V::set(1) - w1;
        int64_t c = 0;
        for (; c + V::lanes <= channels; c += V::lanes) (w0 * V::load(a + c) + w1 * V::load(b + c)).store(to + c);
        if (c < channels) {  // the last vector overlaps the one before
            c = channels - V::lanes;
            (w0 * V::load(a + c) + w1 * V::load(b + c)).store(to + c);
        }
    }
}

}  // namespace FASTDET_ISA
}  // namespace fastdet
