// Boxes averaged instead of suppressed. Float64 throughout; box.h decides how far a pair overlaps.
#pragma once

#include <cstdint>

#include "boxes/box.h"

namespace fastdet {

// Merges boxes (n,) in place: the pair of greatest overlap above the threshold becomes its mean in the lower slot,
// until none is left. owner (n,) <- the slot of each box. O(n) memory, about O(n^2) time.
void merge_boxes(Box<double>* boxes, int64_t n, double threshold, Measure kind, int64_t* owner);

// Boxes (n,) sorted by label, then by falling score: fused (n,) and group (n,) out, returns how many are fused.
int64_t weighted_boxes_fusion(const Box<double>* boxes, const double* scores, const int64_t* labels, int64_t n,
                              double threshold, Box<double>* fused, int64_t* group);

}  // namespace fastdet
