// Overlaps of masks, group by group. See groups.h.
#include "masks/groups.h"

#include <algorithm>

#include "core/pairs.h"
#include "core/threads.h"
#include "core/work.h"

namespace fastdet {
namespace {

struct Extent {
    double x1, y1, x2, y2;
};

// The pixels that two masks have in common.
uint64_t intersection(const uint32_t* a, const uint32_t* a_end, const uint32_t* b, const uint32_t* b_end) {
    uint64_t sum = 0, at_a = 0, at_b = 0;
    if (a_end - a < 2 || b_end - b < 2) return 0;
    uint64_t a_start = a[0], a_stop = a_start + a[1], b_start = b[0], b_stop = b_start + b[1];
    a += 2, b += 2;
    for (;;) {
        const uint64_t low = std::max(a_start, b_start), high = std::min(a_stop, b_stop);
        sum += high > low ? high - low : 0;
        at_a = a_stop, at_b = b_stop;
        if (at_a <= at_b) {
            if (a_end - a < 2) return sum;
            a_start = at_a + a[0], a_stop = a_start + a[1];
            a += 2;
        }
        if (at_b <= at_a) {
            if (b_end - b < 2) return sum;
            b_start = at_b + b[0], b_stop = b_start + b[1];
            b += 2;
        }
    }
}

constexpr int64_t kThreadPairs = 20000;  // from which a second thread pays

}  // namespace

void mask_iou_of_groups(const MaskGroups& a, const MaskGroups& b, const bool* crowd, double* out) {
    const MaskGroups* sides[] = {&a, &b};
    std::vector<Extent> boxes[2];
    std::vector<int64_t> areas[2];
    for (int side = 0; side < 2; ++side) {
        const MaskGroups& of = *sides[side];
        boxes[side].resize(size_t(of.masks.size()) + 1);
        areas[side].resize(size_t(of.masks.size()) + 1);
        rle_boxes(of.masks, of.heights, &boxes[side][0].x1);
        rle_area(of.masks, areas[side].data());
    }
    const int64_t groups = int64_t(a.start.size()) - 1;
    const std::vector<int64_t> first = pair_starts(a.start, b.start);
    const int64_t parts = first.back() > kThreadPairs ? std::min<int64_t>(groups, 8 * get_num_threads()) : 1;
    parallel_for(parts, [&](int64_t part) {
        int64_t pairs = 0;
        for (size_t i = size_t(groups * part / parts), end = size_t(groups * (part + 1) / parts); i < end; ++i) {
            double* to = out + first[i];
            for (int64_t x = a.start[i]; x < a.start[i + 1]; ++x) {
                const int64_t d = a.row[size_t(x)], mine = areas[0][size_t(d)];
                const Extent& box = boxes[0][size_t(d)];
                for (int64_t y = b.start[i]; y < b.start[i + 1]; ++y, ++to) {
                    const int64_t g = b.row[size_t(y)];
                    const Extent& other = boxes[1][size_t(g)];
                    *to = 0;
                    if (!(box.x1 < other.x2 && other.x1 < box.x2 && box.y1 < other.y2 && other.y1 < box.y2)) continue;
                    const int64_t inter =
                        int64_t(intersection(a.masks.begin(d), a.masks.end(d), b.masks.begin(g), b.masks.end(g)));
                    if (inter) *to = double(inter) / double(crowd[g] ? mine : mine + areas[1][size_t(g)] - inter);
                    ++pairs;
                }
            }
        }
        count_pairs(pairs);
    });
}

}  // namespace fastdet
