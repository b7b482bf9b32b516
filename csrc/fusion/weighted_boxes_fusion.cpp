// Weighted boxes fusion: each box joins the fused box of maximum overlap, or starts a new one.
#include <algorithm>
#include <numeric>
#include <vector>

#include "fusion/fusion.h"

namespace fastdet {

int64_t fuse_sorted_boxes(const Box<double>* boxes, const double* scores, const int64_t* labels, int64_t n,
                          double threshold, Box<double>* fused, int64_t* group) {
    struct Sum {
        double score, x1, y1, x2, y2;
    };
    std::vector<Sum> sums;
    int64_t count = 0, first = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (i && labels[i] != labels[i - 1]) first = count;
        const Box<double>& b = boxes[i];
        double best = threshold;
        int64_t at = count;
        for (int64_t k = first; k < count; ++k) {
            const double value = measure(b, fused[k], Measure::iou, false, 0.0);
            if (value != value) {  // of sums that overflowed: it joins nothing
                at = count;
                break;
            }
            if (value > best) best = value, at = k;
        }
        if (at == count) {
            sums.push_back({0, 0, 0, 0, 0});
            ++count;
        }
        group[i] = at;
        Sum& s = sums[size_t(at)];
        s.score += scores[i];
        s.x1 += scores[i] * b.x1, s.y1 += scores[i] * b.y1, s.x2 += scores[i] * b.x2, s.y2 += scores[i] * b.y2;
        fused[at] = s.score > 0 ? Box<double>{s.x1 / s.score, s.y1 / s.score, s.x2 / s.score, s.y2 / s.score} : b;
    }
    return count;
}

namespace {

// The sums from which the score of a fused box is computed.
struct Cluster {
    int64_t members = 0;
    double total = 0, top = 0, weight = 0;  // sum and maximum of the weighted scores, sum of the models' shares
};

// The sum of the shares, one after the other, each times factor(model).
template <class F>
double sum_of_shares(const std::vector<double>& share, F&& factor) {
    double sum = 0;
    for (size_t m = 0; m < share.size(); ++m) sum += double(factor(m)) * share[m];
    return sum;
}

double confidence_of(const Cluster& c, const uint8_t* present, const FusionRule& rule) {
    const std::vector<double>& share = rule.share;
    const auto every = [](size_t) { return 1; };
    const double mean = c.total / double(c.members);
    switch (rule.confidence) {
        case Confidence::max:
            return c.top / *std::max_element(share.begin(), share.end());
        case Confidence::average: {
            const int64_t models = int64_t(share.size());
            const int64_t used = rule.allows_overflow || c.members < models ? c.members : models;
            return mean * double(used) / sum_of_shares(share, every);
        }
        case Confidence::box_and_model: {
            const double seen = sum_of_shares(share, [&](size_t m) { return present[m]; });
            return mean * double(c.members) / (c.weight > 0 ? c.weight : 1) * seen / sum_of_shares(share, every);
        }
        default: {
            const double whole = c.weight + sum_of_shares(share, [&](size_t m) { return !present[m]; });
            return mean * double(c.members) / (whole > 0 ? whole : 1);
        }
    }
}

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
    const size_t n = order.size(), models = rule.share.size();
    std::vector<Box<double>> boxes(n), fused(n);
    std::vector<double> scores(n);
    std::vector<int64_t> labels(n), group(n);
    for (size_t i = 0; i < n; ++i) {
        boxes[i] = input.boxes[order[i]], scores[i] = weighted[order[i]], labels[i] = input.labels[order[i]];
    }
    const size_t count = size_t(fuse_sorted_boxes(boxes.data(), scores.data(), labels.data(), int64_t(n),
                                                  rule.threshold, fused.data(), group.data()));

    std::vector<Cluster> clusters(count);
    std::vector<uint8_t> present(count * models);
    std::vector<int64_t> label(count);
    for (size_t i = 0; i < n; ++i) {
        const size_t g = size_t(group[i]), m = size_t(input.model[order[i]]);
        Cluster& c = clusters[g];
        ++c.members;
        c.total += scores[i], c.weight += rule.share[m];
        if (scores[i] > c.top) c.top = scores[i];
        present[g * models + m] = 1;
        label[g] = labels[i];
    }
    std::vector<double> score(count);
    for (size_t g = 0; g < count; ++g) score[g] = confidence_of(clusters[g], present.data() + g * models, rule);
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
