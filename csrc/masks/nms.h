// Suppression by the overlap of masks.
#pragma once

#include "masks/overlaps.h"

namespace fastdet {

// order: masks by falling score; keys: of all masks, those of one key suppress each other. Appends the masks that stay,
// most_kept at most, all where it is below 0.
void mask_nms(const MaskParts& masks, const std::vector<int64_t>& order, const std::vector<int64_t>& keys,
              double threshold, int64_t most_kept, bool smaller, std::vector<int64_t>& keep);

// decay (order.size(),): of a mask j and those before it, i, of its key, with the overlap of i and j and the largest
// overlap of i with one before i: the smallest (1 - overlap) / (1 - largest), at most 1; or, not linear, the smallest
// largest^2 - overlap^2, at most 0.
void matrix_nms(const MaskParts& masks, const std::vector<int64_t>& order, const std::vector<int64_t>& keys,
                bool linear, double* decay);

}  // namespace fastdet
