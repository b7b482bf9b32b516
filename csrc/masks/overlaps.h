// The pixels that two masks have in common, for batches of masks of one size.
//
// A mask is bits: words of 64 rows, the words of neighbouring columns side by side, of the mask's box alone. So two
// masks meet in a few lines of words. A mask that is large and smooth, whose words are many for its runs, stays as
// runs.
#pragma once

#include "masks/rle.h"

namespace fastdet {

// The box of a mask: columns from x1 to x2, rows from y1 to y2, ends not among them; all 0 for a mask without pixels.
struct Extent {
    uint32_t x1, y1, x2, y2;

    bool meets(const Extent& other) const {
        // no short circuits: whether boxes meet is hard to foretell
        return (x1 < other.x2) & (other.x1 < x2) & (y1 < other.y2) & (other.y1 < y2);
    }
};

class MaskBits {
  public:
    // height: of all masks. Pixels from height * width on are left out.
    MaskBits(const Runs& runs, int64_t height, int64_t width);

    int64_t size() const { return int64_t(extent_.size()); }
    const Extent& extent(int64_t i) const { return extent_[size_t(i)]; }
    int64_t area(int64_t i) const { return area_[size_t(i)]; }
    // Of masks whose extents meet.
    int64_t common(int64_t i, const MaskBits& other, int64_t k) const;

  private:
    struct Run {
        uint32_t start, stop;
    };
    void fill(int64_t i, int64_t height);

    std::vector<Extent> extent_;
    std::vector<int64_t> area_;
    std::vector<int64_t> words_;  // where the words of a mask start; below 0: it has none
    std::vector<uint64_t> bits_;
    std::vector<Run> runs_;
    std::vector<int64_t> first_;  // (n + 1,): where the runs of a mask start
};

// The overlap by its parts: see mask_iou. inter is above 0.
inline double mask_overlap(int64_t inter, int64_t a, int64_t b, bool smaller) {
    return double(inter) / double(smaller ? (a < b ? a : b) : a + b - inter);
}

}  // namespace fastdet
