// Candidates in a tree of hulls. See tree.h.
#include "nms/tree.h"

#include "boxes/places.h"

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

}  // namespace

template <class T>
TreeStore<T>::TreeStore(const Box<T>* boxes, const T* share, const int32_t* rank, int64_t n)
    : blocks_(blocks_of(n, Block<T>::lanes)),
      left_(blocks_of(n, Block<T>::lanes)),
      rank_((n + Block<T>::lanes - 1) / Block<T>::lanes * Block<T>::lanes) {
    constexpr int B = Block<T>::lanes;
    const int64_t all = blocks_of(n, B);
    for (int64_t k = 0; k < all; ++k) {
        left_[k] = 0;
        for (int lane = 0; lane < B; ++lane) put(blocks_[k], lane, empty_box<T>(), Limits<T>::large);
    }
    {
        Buffer<Place> places(n);
        for (int64_t i = 0; i < n; ++i) {
            places[i] = place_of(boxes[i], int32_t(i));
        }
        sort_places(places.get(), n, B);
        for (int64_t k = 0; k < n; ++k) {
            const int32_t i = places[k].at;
            put(blocks_[k / B], int(k % B), boxes[i], share[i]);
            ++left_[k / B];
            rank_[k] = rank[i];
        }
    }
    tree_ = {blocks_.get(), left_.get(), rank_.get(), {0}, 1};
    int64_t count = (n + B - 1) / B;
    for (int64_t first = 0; count > 1;) {
        const int64_t above = first + count;
        tree_.first[tree_.levels++] = above;
        for (int64_t k = 0; k < count; ++k) {
            const Block<T>& block = blocks_[first + k];
            Box<T> hull = {block.x1[0], block.y1[0], block.x2[0], block.y2[0]};
            T least = block.share[0];
            for (int lane = 1; lane < left_[first + k]; ++lane) {
                hull = {lesser(hull.x1, block.x1[lane]), lesser(hull.y1, block.y1[lane]),
                        greater(hull.x2, block.x2[lane]), greater(hull.y2, block.y2[lane])};
                least = lesser(least, block.share[lane]);
            }
            put(blocks_[above + k / B], int(k % B), hull, least);
            ++left_[above + k / B];
        }
        first = above;
        count = (count + B - 1) / B;
    }
}

template class TreeStore<float>;
template class TreeStore<double>;

}  // namespace fastdet
