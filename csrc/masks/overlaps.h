// The pixels that two masks have in common, for batches of masks of one size.
//
// Most masks have few runs in a column. Such a mask is a few layers: of each column of the mask's box the row where a
// run of it starts and the row where it ends, 16 bits each. So 16 columns of two layers meet in a few instructions.
// Other masks are bits: words of 64 rows, the words of neighbouring columns side by side. A large mask that has neither
// few runs in a column nor few words for its runs stays as runs.
#pragma once

#include "masks/count_bits.h"
#include "masks/rle.h"

namespace fastdet {

// The box of a mask: columns from x1 to x2, rows from y1 to y2, ends not among them; all 0 for a mask without pixels.
struct Extent {
    uint32_t x1, y1, x2, y2;

    bool meets(const Extent& other) const { return x1 < other.x2 && other.x1 < x2 && y1 < other.y2 && other.y1 < y2; }
};

class MaskParts {
  public:
    // Pixels from height * width on are left out.
    MaskParts(const Runs& runs, int64_t height, int64_t width);
    // Makes what `common` needs. rival: the batch that this one will meet; may be this one.
    void prepare(const MaskParts& rival);

    int64_t size() const { return int64_t(extent_.size()); }
    const Extent& extent(int64_t i) const { return extent_[size_t(i)]; }
    int64_t area(int64_t i) const { return area_[size_t(i)]; }
    // What it costs to read a mask, in words of 8 bytes.
    int64_t cost(int64_t i) const;
    int64_t common(int64_t i, const MaskParts& other, int64_t k, const CountLoops& loops) const {
        const int64_t a = first_layer_[size_t(i)], b = other.first_layer_[size_t(k)];
        const int64_t a_end = first_layer_[size_t(i) + 1], b_end = other.first_layer_[size_t(k) + 1];
        if (a == a_end || b == b_end) return common_bits(i, other, k, loops);
        int64_t sum = 0;
        for (int64_t p = a; p < a_end; ++p) {
            for (int64_t q = b; q < b_end; ++q) sum += common_layers(layers_[size_t(p)], other, q, loops);
        }
        return sum;
    }

  private:
    struct Run {
        uint32_t start, stop;
    };
    // Columns from x1 to x2: `start` rows, then kPad zeros, then end rows and as many.
    struct Layer {
        uint32_t x1, x2;
        int64_t place;
    };
    static constexpr int64_t kPad = 32;

    int64_t common_layers(const Layer& a, const MaskParts& other, int64_t q, const CountLoops& loops) const {
        const Layer& b = other.layers_[size_t(q)];
        const int64_t left = a.x1 > b.x1 ? a.x1 : b.x1, n = (a.x2 < b.x2 ? a.x2 : b.x2) - left;
        if (n <= 0) return 0;
        const int16_t* p = rows_.data() + a.place + (left - a.x1);
        const int16_t* r = other.rows_.data() + b.place + (left - b.x1);
        return loops.meet(p, p + (int64_t(a.x2) - a.x1 + kPad), r, r + (int64_t(b.x2) - b.x1 + kPad), n);
    }
    template <class F>
    void each_column_run(int64_t i, const F& f) const;
    void make_layers(int64_t i);
    void make_bits(int64_t i);
    int64_t common_bits(int64_t i, const MaskParts& other, int64_t k, const CountLoops& loops) const;

    int64_t height_;
    bool has_layers_ = true;  // every mask
    std::vector<Extent> extent_;
    std::vector<int64_t> area_;
    std::vector<Run> runs_;
    std::vector<int64_t> first_;        // (n + 1,): where the runs of a mask start
    std::vector<int64_t> first_layer_;  // (n + 1,)
    std::vector<Layer> layers_;
    std::vector<int16_t> rows_;
    std::vector<int64_t> words_;  // where the words of a mask start; below 0, or no entry: it has none
    std::vector<uint64_t> bits_;
};

// The overlap by its parts: see mask_iou. inter is above 0.
inline double mask_overlap(int64_t inter, int64_t a, int64_t b, bool smaller) {
    return double(inter) / double(smaller ? (a < b ? a : b) : a + b - inter);
}

}  // namespace fastdet
