// See segment_pairs.h.
//
// Maps are made of regions, so most pixels repeat the pair of their left neighbour: eight bytes at a time are compared
// with the eight bytes a pixel before, and only where one differs is a pixel looked at. Pairs are found in a table by
// the hash of their ids. Floor: both maps are read once.
#include "segmentation/segment_pairs.h"

#include <algorithm>
#include <cstring>

namespace fastdet {
namespace {

template <int Bytes>
uint64_t id_at(const uint8_t* x, int64_t i) {
    if constexpr (Bytes == 1) return x[i];
    if constexpr (Bytes == 3) return x[3 * i] | uint64_t(x[3 * i + 1]) << 8 | uint64_t(x[3 * i + 2]) << 16;
    if constexpr (Bytes == 2) {
        uint16_t value;
        std::memcpy(&value, x + 2 * i, 2);
        return value;
    }
    uint32_t value;
    std::memcpy(&value, x + 4 * i, 4);
    return value;
}

uint64_t word(const uint8_t* p) {
    uint64_t x;
    std::memcpy(&x, p, 8);
    return x;
}

// Counts of pairs, by open addressing.
class Table {
  public:
    Table() : slots_(kFirst, -1) {}

    void add(uint64_t key, int64_t pixels) {
        size_t at = place(key);
        while (slots_[at] >= 0) {
            SegmentPair& pair = pairs[size_t(slots_[at])];
            if (pair.key == key) {
                pair.pixels += pixels;
                return;
            }
            at = (at + 1) & (slots_.size() - 1);
        }
        slots_[at] = int64_t(pairs.size());
        pairs.push_back({key, pixels});
        if (2 * pairs.size() > slots_.size()) grow();
    }

    std::vector<SegmentPair> pairs;

  private:
    static constexpr size_t kFirst = 1024;

    size_t place(uint64_t key) const { return size_t((key * 0x9e3779b97f4a7c15) >> 20) & (slots_.size() - 1); }
    void grow() {
        slots_.assign(slots_.size() * 4, -1);
        for (size_t i = 0; i < pairs.size(); ++i) {
            size_t at = place(pairs[i].key);
            while (slots_[at] >= 0) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = int64_t(i);
        }
    }

    std::vector<int64_t> slots_;
};

// The number of pixels from `i` on, up to `n`, that are what the pixel before each is; a few may be missing.
template <int Bytes>
int64_t repeated(const uint8_t* x, int64_t i, int64_t n) {
    const uint8_t *p = x + Bytes * i, *end = x + Bytes * n;
    while (end - p >= 32 && !((word(p) ^ word(p - Bytes)) | (word(p + 8) ^ word(p + 8 - Bytes)) |
                              (word(p + 16) ^ word(p + 16 - Bytes)) | (word(p + 24) ^ word(p + 24 - Bytes)))) {
        p += 32;
    }
    return (p - (x + Bytes * i)) / Bytes;
}

template <int A, int B>
void count(const uint8_t* a, const uint8_t* b, int64_t n, Table& table) {
    int64_t first = 0;
    while (first < n) {
        const uint64_t t = id_at<A>(a, first), p = id_at<B>(b, first);
        int64_t last = first + 1;
        for (;;) {
            while (last < n && last - first < 8 && id_at<A>(a, last) == t && id_at<B>(b, last) == p) ++last;
            if (last - first < 8) break;
            const int64_t left = repeated<A>(a, last, n), more = repeated<B>(b, last, last + left);
            last += more;
            const int64_t stop = std::min(n, last + 32);
            while (last < stop && id_at<A>(a, last) == t && id_at<B>(b, last) == p) ++last;
            if (last < stop || last == n) break;
        }
        table.add(t << 32 | p, last - first);
        first = last;
    }
}

template <int A>
void count_with(const uint8_t* a, const IdMap& b, int64_t n, Table& table) {
    switch (b.bytes) {
        case 1:
            return count<A, 1>(a, b.ids, n, table);
        case 2:
            return count<A, 2>(a, b.ids, n, table);
        case 3:
            return count<A, 3>(a, b.ids, n, table);
        default:
            return count<A, 4>(a, b.ids, n, table);
    }
}

}  // namespace

std::vector<SegmentPair> segment_pairs(const IdMap& target, const IdMap& prediction, int64_t n) {
    Table table;
    switch (target.bytes) {
        case 1:
            count_with<1>(target.ids, prediction, n, table);
            break;
        case 2:
            count_with<2>(target.ids, prediction, n, table);
            break;
        case 3:
            count_with<3>(target.ids, prediction, n, table);
            break;
        default:
            count_with<4>(target.ids, prediction, n, table);
    }
    std::sort(table.pairs.begin(), table.pairs.end(),
              [](const SegmentPair& a, const SegmentPair& b) { return a.key < b.key; });
    return std::move(table.pairs);
}

}  // namespace fastdet
