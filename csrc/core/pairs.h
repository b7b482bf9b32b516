// Pairs of the rows of two sides, group by group.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastdet {

// (groups + 1,) where the pairs of each group start, row-major, group after group; the last is how many there are.
inline std::vector<int64_t> pair_starts(const std::vector<int64_t>& start, const std::vector<int64_t>& other) {
    std::vector<int64_t> first(start.size(), 0);
    for (size_t i = 1; i < start.size(); ++i)
        first[i] = first[i - 1] + (start[i] - start[i - 1]) * (other[i] - other[i - 1]);
    return first;
}

}  // namespace fastdet
