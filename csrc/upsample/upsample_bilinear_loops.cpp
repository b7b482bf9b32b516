// Bilinear resampling forward: the loops. Compiled once per instruction set.
//
// An input row is expanded to the result's width once and kept; an output row is one pass over the two expanded rows
// between which it lies. Floor: the result is written once.
#include <type_traits>

#include "core/arena.h"
#include "core/floats.h"
#include "core/half.h"
#include "simd/simd.h"
#include "upsample/bilinear_rows.h"
#include "upsample/upsample_bilinear.h"

namespace fastdet {
namespace FASTDET_ISA {

static inline void widen_row(const Signed8* __restrict from, int64_t n, float* __restrict to) {
    for (int64_t i = 0; i < n; ++i) to[i] = widen(from[i]);
}

namespace {

// A pixel of at least a vector is expanded by itself, without tables.
template <class T>
bool wide_pixels(const UpsampleJob& job) {
    return job.channels >= Vec<T>::lanes && Vec<T>::lanes > 1;
}

constexpr int64_t kDense = 4;  // values read to one made, up to which stored halves are widened as whole rows

template <class S>
struct Forward {
    using T = Compute<S>;
    void* tables;
    T *wide, *rows[2], *made;
    int64_t values;  // of a tile, and of an expanded row
    int64_t used;

    Forward(const UpsampleJob& job, void* base) {
        Arena scratch(base);
        const int64_t width = lesser<int64_t>(job.tile, job.out_w);
        values = row_padded(width * job.channels);
        tables = scratch.template take<char>(row_taps_bytes<T>(wide_pixels<T>(job) ? width : values));
        wide = scratch.template take<T>(std::is_same_v<S, T> ? 0 : kDense * values + 2 * job.channels);
        rows[0] = scratch.template take<T>(values);
        rows[1] = scratch.template take<T>(values);
        made = scratch.template take<T>(std::is_same_v<S, T> || sizeof(S) == 1 ? 0 : values);
        used = scratch.used;
    }
};

// to[j] = h0 * a[j] + h1 * b[j]
template <class T>
void blend(T h0, const T* a, T h1, const T* b, int64_t n, bool stream, T* to) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const V v0 = V::set(h0), v1 = V::set(h1);
    const auto each = [&](int64_t j, int64_t end) {
        for (; j < end; ++j) to[j] = h0 * a[j] + h1 * b[j];
    };
    int64_t j = 0;
    if (stream) {
        const int64_t past = int64_t(reinterpret_cast<uintptr_t>(to) / sizeof(T) % L);
        j = past ? lesser<int64_t>(L - past, n) : 0;
        each(0, j);
        for (; j + L <= n; j += L) (v0 * V::load(a + j) + v1 * V::load(b + j)).stream(to + j);
    } else {
        for (; j + L <= n; j += L) (v0 * V::load(a + j) + v1 * V::load(b + j)).store(to + j);
    }
    each(j, n);
}

template <class S>
constexpr bool kByte = sizeof(S) == 1;

// Sixteen or more results as bytes, rounded: of h0 * a[i] + h1 * b[i]. `flip`: of the bits that int8 changes.
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
struct Bytes {
    static constexpr int count = 16;
    __m512 h0, h1;
    __m128i flip;
    FASTDET_MEMBER Bytes(float h0, float h1, uint8_t flip)
        : h0(_mm512_set1_ps(h0)), h1(_mm512_set1_ps(h1)), flip(_mm_set1_epi8(char(flip))) {}
    FASTDET_MEMBER void operator()(const float* a, const float* b, void* to, bool stream) const {
        const __m512 sum = _mm512_add_ps(_mm512_mul_ps(h0, _mm512_loadu_ps(a)), _mm512_mul_ps(h1, _mm512_loadu_ps(b)));
        const __m512i whole = _mm512_cvttps_epi32(_mm512_add_ps(sum, _mm512_set1_ps(0.5f)));
        const __m128i bytes = _mm_xor_si128(_mm512_cvtepi32_epi8(whole), flip);
        stream ? _mm_stream_si128(static_cast<__m128i*>(to), bytes)
               : _mm_storeu_si128(static_cast<__m128i*>(to), bytes);
    }
};
#elif defined(__AVX2__)
struct Bytes {
    static constexpr int count = 32;
    __m256 h0, h1;
    __m256i flip;
    FASTDET_MEMBER Bytes(float h0, float h1, uint8_t flip)
        : h0(_mm256_set1_ps(h0)), h1(_mm256_set1_ps(h1)), flip(_mm256_set1_epi8(char(flip))) {}
    FASTDET_MEMBER __m256i eight(const float* a, const float* b) const {
        const __m256 sum = _mm256_add_ps(_mm256_mul_ps(h0, _mm256_loadu_ps(a)), _mm256_mul_ps(h1, _mm256_loadu_ps(b)));
        return _mm256_cvttps_epi32(_mm256_add_ps(sum, _mm256_set1_ps(0.5f)));
    }
    FASTDET_MEMBER void operator()(const float* a, const float* b, void* to, bool stream) const {
        const __m256i low = _mm256_packus_epi32(eight(a, b), eight(a + 8, b + 8));
        const __m256i high = _mm256_packus_epi32(eight(a + 16, b + 16), eight(a + 24, b + 24));
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        const __m256i made = _mm256_xor_si256(bytes, flip);
        stream ? _mm256_stream_si256(static_cast<__m256i*>(to), made)
               : _mm256_storeu_si256(static_cast<__m256i*>(to), made);
    }
};
#else
struct Bytes {
    static constexpr int count = 16;
    float h0, h1;
    uint8_t flip;
    Bytes(float h0, float h1, uint8_t flip) : h0(h0), h1(h1), flip(flip) {}
    void operator()(const float* __restrict a, const float* __restrict b, void* to, bool) const {
        int32_t whole[count];
        for (int i = 0; i < count; ++i) whole[i] = int32_t(h0 * a[i] + h1 * b[i] + 0.5f);
        for (int i = 0; i < count; ++i) static_cast<uint8_t*>(to)[i] = uint8_t(whole[i]) ^ flip;
    }
};
#endif

// `blend` to bytes, rounded to the nearest, halves up.
template <class S>
void blend_bytes(float h0, const float* a, float h1, const float* b, int64_t n, bool stream, S* to) {
    const Bytes bytes(h0, h1, std::is_same_v<S, Signed8> ? kSignBit : 0);
    const auto each = [&](int64_t j, int64_t end) {
        for (; j < end; ++j) to[j] = narrow<S>(h0 * a[j] + h1 * b[j]);
    };
    int64_t j = 0;
    if (stream) {
        const int64_t past = int64_t(reinterpret_cast<uintptr_t>(to) % Bytes::count);
        j = past ? lesser<int64_t>(Bytes::count - past, n) : 0;
        each(0, j);
    }
    for (; j + Bytes::count <= n; j += Bytes::count) bytes(a + j, b + j, to + j, stream);
    each(j, n);
}

template <class S>
void forward(const UpsampleJob& job, int64_t first_unit, int64_t last_unit, void* scratch) {
    using T = Compute<S>;
    const Forward<S> memory(job, scratch);
    const bool pixels = wide_pixels<T>(job);
    const int64_t channels = job.channels, in_row = job.in_w * channels, out_row = job.out_w * channels;
    const T step_x = tap_step<T>(job.in_w, job.out_w, job.align_corners, job.factor_x);
    const T step_y = tap_step<T>(job.in_h, job.out_h, job.align_corners, job.factor_y);
    RowTaps<T> taps = {};
    int64_t tile = -1, n = 0, read = 0;
    bool dense = false;
    for (int64_t unit = first_unit; unit < last_unit; ++unit) {
        const int64_t band = unit % job.bands, plane = unit / job.bands % job.planes;
        const int64_t its_tile = unit / job.bands / job.planes;
        const int64_t left = its_tile * job.tile;
        if (its_tile != tile) {
            tile = its_tile;
            const int64_t right = lesser<int64_t>(left + job.tile, job.out_w);
            taps = row_taps(job.in_w, job.out_w, job.align_corners, step_x, memory.tables, pixels ? 1 : channels, left,
                            right);
            n = (right - left) * channels;
            read = pixels ? taps.in * channels : taps.in;
            dense = read <= kDense * n + 2 * channels;
        }
        const S* in =
            static_cast<const S*>(job.from) + plane * job.in_h * in_row + taps.start * (pixels ? channels : 1);
        S* out = static_cast<S*>(job.to) + plane * job.out_h * out_row + left * channels;
        int64_t held[2] = {-1, -1};  // the input row whose expansion is in each buffer
        const auto expanded = [&](int64_t row) {
            T* to = memory.rows[row & 1];
            if (held[row & 1] == row) return to;
            held[row & 1] = row;
            const S* x = in + row * in_row;
            const T* wide;
            if constexpr (std::is_same_v<S, T>) {
                wide = x;
            } else if (dense) {
                widen_row(x, read, memory.wide);
                wide = memory.wide;
            } else if (pixels) {
                for (int64_t j = 0; j < taps.out; ++j) {
                    const int64_t i0 = taps.i0[j], i1 = i0 < taps.last ? i0 + taps.unit : i0;
                    const T w1 = taps.w1[j], w0 = T(1) - w1;
                    for (int64_t c = 0; c < channels; ++c) {
                        to[j * channels + c] = w0 * widen(x[i0 * channels + c]) + w1 * widen(x[i1 * channels + c]);
                    }
                }
                return to;
            } else {
                expand_each(taps, x, 0, taps.padded, to);
                return to;
            }
            if (pixels) {
                expand_pixels(taps, channels, wide, to);
            } else {
                expand_row(taps, wide, to);
            }
            return to;
        };
        const int64_t bottom = lesser<int64_t>((band + 1) * job.rows, job.out_h);
        for (int64_t y = band * job.rows; y < bottom; ++y) {
            const Tap<T> t = tap(y, job.in_h, job.out_h, job.align_corners, step_y);
            const T *a = expanded(t.i0), *b = expanded(t.i1);
            S* to = out + y * out_row;
            if constexpr (std::is_same_v<S, T>) {
                blend(t.w0, a, t.w1, b, n, job.stream, to);
            } else if constexpr (kByte<S>) {
                blend_bytes(t.w0, a, t.w1, b, n, job.stream, to);
            } else {
                constexpr int64_t kPiece = 512;
                for (int64_t j = 0; j < n; j += kPiece) {
                    const int64_t piece = lesser<int64_t>(kPiece, n - j);
                    blend(t.w0, a + j, t.w1, b + j, piece, false, memory.made);
                    narrow_row(memory.made, piece, to + j);
                }
            }
        }
    }
    if (job.stream) store_fence();
}

template <class S>
int64_t forward_scratch(const UpsampleJob& job) {
    return Forward<S>(job, nullptr).used;
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(UpsampleBilinearKernels, upsample_bilinear_kernels,
                {{forward<float>, forward<double>, forward<Half>, forward<BFloat16>, forward<uint8_t>,
                  forward<Signed8>},
                 {forward_scratch<float>, forward_scratch<double>, forward_scratch<Half>, forward_scratch<BFloat16>,
                  forward_scratch<uint8_t>, forward_scratch<Signed8>}})

}  // namespace fastdet
