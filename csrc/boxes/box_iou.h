// Overlap measures of all pairs of two sets of boxes, or of aligned ones.
#pragma once

#include <cstdint>

#include "boxes/box.h"
#include "core/isa.h"

namespace fastdet {

// out (n, m), or (n,) if aligned (n == m); crowd (m,) may be null. Throws std::bad_alloc.
template <class T>
void box_iou(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, Measure kind, bool aligned, const bool* crowd,
             double eps, T* out);

// For the loops, of ordinary boxes only: no NaN, no coordinate above Limits::large.

// Columns of boxes, padded to whole vectors by boxes that overlap nothing.
template <class T>
struct Columns {
    const T *x1, *y1, *x2, *y2;
    const T* area;
    const T* angle;  // as `angle` gives it; complete IoU only
    const T* crowd;  // 1 or 0; null without crowds
};

template <class T>
struct IouJob {
    const Box<T>* a;   // (n,)
    const T* area_a;   // (n,)
    const T* angle_a;  // (n,); complete IoU only
    Columns<T> b;      // m columns
    int64_t m;
    T* out;  // (n, m)
    Measure kind;
    T eps;
    bool stream;  // stores bypass the caches
};

template <class T>
struct BoxIouLoops {
    void (*rows)(const IouJob<T>&, int64_t first_row, int64_t last_row);
    void (*aligned)(const Box<T>* a, const Box<T>* b, const T* crowd, int64_t n, Measure, T eps, T* out);
};
using BoxIouKernels = ByFloat<BoxIouLoops>;
const BoxIouKernels& box_iou_kernels();

}  // namespace fastdet
