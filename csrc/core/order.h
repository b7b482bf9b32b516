// Sorting by score and grouping by key: everything stable, so that equal scores keep the lower index first.
//
// Scores and keys are the caller's arrays, which another thread may write to: each is read once, into a buffer.
#pragma once

#include <cstdint>
#include <vector>

namespace fastdet {

// -1 without one. All of x is tested first, by a vector loop, since there usually is no NaN. Another thread may write
// to x meanwhile: then the NaN may be gone.
template <class T>
int64_t first_nan(const T* x, int64_t n) {
    bool any = false;
    for (int64_t i = 0; i < n; ++i) any |= x[i] != x[i];
    if (!any) return -1;
    for (int64_t i = 0; i < n; ++i) {
        if (x[i] != x[i]) return i;
    }
    return -1;
}

// Sort items, key in the upper half and a rising index in the lower, stable. Returns where the result is: a or b.
uint64_t* sort_high(uint64_t* a, uint64_t* b, int64_t n);

// order[0 .. n) <- indices (of `among`, or 0 .. n-1) by falling score.
void order_by_score(const float* scores, const int32_t* among, int64_t n, int32_t* order);
void order_by_score(const double* scores, const int32_t* among, int64_t n, int32_t* order);

// Positions 0 .. n-1 of `order` by group: members[segments[g] .. segments[g + 1]) are those of one key, rising.
void group_by_key(const int64_t* keys, const int32_t* order, int64_t n, int32_t* members,
                  std::vector<int32_t>& segments);

}  // namespace fastdet
