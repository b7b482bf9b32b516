// A tree of hulls over boxes that move. See tree.h.
#include "fusion/tree.h"

#include <limits>

#include "boxes/places.h"
#include "core/work.h"

namespace fastdet {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

bool meets(const Box<double>& a, const Box<double>& b) {
    return lesser(a.x2, b.x2) > greater(a.x1, b.x1) && lesser(a.y2, b.y2) > greater(a.y1, b.y1);
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
    return {{kInfinite, kInfinite, -kInfinite, -kInfinite}, kInfinite, 0, kInfinite, 0, kNothing};
}

// A box that overlaps none by more than 0 is nothing.
MovingTree::Node MovingTree::node(const Box<double>& box, int64_t name) {
    const double size = area(box);
    if (!(size > 0) || !is_finite(box.x1) || !is_finite(box.y1) || !is_finite(box.x2) || !is_finite(box.y2)) {
        return nothing();
    }
    const double small = area(scaled(box, Limits<double>::rescale));
    return {box, size, size, small, small, name};
}

void MovingTree::join(Node& to, const Node& from) {
    to.hull = {lesser(to.hull.x1, from.hull.x1), lesser(to.hull.y1, from.hull.y1), greater(to.hull.x2, from.hull.x2),
               greater(to.hull.y2, from.hull.y2)};
    to.least = lesser(to.least, from.least), to.most = greater(to.most, from.most);
    to.scaled_least = lesser(to.scaled_least, from.scaled_least);
    to.scaled_most = greater(to.scaled_most, from.scaled_most);
    to.name = from.name < to.name ? from.name : to.name;
}

MovingTree::MovingTree(const std::vector<Box<double>>& boxes, const std::vector<int64_t>& names, Measure kind)
    : kind_(kind), leaf_(boxes.size()) {
    const size_t n = boxes.size();
    std::vector<Place> order(n);
    for (size_t i = 0; i < n; ++i) order[i] = place_of(boxes[i], int32_t(i));
    sort_places(order.data(), int64_t(n), kFan);
    levels_.emplace_back(n);
    for (size_t k = 0; k < n; ++k) {
        const size_t place = size_t(order[k].at);
        leaf_[place] = int64_t(k);
        levels_[0][k] = names[place] == kNone ? nothing() : node(boxes[place], names[place]);
    }
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

void MovingTree::put(int64_t place, const Box<double>& box, int64_t name) { set(place, node(box, name)); }
void MovingTree::clear(int64_t place) { set(place, nothing()); }

double MovingTree::bound(const Query& query, const Node& hull) const {
    double value = 0;
    if (is_finite(sum_of(hull.least, query.area, kind_))) {  // a pair may be as it is
        value = largest(intersection(query.box, hull.hull), hull.least, hull.most, query.area, kind_);
    }
    if (!is_finite(sum_of(hull.most, query.area, kind_))) {  // a pair may be rescaled
        const double inter = intersection(query.scaled, scaled(hull.hull, Limits<double>::rescale));
        value = greater(value, largest(inter, hull.scaled_least, hull.scaled_most, query.scaled_area, kind_));
    }
    return value;
}

MovingTree::Match MovingTree::best(const Box<double>& box, double least, int64_t without) {
    Query query = {box, scaled(box, Limits<double>::rescale), area(box), 0, without, {least, kNone}};
    query.scaled_area = area(query.scaled);
    ++searches_;
    if (query.area > 0 && !levels_.back().empty()) {
        if (levels_.size() == 1) {
            const Node& only = levels_[0][0];
            if (meets(box, only.hull) && only.name != without) {
                const double value = measure(box, only.hull, kind_, false, 0.0);
                if (!query.is_out(value, only.name)) query.match = {value, only.name};
            }
        } else {
            look(query, int(levels_.size()) - 1, 0);
        }
    }
    return query.match;
}

// The best below a node: the child of the largest bound first.
void MovingTree::look(Query& query, int level, int64_t k) {
    const std::vector<Node>& below = levels_[size_t(level) - 1];
    const int64_t first = k * kFan, last = first + kFan < int64_t(below.size()) ? first + kFan : int64_t(below.size());
    compared_ += last - first;
    if (level == 1) {
        for (int64_t c = first; c < last; ++c) {
            const Node& other = below[size_t(c)];
            if (!meets(query.box, other.hull) || other.name == query.without) continue;
            const double value = measure(query.box, other.hull, kind_, false, 0.0);
            if (!query.is_out(value, other.name)) query.match = {value, other.name};
        }
        return;
    }
    struct Child {
        double bound;
        int64_t name, k;
    } child[kFan];
    int count = 0;
    for (int64_t c = first; c < last; ++c) {
        const Node& hull = below[size_t(c)];
        if (!meets(query.box, hull.hull)) continue;
        const double value = bound(query, hull);
        if (query.is_out(value, hull.name)) continue;
        int at = count++;
        for (; at > 0 &&
               (value > child[at - 1].bound || (value == child[at - 1].bound && hull.name < child[at - 1].name));
             --at) {
            child[at] = child[at - 1];
        }
        child[at] = {value, hull.name, c};
    }
    for (int c = 0; c < count; ++c) {
        if (!query.is_out(child[c].bound, child[c].name)) look(query, level - 1, child[c].k);
    }
}

}  // namespace fastdet
