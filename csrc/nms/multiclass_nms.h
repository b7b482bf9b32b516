// Class-wise suppression over a batch of images, padded to a fixed shape.
#pragma once

#include "nms/nms.h"

namespace fastdet {

// boxes (batch, n), scores (batch, n, classes); outputs (batch, max_output) and count (batch,), padded with boxes 0,
// score 0, label -1. options.score_threshold is not null, options.max_output >= 0. Returns -1, or for a NaN its flat
// index times 2, plus 0 in boxes and 1 in scores. Throws std::bad_alloc.
template <class T, class S>
int64_t multiclass_nms(const Box<T>* boxes, const S* scores, int64_t batch, int64_t n, int64_t classes,
                       const NmsOptions& options, Box<T>* out_boxes, S* out_scores, int64_t* out_labels,
                       int64_t* count);

}  // namespace fastdet
