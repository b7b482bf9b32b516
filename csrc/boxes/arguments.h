// Python's names of metrics and box formats, for the bindings of the CPU and of CUDA.
#pragma once

#include <stdexcept>
#include <string>

#include "boxes/transforms.h"

namespace fastdet {

inline Measure measure_of(const std::string& name) {
    static const char* const names[] = {"iou", "ios", "giou", "diou", "ciou"};
    for (int i = 0; i < 5; ++i) {
        if (name == names[i]) return Measure(i);
    }
    throw std::invalid_argument("fastdet: unknown measure " + name);
}

inline Format format_of(const std::string& name) {
    static const char* const names[] = {"xyxy", "xywh", "cxcywh"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return Format(i);
    }
    throw std::invalid_argument("fastdet: unknown format " + name);
}

}  // namespace fastdet
