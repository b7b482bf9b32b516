// A tree over boxes that move. See tree.h.
#include "fusion/tree.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/work.h"

namespace fastdet {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

Box<double> hull(const Box<double>& low, const Box<double>& high) { return {low.x1, low.y1, high.x2, high.y2}; }

bool meets(const Box<double>& a, const Box<double>& b) {
    return lesser(a.x2, b.x2) > greater(a.x1, b.x1) && lesser(a.y2, b.y2) > greater(a.y1, b.y1);
}

// The largest intersection with boxes inside of `all` that are so wide and tall at most.
double largest_intersection(const Box<double>& a, const Box<double>& all, double wide, double tall) {
    const double w = lesser(lesser(a.x2, all.x2) - greater(a.x1, all.x1), wide);
    const double h = lesser(lesser(a.y2, all.y2) - greater(a.y1, all.y1), tall);
    return w > 0 && h > 0 ? w * h : 0;
}

double within(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

constexpr float kOctaves = 2;  // sizes that differ by more are unlike
constexpr int64_t kUnlike = 32;

// A box as the splits see it. No number is a NaN, which would break the order.
struct Place {
    double at[4];
    float size[2];  // logarithms of the width and the height
    int64_t box;
};

Place place_of(const Box<double>& b, int64_t box) {
    const auto known = [](double x) { return is_finite(x) ? x : 0; };
    const auto octave = [](double x) { return x > 0 && is_finite(x) ? float(std::log2(x)) : -1100; };
    return {{known(b.x1), known(b.y1), known(b.x2), known(b.y2)}, {octave(b.x2 - b.x1), octave(b.y2 - b.y1)}, box};
}

// By what to split: 0 to 3, a coordinate, that of the largest mean deviation in widths or heights, which decides how
// much two boxes can overlap. 4 or 5, the width or the height, where many boxes are of quite another size: a few boxes
// of another shape in each part would make all ranges wide.
int axis_of(const Place* p, int64_t n) {
    const double one = 1 / double(n);
    double mean[4] = {}, size[2] = {}, off[4] = {};
    for (int64_t i = 0; i < n; ++i) {
        for (int a = 0; a < 4; ++a) mean[a] += p[i].at[a] * one;
        for (int a = 0; a < 2; ++a) size[a] += double(p[i].size[a]) * one;
    }
    int64_t unlike[2] = {};
    for (int64_t i = 0; i < n; ++i) {
        for (int a = 0; a < 4; ++a) off[a] += std::fabs(p[i].at[a] - mean[a]) * one;
        for (int a = 0; a < 2; ++a) unlike[a] += std::fabs(double(p[i].size[a]) - size[a]) > kOctaves;
    }
    if (std::max(unlike[0], unlike[1]) > kUnlike) return unlike[0] >= unlike[1] ? 4 : 5;
    const double less = std::exp2(lesser(greater(size[1] - size[0], -900.0), 900.0));  // a width in heights, inverted
    off[0] *= less, off[2] *= less;
    return int(std::max_element(off, off + 4) - off);
}

// Bring the places together that are near: the first multiple of `fan`, and so on in each part, whole subtrees. By
// splits at the median, so that no distribution is a bad one. O(n log n).
void sort_places(Place* p, int64_t n, int fan) {
    while (n > fan) {
        int64_t unit = fan;
        while (unit * fan < n) unit *= fan;
        Place* const half = p + (n + unit) / (2 * unit) * unit;
        const int axis = axis_of(p, n);
        if (axis < 4) {
            std::nth_element(p, half, p + n, [=](const Place& a, const Place& b) { return a.at[axis] < b.at[axis]; });
        } else {
            std::nth_element(p, half, p + n,
                             [=](const Place& a, const Place& b) { return a.size[axis - 4] < b.size[axis - 4]; });
        }
        sort_places(p, half - p, fan);
        n -= half - p;
        p = half;
    }
}

// What decides whether a pair is rescaled, if it is not finite. See `measure_once`.
double sum_of(double a, double b, Measure kind) { return kind == Measure::ios ? lesser(a, b) : a + b; }

// The largest overlap of a box with boxes of areas from `least` to `most`, each of which intersects it by
// `intersection` at most. The rounded operations of `measure_once` are monotone: an intersection i makes i / (least +
// own - i) at most, as long as i <= least. A larger one makes i / own at most, but for the rounding of the sum.
double largest(double intersection, double least, double most, double own, Measure kind) {
    const double inter = lesser(intersection, lesser(most, own));
    if (inter <= least) return inter / (sum_of(least, own, kind) - (kind == Measure::ios ? 0 : inter));
    return kind == Measure::ios ? 1 : lesser(1.0, inter / own * (1 + 0x1p-50) + 0x1p-1060);
}

}  // namespace

MovingTree::Node MovingTree::nothing() {
    constexpr double most = kInfinite;
    return {{most, most, most, most}, {-most, -most, -most, -most}, 0, 0, most, 0, most, 0, kNothing};
}

// A box that overlaps none by more than 0 is nothing.
MovingTree::Node MovingTree::node(const Box<double>& box, int64_t name) {
    const double size = area(box);
    if (!(size > 0) || !is_finite(box.x1) || !is_finite(box.y1) || !is_finite(box.x2) || !is_finite(box.y2)) {
        return nothing();
    }
    const double small = area(scaled(box, Limits<double>::rescale));
    return {box, box, box.x2 - box.x1, box.y2 - box.y1, size, size, small, small, name};
}

void MovingTree::join(Node& to, const Node& from) {
    to.low = {lesser(to.low.x1, from.low.x1), lesser(to.low.y1, from.low.y1), lesser(to.low.x2, from.low.x2),
              lesser(to.low.y2, from.low.y2)};
    to.high = {greater(to.high.x1, from.high.x1), greater(to.high.y1, from.high.y1), greater(to.high.x2, from.high.x2),
               greater(to.high.y2, from.high.y2)};
    to.wide = greater(to.wide, from.wide), to.tall = greater(to.tall, from.tall);
    to.least = lesser(to.least, from.least), to.most = greater(to.most, from.most);
    to.scaled_least = lesser(to.scaled_least, from.scaled_least);
    to.scaled_most = greater(to.scaled_most, from.scaled_most);
    to.name = from.name < to.name ? from.name : to.name;
}

MovingTree::MovingTree(const std::vector<Box<double>>& boxes, const std::vector<int64_t>& names, Measure kind)
    : kind_(kind), leaf_(boxes.size()) {
    const size_t n = boxes.size();
    levels_.emplace_back(n);
    const auto begin = [&](size_t k, size_t place) {
        leaf_[place] = int64_t(k);
        levels_[0][k] = names[place] == kNone ? nothing() : node(boxes[place], names[place]);
    };
    if (n <= kFlat) {
        for (size_t k = 0; k < n; ++k) begin(k, k);
        return;
    }
    std::vector<Place> order(n);
    for (size_t i = 0; i < n; ++i) order[i] = place_of(boxes[i], int64_t(i));
    sort_places(order.data(), int64_t(n), kFan);
    for (size_t k = 0; k < n; ++k) begin(k, size_t(order[k].box));
    for (size_t count = n; count > 1;) {
        count = (count + kFan - 1) / kFan;
        levels_.emplace_back(count);
        for (size_t k = 0; k < count; ++k) fit(int(levels_.size()) - 1, int64_t(k));
    }
}

MovingTree::~MovingTree() { count_pairs(compared_); }

void MovingTree::fit(int level, int64_t k) {
    const std::vector<Node>& below = levels_[size_t(level) - 1];
    Node all = nothing();
    for (size_t c = size_t(k) * kFan; c < below.size() && c < size_t(k + 1) * kFan; ++c) join(all, below[c]);
    levels_[size_t(level)][size_t(k)] = all;
}

void MovingTree::set(int64_t place, const Node& node) {
    int64_t k = leaf_[size_t(place)];
    levels_[0][size_t(k)] = node;
    for (int level = 1; level < int(levels_.size()); ++level) fit(level, k /= kFan);
}

std::vector<int64_t> MovingTree::names() const {
    std::vector<int64_t> names;
    names.reserve(levels_[0].size());
    for (const Node& box : levels_[0]) {
        if (box.name != kNothing) names.push_back(box.name);
    }
    return names;
}

void MovingTree::put(int64_t place, const Box<double>& box, int64_t name) { set(place, node(box, name)); }
void MovingTree::clear(int64_t place) { set(place, nothing()); }

// `measure` of a box of area `size`; neither it nor the query's is empty or has a NaN.
double MovingTree::pair(const Query& query, const Box<double>& box, double size) const {
    const double inter = intersection(query.box, box);
    const double denominator =
        kind_ == Measure::ios ? lesser(query.area, size) : sum_of(query.area, size, kind_) - inter;
    return is_finite(denominator) ? inter / denominator : measure(query.box, box, kind_, false, 0.0);
}

// The largest overlap with the boxes below a node, from their areas and their hull.
double MovingTree::by_area(const Query& query, const Node& node) const {
    const Box<double> all = hull(node.low, node.high);
    double value = 0;
    if (is_finite(sum_of(node.least, query.area, kind_))) {  // a pair may be as it is
        const double inter = largest_intersection(query.box, all, node.wide, node.tall);
        value = largest(inter, node.least, node.most, query.area, kind_);
    }
    if (!is_finite(sum_of(node.most, query.area, kind_))) {                        // a pair may be rescaled
        const double scale = Limits<double>::rescale, up = scale * (1 + 0x1p-50);  // it rounds where it underflows
        const double inter = largest_intersection(query.scaled, scaled(all, scale), node.wide * up + 0x1p-1070,
                                                  node.tall * up + 0x1p-1070);
        value = greater(value, largest(inter, node.scaled_least, node.scaled_most, query.scaled_area, kind_));
    }
    return value;
}

// The same from the ranges of their coordinates. A box overlaps the query more, never less, when one of its coordinates
// moves towards the query's: none overlaps it more than the box whose coordinates are as near as the ranges allow.
// Exact but for the rounding, which is small as long as the query's area is ordinary.
double MovingTree::by_place(const Query& query, const Node& node) const {
    const double least = kind_ == Measure::ios ? lesser(query.area, node.least) : query.area;
    if (!(least > Limits<double>::tiny)) return 1;
    const Box<double>& b = query.box;
    const Box<double> nearest = {within(b.x1, node.low.x1, node.high.x1), within(b.y1, node.low.y1, node.high.y1),
                                 within(b.x2, node.low.x2, node.high.x2), within(b.y2, node.low.y2, node.high.y2)};
    return lesser(1.0, pair(query, nearest, area(nearest)) * (1 + 0x1p-46) + 0x1p-150);
}

MovingTree::Match MovingTree::best(const Box<double>& box, double least, int64_t without) {
    Query query = {box, scaled(box, Limits<double>::rescale), area(box), 0, without, {least, kNone}};
    query.scaled_area = area(query.scaled);
    ++searches_;
    if (!(query.area > 0)) return query.match;
    if (levels_.size() > 1) {
        look(query, int(levels_.size()) - 1, 0);
    } else {
        compared_ += places();
        for (const Node& other : levels_[0]) meet(query, other);
    }
    return query.match;
}

void MovingTree::meet(Query& query, const Node& other) const {
    if (!meets(query.box, other.low) || other.name == query.without) return;
    const double value = pair(query, other.low, other.least);
    if (!query.is_out(value, other.name)) query.match = {value, other.name};
}

// The best below a node: the child of the largest bound first.
void MovingTree::look(Query& query, int level, int64_t k) {
    const std::vector<Node>& below = levels_[size_t(level) - 1];
    const int64_t first = k * kFan, last = first + kFan < int64_t(below.size()) ? first + kFan : int64_t(below.size());
    compared_ += last - first;
    if (level == 1) {
        for (int64_t c = first; c < last; ++c) meet(query, below[size_t(c)]);
        return;
    }
    struct Child {
        double bound;
        int64_t name, k;
    } child[kFan];
    int count = 0;
    for (int64_t c = first; c < last; ++c) {
        const Node& node = below[size_t(c)];
        if (!meets(query.box, hull(node.low, node.high))) continue;
        double value = by_place(query, node);
        if (query.is_out(value, node.name)) continue;
        value = lesser(value, by_area(query, node));
        if (query.is_out(value, node.name)) continue;
        int at = count++;
        for (; at > 0 &&
               (value > child[at - 1].bound || (value == child[at - 1].bound && node.name < child[at - 1].name));
             --at) {
            child[at] = child[at - 1];
        }
        child[at] = {value, node.name, c};
    }
    for (int c = 0; c < count; ++c) {
        if (!query.is_out(child[c].bound, child[c].name)) look(query, level - 1, child[c].k);
    }
}

}  // namespace fastdet
