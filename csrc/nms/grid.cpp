// Candidates by size and place: the grid of the CPU.
#include "nms/grid.h"

#include "nms/place.h"

namespace fastdet {
namespace {

constexpr int64_t kMinRing = 16;  // buckets of a level; otherwise fewer than two per candidate

// The candidates of rank[0 .. count) in blocks. Unused lanes of the last block overlap nothing.
template <class T>
void fill_blocks(const Box<T>* boxes, const int32_t* rank, int64_t count, const Bound<T>& bound, Block<T>* blocks) {
    constexpr int B = Block<T>::lanes;
    for (int64_t k = 0; k < count || k % B; ++k) {
        Block<T>& block = blocks[k / B];
        const int at = int(k % B);
        if (k < count) {
            const Box<T>& b = boxes[rank[k]];
            block.x1[at] = b.x1, block.y1[at] = b.y1, block.x2[at] = b.x2, block.y2[at] = b.y2;
            block.share[at] = bound.share(area(b));
        } else {  // meets nothing
            block.x1[at] = block.y1[at] = 1, block.x2[at] = block.y2[at] = -1;
            block.share[at] = Limits<T>::large;
        }
    }
}

}  // namespace

template <class T>
GridStore<T>::GridStore(const Box<T>* boxes, int64_t first, int64_t n, const Bound<T>& bound, const uint8_t* out)
    : blocks_((n - first) / Block<T>::lanes + 1),
      rank_((n - first) / Block<T>::lanes * Block<T>::lanes + Block<T>::lanes),
      start_(2 * (n - first) + kMinRing * (n - first < kExponents ? n - first : kExponents) + 1) {
    const double t = near_threshold(double(bound.threshold));
    const int shift = level_shift(t);

    std::vector<int32_t> count_of(kExponents, 0);
    Buffer<uint16_t> exponent_of(n - first);
    for (int64_t i = first; i < n; ++i) {
        const Box<T>& b = boxes[i];
        const T w = side(b.x1, b.x2), h = side(b.y1, b.y2);
        const bool meets = !out[i] && w > 0 && h > 0 && is_finite(w) && is_finite(h);
        const int exponent = meets ? size_exponent(double(greater(w, h))) : kExponents - 1;
        exponent_of[i - first] = uint16_t(exponent);
        ++count_of[size_t(exponent)];
    }

    int64_t buckets = 0;
    std::vector<int16_t> level_of(kExponents, -1);
    first_level_.resize(kExponents);
    end_level_.resize(kExponents);
    for (int e = 0; e < kExponents - 1;) {
        const int next = ((e >> shift) + 1) << shift, end = next < kExponents - 1 ? next : kExponents - 1;
        int64_t count = 0;
        for (int k = e; k < end; ++k) {
            count += count_of[size_t(k)];
            first_level_[size_t(k)] = int16_t(levels_.size());
            level_of[size_t(k)] = int16_t(levels_.size());
        }
        if (count) {
            int64_t ring = kMinRing;
            while (ring < count) ring *= 2;
            const double max_size = exponent_size(end);
            levels_.push_back({max_size, 1 / cell_side(max_size, t), buckets, ring - 1, 0, 0});
            buckets += ring;
        }
        for (; e < end; ++e) end_level_[size_t(e)] = int16_t(levels_.size());
    }
    first_level_[kExponents - 1] = end_level_[kExponents - 1] = int16_t(levels_.size());

    int32_t* start = start_.get();
    std::memset(start, 0, size_t(buckets + 1) * sizeof *start);
    Buffer<int32_t> bucket(n - first);
    for (int64_t i = first; i < n; ++i) {
        const int exponent = exponent_of[i - first];
        if (exponent == kExponents - 1) continue;
        const Level& level = levels_[size_t(level_of[size_t(exponent)])];
        const Box<T>& b = boxes[i];
        const int64_t column = grid_cell(centre(b.x1, b.x2), level.per_cell);
        const int64_t row = grid_cell(centre(b.y1, b.y2), level.per_cell);
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
        if (exponent_of[i - first] != kExponents - 1) rank_[--start[bucket[i - first]]] = int32_t(i);
    }
    for (Level& level : levels_) {
        level.first = start[level.base];
        level.last = start[level.base + level.mask + 1];
    }
    fill_blocks(boxes, rank_.get(), sum, bound, blocks_.get());
    grid_ = {blocks_.get(), rank_.get(), start, levels_.data(), first_level_.data(), end_level_.data(), t, sum};
}

template class GridStore<float>;
template class GridStore<double>;

}  // namespace fastdet
