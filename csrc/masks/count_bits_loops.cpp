// See count_bits.h. Compiled once per instruction set.
#include "masks/count_bits.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Without an instruction for it.
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

#if defined(__AVX2__)
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
    __m256i sums = _mm256_setzero_si256();
#endif
    for (int64_t line = 0; line < lines; ++line, a += step_a, b += step_b) {
        int64_t i = 0;
#if defined(__AVX2__)
        while (i + 4 <= n) {
            const int64_t end = n - i < 4 * 31 ? n - 3 : i + 4 * 31;  // a byte holds 31 times 8
            __m256i part = _mm256_setzero_si256();
            for (; i < end; i += 4) {
                const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i));
                const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i));
                part = _mm256_add_epi8(part, bytes(_mm256_and_si256(x, y)));
            }
            sums = _mm256_add_epi64(sums, _mm256_sad_epu8(part, _mm256_setzero_si256()));
        }
#endif
        for (; i < n; ++i) sum += count(a[i] & b[i]);
    }
#if defined(__AVX2__)
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    sum += _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
#endif
    return sum;
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(CountLoops, count_loops, {common})

}  // namespace fastdet
