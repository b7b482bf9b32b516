#include "grid.h"

#include <cmath>

namespace fastdet {
namespace {

int exponent(double x) {
    uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return int(bits >> 52 & 0x7ff);
}

}  // namespace

// Levels are octaves of max(width, height); with a small threshold boxes of many octaves can meet, and a level
// spans more of them. A cell is about as wide as the reach of a box of its level.
template <class T>
GridStore<T>::GridStore(const Box<T>* boxes, int64_t first, int64_t n, const Bound<T>& bound)
    : blocks_((n - first) / Block<T>::lanes + 1), rank_((n - first) / Block<T>::lanes * Block<T>::lanes + Block<T>::lanes) {
    const double t = double(bound.threshold) * (1 - 1e-5);  // computed IoUs are off by a few ulps
    const int shift = t >= 0.4 ? 0 : t >= 0.2 ? 1 : 2;
    constexpr int kExponents = 2048;

    struct Sum {
        double least, most, width, height;
        int64_t count = 0;
        int level = -1;
    };
    std::vector<Sum> sums(size_t(kExponents >> shift));
    Buffer<uint16_t> level_of(n - first);
    constexpr uint16_t kNone = 0xffff;
    double span = 0;
    for (int64_t i = first; i < n; ++i) {
        const Box<T>& b = boxes[i];
        const double w = double(side(b.x1, b.x2)), h = double(side(b.y1, b.y2));
        uint16_t& level = level_of[i - first];
        level = kNone;
        if (!(w > 0 && h > 0) || !is_finite(w * h)) continue;
        const double size = w > h ? w : h;
        level = uint16_t(exponent(size) >> shift);
        Sum& s = sums[level];
        if (!s.count++) s.least = s.most = size, s.width = w, s.height = h;
        s.least = size < s.least ? size : s.least;
        s.most = size > s.most ? size : s.most;
        s.width = w > s.width ? w : s.width;
        s.height = h > s.height ? h : s.height;
        const double far_x = std::fabs(double(b.x1)) + w, far_y = std::fabs(double(b.y1)) + h;
        const double far = far_x > far_y ? far_x : far_y;
        span = far > span ? far : span;
    }

    int64_t buckets = 0;
    for (Sum& s : sums) {
        if (!s.count) continue;
        s.level = int(levels_.size());
        int64_t ring = 16;
        while (ring < s.count) ring *= 2;
        const double reach = t >= 0.5 ? 1 - t : 0.5;
        const double cell = s.most * reach * 1.5;
        const double least = span * 0x1p-30;  // cells are counted in int64
        levels_.push_back({s.least, s.most, s.width, s.height, 1 / (cell > least ? cell : least), buckets, ring - 1, 0, 0});
        buckets += ring;
    }

    start_.reset(new int32_t[size_t(buckets) + 1]());
    Buffer<int32_t> bucket(n - first);
    int32_t* start = start_.get();
    for (int64_t i = first; i < n; ++i) {
        const uint16_t found = level_of[i - first];
        if (found == kNone) continue;
        const Level& level = levels_[size_t(sums[found].level)];
        const Box<T>& b = boxes[i];
        const int64_t column = grid_cell(0.5 * b.x1 + 0.5 * double(b.x2), level.per_cell);
        const int64_t row = grid_cell(0.5 * b.y1 + 0.5 * double(b.y2), level.per_cell);
        const int64_t at = level.base + ((row_hash(row) + column) & level.mask);
        bucket[i - first] = int32_t(at);
        ++start[at];
    }
    int32_t sum = 0;
    for (int64_t k = 0; k <= buckets; ++k) {  // counts to ends; filling backwards turns ends to starts
        sum += start[k];
        start[k] = sum;
    }
    for (int64_t i = n; i-- > first;) {
        if (level_of[i - first] != kNone) rank_[--start[bucket[i - first]]] = int32_t(i);
    }
    for (Level& level : levels_) {
        level.first = start[level.base];
        level.last = start[level.base + level.mask + 1];
    }
    constexpr int B = Block<T>::lanes;
    for (int64_t k = 0; k < sum || k % B; ++k) {
        Block<T>& block = blocks_[k / B];
        const int at = int(k % B);
        if (k < sum) {
            const Box<T>& b = boxes[rank_[k]];
            block.x1[at] = b.x1, block.y1[at] = b.y1, block.x2[at] = b.x2, block.y2[at] = b.y2;
            block.share[at] = bound.share(area(b));
        } else {  // meets nothing
            block.x1[at] = block.y1[at] = 1, block.x2[at] = block.y2[at] = -1;
            block.share[at] = Limits<T>::large;
        }
    }
    grid_ = {blocks_.get(), rank_.get(), start, levels_.data(), int(levels_.size()), t, span * 0x1p-45};
}

template class GridStore<float>;
template class GridStore<double>;

}  // namespace fastdet
