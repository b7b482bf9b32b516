// See count_bits.h. Compiled once per instruction set.
#include "masks/count_bits.h"

#include "simd/simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fastdet {
namespace FASTDET_ISA {
namespace {

#if !defined(__AVX2__)
inline int64_t count(uint64_t x) {
#if defined(__POPCNT__) || defined(__aarch64__)
    return __builtin_popcountll(x);
#else
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return int64_t(x * 0x0101010101010101 >> 56);
#endif
}
#else
// The bits of each byte, by its two halves in a table.
inline __m256i bytes(__m256i x) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                           2, 3, 2, 3, 3, 4);
    const __m256i half = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, half)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), half)));
}
#endif

int64_t common(const uint64_t* a, int64_t step_a, const uint64_t* b, int64_t step_b, int64_t lines, int64_t n) {
    int64_t sum = 0;
#if defined(__AVX2__)
    const __m256i none = _mm256_setzero_si256();
    const __m256i rest = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n & 3), _mm256_setr_epi64x(0, 1, 2, 3));
    __m256i sums = none, part = none;
    int64_t free = 31;  // a byte holds 31 times 8
    const auto add = [&](__m256i x, __m256i y) {
        part = _mm256_add_epi8(part, bytes(_mm256_and_si256(x, y)));
        if (--free == 0) sums = _mm256_add_epi64(sums, _mm256_sad_epu8(part, none)), part = none, free = 31;
    };
    for (int64_t line = 0; line < lines; ++line, a += step_a, b += step_b) {
        int64_t i = 0;
        for (; i + 4 <= n; i += 4) {
            add(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i)),
                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i)));
        }
        if (i < n) {
            add(_mm256_maskload_epi64(reinterpret_cast<const long long*>(a + i), rest),
                _mm256_maskload_epi64(reinterpret_cast<const long long*>(b + i), rest));
        }
    }
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(part, none));
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    sum = _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
#else
    for (int64_t line = 0; line < lines; ++line, a += step_a, b += step_b) {
        for (int64_t i = 0; i < n; ++i) sum += count(a[i] & b[i]);
    }
#endif
    return sum;
}

int64_t meet(const int16_t* start_a, const int16_t* end_a, const int16_t* start_b, const int16_t* end_b, int64_t n) {
#if defined(__AVX2__)
    const auto load = [](const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
    __m256i sums = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 16) {
        const __m256i start = _mm256_max_epi16(load(start_a + i), load(start_b + i));
        const __m256i end = _mm256_min_epi16(load(end_a + i), load(end_b + i));
        const __m256i rows = _mm256_max_epi16(_mm256_sub_epi16(end, start), _mm256_setzero_si256());
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(rows, _mm256_set1_epi16(1)));
    }
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return int64_t(uint32_t(_mm_cvtsi128_si32(two))) + int64_t(uint32_t(_mm_extract_epi32(two, 1)));
#else
    int64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        const int start = start_a[i] > start_b[i] ? start_a[i] : start_b[i];
        const int end = end_a[i] < end_b[i] ? end_a[i] : end_b[i];
        sum += end > start ? end - start : 0;
    }
    return sum;
#endif
}

uint64_t near(const float (*corners)[64], const float* box) {
    using V = Vec<float>;
    const V x1 = V::set(box[0]), y1 = V::set(box[1]), x2 = V::set(box[2]), y2 = V::set(box[3]);
    uint64_t all = 0;
    for (int k = 0; k < 64; k += V::lanes) {
        const auto across = ge(x2, V::load(corners[0] + k)) & ge(V::load(corners[2] + k), x1);
        const auto down = ge(y2, V::load(corners[1] + k)) & ge(V::load(corners[3] + k), y1);
        all |= uint64_t(across & down) << k;
    }
    return all;
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(CountLoops, count_loops, {common, meet, near})

}  // namespace fastdet
