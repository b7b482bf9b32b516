// See pixel_bits.h. Compiled once per instruction set.
#include "masks/pixel_bits.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// The lowest bits of 64 bytes. `all` gets all bits of the bytes.
#if defined(__AVX2__)
struct All {
    __m256i x = _mm256_setzero_si256();
    uint64_t value() const {
        uint64_t part[4];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(part), x);
        return part[0] | part[1] | part[2] | part[3];
    }
};
inline uint64_t bits_of(const uint8_t* p, All& all) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32));
    all.x = _mm256_or_si256(all.x, _mm256_or_si256(a, b));
    if (_mm256_testz_si256(_mm256_or_si256(a, b), _mm256_set1_epi8(1))) return 0;
    const uint64_t low = uint32_t(_mm256_movemask_epi8(_mm256_slli_epi16(a, 7)));
    const uint64_t high = uint32_t(_mm256_movemask_epi8(_mm256_slli_epi16(b, 7)));
    return low | high << 32;
}
constexpr int64_t kSame = 128;
// Whether kSame bytes are all `value`.
inline bool same(const uint8_t* p, int value) {
    const __m256i x = _mm256_set1_epi8(char(value));
    const auto other = [&](int k) {
        return _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * k)), x);
    };
    const __m256i any = _mm256_or_si256(_mm256_or_si256(other(0), other(1)), _mm256_or_si256(other(2), other(3)));
    return _mm256_testz_si256(any, any);
}
// 32 bits as bytes.
inline __m256i bytes_of(uint32_t bits) {
    const __m256i place = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(int64_t(0x8040201008040201));
    const __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(int32_t(bits)), place), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), _mm256_set1_epi8(1));
}
inline void put_64(uint64_t bits, uint8_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes_of(uint32_t(bits)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), bytes_of(uint32_t(bits >> 32)));
}
#else
struct All {
    uint64_t x = 0;
    uint64_t value() const { return x; }
};
constexpr int64_t kSame = 64;
inline bool same(const uint8_t* p, int value) {
    const uint64_t x = uint64_t(value) * 0x0101010101010101;
    uint64_t part[8], any = 0;
    __builtin_memcpy(part, p, 64);
    for (const uint64_t one : part) any |= one ^ x;
    return any == 0;
}
#if defined(__SSE2__)
inline uint64_t bits_of(const uint8_t* p, All& all) {
    uint64_t bits = 0, part[2];
    __m128i any = _mm_setzero_si128();
    for (int k = 0; k < 4; ++k) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * k));
        any = _mm_or_si128(any, x);
        bits |= uint64_t(uint32_t(_mm_movemask_epi8(_mm_slli_epi16(x, 7)))) << (16 * k);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(part), any);
    all.x |= part[0] | part[1];
    return bits;
}
#else
inline uint64_t bits_of(const uint8_t* p, All& all) {
    uint64_t bits = 0;
    for (int k = 0; k < 8; ++k) {
        uint64_t x;
        __builtin_memcpy(&x, p + 8 * k, 8);
        all.x |= x;
        bits |= (((x & 0x0101010101010101) * 0x0102040810204080) >> 56) << (8 * k);
    }
    return bits;
}
#endif
inline void put_64(uint64_t bits, uint8_t* to) {
    for (int k = 0; k < 64; k += 8) {
        // bit i of the byte comes into the lowest bit of byte i
        const uint64_t copies = (bits >> k & 255) * 0x0101010101010101 & 0x8040201008040201;
        const uint64_t bytes = (copies + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
        __builtin_memcpy(to + k, &bytes, 8);
    }
}
#endif

uint64_t to_bits(const uint8_t* pixels, int64_t n, uint64_t* bits) {
    All all;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) bits[i >> 6] = bits_of(pixels + i, all);
    uint64_t others = 0;
    if (i < n) {
        uint64_t last = 0;
        for (int64_t k = i; k < n; ++k) {
            others |= pixels[k];
            last |= uint64_t(pixels[k] & 1) << (k - i);
        }
        bits[i >> 6] = last;
    }
    return all.value() | others;
}

int64_t turns(const uint8_t* pixels, int64_t n, int before, uint32_t* places, uint64_t* all) {
    All bits_all;
    uint64_t others = 0, last = uint64_t(before & 1);
    int64_t count = 0, i = 0;
    const auto put = [&](uint64_t bits, uint64_t valid) {
        for (uint64_t turn = (bits ^ (bits << 1 | last)) & valid; turn; turn &= turn - 1) {
            places[count++] = uint32_t(i) + uint32_t(__builtin_ctzll(turn));
        }
        last = bits >> 63;
    };
    while (i + 64 <= n) {
        if (i + kSame <= n && same(pixels + i, int(last))) {
            others |= last;
            i += kSame;
            continue;
        }
        for (int64_t end = i + kSame < n ? i + kSame : n; i + 64 <= end; i += 64) {
            put(bits_of(pixels + i, bits_all), ~uint64_t(0));
        }
    }
    if (i < n) {
        uint64_t bits = 0;
        for (int64_t k = i; k < n; ++k) {
            others |= pixels[k];
            bits |= uint64_t(pixels[k] & 1) << (k - i);
        }
        put(bits, (uint64_t(1) << (n - i)) - 1);
    }
    *all |= bits_all.value() | others;
    return count;
}

void put_columns(uint64_t* turn, int64_t first, int64_t height, int64_t n, uint8_t* pixels, int64_t step) {
    uint64_t bits = 0;
    for (int64_t y = first; y < height; ++y) {
        bits ^= turn[y];
        turn[y] = 0;
        if (!bits) continue;
        uint8_t* to = pixels + y * step;
        if (n == 64) {
            put_64(bits, to);
        } else {
            for (int64_t k = 0; k < n; ++k) to[k] = uint8_t(bits >> k & 1);
        }
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(PixelLoops, pixel_loops, {to_bits, turns, put_columns})

}  // namespace fastdet
