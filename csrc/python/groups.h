// Groups of rows as arguments of the bindings: group i has the rows from start[i] to start[i + 1]. They decide
// addresses, and another thread may change them during the call: these are copies.
#pragma once

#include <vector>

#include "python/cpp.h"

namespace fastdet {

using Numbers = std::vector<int64_t>;

constexpr const char* kInvalidGroups = "fastdet._cpp: invalid groups";

// (n,) integers.
inline Numbers copy_of(const py::array& x, int64_t n) {
    if (x.ndim() != 1 || x.shape(0) != n) throw py::value_error(kInvalidGroups);
    const int64_t* from = data<int64_t>(x);
    return Numbers(from, from + n);
}

// Integers in [0, max_value].
inline Numbers within(Numbers x, int64_t max_value) {
    bool fits = true;
    for (const int64_t value : x) fits &= value >= 0 && value <= max_value;
    if (!fits) throw py::value_error(kInvalidGroups);
    return x;
}

// 0 = start[0] <= start[1] <= ... <= start[groups] = last.
inline Numbers starts(const py::array& x, int64_t groups, int64_t last) {
    if (groups < 0) throw py::value_error(kInvalidGroups);
    Numbers start = copy_of(x, groups + 1);
    bool fits = start.front() == 0 && start.back() == last;
    for (size_t i = 1; i < start.size(); ++i) fits = fits && start[i - 1] <= start[i];
    if (!fits) throw py::value_error(kInvalidGroups);
    return start;
}

}  // namespace fastdet
