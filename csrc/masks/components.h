// Connected components of label maps, by runs of equal pixels.
#pragma once

#include <cstdint>
#include <vector>

#include "core/isa.h"

namespace fastdet {

struct ComponentLoops {
    // The start and the end of each run of equal integers other than 0 of a row of n, which has `bytes` each; returns
    // the number of runs. out: room for 2 n + 2.
    int64_t (*runs)(const void* row, int bytes, int64_t n, int32_t* out);
    // A row of the result: number[i] in run i, from runs[2 i] to runs[2 i + 1], and 0 elsewhere. Up to `room` numbers
    // from out on may be written, n or more: those behind the row are overwritten by a later call.
    void (*fill)(const int32_t* runs, const int32_t* number, int64_t count, int64_t n, int64_t room, int32_t* out);
};
const ComponentLoops& component_loops();

// Of the components of one map, in raster order of their first pixels.
struct Components {
    std::vector<int64_t> area, first;  // pixels; the place of the first pixel in the map
    std::vector<int32_t> box;          // x1 y1 x2 y2 each, half-open
};

// labels: integers of `bytes` 1, 2, 4 or 8; out: for each pixel the number of its component from 1 on, 0 where the
// label is 0. Fewer than 2^31 pixels. Throws std::bad_alloc.
Components connected_components(const void* labels, int bytes, int64_t height, int64_t width, bool eight, int32_t* out);

}  // namespace fastdet
