// Suppression by the overlap of masks: greedy, and matrix NMS.
#include "masks/nms.h"

#include <algorithm>

#include "masks/overlaps.h"

namespace fastdet {
namespace {

// The largest overlap that the boxes and areas of two masks allow.
double most(const MaskParts& masks, int64_t i, int64_t k, bool smaller) {
    const Extent &a = masks.extent(i), &b = masks.extent(k);
    const int64_t across = int64_t(std::min(a.x2, b.x2)) - std::max(a.x1, b.x1);
    const int64_t down = int64_t(std::min(a.y2, b.y2)) - std::max(a.y1, b.y1);
    const int64_t inter = std::min({across * down, masks.area(i), masks.area(k)});
    return mask_overlap(inter, masks.area(i), masks.area(k), smaller);
}

}  // namespace

void mask_nms(const MaskParts& masks, const std::vector<int64_t>& order, const std::vector<int64_t>& keys,
              double threshold, int64_t most_kept, bool smaller, std::vector<int64_t>& keep) {
    const CountLoops& loops = count_loops();
    for (const int64_t i : order) {
        if (most_kept >= 0 && int64_t(keep.size()) >= most_kept) return;
        const bool stays = std::all_of(keep.begin(), keep.end(), [&](int64_t k) {
            if (!masks.extent(i).meets(masks.extent(k)) || keys[size_t(i)] != keys[size_t(k)]) return true;
            if (!(most(masks, i, k, smaller) > threshold)) return true;
            const int64_t inter = masks.common(k, masks, i, loops);
            return !inter || !(mask_overlap(inter, masks.area(k), masks.area(i), smaller) > threshold);
        });
        if (stays) keep.push_back(i);
    }
}

void matrix_nms(const MaskParts& masks, const std::vector<int64_t>& order, const std::vector<int64_t>& keys,
                bool linear, double* decay) {
    const CountLoops& loops = count_loops();
    std::vector<double> most_before(order.size());
    for (size_t j = 0; j < order.size(); ++j) {
        const int64_t b = order[j];
        double least = linear ? 1 : 0, largest = 0;
        for (size_t i = 0; i < j; ++i) {
            const int64_t a = order[i];
            if (!masks.extent(a).meets(masks.extent(b)) || keys[size_t(a)] != keys[size_t(b)]) continue;
            const int64_t inter = masks.common(a, masks, b, loops);
            if (!inter) continue;
            const double overlap = mask_overlap(inter, masks.area(a), masks.area(b), false), before = most_before[i];
            largest = std::max(largest, overlap);
            if (!linear) {
                least = std::min(least, before * before - overlap * overlap);
            } else if (before < 1) {
                least = std::min(least, (1 - overlap) / (1 - before));
            }
        }
        most_before[j] = largest;
        decay[j] = least;
    }
}

}  // namespace fastdet
