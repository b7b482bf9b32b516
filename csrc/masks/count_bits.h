// How many pixels two masks have in common, as words of bits or as columns, and which boxes meet.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace fastdet {

struct CountLoops {
    // lines of n words each; the next line is step words on
    int64_t (*common)(const uint64_t* a, int64_t step_a, const uint64_t* b, int64_t step_b, int64_t lines, int64_t n);
    // Of n columns the sum of the rows from the larger start to the smaller end. Behind the columns of one of the two
    // there are 31 that start and end at 0.
    int64_t (*meet)(const int16_t* start_a, const int16_t* end_a, const int16_t* start_b, const int16_t* end_b,
                    int64_t n);
    // Which of 64 boxes, corners[0..3] their x1, y1, x2 and y2, may meet a box: all that do, and those that touch it.
    uint64_t (*near)(const float (*corners)[64], const float* box);
};
const CountLoops& count_loops();

}  // namespace fastdet
