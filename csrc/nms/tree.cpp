// Candidates in a tree of hulls. See tree.h.
#include "nms/tree.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

// Rises with x >= 0, and is within 0.1 of the binary logarithm. Finite for any x.
float rough_log2(double x) {
    int64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return float(double(bits) * 0x1p-52 - 1023);
}

// Of a side with an infinite end: the other end.
double middle(double low, double high) {
    if (!std::isfinite(low)) return std::isfinite(high) ? high : 0;
    return std::isfinite(high) ? 0.5 * low + 0.5 * high : low;
}

// A box as the splits see it. No number is a NaN, which would break the order.
struct Place {
    double x, y;          // the centre
    float width, height;  // logarithms
    int32_t at;
};

// Bring the places together that are near: the first multiple of `lanes`, and so on in each part. The axis is that of
// the largest mean deviation, of centres in widths or heights, of sizes in octaves: what decides how much two boxes
// can overlap.
void sort_places(Place* p, int64_t n, int lanes) {
    while (n > lanes) {
        double x = 0, y = 0, width = 0, height = 0;
        for (int64_t i = 0; i < n; ++i) x += p[i].x, y += p[i].y, width += p[i].width, height += p[i].height;
        const double one = 1 / double(n);
        x *= one, y *= one, width *= one, height *= one;
        double off[4] = {};
        for (int64_t i = 0; i < n; ++i) {
            off[0] += std::fabs(p[i].x - x), off[1] += std::fabs(p[i].y - y);
            off[2] += std::fabs(p[i].width - width), off[3] += std::fabs(p[i].height - height);
        }
        const double spread[4] = {rough_log2(off[0] * one) - width, rough_log2(off[1] * one) - height,
                                  rough_log2(off[2] * one), rough_log2(off[3] * one)};
        int64_t unit = lanes;  // whole subtrees
        while (unit * lanes < n) unit *= lanes;
        Place* const middle = p + (n + unit) / (2 * unit) * unit;
        switch (std::max_element(spread, spread + 4) - spread) {
            case 0:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.x < b.x; });
                break;
            case 1:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.y < b.y; });
                break;
            case 2:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.width < b.width; });
                break;
            default:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.height < b.height; });
        }
        sort_places(p, middle - p, lanes);
        n -= middle - p;
        p = middle;
    }
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
            const Box<T>& b = boxes[i];
            const double width = double(b.x2) - double(b.x1), height = double(b.y2) - double(b.y1);
            places[i] = {middle(b.x1, b.x2), middle(b.y1, b.y2), rough_log2(width), rough_log2(height), int32_t(i)};
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
