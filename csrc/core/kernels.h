// The loops that are compiled once per instruction set, as a table of functions chosen at run time.
// Everything here is plain pointers: no STL reaches the files behind the table, so that the linker cannot
// hand an AVX-512 copy of a shared inline function to a processor without it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "boxes/box.h"
#include "losses/box_losses.h"
#include "losses/sigmoid_focal_loss.h"
#include "losses/softmax_losses.h"
#include "nms/place.h"
#include "pool/max_pool2d.h"
#include "segmentation/confusion_matrix.h"
#include "upsample/upsample_bilinear.h"
#include "yolo/yolo_job.h"

namespace fastdet {

// Columns of boxes, padded to whole vectors by boxes that overlap nothing.
template <class T>
struct Columns {
    const T *x1, *y1, *x2, *y2;
    const T* area;
    const T* angle;  // atan2(w, h); complete IoU only
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
    bool stream;  // past the caches: the output does not pass through them
};

// Candidates of one segment by cell of a grid, in blocks of whole vectors.
template <class T>
struct Block {
    static constexpr int lanes = 64 / int(sizeof(T));
    T x1[lanes], y1[lanes], x2[lanes], y2[lanes];
    T share[lanes];  // of the area, as `Bound` makes it
};

// Boxes of like size: IoU > t needs like sizes.
struct Level {
    double most;          // max(width, height) is below it
    double per_cell;      // 1 / side of a cell
    int64_t base, mask;   // buckets [base, base + mask]
    int64_t first, last;  // its candidates
};

template <class T>
struct Grid {
    Block<T>* blocks;            // a candidate that is struck out gets a share that nothing reaches
    const int32_t* rank;         // position by score of each candidate in the blocks
    const int32_t* start;        // first candidate of each bucket
    const Level* levels;         // by rising size
    const int16_t* first_level;  // (exponents,) the first level of sizes of that exponent or a higher one
    const int16_t* end_level;    // (exponents,) past the last level of sizes of that exponent or a lower one
    double threshold;
    int64_t candidates;
};

// t as the vector loops use it: inter >= share(a) + share(b) is needed for IoU > t (or IoS > t). It holds a
// little too often, never too seldom; only then is the one division done that decides.
template <class T>
struct Bound {
    T threshold;
    T factor;  // t / (1 + t) less some ulps
    T floor;   // the least number above 0, added once: with t = 0, inter must still be above 0

    // One `floor` less than factor * area, for the products that are so small that they round by that much.
    FASTDET_MEMBER T share(T area) const {
        if (!is_finite(area)) return area;  // not 0 * inf
        const T product = factor * area;
        return product > floor ? product - floor : T(0);
    }
};

template <class T>
struct NmsJob {
    const Box<T>* boxes;  // (n,) by falling score
    int64_t n;
    Bound<T> bound;
    Measure kind;         // iou or ios
    int64_t limit;        // most kept; < 0 for all
    int64_t dense_limit;  // kept boxes after which the caller wants to change over to a grid
    T* scratch;           // dense: (5, stride)
    int64_t stride;       // most kept by the dense way, rounded up to a multiple of 64
    uint8_t* keep;        // (n,) 1 where kept, 0 at first
    uint8_t* dead;        // (n,) grid only, 0 at first
    const int32_t* odd;   // (odds,) grid only: boxes that are not in it, compared one by one
    int64_t odds;
    const Grid<T>* grid;
    int64_t kept;  // in and out
};

// Boxes of one 64-byte vector, near ones together; those that are none overlap nothing and have score -1.
template <class T>
struct Cluster {
    static constexpr int lanes = 64 / int(sizeof(T));
    T x1[lanes], y1[lanes], x2[lanes], y2[lanes];
    T share[lanes];  // of the area, as `Bound` makes it
    T score[lanes];
    int32_t index[lanes];
};

template <class T>
struct SoftJob {
    Cluster<T>* cluster;         // (clusters,) consumed
    int64_t clusters, ordinary;  // those from `ordinary` on hold odd boxes, compared one by one
    T* hull;                     // scratch: (5, clusters rounded up to whole 64-byte vectors)
    int32_t* near;               // scratch: (clusters,)
    Bound<T> bound;              // an overlap under it leaves a score as it is
    bool gaussian;
    T threshold, sigma, min_score;
    int64_t limit;      // most selected; < 0 for all
    int32_t* selected;  // (boxes,) out, the index of each selected box
    T* selected_score;  // (boxes,) out
};

template <class T>
struct Kernels {
    void (*box_iou)(const IouJob<T>&, int64_t first_row, int64_t last_row);
    void (*box_iou_aligned)(const Box<T>* a, const Box<T>* b, const T* crowd, int64_t n, Measure, T eps, T* out);
    int64_t (*nms_dense)(NmsJob<T>&);                            // boxes decided so far
    int64_t (*nms_grid)(NmsJob<T>&, int64_t first, bool fresh);  // boxes decided so far
    int64_t (*soft_nms)(SoftJob<T>&);                            // boxes selected
    // label (candidates,) of one image x, or -1; false where there is a NaN
    bool (*yolo_best)(const YoloJob<T>&, const T* x, int64_t first, int64_t last, int32_t* label);
};

struct KernelTable {
    const char* name;
    Kernels<float> f;
    Kernels<double> d;
    const ConfusionKernels* confusion;
    const UpsampleKernels* upsample;
    const PoolKernels* pool;
    const LossKernels* losses;
    const BoxLossKernels* box_losses;
    const SigmoidFocalKernels* sigmoid_focal;
};

template <class T>
const Kernels<T>& of(const KernelTable& table);
template <>
inline const Kernels<float>& of<float>(const KernelTable& table) {
    return table.f;
}
template <>
inline const Kernels<double>& of<double>(const KernelTable& table) {
    return table.d;
}

// isa.cpp
const KernelTable& kernels();              // the table in use
const char* const* isa_names(int* count);  // what this build and this machine have, slowest first
bool choose_isa(const char* name);         // false: not to be had

}  // namespace fastdet
