// Unpooling, and the gradients of pooling and unpooling. See max_pool2d.h for images and windows.
#pragma once

#include "pool/max_pool2d.h"

namespace fastdet {

// Between pooled images and images of the size before pooling.
struct PlaceJob {
    PoolType type;
    const void* x;        // scatter: (planes, rows, columns, inner); gather: (planes, height, width, inner)
    const void* indices;  // (planes, rows, columns, inner), int64_t or uint8_t as above
    bool compact;
    bool add;      // scatter: sums what falls together, instead of keeping the last
    int64_t fill;  // scatter, where add is not set: the value of places that none falls on, in its low bytes
    int64_t planes, rows, columns, inner;
    PoolWindow window;
    int64_t height, width;
    void* out;  // scatter: (planes, height, width, inner); gather: (planes, rows, columns, inner)
    bool stream;
};

// The loops, compiled once per instruction set; see core/isa.h. `scratch` is that many bytes, 64-byte aligned.
struct MaxUnpool2dKernels {
    int64_t (*scatter_scratch)(const PlaceJob&);
    // The rows of the image that begin with those pooled rows. False: an index lies outside its window, and the plane
    // has to be done by scatter_plane, which is false for an index outside the image.
    bool (*scatter)(const PlaceJob&, int64_t plane, int64_t first_row, int64_t last_row, void* scratch);
    int64_t (*scatter_plane_scratch)(const PlaceJob&);
    bool (*scatter_plane)(const PlaceJob&, int64_t plane, void* scratch);
    int64_t (*gather_scratch)(const PlaceJob&);
    // False: an index lies outside the image.
    bool (*gather)(const PlaceJob&, int64_t plane, int64_t first_row, int64_t last_row, void* scratch);
};
const MaxUnpool2dKernels& max_unpool2d_kernels();

// Whole calls. False: an index lies outside the image; the output is then undefined. Throw std::bad_alloc.
bool max_unpool2d(PlaceJob job);  // job.add: max_pool2d_backward
bool max_unpool2d_backward(PlaceJob job);

}  // namespace fastdet
