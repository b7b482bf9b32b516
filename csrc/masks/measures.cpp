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

constexpr int64_t kFew = 8;  // masks whose turns, which rise, are merged one after the other

void rle_merge(const Runs& runs, int64_t least, std::vector<uint32_t>& out) {
    const size_t before = out.size();
    std::vector<uint64_t> turns;  // place, and in the lowest bit whether a run starts there
    uint64_t pixels = 0;
    for (int64_t i = 0; i < runs.size(); ++i) {
        uint64_t all = 0;
        const auto own = std::ptrdiff_t(turns.size());
        for (const uint32_t* run = runs.begin(i); run < runs.end(i); ++run) all += *run;
        pixels = std::max(pixels, all);
        each_run(runs.begin(i), runs.end(i), [&](uint64_t start, uint64_t stop) {
            turns.push_back(start << 1 | 1);
            turns.push_back(stop << 1);
        });
        if (i && runs.size() <= kFew) std::inplace_merge(turns.begin(), turns.begin() + own, turns.end());
    }
    if (runs.size() > kFew) std::sort(turns.begin(), turns.end());
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
constexpr int64_t kBlockWords = 1 << 14;  // 128 KB: two blocks stay in the cache

// Some masks, one after the other, of few words together; the corners of their boxes as columns.
struct Block {
    int64_t first, last;
    float corners[4][64];

    // The next masks from `first` on.
    Block(const MaskParts& masks, int64_t begin) : first(begin), last(begin), corners() {
        for (int64_t cost = 0; last < masks.size() && last < begin + 64 && cost < kBlockWords; ++last) {
            const Extent& box = masks.extent(last);
            const float own[] = {float(box.x1), float(box.y1), float(box.x2), float(box.y2)};
            for (int c = 0; c < 4; ++c) corners[c][last - begin] = own[c];
            cost += masks.cost(last);
        }
    }
};

std::vector<Block> blocks_of(const MaskParts& masks) {
    std::vector<Block> blocks;
    for (int64_t first = 0; first < masks.size(); first = blocks.back().last) blocks.emplace_back(masks, first);
    return blocks;
}

}  // namespace

void mask_iou(const Runs& a, const Runs& b, int64_t height, int64_t width, const bool* crowd, bool smaller,
              double* out) {
    const int64_t n = a.size(), m = b.size();
    const bool same = a.counts == b.counts && a.offsets == b.offsets;  // a batch with itself
    MaskParts mine(a, height, width), others(same ? Runs{nullptr, {0}} : b, height, width);
    const MaskParts& its = same ? mine : others;
    mine.prepare(its);
    others.prepare(mine);
    const std::vector<Block> rows = blocks_of(mine), columns = blocks_of(its);
    const CountLoops& loops = count_loops();
    const auto pairs = [&](const Block& row, const Block& column) {
        for (int64_t i = row.first; i < row.last; ++i) {
            const int64_t r = i - row.first;
            const float box[] = {row.corners[0][r], row.corners[1][r], row.corners[2][r], row.corners[3][r]};
            uint64_t near = loops.near(column.corners, box);
            if (column.last - column.first < 64) near &= (uint64_t(1) << (column.last - column.first)) - 1;
            for (; near; near &= near - 1) {
                const int64_t k = column.first + __builtin_ctzll(near), inter = mine.common(i, its, k, loops);
                if (!inter) continue;
                out[i * m + k] = crowd[k] ? double(inter) / double(mine.area(i))
                                          : mask_overlap(inter, mine.area(i), its.area(k), smaller);
            }
        }
    };
    const auto row = [&](int64_t r) {
        const Block& own = rows[size_t(r)];
        std::fill(out + own.first * m, out + own.last * m, 0.0);
        for (const Block& column : columns) pairs(own, column);
    };
    if (n < 2 || m < kThreadPairs / n || get_num_threads() == 1) {
        for (int64_t r = 0; r < int64_t(rows.size()); ++r) row(r);
    } else {
        parallel_for(int64_t(rows.size()), row);
    }
}

}  // namespace fastdet
