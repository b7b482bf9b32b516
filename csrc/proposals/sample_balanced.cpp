// See sample_balanced.h. Floor: the labels read once, and a random number of each candidate of a side that is too
// large.
#include "proposals/sample_balanced.h"

#include <algorithm>
#include <utility>

namespace fastdet {
namespace {

void sample(std::vector<int64_t>& candidates, int64_t count, uint64_t seed) {
    if (count >= int64_t(candidates.size())) return;
    std::vector<std::pair<uint64_t, int64_t>> numbered;
    numbered.reserve(candidates.size());
    for (const int64_t index : candidates) numbered.emplace_back(random_number(uint64_t(index), seed), index);
    std::nth_element(numbered.begin(), numbered.begin() + count, numbered.end());
    candidates.resize(size_t(count));
    for (int64_t k = 0; k < count; ++k) candidates[size_t(k)] = numbered[size_t(k)].second;
    std::sort(candidates.begin(), candidates.end());
}

}  // namespace

Sample sample_balanced(const int64_t* labels, int64_t n, int64_t count, int64_t max_positive, uint64_t seed) {
    Sample found;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t label = labels[i];
        if (label > 0) found.positive.push_back(i);
        if (label == 0) found.negative.push_back(i);
    }
    sample(found.positive, max_positive, seed);
    sample(found.negative, count - int64_t(found.positive.size()), seed);
    return found;
}

}  // namespace fastdet
