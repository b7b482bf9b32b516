// Candidates in a tree of hulls. See tree.h.
#include "nms/tree.h"

#include <algorithm>
#include <limits>

#include "boxes/split_by_place.h"

namespace fastdet {
namespace {

// The blocks of all levels: n / lanes leaves, and above each level one that is `lanes` times smaller.
int64_t blocks_of(int64_t n, int lanes) {
    int64_t blocks = 0;
    do {
        n = (n + lanes - 1) / lanes;
        blocks += n;
    } while (n > 1);
    return blocks;
}

template <class T>
void put(Block<T>& block, int lane, const Box<T>& hull, T share) {
    block.x1[lane] = hull.x1, block.y1[lane] = hull.y1, block.x2[lane] = hull.x2, block.y2[lane] = hull.y2;
    block.share[lane] = share;
}
template <class T>
Box<T> lane_of(const Block<T>& block, int lane) {
    return {block.x1[lane], block.y1[lane], block.x2[lane], block.y2[lane]};
}

}  // namespace

template <class T>
TreeStore<T>::TreeStore(const Box<T>* boxes, const T* share, const int32_t* rank, int64_t n)
    : blocks_(blocks_of(n, Block<T>::lanes)),
      cores_(blocks_of(n, Block<T>::lanes) - (n + Block<T>::lanes - 1) / Block<T>::lanes),
      left_(blocks_of(n, Block<T>::lanes)),
      rank_((n + Block<T>::lanes - 1) / Block<T>::lanes * Block<T>::lanes) {
    constexpr int B = Block<T>::lanes;
    const int64_t all = blocks_of(n, B), leaves = (n + B - 1) / B;
    for (int64_t k = 0; k < all; ++k) {
        left_[k] = 0;
        for (int lane = 0; lane < B; ++lane) {
            put(blocks_[k], lane, empty_box<T>(), Limits<T>::large);
            if (k >= leaves) put(cores_[k - leaves], lane, empty_box<T>(), T(0));
        }
    }
    {
        Buffer<Place> places(n);
        for (int64_t i = 0; i < n; ++i) {
            const Box<T>& b = boxes[i];
            places[i] = place_of({double(b.x1), double(b.y1), double(b.x2), double(b.y2)}, 1.0, int32_t(i));
        }
        split_by_place(places.get(), n, B);
        for (int64_t k = 0; k < n; ++k) {
            const int32_t i = places[k].at;
            put(blocks_[k / B], int(k % B), boxes[i], share[i]);
            ++left_[k / B];
            rank_[k] = rank[i];
        }
    }
    tree_ = {blocks_.get(), cores_.get(), left_.get(), rank_.get(), {0}, 1};
    int64_t count = leaves;
    for (int64_t first = 0; count > 1;) {
        const int64_t above = first + count;
        tree_.first[tree_.levels++] = above;
        for (int64_t k = 0; k < count; ++k) {
            const Block<T>&block = blocks_[first + k], &inner = first ? cores_[first + k - leaves] : block;
            Box<T> hull = lane_of(block, 0), core = lane_of(inner, 0);
            T least = block.share[0];
            for (int lane = 1; lane < left_[first + k]; ++lane) {
                const Box<T> outer = lane_of(block, lane), common = lane_of(inner, lane);
                hull = {lesser(hull.x1, outer.x1), lesser(hull.y1, outer.y1), greater(hull.x2, outer.x2),
                        greater(hull.y2, outer.y2)};
                core = {greater(core.x1, common.x1), greater(core.y1, common.y1), lesser(core.x2, common.x2),
                        lesser(core.y2, common.y2)};
                least = lesser(least, block.share[lane]);
            }
            put(blocks_[above + k / B], int(k % B), hull, least);
            put(cores_[above + k / B - leaves], int(k % B), core,
                union_part(area(core), std::numeric_limits<T>::denorm_min()));
            ++left_[above + k / B];
        }
        first = above;
        count = (count + B - 1) / B;
    }
}

template class TreeStore<float>;
template class TreeStore<double>;

}  // namespace fastdet
