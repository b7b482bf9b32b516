// Areas, boxes, unions and overlaps of run-length encoded masks.
#include <algorithm>

#include "core/threads.h"
#include "masks/overlaps.h"

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
    const size_t before = out.size();
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
    if (last < pixels || out.size() == before) out.push_back(uint32_t(pixels - last));
}

namespace {

// Pairs of masks for which a second thread pays.
constexpr int64_t kThreadPairs = 1 << 14;

}  // namespace

void mask_iou(const Runs& a, const Runs& b, int64_t height, int64_t width, const bool* crowd, bool smaller,
              double* out) {
    const int64_t n = a.size(), m = b.size();
    const MaskBits mine(a, height, width), its(b, height, width);
    const auto some = [&](int64_t first, int64_t last) {
        std::vector<int32_t> near(size_t(m) + 1);
        for (int64_t i = first; i < last; ++i) {
            double* row = out + i * m;
            std::fill(row, row + m, 0.0);
            const Extent box = mine.extent(i);
            size_t count = 0;
            for (int64_t k = 0; k < m; ++k) {
                near[count] = int32_t(k);
                count += box.meets(its.extent(k));
            }
            for (size_t j = 0; j < count; ++j) {
                const int64_t k = near[j], inter = mine.common(i, its, k);
                if (!inter) continue;
                row[k] = crowd[k] ? double(inter) / double(mine.area(i))
                                  : mask_overlap(inter, mine.area(i), its.area(k), smaller);
            }
        }
    };
    if (n < 2 || m < kThreadPairs / n || get_num_threads() == 1) return some(0, n);
    const int64_t step = n / (8 * get_num_threads()) + 1;
    parallel_for((n + step - 1) / step, [&](int64_t task) { some(task * step, std::min(task * step + step, n)); });
}

}  // namespace fastdet
