// Boxes in an order in which near ones of like width and height come together. See places.h.
#include "boxes/places.h"

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

}  // namespace

template <class T>
Place place_of(const Box<T>& b, int32_t at) {
    const double width = double(b.x2) - double(b.x1), height = double(b.y2) - double(b.y1);
    return {middle(b.x1, b.x2), middle(b.y1, b.y2), rough_log2(width), rough_log2(height), at};
}

template Place place_of(const Box<float>&, int32_t);
template Place place_of(const Box<double>&, int32_t);

// The axis is that of the largest mean deviation, of centres in widths or heights, of sizes in octaves: what decides
// how much two boxes can overlap.
void sort_places(Place* p, int64_t n, int fan) {
    while (n > fan) {
        double x = 0, y = 0, width = 0, height = 0;
        for (int64_t i = 0; i < n; ++i) x += p[i].x, y += p[i].y, width += p[i].width, height += p[i].height;
        const double one = 1 / double(n);
        x *= one, y *= one, width *= one, height *= one;
        double off[4] = {};
        for (int64_t i = 0; i < n; ++i) {
            off[0] += std::fabs(p[i].x - x), off[1] += std::fabs(p[i].y - y);
            off[2] += std::fabs(p[i].width - width), off[3] += std::fabs(p[i].height - height);
        }
        const double spread[4] = {rough_log2(off[0] * one) - width, rough_log2(off[1] * one) - height,
                                  rough_log2(off[2] * one), rough_log2(off[3] * one)};
        int64_t unit = fan;  // whole subtrees
        while (unit * fan < n) unit *= fan;
        Place* const middle = p + (n + unit) / (2 * unit) * unit;
        switch (std::max_element(spread, spread + 4) - spread) {
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
        sort_places(p, middle - p, fan);
        n -= middle - p;
        p = middle;
    }
}

}  // namespace fastdet
