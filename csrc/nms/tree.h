// Candidates in a tree of hulls: for inputs on which a grid would compare nearly all with all.
#pragma once

#include "core/memory.h"
#include "nms/nms.h"

namespace fastdet {

// The tree of boxes (n,), n > 0, all of an area above 0, by share and position `rank`. Near boxes of like
// width and height come together, by splits at the median, so that no distribution of places and sizes is a bad one.
// O(n) memory, O(n log n) time. Throws std::bad_alloc.
template <class T>
class TreeStore {
  public:
    TreeStore(const Box<T>* boxes, const T* share, const int32_t* rank, int64_t n);
    Tree<T>* tree() { return &tree_; }

  private:
    Buffer<Block<T>> blocks_, cores_;
    Buffer<uint8_t> left_;
    Buffer<int32_t> rank_;
    Tree<T> tree_;
};

}  // namespace fastdet
