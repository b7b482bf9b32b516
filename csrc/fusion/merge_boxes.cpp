// Merge boxes: replace the pair of maximum overlap by its mean, until no pair is above the threshold.
#include <algorithm>
#include <vector>

#include "fusion/fusion.h"

namespace fastdet {
namespace {

double overlap(const Box<double>& a, const Box<double>& b, Measure kind) { return measure(a, b, kind, false, 0.0); }

}  // namespace

void merge_boxes(Box<double>* boxes, int64_t n, double threshold, Measure kind, int64_t* owner) {
    std::vector<int64_t> slots(static_cast<size_t>(n)),
        partner(static_cast<size_t>(n), -1);  // slots: those still alive, rising
    std::vector<double> best(static_cast<size_t>(n), -1.0);
    for (int64_t i = 0; i < n; ++i) slots[size_t(i)] = owner[i] = i;
    // each slot knows its best partner among the later ones: the first of equals
    const auto look = [&](int64_t i, size_t after) {
        best[size_t(i)] = -1, partner[size_t(i)] = -1;
        for (size_t k = after; k < slots.size(); ++k) {
            const double value = overlap(boxes[i], boxes[slots[k]], kind);
            if (value > best[size_t(i)]) best[size_t(i)] = value, partner[size_t(i)] = slots[k];
        }
    };
    for (int64_t i = 0; i < n; ++i) look(i, size_t(i) + 1);
    for (;;) {
        int64_t i = -1;
        double top = threshold;
        for (const int64_t slot : slots) {
            if (best[size_t(slot)] > top) top = best[size_t(slot)], i = slot;
        }
        if (i < 0) break;
        const int64_t j = partner[size_t(i)];
        Box<double>&a = boxes[i], &b = boxes[j];
        a = {0.5 * a.x1 + 0.5 * b.x1, 0.5 * a.y1 + 0.5 * b.y1, 0.5 * a.x2 + 0.5 * b.x2, 0.5 * a.y2 + 0.5 * b.y2};
        owner[j] = i;
        for (size_t k = 0, to = 0; k < slots.size(); ++k) {
            if (slots[k] != j) slots[to++] = slots[k];
        }
        slots.pop_back();
        for (size_t k = 0; k < slots.size(); ++k) {
            const int64_t slot = slots[k];
            const int64_t with = partner[size_t(slot)];
            if (slot == i || with == i || with == j) {
                look(slot, k + 1);
            } else if (slot < i) {
                const double value = overlap(a, boxes[slot], kind);
                double& its = best[size_t(slot)];
                if (value > its || (value == its && i < with)) its = value, partner[size_t(slot)] = i;
            }
        }
    }
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
    std::stable_sort(rank.begin(), rank.end(),
                     [&](int64_t a, int64_t b) { return total[size_t(a)] > total[size_t(b)]; });
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
