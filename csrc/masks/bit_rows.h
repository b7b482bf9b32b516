// Where a mask comes out that is made row by row, as bits: bytes, packed bits, or runs.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "masks/rle.h"

namespace fastdet {

enum class MaskOut { dense, bits, rle };

// Sets the bits from start to stop, stop not among them, start < stop.
inline void fill_bits(uint64_t* bits, uint64_t start, uint64_t stop) {
    const size_t first = size_t(start >> 6), last = size_t(stop >> 6);
    const uint64_t from = ~uint64_t(0) << (start & 63), to = (uint64_t(1) << (stop & 63)) - 1;
    if (first == last) {
        bits[first] |= from & to;
        return;
    }
    bits[first] |= from;
    for (size_t k = first + 1; k < last; ++k) bits[k] = ~uint64_t(0);
    if (to) bits[last] |= to;
}

// n pixels of a row as bytes 0 and 1.
inline void spread_bits(const uint64_t* bits, int64_t n, uint8_t* out) {
    for (int64_t k = 0; k < n; k += 8) {
        const uint64_t eight = bits[k >> 6] >> (k & 63) & 255;
        // bit i of the byte comes into the lowest bit of byte i
        const uint64_t copies = eight * 0x0101010101010101 & 0x8040201008040201;
        const uint64_t bytes = (copies + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
        std::memcpy(out + k, &bytes, size_t(n - k < 8 ? n - k : 8));
    }
}

// n pixels of a row into packed bits from pixel `first` on, which are 0.
inline void or_bits(const uint64_t* bits, int64_t n, int64_t first, uint8_t* out) {
    for (int64_t k = 0; k < n; k += 8) {
        const int64_t rest = n - k < 8 ? n - k : 8;
        const unsigned eight = unsigned(bits[k >> 6] >> (k & 63)) & ((1u << rest) - 1);
        const unsigned shifted = eight << ((first + k) & 7);
        out[(first + k) >> 3] = uint8_t(out[(first + k) >> 3] | shifted);
        if (shifted >> 8) out[((first + k) >> 3) + 1] = uint8_t(out[((first + k) >> 3) + 1] | shifted >> 8);
    }
}

// The turns of a mask whose rows come from above as bits, in `columns` columns from `first` on; zeros elsewhere.
class RowTurns {
  public:
    void begin(int64_t first, int64_t columns) {
        first_ = first, columns_ = columns;
        above_.assign(size_t((columns + 63) / 64), 0);
        count_.assign(size_t(columns) + 1, 0);
        events_.clear();
    }
    void row(int64_t y, const uint64_t* bits) {
        for (size_t w = 0; w < above_.size(); ++w) {
            for (uint64_t turn = bits[w] ^ above_[w]; turn; turn &= turn - 1) {
                const uint32_t column = uint32_t(64 * w) + uint32_t(__builtin_ctzll(turn));
                ++count_[column + 1];
                events_.push_back({column, uint32_t(y)});
            }
            above_[w] = bits[w];
        }
    }
    // The rows end above row y. Appends the runs.
    void end(int64_t y, int64_t height, int64_t width, std::vector<uint32_t>& out) {
        const std::vector<uint64_t> nothing(above_.size(), 0);
        row(y, nothing.data());
        for (size_t c = 0; c < size_t(columns_); ++c) count_[c + 1] += count_[c];
        rows_.resize(events_.size());
        for (const Event& event : events_) rows_[count_[event.column]++] = event.row;
        const uint64_t pixels = uint64_t(height) * uint64_t(width);
        uint64_t last = 0;
        const size_t before = out.size();
        for (size_t c = 0, k = 0; c < size_t(columns_); ++c) {  // count_[c] is now the end of column c
            const uint64_t top = (uint64_t(first_) + c) * uint64_t(height);
            for (; k < count_[c]; ++k) {
                const uint64_t place = top + rows_[k];
                if (place == last && out.size() > before) {  // a run goes on at the top of the next column
                    last -= out.back();
                    out.pop_back();
                } else {
                    out.push_back(uint32_t(place - last));
                    last = place;
                }
            }
        }
        if (last < pixels || out.size() == before) out.push_back(uint32_t(pixels - last));
    }

  private:
    struct Event {
        uint32_t column, row;
    };
    int64_t first_ = 0, columns_ = 0;
    std::vector<uint64_t> above_;
    std::vector<uint32_t> count_, rows_;
    std::vector<Event> events_;
};

}  // namespace fastdet
