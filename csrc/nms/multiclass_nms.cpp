// Class-wise suppression over a batch: the candidates of each image, its NMS, and the padding of the result.
#include "nms/multiclass_nms.h"

#include "core/memory.h"
#include "core/order.h"
#include "core/threads.h"

namespace fastdet {

template <class T, class S>
int64_t multiclass_nms(const Box<T>* boxes, const S* scores, int64_t batch, int64_t n, int64_t classes,
                       const NmsOptions& options, Box<T>* out_boxes, S* out_scores, int64_t* out_labels,
                       int64_t* count) {
    int64_t bad = first_nan(&boxes->x1, batch * n * 4);
    if (bad >= 0) return 2 * bad;
    bad = first_nan(scores, batch * n * classes);
    if (bad >= 0) return 2 * bad + 1;

    const S score_threshold = S(*options.score_threshold);
    const int64_t max_output = options.max_output;
    const auto image = [&](int64_t b) {
        const S* mine = scores + b * n * classes;
        int64_t found = 0;
        for (int64_t k = 0; k < n * classes; ++k) found += mine[k] > score_threshold;
        Buffer<Box<T>> candidate(found);
        Buffer<S> value(found);
        Buffer<int64_t> label(found), keep(found);
        int64_t at = 0;  // another thread may write to the scores, so that more or fewer are found now
        for (int64_t i = 0; i < n && at < found; ++i) {
            for (int64_t c = 0; c < classes; ++c) {
                const S score = mine[i * classes + c];
                if (!(score > score_threshold)) continue;
                candidate[at] = boxes[b * n + i];
                value[at] = score;
                label[at] = c;
                if (++at == found) break;
            }
        }
        found = at;
        NmsOptions rest = options;
        rest.score_threshold = nullptr;  // done
        int64_t kept = nms(candidate.get(), value.get(), label.get(), found, rest, keep.get());
        if (kept < 0) kept = 0;  // a NaN that came after the check
        count[b] = kept;
        for (int64_t k = 0; k < max_output; ++k) {
            const bool real = k < kept;
            out_boxes[b * max_output + k] = real ? candidate[keep[k]] : Box<T>{0, 0, 0, 0};
            out_scores[b * max_output + k] = real ? value[keep[k]] : S(0);
            out_labels[b * max_output + k] = real ? label[keep[k]] : -1;
        }
    };
    if (batch * n * classes < 1 << 14) {
        for (int64_t b = 0; b < batch; ++b) image(b);
    } else {
        parallel_for(batch, image);
    }
    return -1;
}

template int64_t multiclass_nms(const Box<float>*, const float*, int64_t, int64_t, int64_t, const NmsOptions&,
                                Box<float>*, float*, int64_t*, int64_t*);
template int64_t multiclass_nms(const Box<float>*, const double*, int64_t, int64_t, int64_t, const NmsOptions&,
                                Box<float>*, double*, int64_t*, int64_t*);
template int64_t multiclass_nms(const Box<double>*, const float*, int64_t, int64_t, int64_t, const NmsOptions&,
                                Box<double>*, float*, int64_t*, int64_t*);
template int64_t multiclass_nms(const Box<double>*, const double*, int64_t, int64_t, int64_t, const NmsOptions&,
                                Box<double>*, double*, int64_t*, int64_t*);

}  // namespace fastdet
