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

// A column and a row as one number: two would be stored in halves and read as one, for which processors wait.
struct Turn {
    uint64_t both;
    Turn(uint32_t column, uint32_t row) : both(uint64_t(column) << 32 | row) {}
    uint32_t column() const { return uint32_t(both >> 32); }
    uint32_t row() const { return uint32_t(both); }
};

constexpr uint32_t kFew = 24;  // rows that are sorted one by one

void sort_rows(uint32_t* first, uint32_t* last) {
    if (last - first > kFew) return std::sort(first, last);
    for (uint32_t* p = first + 1; p < last; ++p) {
        const uint32_t row = *p;
        uint32_t* to = p;
        for (; to > first && to[-1] > row; --to) *to = to[-1];
        *to = row;
    }
}

// The turns of a polygon by column. Most columns have two: these are kept where they are found, the others in a list.
struct Columns {
    struct Rows {
        uint32_t count, row[2];
        uint32_t end;  // of its others in `rows`, once they are sorted
    };
    std::vector<Rows> columns;   // from `low` on
    std::vector<Turn> more;      // beyond two
    std::vector<uint32_t> rows;  // of these, by column
    uint32_t low = 0;

    void clear(uint32_t first, uint32_t end) {
        low = first;
        columns.assign(end > first ? size_t(end - first) : 0, Rows{0, {0, 0}, 0});  // none: a polygon without corners
        more.clear();
    }
    void add(uint32_t column, uint32_t row) {
        Rows& own = columns[column - low];
        if (own.count < 2) {
            own.row[own.count] = row;
        } else {
            more.emplace_back(column, row);
        }
        ++own.count;
    }
    // Counts the others out by column, and sorts those of each.
    void sort() {
        if (more.empty()) return;
        rows.resize(more.size());
        uint32_t sum = 0;
        for (Rows& own : columns) own.end = sum, sum += own.count > 2 ? own.count - 2 : 0;
        for (const Turn& turn : more) rows[columns[turn.column() - low].end++] = turn.row();
        for (const Rows& own : columns)
            if (own.count > 3) sort_rows(rows.data() + own.end - (own.count - 2), rows.data() + own.end);
    }
};

struct Image {
    int64_t height, width;
    Columns& turns;

    // The step of an edge in the middle of a column, at the height v of the lower of its two points: at the row
    // (v + 0.5) / 5 - 0.5, within the image, rounded up.
    void turn(uint32_t column, int64_t v) const {
        const uint64_t row = v <= 2 ? 0 : uint64_t(v + 2) / kScale;
        turns.add(column, uint32_t(std::min(row, uint64_t(height))));
    }
    // The columns that corners from low to high, in fifths, may turn in.
    void clear(int64_t low, int64_t high) const {
        const auto column = [&](int64_t u) { return std::min(std::max(u / kScale, int64_t(0)), width); };
        turns.clear(uint32_t(column(low)), uint32_t(std::min(column(high) + 1, width)));
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
    const int64_t first = image.first(a.x), last = image.last(b.x), lower = slope < 0 ? 1 : 0;  // of u and u + 1
    uint32_t column = uint32_t(first / kScale);
    for (int64_t u = first; u <= last; u += kScale) image.turn(column++, at(a.y, slope, u + lower - a.x));
}

// A taller edge: a point for each fifth of y. Steps in x are where the rounded x changes, by 1.
void steep(Point a, Point b, const Image& image) {
    if (a.y > b.y) std::swap(a, b);
    const int64_t dy = b.y - a.y;
    const double slope = double(b.x - a.x) / double(dy);
    const int64_t begin = at(a.x, slope, 0), end = at(a.x, slope, dy);
    if (begin == end) return;
    const bool rises = begin < end;
    const int64_t first = image.first(std::min(begin, end)), last = image.last(std::max(begin, end));
    const double steps = double(dy) / double(b.x - a.x);  // of t for a step of x, nearly
    uint32_t column = uint32_t(first / kScale);
    for (int64_t u = first; u <= last; u += kScale) {
        // the first t at which x has passed from u to u + 1, or from u + 1 to u
        const auto passed = [&](int64_t t) {
            const int64_t x = at(a.x, slope, t);
            return rises ? x > u : x <= u;
        };
        int64_t t = int64_t((double(u) + 0.5 - double(a.x)) * steps) + 1;
        t = t < 1 ? 1 : t > dy ? dy : t;
        while (t > 1 && passed(t - 1)) --t;
        while (t < dy && !passed(t)) ++t;
        image.turn(column++, a.y + t - 1);
    }
}

// Adds the runs of the polygon whose turns are here. An even number of them at one place is none; the end of a column
// is the top of the next one.
void put(Columns& turns, uint64_t height, uint64_t pixels, std::vector<uint32_t>& out) {
    uint64_t last = 0, place = 0;
    size_t times = 0;
    const auto end_place = [&] {
        if (times % 2 == 0 || place >= pixels) return;
        out.push_back(uint32_t(place - last));
        last = place;
    };
    const auto turn = [&](uint64_t next) {
        if (next != place) end_place(), place = next, times = 0;
        ++times;
    };
    turns.sort();
    uint64_t top = uint64_t(turns.low) * height;
    for (const Columns::Rows& rows : turns.columns) {
        if (rows.count <= 2) {
            const uint32_t a = rows.row[0], b = rows.row[1];
            if (rows.count == 2) turn(top + std::min(a, b)), turn(top + std::max(a, b));
            if (rows.count == 1) turn(top + a);
        } else {
            const uint32_t few[2] = {std::min(rows.row[0], rows.row[1]), std::max(rows.row[0], rows.row[1])};
            const uint32_t* const end = turns.rows.data() + rows.end;
            const uint32_t* other = end - (rows.count - 2);
            for (int k = 0; k < 2 || other < end;) {
                const bool own = k < 2 && (other == end || few[k] <= *other);
                turn(top + (own ? few[k++] : *other++));
            }
        }
        top += height;
    }
    end_place();
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
    Columns turns;
    std::vector<Point> scaled;
    std::vector<uint32_t> runs;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
        const int64_t height = sizes[2 * i], width = sizes[2 * i + 1];
        const uint64_t pixels = uint64_t(height) * uint64_t(width);
        const Image image{height, width, turns};
        Runs drawn{nullptr, {0}};
        runs.clear();
        for (int64_t k = parts[i]; k < parts[i + 1]; ++k) {
            const int64_t first = points[size_t(k)], count = points[size_t(k) + 1] - first;
            scaled.resize(size_t(count));
            int64_t low = INT64_MAX, high = INT64_MIN;
            for (int64_t c = 0; c < count; ++c) {
                const double* corner = corners + 2 * (first + c);
                const int64_t x = int64_t(kScale * corner[0] + 0.5), y = int64_t(kScale * corner[1] + 0.5);
                scaled[size_t(c)] = {x, y};
                low = std::min(low, x), high = std::max(high, x);
            }
            image.clear(low, pixels ? high : low);
            for (size_t c = 0; pixels && c < scaled.size(); ++c) {
                const Point a = scaled[c], b = scaled[c + 1 < scaled.size() ? c + 1 : 0];
                std::abs(b.x - a.x) >= std::abs(b.y - a.y) ? flat(a, b, image) : steep(a, b, image);
            }
            put(turns, uint64_t(height), pixels, parts[i + 1] - parts[i] == 1 ? out.counts : runs);
            drawn.offsets.push_back(int64_t(runs.size()));
        }
        drawn.counts = runs.data();
        if (drawn.size() > 1) rle_merge(drawn, 1, out.counts);
        if (drawn.size() == 0) out.counts.push_back(uint32_t(pixels));
        out.end_mask();
    }
}

}  // namespace fastdet
