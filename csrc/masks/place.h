// Where a pixel of an image lies between the values of a mask: the arithmetic that the CPU and the GPU share.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace fastdet {

// The value before a pixel, and the weight of the next one.
struct MaskPlace {
    int64_t before;
    float weight;
};

// at >= -1; the value before it is size - 1 at most. The weight is rounded once: `at` has no frame added.
FASTDET_HD MaskPlace place_of(double at, double size) {
    int64_t before = int64_t(at);
    if (double(before) > at) --before;  // rounded down
    if (before > int64_t(size) - 1) before = int64_t(size) - 1;
    return {before, float(at - double(before))};
}

// Of a mask that is pasted into a box from `low` on; step: values a pixel. Zeros are at -1 and below, and at `size` and
// above.
FASTDET_HD double pasted_at(double pixel, double low, double step) { return (pixel + 0.5 - low) * step - 0.5; }

// Of values of the whole image, beyond which the outermost ones go on.
FASTDET_HD double clamped_at(double pixel, double step, double size) {
    const double at = (pixel + 0.5) * step - 0.5;
    return at < 0 ? 0 : at > size - 1 ? size - 1 : at;
}

}  // namespace fastdet
