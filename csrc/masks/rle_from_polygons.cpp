// Polygons as run-length encoded masks, by the rule of github.com/cocodataset/cocoapi.
//
// Corners are at fifths of a pixel, edges are points at each fifth of their longer side, rounded. Where an edge passes
// the middle of a column, between the fifths 2 and 3, the mask turns in that column at the row that the rule gives.
// Only these points are computed: an edge takes time for the columns that it passes.
#include <algorithm>
#include <cmath>

#include "masks/rle.h"

namespace fastdet {
namespace {

constexpr int kScale = 5;

struct Image {
    int64_t height, width;
    std::vector<uint64_t>& turns;

    // The step of an edge from u to u + 1 fifths, at the height v of the lower of the two points.
    void turn(int64_t u, int64_t v) const {
        const double y = (double(v) + 0.5) / kScale - 0.5;
        const double row = std::ceil(y < 0 ? 0 : y > double(height) ? double(height) : y);
        turns.push_back(uint64_t(u / kScale) * uint64_t(height) + uint64_t(row));
    }
    // Of the steps from low to high, low <= high: the first and the last that are in the middle of a column.
    int64_t first(int64_t low) const { return low <= 2 ? 2 : low + (kScale + 2 - low % kScale) % kScale; }
    int64_t last(int64_t high) const { return std::min(high - 1, kScale * (width - 1) + 2); }
};

struct Point {
    int64_t x, y;
};

// The point at t of a line from `from` on, by its slope, as the rule rounds it.
inline int64_t at(int64_t from, double slope, int64_t t) { return int64_t(double(from) + slope * double(t) + 0.5); }

// An edge at least as wide as tall: a point for each fifth of x.
void flat(Point a, Point b, const Image& image) {
    if (a.x > b.x) std::swap(a, b);
    if (a.x == b.x) return;
    const double slope = double(b.y - a.y) / double(b.x - a.x);
    for (int64_t u = image.first(a.x), last = image.last(b.x); u <= last; u += kScale) {
        image.turn(u, std::min(at(a.y, slope, u - a.x), at(a.y, slope, u + 1 - a.x)));
    }
}

// A taller edge: a point for each fifth of y. Steps in x are where the rounded x changes, by 1.
void steep(Point a, Point b, const Image& image) {
    if (a.y > b.y) std::swap(a, b);
    const int64_t dy = b.y - a.y;
    const double slope = double(b.x - a.x) / double(dy);
    const int64_t begin = at(a.x, slope, 0), end = at(a.x, slope, dy);
    if (begin == end) return;
    const bool rises = begin < end;
    const int64_t low = std::min(begin, end), high = std::max(begin, end);
    for (int64_t u = image.first(low), last = image.last(high); u <= last; u += kScale) {
        // the first t at which x has passed from u to u + 1, or from u + 1 to u
        const auto passed = [&](int64_t t) {
            const int64_t x = at(a.x, slope, t);
            return rises ? x > u : x <= u;
        };
        int64_t t = int64_t((double(u) + 0.5 - double(a.x)) / slope);
        t = t < 1 ? 1 : t > dy ? dy : t;
        while (t > 1 && passed(t - 1)) --t;
        while (t < dy && !passed(t)) ++t;
        image.turn(u, std::min(a.y + t - 1, a.y + t));
    }
}

// Adds the runs of the polygon whose turns are here.
void put(std::vector<uint64_t>& turns, uint64_t pixels, std::vector<uint32_t>& out) {
    std::sort(turns.begin(), turns.end());
    uint64_t last = 0;
    for (size_t k = 0; k < turns.size();) {
        const uint64_t place = turns[k];
        size_t times = 0;
        for (; k < turns.size() && turns[k] == place; ++k) ++times;
        if (times % 2 == 0 || place >= pixels) continue;
        out.push_back(uint32_t(place - last));
        last = place;
    }
    out.push_back(uint32_t(pixels - last));
}

}  // namespace

void rle_from_polygons(const double* corners, const std::vector<int64_t>& points, const std::vector<int64_t>& parts,
                       int64_t height, int64_t width, NewRuns& out) {
    std::vector<int64_t> sizes;
    for (size_t i = 0; i + 1 < parts.size(); ++i) sizes.insert(sizes.end(), {height, width});
    rle_from_polygons(corners, points, parts, sizes.data(), out);
}

void rle_from_polygons(const double* corners, const std::vector<int64_t>& points, const std::vector<int64_t>& parts,
                       const int64_t* sizes, NewRuns& out) {
    std::vector<uint64_t> turns;
    std::vector<Point> scaled;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
        const int64_t height = sizes[2 * i], width = sizes[2 * i + 1];
        const uint64_t pixels = uint64_t(height) * uint64_t(width);
        const Image image{height, width, turns};
        Runs drawn{nullptr, {0}};
        std::vector<uint32_t> runs;
        for (int64_t k = parts[i]; k < parts[i + 1]; ++k) {
            const int64_t first = points[size_t(k)], count = points[size_t(k) + 1] - first;
            scaled.resize(size_t(count));
            for (int64_t c = 0; c < count; ++c) {
                const double* corner = corners + 2 * (first + c);
                scaled[size_t(c)] = {int64_t(kScale * corner[0] + 0.5), int64_t(kScale * corner[1] + 0.5)};
            }
            turns.clear();
            for (size_t c = 0; pixels && c < scaled.size(); ++c) {
                const Point a = scaled[c], b = scaled[c + 1 < scaled.size() ? c + 1 : 0];
                std::abs(b.x - a.x) >= std::abs(b.y - a.y) ? flat(a, b, image) : steep(a, b, image);
            }
            put(turns, pixels, runs);
            drawn.offsets.push_back(int64_t(runs.size()));
        }
        drawn.counts = runs.data();
        if (drawn.size() == 1) {
            out.counts.insert(out.counts.end(), runs.begin(), runs.end());
        } else if (drawn.size() > 1) {
            rle_merge(drawn, 1, out.counts);
        } else {
            out.counts.push_back(uint32_t(pixels));
        }
        out.end_mask();
    }
}

}  // namespace fastdet
