// See inflate.h.
//
// Label images are packed a hundred times: most of the time goes into long copies. A symbol is one look into a table of
// the bits that its longest code has; 56 bits are read at a time, which hold a length and a distance whole; a copy that
// overlaps itself doubles what it copies with each step.
#include "files/inflate.h"

#include <algorithm>
#include <cstring>

namespace fastdet {
namespace {

constexpr int kLongest = 15;                     // bits of a code
constexpr int kLiterals = 288, kDistances = 32;  // symbols, two of each that no stream may use
constexpr uint32_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
constexpr uint16_t kLengthBase[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthBits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                     2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistanceBase[30] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                        33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                        1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr uint8_t kDistanceBits[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                       6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

class Bits {
  public:
    Bits(const uint8_t* in, size_t n) : in_(in), end_(in + n) {}

    // At least 56 bits; zeros behind the end of the data.
    void refill() {
        if (end_ - in_ >= 8) {
            uint64_t next;
            std::memcpy(&next, in_, 8);
            held_ |= next << count_;
            in_ += (63 - count_) >> 3;
            count_ |= 56;
            return;
        }
        for (; count_ <= 56; count_ += 8) {
            if (in_ < end_) {
                held_ |= uint64_t(*in_++) << count_;
            } else {
                ++missing_;
            }
        }
    }
    uint64_t held() const { return held_; }
    void drop(unsigned n) {
        held_ >>= n;
        count_ -= n;
    }
    uint32_t take(unsigned n) {
        const uint32_t x = uint32_t(held_ & ((uint64_t(1) << n) - 1));
        drop(n);
        return x;
    }
    // Whether bits behind the end were taken.
    bool overrun() const { return missing_ > count_ / 8; }
    // Goes on at the next whole byte, with nothing held. False behind the end.
    bool align() {
        if (overrun()) return false;
        in_ -= count_ / 8 - missing_;
        held_ = count_ = missing_ = 0;
        return true;
    }
    size_t left() const { return size_t(end_ - in_); }
    const uint8_t* bytes(size_t n) {
        const uint8_t* here = in_;
        in_ += n;
        return here;
    }

  private:
    const uint8_t *in_, *end_;
    uint64_t held_ = 0;
    unsigned count_ = 0, missing_ = 0;  // bits held; bytes of them that are no data
};

// For the next bits of the stream: symbol << 4 | bits of its code; 0: no code.
struct Table {
    unsigned bits;
    uint16_t entries[1 << kLongest];

    uint32_t look(uint64_t held) const { return entries[held & ((uint64_t(1) << bits) - 1)]; }
};

// From the lengths of the codes, 0 for none. False for lengths that make no code. Only a code of one symbol, of one
// bit, may leave bits unused (`loose`); none at all is no error before it is used.
bool make(const uint8_t* lengths, int n, bool loose, Table& table) {
    unsigned count[kLongest + 1] = {};
    for (int i = 0; i < n; ++i) ++count[lengths[i]];
    unsigned most = kLongest;
    while (most && !count[most]) --most;
    table.bits = most ? most : 1;
    std::memset(table.entries, 0, sizeof(uint16_t) << table.bits);
    if (!most) return loose;
    unsigned next[kLongest + 2] = {}, code = 0;
    int left = 1;
    for (unsigned length = 1; length <= kLongest; ++length) {
        left = 2 * left - int(count[length]);
        if (left < 0) return false;
        next[length] = code;
        code = (code + count[length]) << 1;
    }
    if (left > 0 && !(loose && most == 1)) return false;
    for (int symbol = 0; symbol < n; ++symbol) {
        const unsigned length = lengths[symbol];
        if (!length) continue;
        unsigned reversed = 0;
        for (unsigned k = 0, bits = next[length]++; k < length; ++k, bits >>= 1) reversed = reversed << 1 | (bits & 1);
        for (unsigned at = reversed; at < 1u << table.bits; at += 1u << length) {
            table.entries[at] = uint16_t(unsigned(symbol) << 4 | length);
        }
    }
    return true;
}

struct Output {
    uint8_t *begin, *at, *end;
};

// Copies `length` bytes from `distance` before. Both are checked.
void copy(Output& out, size_t length, size_t distance) {
    uint8_t* to = out.at;
    out.at += length;
    if (distance == 1) {
        std::memset(to, to[-1], length);
        return;
    }
    const uint8_t* from = to - distance;
    while (length) {  // from here to `to` it repeats, so all of it can be copied on
        const size_t n = std::min(length, size_t(to - from));
        std::memcpy(to, from, n);
        to += n;
        length -= n;
    }
}

Inflated compressed(Bits& bits, const Table& literals, const Table& distances, Output& out) {
    for (;;) {
        bits.refill();
        uint32_t entry = literals.look(bits.held());
        if (!entry) return Inflated::kDamaged;
        bits.drop(entry & 15);
        unsigned symbol = entry >> 4;
        if (symbol < 256) {
            if (out.at == out.end) return bits.overrun() ? Inflated::kDamaged : Inflated::kLong;
            *out.at++ = uint8_t(symbol);
            // A second literal fits into what was read.
            entry = literals.look(bits.held());
            if ((entry >> 4) < 256 && entry && out.at < out.end) {
                bits.drop(entry & 15);
                *out.at++ = uint8_t(entry >> 4);
            }
            continue;
        }
        if (bits.overrun()) return Inflated::kDamaged;
        if (symbol == 256) return Inflated::kWhole;
        symbol -= 257;
        if (symbol >= 29) return Inflated::kDamaged;
        const size_t length = kLengthBase[symbol] + bits.take(kLengthBits[symbol]);
        entry = distances.look(bits.held());
        if (!entry || (entry >> 4) >= 30) return Inflated::kDamaged;
        bits.drop(entry & 15);
        const size_t distance = kDistanceBase[entry >> 4] + bits.take(kDistanceBits[entry >> 4]);
        if (bits.overrun() || distance > size_t(out.at - out.begin)) return Inflated::kDamaged;
        if (length > size_t(out.end - out.at)) return Inflated::kLong;
        copy(out, length, distance);
    }
}

// The tables of a block that brings its own.
bool read_tables(Bits& bits, Table& literals, Table& distances) {
    bits.refill();
    const int n = int(bits.take(5)) + 257, m = int(bits.take(5)) + 1, k = int(bits.take(4)) + 4;
    if (n > 286 || m > 30) return false;
    uint8_t lengths[kLiterals + kDistances] = {};
    for (int i = 0; i < k; ++i) {
        bits.refill();
        lengths[kOrder[i]] = uint8_t(bits.take(3));
    }
    if (!make(lengths, 19, false, literals)) return false;
    uint8_t all[kLiterals + kDistances] = {};
    for (int i = 0; i < n + m;) {
        bits.refill();
        const uint32_t entry = literals.look(bits.held());
        if (!entry || bits.overrun()) return false;
        bits.drop(entry & 15);
        const unsigned symbol = entry >> 4;
        if (symbol < 16) {
            all[i++] = uint8_t(symbol);
            continue;
        }
        if (symbol == 16 && !i) return false;
        const uint8_t value = symbol == 16 ? all[i - 1] : 0;
        const int times = symbol == 16   ? 3 + int(bits.take(2))
                          : symbol == 17 ? 3 + int(bits.take(3))
                                         : 11 + int(bits.take(7));
        if (times > n + m - i) return false;
        std::memset(all + i, value, size_t(times));
        i += times;
    }
    return all[256] && make(all, n, true, literals) && make(all + n, m, true, distances);
}

void fixed_tables(Table& literals, Table& distances) {
    uint8_t lengths[kLiterals];
    for (int i = 0; i < kLiterals; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    make(lengths, kLiterals, false, literals);
    std::memset(lengths, 5, kDistances);
    make(lengths, kDistances, false, distances);
}

// In columns of 32 bytes: the sum of a column, and the sum of what that was after each row.
uint32_t adler32(const uint8_t* x, size_t n) {
    constexpr size_t kColumns = 32, kRows = 170;
    constexpr uint64_t kPrime = 65521;
    uint64_t a = 1, b = 0;
    while (n >= kColumns) {
        const size_t rows = std::min(n / kColumns, kRows);
        uint32_t sum[kColumns] = {}, sums[kColumns] = {};
        for (size_t r = 0; r < rows; ++r, x += kColumns) {
            for (size_t k = 0; k < kColumns; ++k) {
                sum[k] += x[k];
                sums[k] += sum[k];
            }
        }
        n -= rows * kColumns;
        b += rows * kColumns * a;
        for (size_t k = 0; k < kColumns; ++k) {
            a += sum[k];
            b += kColumns * uint64_t(sums[k]) - k * uint64_t(sum[k]);
        }
        a %= kPrime, b %= kPrime;
    }
    for (; n; --n) {
        a += *x++;
        b += a;
    }
    return uint32_t(b % kPrime) << 16 | uint32_t(a % kPrime);
}

}  // namespace

Inflated inflate(const uint8_t* in, size_t n, uint8_t* to, size_t size) {
    if (n < 2 || (in[0] & 15) != 8 || in[0] >> 4 > 7 || (in[0] << 8 | in[1]) % 31 || in[1] & 32)
        return Inflated::kDamaged;
    Bits bits(in + 2, n - 2);
    Output out{to, to, to + size};
    static thread_local Table literals, distances;
    for (bool last = false; !last;) {
        bits.refill();
        last = bits.take(1);
        const uint32_t kind = bits.take(2);
        if (bits.overrun()) return Inflated::kDamaged;
        if (kind == 0) {
            if (!bits.align() || bits.left() < 4) return Inflated::kDamaged;
            const uint8_t* head = bits.bytes(4);
            const size_t length = size_t(head[0] | head[1] << 8), check = size_t(head[2] | head[3] << 8);
            if ((length ^ check) != 0xffff || length > bits.left()) return Inflated::kDamaged;
            if (length > size_t(out.end - out.at)) return Inflated::kLong;
            if (length) std::memcpy(out.at, bits.bytes(length), length);
            out.at += length;
            continue;
        }
        if (kind == 3) return Inflated::kDamaged;
        if (kind == 1) {
            fixed_tables(literals, distances);
        } else if (!read_tables(bits, literals, distances)) {
            return Inflated::kDamaged;
        }
        const Inflated found = compressed(bits, literals, distances, out);
        if (found != Inflated::kWhole) return found;
    }
    if (!bits.align() || bits.left() < 4) return Inflated::kDamaged;
    const uint8_t* sum = bits.bytes(4);
    const uint32_t want = uint32_t(sum[0]) << 24 | uint32_t(sum[1]) << 16 | uint32_t(sum[2]) << 8 | sum[3];
    if (adler32(to, size_t(out.at - to)) != want) return Inflated::kDamaged;
    return out.at == out.end ? Inflated::kWhole : Inflated::kShort;
}

}  // namespace fastdet
