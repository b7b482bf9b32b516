// Rows of detections and true boxes by their groups. See detection.h.
#include <algorithm>

#include "core/memory.h"
#include "core/order.h"
#include "detection/detection.h"

namespace fastdet {
namespace {

// order <- rows by rising key, stable.
void sort_by_key(const int64_t* key, int64_t n, int64_t* order) {
    if (!n) return;
    uint64_t max_key = uint64_t(n);
    for (int64_t i = 0; i < n; ++i) max_key = std::max(max_key, uint64_t(key[i]));
    if (max_key >> 32) {
        for (int64_t i = 0; i < n; ++i) order[i] = i;
        std::stable_sort(order, order + n, [&](int64_t x, int64_t y) { return key[x] < key[y]; });
        return;
    }
    Buffer<uint64_t> items(2 * n);
    for (int64_t i = 0; i < n; ++i) items[i] = uint64_t(key[i]) << 32 | uint64_t(i);
    const uint64_t* sorted = sort_high(items.get(), items.get() + n, n);
    for (int64_t i = 0; i < n; ++i) order[i] = int64_t(uint32_t(sorted[i]));
}

}  // namespace

int64_t group_rows(const int64_t* d_key, int64_t n, const int64_t* g_key, int64_t m, int64_t* group, int64_t* d_row,
                   int64_t* d_start, int64_t* g_row, int64_t* g_start) {
    sort_by_key(d_key, n, d_row);
    sort_by_key(g_key, m, g_row);
    int64_t groups = 0, i = 0, j = 0;
    while (i < n || j < m) {
        const bool of_truth = i == n || (j < m && g_key[g_row[j]] < d_key[d_row[i]]);
        const int64_t key = of_truth ? g_key[g_row[j]] : d_key[d_row[i]];
        group[groups] = key;
        d_start[groups] = i;
        g_start[groups++] = j;
        while (i < n && d_key[d_row[i]] == key) ++i;
        while (j < m && g_key[g_row[j]] == key) ++j;
    }
    d_start[groups] = n;
    g_start[groups] = m;
    return groups;
}

}  // namespace fastdet
