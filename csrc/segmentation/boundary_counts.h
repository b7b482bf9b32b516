// Boundaries of label maps: how many boundary pixels of each class two maps share, exactly and nearly.
#pragma once

#include <cstdint>

namespace fastdet {

constexpr int kBoundaryCounts = 7;

// target, prediction (height, width): class numbers up to `classes`, which is void. reach: the greatest squared
// distance that is near; distance: of the boundary regions, 1 or more. out (classes, 7), zeros before: boundary pixels
// of both, those with one of the other within reach, pixels of both regions, and in both. Throws std::bad_alloc.
void boundary_counts(const uint16_t* target, const uint16_t* prediction, int64_t height, int64_t width, int64_t classes,
                     int64_t reach, int64_t distance, int64_t* out);

}  // namespace fastdet
