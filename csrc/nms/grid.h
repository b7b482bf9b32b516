// Candidates by size and place, so that a kept box is tested only with those it could suppress.
#pragma once

#include <vector>

#include "core/memory.h"
#include "nms/nms.h"

namespace fastdet {

// The grid of boxes[first .. n), by falling score. Boxes that overlap nothing (degenerate, infinite) are left out, and
// so are those that `out` (n,) marks: decided, or extreme. O(n) memory. Throws std::bad_alloc.
template <class T>
class GridStore {
  public:
    GridStore(const Box<T>* boxes, int64_t first, int64_t n, const Bound<T>& bound, const uint8_t* out);
    const Grid<T>& grid() const { return grid_; }

  private:
    Buffer<Block<T>> blocks_;
    Buffer<int32_t> rank_, start_;
    std::vector<Level> levels_;
    std::vector<int16_t> first_level_, end_level_;
    Grid<T> grid_;
};

}  // namespace fastdet
