// Sorting by score and grouping by key. See order.h.
#include "core/order.h"

#include <algorithm>
#include <cstring>

#include "core/memory.h"
#include "core/score_key.h"

namespace fastdet {
namespace {

// A stable radix sort by the upper 32 bits, kBits at a time; digits that are equal in all keys are skipped.
template <int kBits>
uint64_t* radix_sort_high(uint64_t* a, uint64_t* b, int64_t n) {
    constexpr int kPasses = (32 + kBits - 1) / kBits;
    constexpr uint32_t kSize = 1u << kBits;
    uint32_t count[kPasses][kSize] = {};
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t key = uint32_t(a[i] >> 32);
        for (int pass = 0; pass < kPasses; ++pass) ++count[pass][key >> pass * kBits & (kSize - 1)];
    }
    for (int pass = 0; pass < kPasses; ++pass) {
        const int shift = 32 + pass * kBits;
        uint32_t* c = count[pass];
        if (c[a[0] >> shift & (kSize - 1)] == n) continue;
        uint32_t sum = 0;
        for (uint32_t d = 0; d < kSize; ++d) {
            const uint32_t here = c[d];
            c[d] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < n; ++i) b[c[a[i] >> shift & (kSize - 1)]++] = a[i];
        std::swap(a, b);
    }
    return a;
}

// Whole items by insertion: they compare as stable keys do, since indices rise. Gives up, false, after `max_moves`
// moves.
bool insertion_sort(uint64_t* a, int64_t n, int64_t max_moves) {
    for (int64_t i = 1; i < n; ++i) {
        const uint64_t item = a[i];
        int64_t j = i;
        for (; j > 0 && a[j - 1] > item; --j) a[j] = a[j - 1];
        a[j] = item;
        max_moves -= i - j;
        if (max_moves < 0) return false;
    }
    return true;
}

// For small n a full radix sort is mostly counters: sort by the leading kBits * kPasses bits in which the keys differ
// at all, then finish by insertion.
template <int kBits, int kPasses>
uint64_t* sort_leading_bits(uint64_t* a, uint64_t* b, int64_t n) {
    uint32_t low = uint32_t(a[0] >> 32), high = low;
    for (int64_t i = 1; i < n; ++i) {
        const uint32_t key = uint32_t(a[i] >> 32);
        low = key < low ? key : low;
        high = key > high ? key : high;
    }
    int shift = 0;
    while ((high - low) >> shift >= 1u << (kBits * kPasses)) ++shift;
    constexpr uint32_t kSize = 1u << kBits;
    uint32_t count[kPasses][kSize] = {};
    const auto digits = [&](uint64_t item) { return (uint32_t(item >> 32) - low) >> shift; };
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t key = digits(a[i]);
        for (int pass = 0; pass < kPasses; ++pass) ++count[pass][key >> pass * kBits & (kSize - 1)];
    }
    for (int pass = 0; pass < kPasses; ++pass) {
        uint32_t* c = count[pass];
        uint32_t sum = 0;
        for (uint32_t d = 0; d < kSize; ++d) {
            const uint32_t here = c[d];
            c[d] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < n; ++i) b[c[digits(a[i]) >> pass * kBits & (kSize - 1)]++] = a[i];
        std::swap(a, b);
    }
    if (shift && !insertion_sort(a, n, 8 * n)) std::sort(a, a + n);  // too many keys with equal leading bits
    return a;
}

}  // namespace

uint64_t* sort_high(uint64_t* a, uint64_t* b, int64_t n) {
    if (n < 32) {
        insertion_sort(a, n, n * n);
        return a;
    }
    if (n < 300) return sort_leading_bits<6, 3>(a, b, n);
    if (n < 2500) return sort_leading_bits<9, 2>(a, b, n);
    return radix_sort_high<11>(a, b, n);
}

void order_by_score(const float* scores, const int32_t* among, int64_t n, int32_t* order) {
    Buffer<uint64_t> items(2 * n);
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t index = uint32_t(among ? among[i] : int32_t(i));
        items[i] = uint64_t(falling_key(scores[index])) << 32 | index;
    }
    const uint64_t* sorted = sort_high(items.get(), items.get() + n, n);
    for (int64_t i = 0; i < n; ++i) order[i] = int32_t(uint32_t(sorted[i]));
}
void order_by_score(const double* scores, const int32_t* among, int64_t n, int32_t* order) {
    Buffer<uint64_t> items(2 * n), keys(n);
    for (int64_t i = 0; i < n; ++i) {
        keys[i] = falling_key(scores[among ? among[i] : i]);
        items[i] = (keys[i] >> 32) << 32 | uint32_t(i);
    }
    const uint64_t* sorted = sort_high(items.get(), items.get() + n, n);
    for (int64_t i = 0; i < n; ++i) order[i] = int32_t(uint32_t(sorted[i]));
    // the lower halves of the keys decide within runs of equal upper halves
    for (int64_t first = 0; first < n;) {
        int64_t last = first + 1;
        while (last < n && sorted[last] >> 32 == sorted[first] >> 32) ++last;
        if (last - first > 1) {
            std::sort(order + first, order + last,
                      [&](int32_t a, int32_t b) { return keys[a] != keys[b] ? keys[a] < keys[b] : a < b; });
        }
        first = last;
    }
    for (int64_t i = 0; among && i < n; ++i) order[i] = among[order[i]];
}

void group_by_key(const int64_t* keys, const int32_t* order, int64_t n, int32_t* members,
                  std::vector<int32_t>& segments) {
    segments.assign(1, 0);
    if (!n) return;
    Buffer<int64_t> mine(n);
    int64_t low = keys[order[0]], high = low;
    mine[0] = low;
    for (int64_t i = 1; i < n; ++i) {
        const int64_t key = keys[order[i]];
        mine[i] = key;
        low = key < low ? key : low;
        high = key > high ? key : high;
    }
    const uint64_t spread = uint64_t(high) - uint64_t(low);
    if (spread < uint64_t(4 * n + 1024)) {
        std::vector<int32_t> start(size_t(spread) + 2, 0);
        for (int64_t i = 0; i < n; ++i) ++start[size_t(mine[i] - low) + 1];
        for (size_t k = 1; k < start.size(); ++k) {
            if (start[k]) segments.push_back(start[k] + segments.back());
            start[k] += start[k - 1];
        }
        for (int64_t i = 0; i < n; ++i) members[start[size_t(mine[i] - low)]++] = int32_t(i);
        return;
    }
    for (int64_t i = 0; i < n; ++i) members[i] = int32_t(i);
    std::sort(members, members + n,
              [&](int32_t a, int32_t b) { return mine[a] != mine[b] ? mine[a] < mine[b] : a < b; });
    for (int64_t i = 1; i <= n; ++i) {
        if (i == n || mine[members[i]] != mine[members[i - 1]]) segments.push_back(int32_t(i));
    }
}

}  // namespace fastdet
