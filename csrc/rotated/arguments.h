// Python's names of measures and formats of rotated boxes, for the bindings of the CPU and of CUDA.
#pragma once

#include <stdexcept>
#include <string>

#include "rotated/transforms.h"

namespace fastdet {

inline RotatedMeasure rotated_measure_of(const std::string& name) {
    static const char* const names[] = {"iou", "ios", "iof"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return RotatedMeasure(i);
    }
    throw std::invalid_argument("fastdet: unknown measure " + name);
}

inline RotatedFormat rotated_format_of(const std::string& name) {
    static const char* const names[] = {"cxcywhr", "xywhr", "xyxyxyxy"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return RotatedFormat(i);
    }
    throw std::invalid_argument("fastdet: unknown format " + name);
}

}  // namespace fastdet
