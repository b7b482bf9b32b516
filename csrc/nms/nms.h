// Non-maximum suppression: the decision, the call, and what its loops work on.
#pragma once

#include <cstdint>
#include <limits>

#include "boxes/box.h"
#include "core/isa.h"

namespace fastdet {

// The one rule: strictly above the threshold, rounded and compared in T.
template <class T>
FASTDET_HD bool suppresses(const Box<T>& a, const Box<T>& b, T threshold, Measure kind) {
    return measure(a, b, kind, false, 0.0) > threshold;
}

struct NmsOptions {
    double threshold;
    const double* score_threshold;  // null: none; compared in the scores' type
    int64_t max_output;             // < 0: all
    int64_t max_per_key;            // < 0: all
    Measure kind;                   // iou or ios
};

// Kept indices by falling score into keep (n,); returns how many, or for a NaN -1 - (2 * row + which), which = 0
// for boxes and 1 for scores. keys (n,) may be null. T, S: float or double. Throws std::bad_alloc.
template <class T, class S>
int64_t nms(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
            int64_t* keep);

// t as the vector loops use it: inter >= share(a) + share(b) is needed for IoU > t (or IoS > t). Conservative:
// false positives only; the one division that decides is done for these alone.
template <class T>
struct Bound {
    T threshold;
    T factor;  // t / (1 + t) less some ulps
    T floor;   // the smallest number above 0, added once: with t = 0, inter must still be above 0

    // factor * area less one `floor`, since the rounding of tiny products may be as large.
    FASTDET_MEMBER T share(T area) const {
        if (!is_finite(area)) return area;  // not 0 * inf
        const T product = factor * area;
        return product > floor ? product - floor : T(0);
    }
};

// At most what a box of this area, as computed, adds to the area of a union: less the rounding of areas and sums.
template <class T>
T union_part(T area, T floor) {
    const T sure = area * (1 - 64 * std::numeric_limits<T>::epsilon());
    return sure > 2 * floor ? sure - 2 * floor : T(0);
}

// Candidates of one segment by cell of a grid, in blocks of whole vectors.
template <class T>
struct Block {
    static constexpr int lanes = 64 / int(sizeof(T));
    T x1[lanes], y1[lanes], x2[lanes], y2[lanes];
    T share[lanes];  // of the area, as `Bound` makes it
};

// Boxes of like size: IoU > t needs like sizes.
struct Level {
    double max_size;      // max(width, height) is below it
    double per_cell;      // 1 / side of a cell
    int64_t base, mask;   // buckets [base, base + mask]
    int64_t first, last;  // its candidates
};

template <class T>
struct Grid {
    Block<T>* blocks;            // a suppressed candidate gets a share of infinity
    const int32_t* rank;         // position by score of each candidate in the blocks
    const int32_t* start;        // first candidate of each bucket
    const Level* levels;         // by rising size
    const int16_t* first_level;  // (exponents,) the first level of sizes of that exponent or a higher one
    const int16_t* end_level;    // (exponents,) past the last level of sizes of that exponent or a lower one
    double threshold;
    int64_t candidates;
};

// Undecided boxes in a tree of hulls, `lanes` boxes a leaf and `lanes` nodes a node. A lane of a node holds the hull of
// a child and the least share in it, so that the bound that clears a hull clears each box in it: sides, products and
// their comparison are monotone, rounded too. It has a core as well, what all boxes of the child have in common: the
// union of a box with one of them has the area of its union with the core at least.
template <class T>
struct Tree {
    static constexpr int max_levels = 12;  // of 2^30 boxes, 8 a node
    Block<T>* blocks;                      // the leaves, then the levels above them; the last one is the root
    const Block<T>* cores;                 // of the blocks from first[1] on; `share`: `union_part` of the core's area
    uint8_t* left;                         // lanes of each block that are not empty
    const int32_t* rank;                   // position by score of each lane of the leaves
    int64_t first[max_levels];             // the first block of each level
    int levels;
};

// What non-maximum merging needs to know of boxes (n,): those of equal scores do not suppress each other.
struct Ties {
    const uint8_t* tied;  // whether a box has the score of the one before it
    const int32_t* slot;  // of each box in the tree's leaves, or -1; in `far`: -2 less its slot there
};

template <class T>
struct NmsJob {
    const Box<T>* boxes;  // (n,) by falling score
    int64_t n;
    Bound<T> bound;
    Measure kind;            // iou or ios
    int64_t limit;           // the maximum kept; < 0 for all
    int64_t dense_limit;     // kept boxes after which the caller switches to a grid
    T* scratch;              // dense: (5, stride)
    int64_t stride;          // the maximum kept by the dense way, rounded up to a multiple of 64
    uint8_t* keep;           // (n,) 1 where kept, 0 at first
    uint8_t* dead;           // (n,) grid only, 0 at first
    const int32_t* extreme;  // (extremes,) grid only: boxes that are not in it, compared one by one
    int64_t extremes;
    const Grid<T>* grid;
    Tree<T>* tree;      // tree only: ordinary boxes; null: none
    Tree<double>* far;  // tree only: boxes whose areas may overflow, times `far_scale`; null: none
    double far_scale;
    Bound<double> far_bound;
    bool large;        // there may be such boxes, in `far` or already decided
    int32_t* claimer;  // tree only: (n,) <- the box that suppressed each; null: not asked for
    const Ties* ties;  // tree only: boxes that are suppressed suppress others too; null: only kept ones do
    bool crowded;      // out: the grid compares too many; a tree of the rest is faster
    int64_t kept;      // in and out
    int64_t pairs;     // in and out: boxes or hulls that were compared with a box
};

// All return how many boxes are decided so far. fresh: the boxes kept so far were not applied to the others.
template <class T>
struct NmsLoops {
    int64_t (*dense)(NmsJob<T>&);
    int64_t (*grid)(NmsJob<T>&, int64_t first, bool fresh);
    int64_t (*tree)(NmsJob<T>&, int64_t first, bool fresh);
};
using NmsKernels = ByFloat<NmsLoops>;
const NmsKernels& nms_kernels();

// The rest of a group, from box `first` on, by trees of its undecided boxes (`dead` says which those are). `tied`: see
// Ties; null: plain suppression.
template <class T>
void nms_by_tree(NmsJob<T>& job, int64_t first, bool fresh, const uint8_t* tied);

}  // namespace fastdet
