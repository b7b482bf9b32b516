// Between bytes and run lengths.
//
// Pixels are bits, 64 a word. Columns that are dense are one line of pixels, whose turns are x ^ (x << 1). Where rows
// are dense, the turns of a row are its difference to the row above; sorted by column they are the runs. Decoding is
// the same backwards: turns in words, one a row, of which each is the exclusive or of all above.
#include "core/memory.h"
#include "core/threads.h"
#include "masks/bit_rows.h"
#include "masks/pixel_bits.h"

namespace fastdet {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr int64_t kLine = 4096;  // pixels of a line at a time
// Pixels for which a second thread pays.
constexpr int64_t kThreadPixels = int64_t(1) << 20;

uint64_t encode_columns(const uint8_t* x, int64_t pixels, std::vector<uint32_t>& out) {
    uint64_t all = 0, last = 0;
    uint32_t places[kLine];
    for (int64_t at = 0; at < pixels; at += kLine) {
        const int64_t n = pixels - at < kLine ? pixels - at : kLine;
        const int64_t count = pixel_loops().turns(x + at, n, at ? x[at - 1] : 0, places, &all);
        for (int64_t k = 0; k < count; ++k) {
            const uint64_t place = uint64_t(at) + places[k];
            out.push_back(uint32_t(place - last));
            last = place;
        }
    }
    out.push_back(uint32_t(uint64_t(pixels) - last));
    return all;
}

uint64_t encode_rows(const uint8_t* x, int64_t height, int64_t width, std::vector<uint64_t>& bits, RowTurns& turns,
                     std::vector<uint32_t>& out) {
    bits.resize(size_t((width + 63) / 64));
    turns.begin(0, width);
    uint64_t all = 0, above = 0;
    for (int64_t y = 0; y < height; ++y) {
        const uint64_t any = pixel_loops().to_bits(x + y * width, width, bits.data());
        if (any | above) turns.row(y, bits.data());  // of zeros below zeros nothing turns
        all |= above = any;
    }
    turns.end(height, height, width, out);
    return all;
}

void decode_columns(const uint32_t* run, const uint32_t* end, int64_t pixels, uint8_t* out) {
    each_run(run, end, [&](uint64_t start, uint64_t stop) {
        if (start >= uint64_t(pixels)) return;
        std::memset(out + start, 1, size_t((stop < uint64_t(pixels) ? stop : uint64_t(pixels)) - start));
    });
}

// `turn`: a word for each row, zeros; they are zeros afterwards.
void decode_rows(const uint32_t* run, const uint32_t* end, int64_t height, int64_t width, uint64_t* turn,
                 uint8_t* out) {
    uint64_t place = run < end ? *run++ : uint64_t(-1);  // of the next turn
    bool inside = false;                                 // whether the pixels before it are ones
    for (int64_t first = 0; first < width; first += 64) {
        const int64_t n = width - first < 64 ? width - first : 64;
        if (!inside && place >= uint64_t(first + n) * uint64_t(height)) continue;
        int64_t highest = height;
        for (int64_t k = 0; k < n; ++k) {
            const uint64_t top = uint64_t(first + k) * uint64_t(height), bit = uint64_t(1) << k;
            if (inside) turn[0] ^= bit, highest = 0;
            while (place < top + uint64_t(height)) {
                const int64_t y = int64_t(place - top);
                turn[y] ^= bit;
                highest = y < highest ? y : highest;
                inside = !inside;
                place = run < end ? place + *run++ : uint64_t(-1);
            }
        }
        pixel_loops().put_columns(turn, highest, height, n, out + first, width);
    }
}

// some(first, last) for the masks, by several threads where they are large.
template <class Some>
void each_part(int64_t n, int64_t pixels, const Some& some) {
    if (n < 2 || pixels < kThreadPixels / n || get_num_threads() == 1) return some(0, n);
    const int64_t step = n / (8 * get_num_threads()) + 1;
    parallel_for((n + step - 1) / step,
                 [&](int64_t task) { some(task * step, task * step + step < n ? task * step + step : n); });
}

}  // namespace

bool encode(const uint8_t* masks, int64_t n, int64_t height, int64_t width, bool columns, NewRuns& out) {
    const int64_t pixels = height * width;
    struct Made {
        std::vector<uint32_t> runs;
        uint64_t all = 0;
    };
    std::vector<Made> made(size_t(n) + 1);
    each_part(n, pixels, [&](int64_t first, int64_t last) {
        std::vector<uint64_t> bits;
        RowTurns turns;
        for (int64_t i = first; i < last; ++i) {
            Made& one = made[size_t(i)];
            const uint8_t* x = masks + i * pixels;
            one.all = columns || !pixels ? encode_columns(x, pixels, one.runs)
                                         : encode_rows(x, height, width, bits, turns, one.runs);
        }
    });
    size_t total = 0;
    for (const Made& one : made) total += one.runs.size();
    out.counts.reserve(total);
    uint64_t all = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Made& one = made[size_t(i)];
        all |= one.all;
        out.counts.insert(out.counts.end(), one.runs.begin(), one.runs.end());
        out.end_mask();
    }
    return !(all & ~kOnes);
}

void decode(const Runs& runs, int64_t height, int64_t width, bool columns, uint8_t* out) {
    const int64_t pixels = height * width;
    if (!pixels) return;
    each_part(runs.size(), pixels, [&](int64_t first, int64_t last) {
        Buffer<uint64_t> turn(columns ? 0 : height);
        if (!columns) std::memset(turn.get(), 0, size_t(height) * sizeof(uint64_t));
        for (int64_t i = first; i < last; ++i) {
            uint8_t* to = out + i * pixels;
            if (columns) {
                decode_columns(runs.begin(i), runs.end(i), pixels, to);
            } else {
                decode_rows(runs.begin(i), runs.end(i), height, width, turn.get(), to);
            }
        }
    });
}

}  // namespace fastdet
