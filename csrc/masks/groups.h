// Overlaps of masks, group by group.
#pragma once

#include "masks/rle.h"

namespace fastdet {

// Rows of masks: those of group i are row[start[i]] to row[start[i + 1]].
struct MaskGroups {
    const Runs& masks;
    const int64_t* heights;  // (n,)
    const std::vector<int64_t>& row;
    const std::vector<int64_t>& start;
};

// The overlaps of each mask of `a` with each of `b` of the same group, of which all masks have one size: group after
// group, row-major. crowd: of b.
void mask_iou_of_groups(const MaskGroups& a, const MaskGroups& b, const bool* crowd, double* out);

}  // namespace fastdet
