// Weighted boxes fusion: each box joins the fused box that it overlaps by more than any other, or begins one.
#include <vector>

#include "fusion/fusion.h"

namespace fastdet {

int64_t weighted_boxes_fusion(const Box<double>* boxes, const double* scores, const int64_t* labels, int64_t n,
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

}  // namespace fastdet
