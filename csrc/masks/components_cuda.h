// Connected components on a GPU: launchers. Pointers are the device's.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// n maps of integers of `bytes` 1, 2, 4 or 8; fewer than 2^31 pixels in all.
struct ComponentMaps {
    const void* labels;
    int bytes;
    int64_t n, height, width;
    bool eight;
    int64_t pixels() const { return n * height * width; }
};

int64_t components_workspace(int64_t pixels);
// Finds the components. first: room for a number a pixel; the places of the first *count pixels, rising.
void find_components(const ComponentMaps& maps, void* workspace, int64_t* first, int64_t* count, cudaStream_t stream);

struct ComponentResults {
    int32_t* map;
    int64_t* area;     // (count,)
    double* box;       // (count, 4)
    void* label;       // (count,), as the maps' labels
    int64_t* offsets;  // (n + 1,)
};
// Numbers and measures them. workspace: as `find_components` left it; ends: room for 4 numbers a component.
void measure_components(const ComponentMaps& maps, void* workspace, const int64_t* first, int64_t count, int32_t* ends,
                        const ComponentResults& results, cudaStream_t stream);

}  // namespace fastdet
