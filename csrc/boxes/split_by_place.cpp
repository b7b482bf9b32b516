// The splits at the median. See split_by_place.h.
#include "boxes/split_by_place.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fastdet {
namespace {

// Rises with x >= 0, and is within 0.1 of the binary logarithm. Finite for any x.
float rough_log2(double x) {
    int64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return float(double(bits) * 0x1p-52 - 1023);
}

// Of a side with an infinite end: the other end.
double middle(double low, double high) {
    if (!std::isfinite(low)) return std::isfinite(high) ? high : 0;
    return std::isfinite(high) ? 0.5 * low + 0.5 * high : low;
}

// Boxes that are more than so many octaves larger than their centres are apart gain nothing by a split by place. Where
// they are many, and others are too, they make the hulls of all parts as large as they are: sizes are split first.
constexpr float kOctaves = 2;
constexpr int64_t kMany = 32;

template <float Place::* Size>
int64_t count_below(const Place* p, int64_t n, float size) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += p[i].*Size < size;
    return count;
}

// Of n, a number near `count` of whole units that leaves some.
int64_t whole_units(int64_t count, int64_t n, int64_t unit) {
    return std::min(std::max(count / unit, int64_t(1)), (n - 1) / unit) * unit;
}

}  // namespace

Place place_of(const Box<double>& b, double scale, int32_t at) {
    const double x1 = b.x1 * scale, y1 = b.y1 * scale, x2 = b.x2 * scale, y2 = b.y2 * scale;
    return {middle(x1, x2), middle(y1, y2), rough_log2(x2 - x1), rough_log2(y2 - y1), at};
}

void split_by_place(Place* p, int64_t n, int64_t lanes) {
    while (n > lanes) {
        double x = 0, y = 0, width = 0, height = 0;
        float widest = p->width, tallest = p->height;
        for (int64_t i = 0; i < n; ++i) {
            x += p[i].x, y += p[i].y, width += p[i].width, height += p[i].height;
            widest = std::max(widest, p[i].width), tallest = std::max(tallest, p[i].height);
        }
        const double one = 1 / double(n);
        x *= one, y *= one, width *= one, height *= one;
        double off[4] = {};
        for (int64_t i = 0; i < n; ++i) {
            off[0] += std::fabs(p[i].x - x), off[1] += std::fabs(p[i].y - y);
            off[2] += std::fabs(p[i].width - width), off[3] += std::fabs(p[i].height - height);
        }
        const double apart[2] = {rough_log2(off[0] * one), rough_log2(off[1] * one)};
        const double spread[4] = {apart[0] - width, apart[1] - height, rough_log2(off[2] * one),
                                  rough_log2(off[3] * one)};
        auto axis = std::max_element(spread, spread + 4) - spread;
        int64_t unit = lanes;  // whole subtrees of a tree with `lanes` children a node
        while (unit * lanes < n) unit *= lanes;
        int64_t half = (n + unit) / (2 * unit) * unit;
        if (spread[0] > spread[2] && widest > apart[0] + kOctaves) {
            const int64_t small = count_below<&Place::width>(p, n, float(apart[0] + kOctaves));
            if (std::min(small, n - small) > kMany) axis = 2, half = whole_units(small, n, unit);
        }
        if (spread[1] > spread[3] && tallest > apart[1] + kOctaves) {
            const int64_t small = count_below<&Place::height>(p, n, float(apart[1] + kOctaves));
            if (std::min(small, n - small) > kMany) axis = 3, half = whole_units(small, n, unit);
        }
        Place* const middle = p + half;
        switch (axis) {
            case 0:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.x < b.x; });
                break;
            case 1:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.y < b.y; });
                break;
            case 2:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.width < b.width; });
                break;
            default:
                std::nth_element(p, middle, p + n, [](const Place& a, const Place& b) { return a.height < b.height; });
        }
        split_by_place(p, half, lanes);
        n -= half;
        p = middle;
    }
}

}  // namespace fastdet
