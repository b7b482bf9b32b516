// Feature maps between their stored form, planes or pixels of any type, and pixels of neighbouring channels to compute
// on: transposes and conversions. Compiled once per instruction set.
#include "core/half.h"
#include "roi/roi_align.h"

#if defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// to[j * to_row + i] = from[i * from_row + j] of a block of kBlock x kBlock values.
template <class T>
constexpr int64_t kBlock = 4;
template <class T>
inline void transpose_block(const T* from, int64_t from_row, T* to, int64_t to_row) {
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) to[j * to_row + i] = from[i * from_row + j];
    }
}
#if defined(__AVX__)
template <>
constexpr int64_t kBlock<float> = 8;
inline void transpose_block(const float* from, int64_t from_row, float* to, int64_t to_row) {
    __m256 r[8], s[8];
    for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(from + i * from_row);
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * to_row, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_row, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}
#elif defined(__SSE2__)
inline void transpose_block(const float* from, int64_t from_row, float* to, int64_t to_row) {
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_row), c = _mm_loadu_ps(from + 2 * from_row),
           d = _mm_loadu_ps(from + 3 * from_row);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a), _mm_storeu_ps(to + to_row, b), _mm_storeu_ps(to + 2 * to_row, c),
        _mm_storeu_ps(to + 3 * to_row, d);
}
#endif

// to[j * to_row + i] = from[i * from_row + j], i in [0, rows), j in [0, columns)
template <class T>
void transpose(const T* from, int64_t from_row, int64_t rows, int64_t columns, T* to, int64_t to_row) {
    constexpr int64_t B = kBlock<T>;
    const int64_t whole_rows = rows / B * B, whole = columns / B * B;
    for (int64_t j = 0; j < whole; j += B) {
        for (int64_t i = 0; i < whole_rows; i += B)
            transpose_block(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
        for (int64_t i = whole_rows; i < rows; ++i) {
            for (int64_t k = j; k < j + B; ++k) to[k * to_row + i] = from[i * from_row + k];
        }
    }
    for (int64_t j = whole; j < columns; ++j) {
        for (int64_t i = 0; i < rows; ++i) to[j * to_row + i] = from[i * from_row + j];
    }
}

constexpr int64_t kRows = 16, kColumns = 64;  // of a piece that is converted in the first cache

template <class S>
void take_planes(const S* from, int64_t plane, int64_t channels, int64_t n, Compute<S>* to, int64_t to_row) {
    using T = Compute<S>;
    if constexpr (std::is_same_v<S, T>) {
        transpose(from, plane, channels, n, to, to_row);
    } else {
        T piece[kRows * kColumns];
        for (int64_t j = 0; j < n; j += kColumns) {
            const int64_t columns = n - j < kColumns ? n - j : kColumns;
            for (int64_t i = 0; i < channels; i += kRows) {
                const int64_t rows = channels - i < kRows ? channels - i : kRows;
                for (int64_t k = 0; k < rows; ++k) widen_row(from + (i + k) * plane + j, columns, piece + k * kColumns);
                transpose(piece, kColumns, rows, columns, to + j * to_row + i, to_row);
            }
        }
    }
}

template <class S>
void give_planes(const Compute<S>* from, int64_t from_row, int64_t channels, int64_t n, S* to, int64_t plane) {
    using T = Compute<S>;
    if constexpr (std::is_same_v<S, T>) {
        transpose(from, from_row, n, channels, to, plane);
    } else {
        T piece[kRows * kColumns];
        for (int64_t i = 0; i < channels; i += kRows) {
            const int64_t rows = channels - i < kRows ? channels - i : kRows;
            for (int64_t j = 0; j < n; j += kColumns) {
                const int64_t columns = n - j < kColumns ? n - j : kColumns;
                transpose(from + j * from_row + i, from_row, columns, rows, piece, kColumns);
                for (int64_t k = 0; k < rows; ++k) narrow_row(piece + k * kColumns, columns, to + (i + k) * plane + j);
            }
        }
    }
}

template <class S>
void take_rows(const S* from, int64_t from_row, int64_t channels, int64_t n, Compute<S>* to, int64_t to_row) {
    for (int64_t i = 0; i < n; ++i, from += from_row, to += to_row) {
        if constexpr (std::is_same_v<S, Compute<S>>) {
            for (int64_t c = 0; c < channels; ++c) to[c] = from[c];
        } else {
            widen_row(from, channels, to);
        }
    }
}

template <class S>
void give_rows(const Compute<S>* from, int64_t from_row, int64_t channels, int64_t n, S* to, int64_t to_row) {
    for (int64_t i = 0; i < n; ++i, from += from_row, to += to_row) {
        if constexpr (std::is_same_v<S, Compute<S>>) {
            for (int64_t c = 0; c < channels; ++c) to[c] = from[c];
        } else {
            narrow_row(from, channels, to);
        }
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(PixelKernels, pixel_kernels,
                {{take_planes<float>, give_planes<float>, take_rows<float>, give_rows<float>},
                 {take_planes<double>, give_planes<double>, take_rows<double>, give_rows<double>},
                 {take_planes<Half>, give_planes<Half>, take_rows<Half>, give_rows<Half>},
                 {take_planes<BFloat16>, give_planes<BFloat16>, take_rows<BFloat16>, give_rows<BFloat16>}})

}  // namespace fastdet
