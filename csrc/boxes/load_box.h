// Loads and stores of boxes in a GPU's memory.
#pragma once

#include "boxes/box.h"
#include "cuda/launch.h"

namespace fastdet {

// Boxes in GPU memory begin at multiples of 16 bytes (python/cuda.h checks): one or two loads a box.
__device__ inline Box<float> load_box(const Box<float>* p) {
    const float4 v = *reinterpret_cast<const float4*>(p);
    return {v.x, v.y, v.z, v.w};
}
__device__ inline Box<double> load_box(const Box<double>* p) {
    const double2 a = reinterpret_cast<const double2*>(p)[0], b = reinterpret_cast<const double2*>(p)[1];
    return {a.x, a.y, b.x, b.y};
}
__device__ inline void store_box(Box<float>* p, const Box<float>& b) {
    *reinterpret_cast<float4*>(p) = make_float4(b.x1, b.y1, b.x2, b.y2);
}
__device__ inline void store_box(Box<double>* p, const Box<double>& b) {
    reinterpret_cast<double2*>(p)[0] = make_double2(b.x1, b.y1);
    reinterpret_cast<double2*>(p)[1] = make_double2(b.x2, b.y2);
}

}  // namespace fastdet
