// Greedy NMS of many boxes, exact, in O(n) memory: rounds over near neighbours. See nms_rounds.h.
//
// Boxes that may suppress each other are of like size and have near centres (place.h): each box goes into the bucket of
// its level of size and its cell, and looks for suppressors only in the buckets within reach, a dozen where the
// threshold is 0.5, better boxes first. A box is dead once a kept box suppresses it, and kept once no other one can.
// One whose suppressor is itself undecided waits for it: it notes where it stopped, and goes on from there in a later
// round, so that all rounds together look at each pair once. Blocks take boxes in order of rank, and see what earlier
// ones have decided: most boxes are decided in the first round. A fixed number of rounds is launched, so nothing is
// read back; what they leave (chains: n boxes, each overlapping the next) is decided by one block, 512 boxes at a time.
// Cost: some 20 reads and 40 pair tests a box, two sorts, and some 35 launches. Floor: the sorts, 40 bytes a pass
// and box. Aims on an H200: 10k boxes 80 us, 100k 0.5 ms, 1M 10 ms. Limits: extreme boxes (place.h) meet all others
// one by one, exact and slow; a chain costs about 1 us a box.
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "cuda/sort.h"
#include "nms/nms_rounds.h"
#include "nms/place.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kFinishThreads = 512;
constexpr int kRounds = 10;
constexpr int64_t kMaxCells = 4096;  // within reach of one box; beyond, it looks at all better boxes

enum State : uint8_t { kUndecided = 0, kKept = 1, kDead = 2 };

struct Range {
    int32_t first, end;  // in the order of the buckets
};

template <class T>
struct Near {
    const Box<T>* boxes;   // (n,) by segment and rank
    const int32_t* start;  // (n,) the first position of the segment
    int64_t n;
    Rule<T> rule;
    double t;
    int shift;         // of a level
    uint32_t buckets;  // a power of two; then the extreme boxes' bucket, then that of those in none
    const Range* ranges;
    const int32_t* at;        // (n,) positions by bucket, rising within each
    const Box<T>* at_box;     // (n,) their boxes
    volatile uint8_t* state;  // (n,)
    int32_t* blocker;         // (n,) the undecided suppressor it waits for, or -1
    int64_t* cursor;          // (n,) where it goes on: cell << 32 | place in the order
    const int32_t* rank;
    uint8_t* flags;  // by rank: kept

    __device__ uint32_t bucket(int level, int64_t row, int64_t column, int32_t segment) const {
        const uint64_t mixed = uint64_t(row_hash(row)) + uint64_t(column) + uint64_t(level) * 0x632be59bd9b4e019u +
                               uint64_t(segment) * 0xd6e8feb86659fd93u;
        return uint32_t(mixed) & (buckets - 1);
    }
    __device__ int level_of(double size) const { return size_exponent(size) >> shift; }
    __device__ double max_size_of(int level) const {
        const int end = (level + 1) << shift;
        return exponent_size(end < kExponents - 1 ? end : kExponents - 1);
    }
};

template <class T>
struct Shape {
    double w, h, cx, cy, size;
    bool extreme, meets;  // whether it can overlap anything

    __device__ explicit Shape(const Box<T>& b) {
        w = double(side(b.x1, b.x2)), h = double(side(b.y1, b.y2));
        cx = centre(b.x1, b.x2), cy = centre(b.y1, b.y2);
        size = w > h ? w : h;
        extreme = is_tiny(b) || is_large(b);
        meets = w > 0 && h > 0 && is_finite(w) && is_finite(h);
    }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    place_kernel(Near<T> near, const uint8_t* dropped, uint32_t* bucket, int32_t* position) {
    const int64_t p = thread_index();
    if (p >= near.n) return;
    const Shape<T> s(load_box(near.boxes + p));
    uint32_t mine = near.buckets + 1;
    uint8_t state = kUndecided;
    if (dropped[p]) {
        state = kDead;
    } else if (s.extreme) {
        mine = near.buckets;
    } else if (s.meets) {
        const int level = near.level_of(s.size);
        const double per_cell = 1 / cell_side(near.max_size_of(level), near.t);
        mine = near.bucket(level, grid_cell(s.cy, per_cell), grid_cell(s.cx, per_cell), near.start[p]);
    } else {
        state = kKept;
        near.flags[near.rank[p]] = 1;
    }
    near.state[p] = state;
    near.blocker[p] = -1;
    near.cursor[p] = 0;
    bucket[p] = mine;
    position[p] = int32_t(p);
}

// ranges is 0 at first.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const uint32_t* bucket, const int32_t* at, const Box<T>* boxes, int64_t n, Range* ranges,
                  Box<T>* at_box) {
    const int64_t k = thread_index();
    if (k >= n) return;
    const uint32_t mine = bucket[k];
    if (k == 0 || bucket[k - 1] != mine) ranges[mine].first = int32_t(k);
    if (k == n - 1 || bucket[k + 1] != mine) ranges[mine].end = int32_t(k + 1);
    store_box(at_box + k, load_box(boxes + at[k]));
}

// One box's search.
template <class T>
struct Search {
    const Near<T>& near;
    const int64_t p;
    const Box<T> box;
    const int64_t segment;
    int64_t cell, place;  // where to go on
    enum Found { kNothing, kSuppressed, kWaits } found = kNothing;

    __device__ Search(const Near<T>& near, int64_t p)
        : near(near), p(p), box(load_box(near.boxes + p)), segment(near.start[p]) {
        cell = near.cursor[p] >> 32, place = near.cursor[p] & 0xffffffff;
    }

    // A suppressor that is not dead ends the search here. `k`: where to go on if it dies.
    __device__ bool meet(int64_t other, const Box<T>& its, int64_t k) {
        if (!near.rule(its, box)) return false;
        const uint8_t state = near.state[other];
        if (state == kDead) return false;
        found = state == kKept ? kSuppressed : kWaits;
        if (state == kUndecided) {
            near.blocker[p] = int32_t(other);
            near.cursor[p] = cell << 32 | (k + 1);
        }
        return true;
    }

    // Better boxes of the segment in a bucket, from `place` on.
    __device__ bool look_in(uint32_t bucket) {
        const Range range = near.ranges[bucket];
        for (int64_t k = place > range.first ? place : range.first; k < range.end; ++k) {
            const int64_t other = near.at[k];
            if (other >= p) break;
            if (other >= segment && meet(other, load_box(near.at_box + k), k)) return true;
        }
        place = 0;
        ++cell;
        return false;
    }

    // All better boxes of the segment.
    __device__ void look_at_all() {
        for (int64_t other = place > segment ? place : segment; other < p; ++other) {
            if (meet(other, load_box(near.boxes + other), other)) return;
        }
    }

    __device__ void run() {
        const Shape<T> s(box);
        if (s.extreme || !is_finite(s.size / near.t)) return look_at_all();
        const int first = near.level_of(s.size * near.t), last = near.level_of(s.size / near.t);
        int64_t cells = 0;
        for (int level = first; level <= last; ++level) {
            const Cells c(*this, s, level);
            if (c.rows <= 0 || c.columns <= 0) continue;
            if (c.rows > kMaxCells || c.columns > kMaxCells || (cells += c.rows * c.columns) > kMaxCells)
                return look_at_all();
        }
        int64_t before = 0;  // cells of the levels passed
        for (int level = first; level <= last; ++level) {
            const Cells c(*this, s, level);
            if (c.rows <= 0 || c.columns <= 0) continue;
            const int64_t end = before + c.rows * c.columns;
            while (cell < end) {
                const int64_t row = (cell - before) / c.columns, column = (cell - before) % c.columns;
                if (look_in(near.bucket(level, c.row + row, c.column + column, int32_t(segment)))) return;
            }
            before = end;
        }
        look_in(near.buckets);  // the extreme ones
    }

    struct Cells {
        int64_t row, rows, column, columns;
        __device__ Cells(const Search& search, const Shape<T>& s, int level) {
            const double max_size = search.near.max_size_of(level), t = search.near.t,
                         per_cell = 1 / cell_side(max_size, t);
            const double rx = reach(s.w, max_size, t, s.cx), ry = reach(s.h, max_size, t, s.cy);
            column = grid_cell(s.cx - rx, per_cell), columns = grid_cell(s.cx + rx, per_cell) - column + 1;
            row = grid_cell(s.cy - ry, per_cell), rows = grid_cell(s.cy + ry, per_cell) - row + 1;
        }
    };
};

// Decides a box if that can be done now.
template <class T>
__device__ void advance(const Near<T>& near, int64_t p) {
    const int32_t blocker = near.blocker[p];
    if (blocker >= 0) {
        const uint8_t state = near.state[blocker];
        if (state == kUndecided) return;
        if (state == kKept) {
            near.state[p] = kDead;
            return;
        }
    }
    Search<T> search(near, p);
    search.run();
    if (search.found == Search<T>::kSuppressed) near.state[p] = kDead;
    if (search.found == Search<T>::kNothing) {
        near.flags[near.rank[p]] = 1;
        near.state[p] = kKept;
    }
}

// left: a flag a position, whether it stays undecided; may be null.
template <class T>
__global__ void __launch_bounds__(kThreads, 2) round_kernel(Near<T> near, uint8_t* left) {
    const int64_t p = thread_index();
    if (p >= near.n) return;
    if (near.state[p] == kUndecided) advance(near, p);
    if (left) left[p] = near.state[p] == kUndecided;
}

// One block: the positions that are left, by rank, so that all that a box can wait for is decided or in its own chunk.
template <class T>
__global__ void __launch_bounds__(kFinishThreads, 1)
    finish_kernel(Near<T> near, const int64_t* left, const int64_t* count) {
    FASTDET_SHARED(int, open, [1]);
    for (int64_t base = 0; base < *count; base += kFinishThreads) {
        const int64_t i = base + threadIdx.x, p = i < *count ? left[i] : -1;
        for (bool again = true; again;) {
            if (threadIdx.x == 0) *open = 0;
            __syncthreads();
            if (p >= 0 && near.state[p] == kUndecided) {
                advance(near, p);
                if (near.state[p] == kUndecided) *open = 1;
            }
            __syncthreads();  // also orders what the block has written before what it reads next
            again = *open;
            __syncthreads();
        }
    }
}

uint32_t buckets_for(int64_t n) {
    uint32_t buckets = 1024;
    while (buckets < 2 * n) buckets *= 2;
    return buckets;
}

int bits_of(uint32_t x) {
    int bits = 0;
    for (; x; x /= 2) ++bits;
    return bits;
}

template <class T>
struct Workspace {
    uint32_t *bucket, *bucket_sorted;
    int32_t *position, *at, *blocker, *counters;
    Box<T>* at_box;
    uint8_t *state, *left;
    int64_t *cursor, *left_at, *left_count;
    Range* ranges;
    char* sorter;

    Workspace(Parts& parts, int64_t n) {
        bucket = parts.take<uint32_t>(n), bucket_sorted = parts.take<uint32_t>(n);
        position = parts.take<int32_t>(n), at = parts.take<int32_t>(n);
        blocker = parts.take<int32_t>(n), counters = parts.take<int32_t>(kCompactScratch);
        at_box = parts.take<Box<T>>(n);
        state = parts.take<uint8_t>(n), left = parts.take<uint8_t>(n);
        cursor = parts.take<int64_t>(n), left_at = parts.take<int64_t>(n), left_count = parts.take<int64_t>(1);
        ranges = parts.take<Range>(int64_t(buckets_for(n)) + 2);
        sorter = parts.take<char>(sort_scratch(n));
    }
};

}  // namespace

template <class T>
int64_t nms_rounds_workspace(int64_t n) {
    Parts parts;
    const Workspace<T> w(parts, n);
    return parts.bytes();
}

template <class T>
void nms_rounds(const Ordered<T>& o, int64_t n, const Rule<T>& rule, void* workspace, uint8_t* flags,
                cudaStream_t stream) {
    Parts parts(workspace);
    const Workspace<T> w(parts, n);
    Near<T> near{o.boxes, o.start,        n,        rule,   near_threshold(double(rule.threshold)),
                 0,       buckets_for(n), w.ranges, w.at,   w.at_box,
                 w.state, w.blocker,      w.cursor, o.rank, flags};
    near.shift = level_shift(near.t);
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    check_cuda(cudaMemsetAsync(w.ranges, 0, sizeof(Range) * (size_t(near.buckets) + 2), stream));
    FASTDET_LAUNCH((place_kernel<T>), blocks, kThreads, stream, near, o.dropped, w.bucket, w.position);
    sort_pairs(w.sorter, w.bucket, w.bucket_sorted, w.position, w.at, n, bits_of(near.buckets + 1), stream);
    FASTDET_LAUNCH((gather_kernel<T>), blocks, kThreads, stream, w.bucket_sorted, w.at, o.boxes, n, w.ranges, w.at_box);
    for (int round = 1; round <= kRounds; ++round) {
        uint8_t* const left = round == kRounds ? w.left : nullptr;
        FASTDET_LAUNCH((round_kernel<T>), blocks, kThreads, stream, near, left);
    }
    compact(w.left, nullptr, n, -1, w.counters, w.left_at, w.left_count, stream);
    FASTDET_LAUNCH((finish_kernel<T>), 1, kFinishThreads, stream, near, w.left_at, w.left_count);
}

#define FASTDET_INSTANTIATE(T)                         \
    template int64_t nms_rounds_workspace<T>(int64_t); \
    template void nms_rounds(const Ordered<T>&, int64_t, const Rule<T>&, void*, uint8_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
