// Weighted boxes fusion: each box joins the fused box of maximum overlap, or starts a new one.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "core/work.h"
#include "fusion/fusion.h"
#include "fusion/tree.h"

namespace fastdet {

namespace {

// The fused boxes of one label. A box is compared with each while they are few, else with those that a tree finds.
class FusedBoxesOfLabel {
  public:
    FusedBoxesOfLabel(const Box<double>* boxes, const Box<double>* fused, double threshold)
        : boxes_(boxes), fused_(fused), threshold_(threshold) {}
    ~FusedBoxesOfLabel() { count_pairs(compared_); }
    FusedBoxesOfLabel(const FusedBoxesOfLabel&) = delete;
    FusedBoxesOfLabel& operator=(const FusedBoxesOfLabel&) = delete;

    // Boxes [at, end) have the next label. There are `count` fused boxes.
    void begin(int64_t at, int64_t end, int64_t count) {
        next_ = at, end_ = end, first_ = count_ = count, lost_ = false;
        tree_.reset();
    }
    // The fused box that box i, the next one, joins; the number of the next fused box if none.
    int64_t find(const Box<double>& b) {
        ++next_;
        if (lost_) return count_;
        if (tree_) return of_tree(b);
        return count_ - first_ < kFew ? of_all(b) : (plant(), of_tree(b));
    }
    // The fused box `at` has changed, or is new.
    void changed(int64_t at) {
        if (at == count_) {
            ++count_;
            if (tree_) place_.push_back(next_ - planted_);
        }
        lost_ |= is_nan(fused_[at]);
        if (tree_) tree_->put(place_[size_t(at - first_)], fused_[at], at);
    }

  private:
    static constexpr int64_t kFew = 128;

    int64_t of_all(const Box<double>& b) {
        double best = threshold_;
        int64_t at = count_;
        for (int64_t k = first_; k < count_; ++k) {
            const Box<double>& f = fused_[k];
            if (!(lesser(b.x2, f.x2) > greater(b.x1, f.x1)) || !(lesser(b.y2, f.y2) > greater(b.y1, f.y1))) continue;
            const double value = measure(b, f, Measure::iou, false, 0.0);
            if (value > best) best = value, at = k;
        }
        compared_ += count_ - first_;
        return at;
    }
    int64_t of_tree(const Box<double>& b) {
        if (tree_->is_worn()) plant();
        const int64_t at = tree_->best(b, threshold_, kNone).name;
        return at == kNone ? count_ : at;
    }
    // The tree has places for the fused boxes, and for those that the box at hand and the later ones may begin.
    void plant() {
        const int64_t here = count_ - first_;
        std::vector<Box<double>> boxes(fused_ + first_, fused_ + count_);
        boxes.insert(boxes.end(), boxes_ + next_ - 1, boxes_ + end_);
        std::vector<int64_t> names(boxes.size(), kNone);
        place_.resize(size_t(here));
        for (int64_t k = 0; k < here; ++k) names[size_t(k)] = first_ + k, place_[size_t(k)] = k;
        planted_ = next_ - here;
        tree_.reset();
        tree_.emplace(boxes, names, Measure::iou);
    }

    const Box<double>*boxes_, *fused_;
    double threshold_;
    int64_t next_ = 0, end_ = 0;     // of the boxes: behind the one at hand, and behind the label's last
    int64_t first_ = 0, count_ = 0;  // the label's fused boxes
    bool lost_ = false;              // a sum of one overflowed to a NaN: no further box joins any
    std::optional<MovingTree> tree_;
    int64_t planted_ = 0;         // the place of a new fused box is next_ less this
    std::vector<int64_t> place_;  // in the tree, of each fused box
    int64_t compared_ = 0;
};

}  // namespace

int64_t fuse_sorted_boxes(const Box<double>* boxes, const double* scores, const int64_t* labels, int64_t n,
                          double threshold, Box<double>* fused, int64_t* group) {
    struct Sum {
        double score, x1, y1, x2, y2;
    };
    std::vector<Sum> sums;
    FusedBoxesOfLabel alike(boxes, fused, threshold);
    for (int64_t i = 0, end = 0; i < n; ++i) {
        if (i == end) {
            while (end < n && labels[end] == labels[i]) ++end;
            alike.begin(i, end, int64_t(sums.size()));
        }
        const Box<double>& b = boxes[i];
        const int64_t at = alike.find(b);
        if (at == int64_t(sums.size())) sums.push_back({0, 0, 0, 0, 0});
        group[i] = at;
        Sum& s = sums[size_t(at)];
        s.score += scores[i];
        s.x1 += scores[i] * b.x1, s.y1 += scores[i] * b.y1, s.x2 += scores[i] * b.x2, s.y2 += scores[i] * b.y2;
        fused[at] = s.score > 0 ? Box<double>{s.x1 / s.score, s.y1 / s.score, s.x2 / s.score, s.y2 / s.score} : b;
        alike.changed(at);
    }
    return int64_t(sums.size());
}

namespace {

// The sums from which the score of a fused box is computed.
struct Cluster {
    int64_t members = 0;
    double total = 0, top = 0, weight = 0;  // sum and maximum of the weighted scores, sum of the models' shares
};

// The models of each fused box, rising: models[first[g] .. first[g + 1]), some more than once.
struct Membership {
    std::vector<int32_t> models;
    std::vector<size_t> first;

    // group: of the boxes in the order of the models, -1 for those left out
    Membership(const std::vector<int64_t>& group, const std::vector<int32_t>& model, size_t count)
        : models(model.size()), first(count + 2) {
        for (const int64_t g : group) ++first[size_t(g + 2)];  // of box g of the result at g + 2; left out ones at 1
        first[1] = 0;
        for (size_t g = 2; g < first.size(); ++g) first[g] += first[g - 1];
        for (size_t i = 0; i < group.size(); ++i) {
            if (group[i] >= 0) models[first[size_t(group[i] + 1)]++] = model[i];
        }
    }
    // f(model) for each, once, rising
    template <class F>
    void each(size_t g, F&& f) const {
        for (size_t k = first[g]; k < first[g + 1]; ++k) {
            if (k == first[g] || models[k] != models[k - 1]) f(size_t(models[k]));
        }
    }
};

// Scores from clusters. Sums of shares are added one after the other in the order of the models, as the reference does.
class Scorer {
  public:
    // members: of the rules that need them
    Scorer(const FusionRule& rule, const std::optional<Membership>& members) : rule_(rule), members_(members) {
        for (const double share : rule.share) {
            sum_ += share, top_ = greater(top_, share);
            whole_ = whole_ && share == std::floor(share);
        }
        whole_ = whole_ && sum_ < 0x1p53;
    }
    double score(const Cluster& c, size_t g) const {
        const double mean = c.total / double(c.members);
        switch (rule_.confidence) {
            case Confidence::max:
                return c.top / top_;
            case Confidence::average: {
                const int64_t models = int64_t(rule_.share.size());
                const int64_t used = rule_.allows_overflow || c.members < models ? c.members : models;
                return mean * double(used) / sum_;
            }
            case Confidence::box_and_model:
                return mean * double(c.members) / (c.weight > 0 ? c.weight : 1) * seen(g) / sum_;
            default: {
                const double all = c.weight + absent(g);
                return mean * double(c.members) / (all > 0 ? all : 1);
            }
        }
    }

  private:
    double seen(size_t g) const {
        double sum = 0;
        members_->each(g, [&](size_t m) { sum += rule_.share[m]; });
        return sum;
    }
    double absent(size_t g) const {
        if (whole_) return sum_ - seen(g);  // exact
        double sum = 0;
        size_t next = 0;
        const auto add = [&](size_t end) {
            for (; next < end; ++next) sum += rule_.share[next];
        };
        members_->each(g, [&](size_t m) { add(m), ++next; });
        add(rule_.share.size());
        return sum;
    }

    const FusionRule& rule_;
    const std::optional<Membership>& members_;
    double sum_ = 0, top_ = 0;
    bool whole_ = true;  // shares are whole numbers, whose sums are exact
};

}  // namespace

FusedBoxes weighted_boxes_fusion(const FusionInput& input, const FusionRule& rule) {
    std::vector<size_t> order;
    std::vector<double> weighted(input.scores.size());
    for (size_t i = 0; i < input.scores.size(); ++i) {
        weighted[i] = input.scores[i] * rule.share[size_t(input.model[i])];
        if (input.scores[i] >= rule.min_score) order.push_back(i);
    }
    // by label, then by falling weighted score: fused boxes are then created in that order
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return input.labels[a] != input.labels[b] ? input.labels[a] < input.labels[b] : weighted[a] > weighted[b];
    });
    const size_t n = order.size();
    std::vector<Box<double>> boxes(n), fused(n);
    std::vector<double> scores(n);
    std::vector<int64_t> labels(n), group(n);
    for (size_t i = 0; i < n; ++i) {
        boxes[i] = input.boxes[order[i]], scores[i] = weighted[order[i]], labels[i] = input.labels[order[i]];
    }
    const size_t count = size_t(fuse_sorted_boxes(boxes.data(), scores.data(), labels.data(), int64_t(n),
                                                  rule.threshold, fused.data(), group.data()));

    std::vector<Cluster> clusters(count);
    std::vector<int64_t> label(count);
    for (size_t i = 0; i < n; ++i) {
        const size_t g = size_t(group[i]);
        Cluster& c = clusters[g];
        ++c.members;
        c.total += scores[i], c.weight += rule.share[size_t(input.model[order[i]])];
        if (scores[i] > c.top) c.top = scores[i];
        label[g] = labels[i];
    }
    std::optional<Membership> members;
    if (rule.confidence == Confidence::box_and_model || rule.confidence == Confidence::absent_model) {
        std::vector<int64_t> group_of(input.scores.size(), -1);
        for (size_t i = 0; i < n; ++i) group_of[order[i]] = group[i];
        members.emplace(group_of, input.model, count);
    }
    const Scorer scorer(rule, members);
    std::vector<double> score(count);
    for (size_t g = 0; g < count; ++g) score[g] = scorer.score(clusters[g], g);
    std::vector<size_t> rank(count);
    std::iota(rank.begin(), rank.end(), size_t(0));
    std::stable_sort(rank.begin(), rank.end(), [&](size_t a, size_t b) {  // NaN, of scores that overflowed, comes last
        return score[b] != score[b] ? score[a] == score[a] : score[a] > score[b];
    });
    FusedBoxes result;
    for (const size_t g : rank) {
        result.boxes.push_back(fused[g]);
        result.scores.push_back(score[g]);
        result.labels.push_back(label[g]);
    }
    return result;
}

}  // namespace fastdet
