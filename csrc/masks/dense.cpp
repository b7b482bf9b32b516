// Between bytes and run lengths.
//
// Columns that are dense are one line of pixels: 64 at a time as the bits of a word, whose turns are x ^ (x << 1).
// Where rows are dense, 64 columns go down side by side, one bit each: a row is a word, its turns are its difference to
// the row above; sorted by column they are the runs. Decoding is the same backwards: turns in words, one a row, of
// which each is the exclusive or of all above.
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "core/memory.h"
#include "masks/bit_rows.h"

namespace fastdet {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101;

// The lowest bits of 64 bytes; `all` gets all bits of them.
uint64_t bits_of(const uint8_t* p, uint64_t& all) {
#if defined(__SSE2__)
    uint64_t bits = 0;
    __m128i any = _mm_setzero_si128();
    for (int k = 0; k < 4; ++k) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * k));
        any = _mm_or_si128(any, x);
        bits |= uint64_t(uint32_t(_mm_movemask_epi8(_mm_slli_epi16(x, 7)))) << (16 * k);
    }
    uint64_t part[2];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(part), any);
    all |= part[0] | part[1];
    return bits;
#else
    uint64_t bits = 0;
    for (int k = 0; k < 8; ++k) {
        uint64_t x;
        std::memcpy(&x, p + 8 * k, 8);
        all |= x;
        bits |= (((x & kOnes) * 0x0102040810204080) >> 56) << (8 * k);
    }
    return bits;
#endif
}

uint64_t bits_of(const uint8_t* p, int64_t n, uint64_t& all) {
    if (n >= 64) return bits_of(p, all);
    uint8_t part[64] = {};
    std::memcpy(part, p, size_t(n));
    return bits_of(part, all);
}

// The turns of a mask, in order, as runs.
struct Turns {
    NewRuns& out;
    uint64_t last = 0;
    void put(uint64_t place) { out.counts.push_back(uint32_t(place - last)), last = place; }
    void end(uint64_t pixels) {
        put(pixels);
        out.end_mask();
    }
};

void encode_columns(const uint8_t* x, int64_t pixels, NewRuns& out, uint64_t& all) {
    Turns turns{out};
    uint64_t before = 0;
    for (int64_t at = 0; at < pixels; at += 64) {
        const int64_t n = pixels - at < 64 ? pixels - at : 64;
        const uint64_t bits = bits_of(x + at, n, all);
        uint64_t turn = bits ^ (bits << 1 | before);
        if (n < 64) turn &= (uint64_t(1) << n) - 1;
        before = bits >> 63;
        for (; turn; turn &= turn - 1) turns.put(uint64_t(at) + uint64_t(__builtin_ctzll(turn)));
    }
    turns.end(uint64_t(pixels));
}

void encode_rows(const uint8_t* x, int64_t height, int64_t width, NewRuns& out, uint64_t& all,
                 std::vector<uint64_t>& events, std::vector<uint32_t>& rows) {
    Turns turns{out};
    uint64_t corner = 0;  // the last pixel of the column before
    for (int64_t first = 0; first < width; first += 64) {
        const int64_t n = width - first < 64 ? width - first : 64;
        const uint8_t* row = x + first;
        const uint64_t lowest = bits_of(row + (height - 1) * width, n, all);
        uint64_t above = lowest << 1 | corner;
        if (n < 64) above &= (uint64_t(1) << n) - 1;
        corner = lowest >> (n - 1) & 1;
        events.clear();
        uint32_t count[65] = {};
        for (int64_t y = 0; y < height; ++y, row += width) {
            const uint64_t bits = bits_of(row, n, all);
            for (uint64_t turn = bits ^ above; turn; turn &= turn - 1) {
                const int column = __builtin_ctzll(turn);
                ++count[column + 1];
                events.push_back(uint64_t(y) << 6 | uint64_t(column));
            }
            above = bits;
        }
        for (int k = 0; k < 64; ++k) count[k + 1] += count[k];
        if (rows.size() < events.size()) rows.resize(events.size());
        uint32_t start[64];
        std::memcpy(start, count, sizeof start);
        for (const uint64_t event : events) rows[start[event & 63]++] = uint32_t(event >> 6);
        for (int64_t k = 0; k < n; ++k) {
            const uint64_t top = uint64_t(first + k) * uint64_t(height);
            for (uint32_t e = count[k]; e < count[k + 1]; ++e) turns.put(top + rows[e]);
        }
    }
    turns.end(uint64_t(height) * uint64_t(width));
}

void decode_columns(const uint32_t* run, const uint32_t* end, int64_t pixels, uint8_t* out) {
    std::memset(out, 0, size_t(pixels));
    each_run(run, end, [&](uint64_t start, uint64_t stop) {
        if (start >= uint64_t(pixels)) return;
        std::memset(out + start, 1, size_t((stop < uint64_t(pixels) ? stop : uint64_t(pixels)) - start));
    });
}

// `turn`: a word for each row, zeros; they are zeros afterwards.
void decode_rows(const uint32_t* run, const uint32_t* end, int64_t height, int64_t width, uint64_t* turn,
                 uint8_t* out) {
    uint64_t place = run < end ? *run++ : uint64_t(-1);  // of the next turn
    uint64_t inside = 0;                                 // whether the pixels before it are ones
    for (int64_t first = 0; first < width; first += 64) {
        const int64_t n = width - first < 64 ? width - first : 64;
        for (int64_t k = 0; k < n; ++k) {
            const uint64_t top = uint64_t(first + k) * uint64_t(height), bit = uint64_t(1) << k;
            if (inside) turn[0] ^= bit;
            while (place < top + uint64_t(height)) {
                turn[place - top] ^= bit;
                inside ^= 1;
                place = run < end ? place + *run++ : uint64_t(-1);
            }
        }
        uint64_t bits = 0;
        for (int64_t y = 0; y < height; ++y) {
            bits ^= turn[y];
            turn[y] = 0;
            spread_bits(&bits, n, out + y * width + first);
        }
    }
}

}  // namespace

bool encode(const uint8_t* masks, int64_t n, int64_t height, int64_t width, bool columns, NewRuns& out) {
    const int64_t pixels = height * width;
    uint64_t all = 0;
    std::vector<uint64_t> events;
    std::vector<uint32_t> rows;
    for (int64_t i = 0; i < n; ++i) {
        const uint8_t* x = masks + i * pixels;
        if (columns || !pixels) {
            encode_columns(x, pixels, out, all);
        } else {
            encode_rows(x, height, width, out, all, events, rows);
        }
    }
    return !(all & ~kOnes);
}

void decode(const Runs& runs, int64_t height, int64_t width, bool columns, uint8_t* out) {
    const int64_t pixels = height * width;
    if (!pixels) return;
    Buffer<uint64_t> turn(columns ? 0 : height);
    if (!columns) std::memset(turn.get(), 0, size_t(height) * sizeof(uint64_t));
    for (int64_t i = 0; i < runs.size(); ++i) {
        uint8_t* to = out + i * pixels;
        if (columns) {
            decode_columns(runs.begin(i), runs.end(i), pixels, to);
        } else {
            decode_rows(runs.begin(i), runs.end(i), height, width, turn.get(), to);
        }
    }
}

}  // namespace fastdet
