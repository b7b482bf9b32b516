// Overlaps of rotated boxes, group by group.
#pragma once

#include <cstdint>
#include <vector>

namespace fastdet {

// Rows of boxes, `numbers` each: 5, cx cy w h degrees, or 8, the corners of a quadrilateral. Those of group i are
// row[start[i]] to row[start[i + 1]].
struct RotatedGroups {
    const double* boxes;
    const std::vector<int64_t>& row;
    const std::vector<int64_t>& start;
};

// The overlaps of each box of a with each of b of the same group: group after group, row-major. crowd: of b.
void rotated_iou_of_groups(const RotatedGroups& a, const RotatedGroups& b, int numbers, const bool* crowd, double* out);

}  // namespace fastdet
