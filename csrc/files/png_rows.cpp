// See png_rows.h. A pixel is a word of 3 bytes, whose bytes are added side by side: a row of filters that look to the
// left is a chain of a few instructions a pixel.
#include "files/png_rows.h"

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "files/inflate.h"

namespace fastdet {
namespace {

void sub_row(const uint8_t* x, int64_t n, uint8_t* out) {
    uint8_t a[3] = {};
    for (int64_t i = 0; i < n; i += 3) {
        for (int c = 0; c < 3; ++c) out[i + c] = a[c] = uint8_t(x[i + c] + a[c]);
    }
}

void up_row(const uint8_t* x, const uint8_t* above, int64_t n, uint8_t* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = uint8_t(x[i] + above[i]);
}

void average_row(const uint8_t* x, const uint8_t* above, int64_t n, uint8_t* out) {
    uint8_t a[3] = {};
    for (int64_t i = 0; i < n; i += 3) {
        for (int c = 0; c < 3; ++c) out[i + c] = a[c] = uint8_t(x[i + c] + ((a[c] + above[i + c]) >> 1));
    }
}

uint8_t paeth(int a, int b, int c) {
    const int pa = b > c ? b - c : c - b, pb = a > c ? a - c : c - a;
    const int sum = a + b - 2 * c, pc = sum < 0 ? -sum : sum;
    if (pa <= pb && pa <= pc) return uint8_t(a);
    return uint8_t(pb <= pc ? b : c);
}

void paeth_row_plain(const uint8_t* x, const uint8_t* above, int64_t first, int64_t n, uint8_t* out) {
    for (int64_t i = first; i < n; ++i) {
        const int a = i < 3 ? 0 : out[i - 3], c = i < 3 ? 0 : above[i - 3];
        out[i] = uint8_t(x[i] + paeth(a, above[i], c));
    }
}

#if defined(__SSE2__)

__m128i load4(const uint8_t* p) {
    int32_t word;
    std::memcpy(&word, p, 4);
    return _mm_unpacklo_epi8(_mm_cvtsi32_si128(word), _mm_setzero_si128());
}
__m128i absolute(__m128i x) { return _mm_max_epi16(x, _mm_sub_epi16(_mm_setzero_si128(), x)); }
__m128i choose(__m128i mask, __m128i yes, __m128i no) {
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

// Four bytes are read and written for each pixel, so the last pixel is left to the plain loop.
void paeth_row(const uint8_t* x, const uint8_t* above, int64_t n, uint8_t* out) {
    __m128i a = _mm_setzero_si128(), c = a;
    const __m128i low = _mm_set1_epi16(0xff);
    int64_t i = 0;
    for (; i + 4 <= n; i += 3) {
        const __m128i b = load4(above + i);
        const __m128i to_a = _mm_sub_epi16(b, c), to_b = _mm_sub_epi16(a, c);
        const __m128i pa = absolute(to_a), pb = absolute(to_b), pc = absolute(_mm_add_epi16(to_a, to_b));
        const __m128i least = _mm_min_epi16(pc, _mm_min_epi16(pa, pb));
        const __m128i near = choose(_mm_cmpeq_epi16(least, pa), a, choose(_mm_cmpeq_epi16(least, pb), b, c));
        a = _mm_and_si128(_mm_add_epi16(load4(x + i), near), low);
        c = b;
        const int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(a, a));
        std::memcpy(out + i, &word, 4);
    }
    paeth_row_plain(x, above, i, n, out);
}

#else

void paeth_row(const uint8_t* x, const uint8_t* above, int64_t n, uint8_t* out) {
    paeth_row_plain(x, above, 0, n, out);
}

#endif

}  // namespace

int64_t png_rows(const uint8_t* raw, int64_t height, int64_t width, uint8_t* out) {
    const int64_t n = 3 * width;
    for (int64_t y = 0; y < height; ++y, raw += n + 1, out += n) {
        const uint8_t filter = raw[0], *x = raw + 1, *above = out - n;
        if (filter > 4) return y;
        if (filter == 0 || (y == 0 && filter == 2)) {
            std::memcpy(out, x, size_t(n));
        } else if (filter == 1 || (y == 0 && filter == 4)) {
            sub_row(x, n, out);
        } else if (y == 0) {
            for (int64_t i = 0; i < n; ++i) out[i] = uint8_t(x[i] + (i < 3 ? 0 : out[i - 3] >> 1));
        } else if (filter == 2) {
            up_row(x, above, n, out);
        } else if (filter == 3) {
            average_row(x, above, n, out);
        } else {
            paeth_row(x, above, n, out);
        }
    }
    return -1;
}

int64_t png_pixels(const uint8_t* packed, size_t n, int64_t height, int64_t width, uint8_t* raw, uint8_t* out) {
    const Inflated found = inflate(packed, n, raw, size_t(height * (3 * width + 1)));
    if (found != Inflated::kWhole) return found == Inflated::kShort ? -1 : found == Inflated::kLong ? -2 : -3;
    return 1 + png_rows(raw, height, width, out);
}

}  // namespace fastdet
