// Merge boxes: replace the pair of maximum overlap by its mean, until no pair is above the threshold.
#include <algorithm>
#include <optional>
#include <vector>

#include "fusion/fusion.h"
#include "fusion/tree.h"

namespace fastdet {
namespace {

// The merge of one call. Each box knows a pair: itself and the box that it overlapped most when it last looked. A pair
// one of whose boxes has changed since stands for an overlap that is no longer there. It is a bound all the same, since
// what has changed has looked itself: so the best of all pairs is the next to merge, or one whose owner looks again.
class Merge {
  public:
    Merge(Box<double>* boxes, int64_t n, double threshold, Measure kind, int64_t* owner)
        : boxes_(boxes),
          threshold_(threshold),
          kind_(kind),
          owner_(owner),
          age_(size_t(n)),
          looks_(size_t(n)),
          left_(n) {
        for (int64_t i = 0; i < n; ++i) owner_[i] = i;
        plant();
        pairs_.reserve(size_t(n));
        for (const int64_t i : tree_->names()) look(i, false);  // in this order what it reads is near
        std::make_heap(pairs_.begin(), pairs_.end());
    }
    void run() {
        while (!pairs_.empty()) {
            std::pop_heap(pairs_.begin(), pairs_.end());
            const Pair top = pairs_.back();
            pairs_.pop_back();
            const int64_t mine = top.mine ? top.low : top.high, other = top.mine ? top.high : top.low;
            if (owner_[mine] != mine || looks_[size_t(mine)] != top.look) continue;
            if (owner_[other] != other || age_[size_t(other)] != top.age) {
                look(mine, true);
            } else {
                merge(top.low, top.high);
            }
        }
    }

  private:
    struct Pair {
        double value;
        int64_t low, high;  // the boxes
        int32_t look, age;  // how often its owner has looked, and the other box has changed
        bool mine;          // the lower one is the owner
        bool operator<(const Pair& other) const {
            return value != other.value ? value < other.value : low != other.low ? low > other.low : high > other.high;
        }
    };

    void look(int64_t i, bool in_heap) {
        if (tree_->is_worn() || 2 * left_ < planted_) plant();
        ++looks_[size_t(i)];
        const MovingTree::Match match = tree_->best(boxes_[i], threshold_, i);
        if (match.name == kNone) return;
        const int64_t other = match.name;
        pairs_.push_back(
            {match.value, std::min(i, other), std::max(i, other), looks_[size_t(i)], age_[size_t(other)], i < other});
        if (in_heap) std::push_heap(pairs_.begin(), pairs_.end());
    }
    void merge(int64_t i, int64_t j) {
        Box<double>&a = boxes_[i], &b = boxes_[j];
        a = {0.5 * a.x1 + 0.5 * b.x1, 0.5 * a.y1 + 0.5 * b.y1, 0.5 * a.x2 + 0.5 * b.x2, 0.5 * a.y2 + 0.5 * b.y2};
        owner_[j] = i, --left_;
        ++age_[size_t(i)];
        tree_->clear(place_[size_t(j)]);
        tree_->put(place_[size_t(i)], a, i);
        look(i, true);
    }
    // The tree of the boxes that are left, where they are now.
    void plant() {
        std::vector<Box<double>> boxes;
        std::vector<int64_t> names;
        boxes.reserve(size_t(left_)), names.reserve(size_t(left_));
        place_.resize(age_.size());
        for (int64_t i = 0; i < int64_t(age_.size()); ++i) {
            if (owner_[i] != i) continue;
            place_[size_t(i)] = int64_t(names.size());
            boxes.push_back(boxes_[i]), names.push_back(i);
        }
        left_ = planted_ = int64_t(names.size());
        tree_.reset();
        tree_.emplace(boxes, names, kind_);
    }

    Box<double>* boxes_;
    double threshold_;
    Measure kind_;
    int64_t* owner_;
    std::vector<int32_t> age_, looks_;
    std::vector<int64_t> place_;      // in the tree
    int64_t left_ = 0, planted_ = 0;  // boxes: now, and when the tree was built
    std::optional<MovingTree> tree_;
    std::vector<Pair> pairs_;  // a heap
};

}  // namespace

void merge_boxes(Box<double>* boxes, int64_t n, double threshold, Measure kind, int64_t* owner) {
    Merge(boxes, n, threshold, kind, owner).run();
    for (int64_t i = 0; i < n; ++i) {  // an owner has a lower index, so it is resolved already
        if (owner[i] != i) owner[i] = owner[owner[i]];
    }
}

MergedBoxes merge_boxes_by_score(Box<double>* boxes, const double* scores, int64_t n, double threshold, Measure kind,
                                 int64_t* groups) {
    merge_boxes(boxes, n, threshold, kind, groups);
    std::vector<int64_t> rank;  // rows of the merged boxes, by falling score
    std::vector<double> total;
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {  // slots to rows; an owner comes before what it owns
        if (groups[i] == i) {
            boxes[count] = boxes[i];
            rank.push_back(count);
            total.push_back(0);
            groups[i] = count++;
        } else {
            groups[i] = groups[groups[i]];
        }
        total[size_t(groups[i])] += scores[i];
    }
    std::stable_sort(rank.begin(), rank.end(), [&](int64_t a, int64_t b) {  // a NaN comes last
        const double x = total[size_t(a)], y = total[size_t(b)];
        return y != y ? x == x : x > y;
    });
    MergedBoxes merged;
    std::vector<int64_t> place(rank.size());
    for (size_t row = 0; row < rank.size(); ++row) {
        const size_t from = size_t(rank[row]);
        place[from] = int64_t(row);
        merged.boxes.push_back(boxes[from]);
        merged.scores.push_back(total[from]);
    }
    for (int64_t i = 0; i < n; ++i) groups[i] = place[size_t(groups[i])];
    return merged;
}

}  // namespace fastdet
