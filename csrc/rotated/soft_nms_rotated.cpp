// Soft suppression of rotated boxes. The best box is found by the best scores of blocks; the boxes that it can meet by
// the upright boxes around them.
#include <cstring>

#include "core/memory.h"
#include "core/order.h"
#include "core/work.h"
#include "rotated/columns.h"
#include "rotated/nms_rotated.h"

namespace fastdet {
namespace {

constexpr int64_t kBlock = 256;  // boxes that share one best score, and that are compared in one go

template <class T>
struct Soft {
    const RotatedSoftOptions& options;
    int64_t n;
    Buffer<T> score, best;  // of a box, -1 where it is gone; of a block
    T lowest, threshold, sigma;

    Soft(const RotatedSoftOptions& o, int64_t n)
        : options(o),
          n(n),
          score(n),
          best((n + kBlock - 1) / kBlock),
          lowest(T(o.min_score)),
          threshold(T(o.threshold)),
          sigma(T(o.sigma)) {}

    void look(int64_t block) {
        const int64_t first = block * kBlock, last = first + kBlock < n ? first + kBlock : n;
        T found = -1;
        for (int64_t i = first; i < last; ++i) found = score[i] > found ? score[i] : found;
        best[block] = found;
    }
    // The box of the best score, of equals the first; -1 where none is left.
    int64_t next() const {
        const int64_t blocks = (n + kBlock - 1) / kBlock;
        int64_t block = 0;
        for (int64_t k = 1; k < blocks; ++k) block = best[k] > best[block] ? k : block;
        if (!n || !(best[block] >= 0)) return -1;
        int64_t i = block * kBlock;
        while (score[i] != best[block]) ++i;
        return i;
    }
    void weigh(int64_t i, double measure) {
        const T iou = T(measure);
        T weight = 1;
        if (options.gaussian) {
            weight = lanes::exp_negative(-(iou * iou) / sigma);
        } else if (iou >= threshold) {
            weight = T(1) - iou;
        }
        const T value = score[i] * weight;
        score[i] = value >= lowest ? value : T(-1);  // infinity times 0 is NaN, and gone
    }
};

}  // namespace

template <class T>
int64_t soft_nms_rotated(const T* boxes, const T* scores, const int64_t* keys, int64_t n,
                         const RotatedSoftOptions& options, int64_t* keep, T* new_scores) {
    int64_t bad = first_nan(boxes, 5 * n);
    if (bad >= 0) return -1 - 2 * (bad / 5);
    bad = first_nan(scores, n);
    if (bad >= 0) return -2 - 2 * bad;

    const int64_t stride = n + kRotatedPad;
    Buffer<double> memory(kRotatedColumns * stride);
    const RotatedColumns columns = columns_in(memory.get(), stride);
    Buffer<Rect> rect(n);
    Buffer<int64_t> key(n);
    bool extreme = false;
    Soft<T> soft(options, n);
    for (int64_t i = 0; i < stride; ++i) {
        Rect r{0, 0, 0, 0, 1, 0};
        if (i < n) {
            r = rect[i] = rect_of(boxes + 5 * i, options.angles);
            extreme |= is_valid(r) && !is_ordinary(r);
            const T score = scores[i];
            soft.score[i] = score >= soft.lowest ? score : T(-1);
            key[i] = keys ? keys[i] : 0;
        }
        put_column(columns, i, r);
    }
    for (int64_t block = 0; block * kBlock < n; ++block) soft.look(block);

    int64_t kept = 0, pairs = 0;
    while (kept != options.max_output) {
        const int64_t i = soft.next();
        if (i < 0) break;
        keep[kept] = i;
        new_scores[kept++] = soft.score[i];
        soft.score[i] = -1;
        for (int64_t first = 0; first < n; first += kBlock) {
            const int64_t block = first / kBlock, last = first + kBlock < n ? first + kBlock : n;
            if (!(soft.best[block] >= 0)) continue;
            int32_t near[kBlock + kRotatedPad];
            double found[kBlock + kRotatedPad];
            int64_t count = 0;
            if (extreme) {
                for (int64_t j = first; j < last; ++j) near[count++] = int32_t(j);
            } else if (columns.reach_x[i] >= 0) {
                count = rotated_loops().meeting(columns, i, first, last, near);
            }
            int64_t alive = 0;
            for (int64_t k = 0; k < count; ++k) {
                const int32_t j = near[k];
                near[alive] = j;
                alive += soft.score[j] >= 0 && key[j] == key[i];
            }
            for (int k = 0; k < kRotatedPad; ++k) near[alive + k] = int32_t(i);
            if (extreme) {
                for (int64_t k = 0; k < alive; ++k)
                    found[k] = rotated_measure(rect[i], rect[near[k]], RotatedMeasure::iou);
            } else if (alive) {
                rotated_loops().measure(columns, rect[i], near, alive, RotatedMeasure::iou, found);
            }
            for (int64_t k = 0; k < alive; ++k) soft.weigh(near[k], found[k]);
            pairs += last - first;
            if (alive || block == i / kBlock) soft.look(block);
        }
    }
    count_pairs(pairs);
    return kept;
}

template int64_t soft_nms_rotated(const float*, const float*, const int64_t*, int64_t, const RotatedSoftOptions&,
                                  int64_t*, float*);
template int64_t soft_nms_rotated(const double*, const double*, const int64_t*, int64_t, const RotatedSoftOptions&,
                                  int64_t*, double*);

}  // namespace fastdet
