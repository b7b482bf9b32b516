// Areas, boxes, unions and overlaps of run-length encoded masks.
#include <algorithm>

#include "masks/bit_rows.h"

namespace fastdet {

void rle_area(const Runs& runs, int64_t* out) {
    for (int64_t i = 0; i < runs.size(); ++i) {
        int64_t area = 0;
        each_run(runs.begin(i), runs.end(i), [&](uint64_t start, uint64_t stop) { area += int64_t(stop - start); });
        out[i] = area;
    }
}

void rle_boxes(const Runs& runs, const int64_t* heights, double* out) {
    for (int64_t i = 0; i < runs.size(); ++i) {
        const uint64_t height = uint64_t(heights[i] > 0 ? heights[i] : 1);
        uint64_t x1 = 0, y1 = height, x2 = 0, y2 = 0, top = 0;  // top: the first pixel of column x2
        bool any = false;
        each_run(runs.begin(i), runs.end(i), [&](uint64_t start, uint64_t stop) {
            if (start - top >= height) x2 = start / height, top = x2 * height;
            if (!any) x1 = x2;
            any = true;
            const uint64_t low = start - top, high = stop - 1 - top;
            if (high >= height) {  // over the border of a column
                y1 = 0, y2 = height - 1;
                x2 = (stop - 1) / height, top = x2 * height;
            } else {
                y1 = std::min(y1, low), y2 = std::max(y2, high);
            }
        });
        double* box = out + 4 * i;
        box[0] = any ? double(x1) : 0, box[1] = any ? double(y1) : 0;
        box[2] = any ? double(x2 + 1) : 0, box[3] = any ? double(y2 + 1) : 0;
    }
}

void rle_merge(const Runs& runs, int64_t least, std::vector<uint32_t>& out) {
    std::vector<uint64_t> turns;  // place, and in the lowest bit whether a run starts there
    uint64_t pixels = 0;
    for (int64_t i = 0; i < runs.size(); ++i) {
        uint64_t all = 0;
        for (const uint32_t* run = runs.begin(i); run < runs.end(i); ++run) all += *run;
        pixels = std::max(pixels, all);
        each_run(runs.begin(i), runs.end(i), [&](uint64_t start, uint64_t stop) {
            turns.push_back(start << 1 | 1);
            turns.push_back(stop << 1);
        });
    }
    std::sort(turns.begin(), turns.end());
    uint64_t last = 0;
    int64_t depth = 0;
    bool inside = false;
    for (size_t k = 0; k < turns.size();) {
        const uint64_t place = turns[k] >> 1;
        for (; k < turns.size() && turns[k] >> 1 == place; ++k) depth += turns[k] & 1 ? 1 : -1;
        if ((depth >= least) == inside) continue;
        inside = !inside;
        out.push_back(uint32_t(place - last));
        last = place;
    }
    if (last < pixels || out.empty()) out.push_back(uint32_t(pixels - last));
}

namespace {

// How many ones of a mask stand before a pixel: a bit for each pixel of its range, and the sum before each word.
class Rank {
  public:
    void set(const uint32_t* run, const uint32_t* end, uint64_t low, uint64_t high) {
        low_ = low, high_ = high;
        const size_t words = size_t((high - low) / 64 + 1);
        bits_.assign(words, 0);
        before_.resize(words);
        each_run(run, end, [&](uint64_t start, uint64_t stop) {
            start = std::max(start, low), stop = std::min(stop, high);
            if (start < stop) fill_bits(bits_.data(), start - low, stop - low);
        });
        uint32_t sum = 0;
        for (size_t k = 0; k < words; ++k) {
            before_[k] = sum;
            sum += uint32_t(__builtin_popcountll(bits_[k]));
        }
    }
    uint64_t low() const { return low_; }
    uint64_t high() const { return high_; }
    // of low <= at <= high
    uint32_t operator()(uint64_t at) const {
        const uint64_t place = at - low_;
        const uint64_t part = bits_[size_t(place >> 6)] & ((uint64_t(1) << (place & 63)) - 1);
        return before_[size_t(place >> 6)] + uint32_t(__builtin_popcountll(part));
    }

  private:
    std::vector<uint64_t> bits_;
    std::vector<uint32_t> before_;
    uint64_t low_ = 0, high_ = 0;
};

struct Extent {
    double x1, y1, x2, y2;
};

}  // namespace

void mask_iou(const Runs& a, const Runs& b, int64_t height, int64_t width, const bool* crowd, bool smaller,
              double* out) {
    const int64_t n = a.size(), m = b.size();
    std::vector<Extent> boxes_a(size_t(n) + 1), boxes_b(size_t(m) + 1);
    std::vector<int64_t> area_a(size_t(n) + 1), area_b(size_t(m) + 1);
    const std::vector<int64_t> heights(size_t(std::max(n, m)) + 1, height);
    rle_boxes(a, heights.data(), &boxes_a[0].x1);
    rle_boxes(b, heights.data(), &boxes_b[0].x1);
    rle_area(a, area_a.data());
    rle_area(b, area_b.data());
    const uint64_t pixels = uint64_t(height) * uint64_t(width);
    Rank rank;
    for (int64_t i = 0; i < n; ++i) {
        const Extent& box = boxes_a[size_t(i)];
        double* row = out + i * m;
        bool ready = false;
        for (int64_t k = 0; k < m; ++k) {
            row[k] = 0;
            const Extent& other = boxes_b[size_t(k)];
            if (!(box.x1 < other.x2 && other.x1 < box.x2 && box.y1 < other.y2 && other.y1 < box.y2)) continue;
            if (!ready) {
                const uint64_t last = uint64_t(box.x2) * uint64_t(height);
                rank.set(a.begin(i), a.end(i), uint64_t(box.x1) * uint64_t(height), std::min(last, pixels));
                ready = true;
            }
            int64_t inter = 0;
            each_run(b.begin(k), b.end(k), [&](uint64_t start, uint64_t stop) {
                start = std::max(start, rank.low()), stop = std::min(stop, rank.high());
                if (start < stop) inter += int64_t(rank(stop)) - int64_t(rank(start));
            });
            if (!inter) continue;
            const int64_t mine = area_a[size_t(i)], its = area_b[size_t(k)];
            const int64_t whole = smaller ? std::min(mine, its) : mine + its - inter;
            row[k] = double(inter) / double(crowd[k] ? mine : whole);
        }
    }
}

}  // namespace fastdet
