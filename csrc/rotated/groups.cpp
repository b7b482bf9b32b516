// Overlaps of rotated boxes, group by group, of the detections and the true boxes of an image and class.
#include "rotated/groups.h"

#include "core/memory.h"
#include "core/pairs.h"
#include "core/threads.h"
#include "rotated/quads.h"
#include "rotated/rotated.h"

namespace fastdet {
namespace {

// Pairs from which a second thread has enough to do.
constexpr int64_t kThreadPairs = 1 << 15;

}  // namespace

void rotated_iou_of_groups(const RotatedGroups& a, const RotatedGroups& b, int numbers, const bool* crowd,
                           double* out) {
    const std::vector<int64_t> first = pair_starts(a.start, b.start);
    const int64_t groups = int64_t(a.start.size()) - 1;
    const auto run = [&](int64_t group) {
        double* to = out + first[size_t(group)];
        for (int64_t i = a.start[size_t(group)]; i < a.start[size_t(group) + 1]; ++i) {
            const double* box = a.boxes + numbers * a.row[size_t(i)];
            Rect rect{};
            if (numbers == 5) rect = rect_of(box, {true, false});
            for (int64_t j = b.start[size_t(group)]; j < b.start[size_t(group) + 1]; ++j) {
                const int64_t row = b.row[size_t(j)];
                const double* other = b.boxes + numbers * row;
                if (numbers == 5) {
                    *to++ = rotated_measure(rect, rect_of(other, {true, false}),
                                            crowd[row] ? RotatedMeasure::iof : RotatedMeasure::iou);
                } else {
                    *to++ = quad_overlap(box, other, crowd[row]);
                }
            }
        }
    };
    if (first.back() < kThreadPairs || get_num_threads() == 1) {
        for (int64_t group = 0; group < groups; ++group) run(group);
        return;
    }
    parallel_for(groups, run);
}

}  // namespace fastdet
