// Scores as unsigned numbers that rise as the scores fall: equal for 0.0 and -0.0, the highest for a NaN only.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/macros.h"

namespace fastdet {

FASTDET_HD uint32_t falling_key(float x) {
    x += 0.0f;
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}
FASTDET_HD uint64_t falling_key(double x) {
    x += 0.0;
    uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? bits : ~bits & 0x7fffffffffffffffu;
}

}  // namespace fastdet
