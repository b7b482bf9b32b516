// The loops of greedy suppression. Compiled once per instruction set.
//
// Two ways to the same answer. Dense: each candidate, by falling score, against the kept boxes, a vector of them
// at a time, until one suppresses it; no set-up, all in the first cache while few are kept. Grid: each kept box
// strikes out the candidates of the cells around it that are of like size; a few vectors per kept box whatever n. Tree,
// where a grid does not help: each kept box strikes out candidates by way of the hulls that it may overlap by enough.
// Floor: a read of boxes and scores and a sort. A pair costs 9 operations a lane; a division only near a hit.
#include <limits>

#include "nms/nms.h"
#include "nms/place.h"
#include "nms/tree_walk.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Pairs that a grid tests for a candidate before a tree is faster, where few boxes were decided by then; and pairs that
// all grids of a group test for a box before a tree is, however many were decided.
constexpr int64_t kCrowded = 768, kTooCrowded = 2048;

// A box spread over the lanes, asked about a vector of others.
template <class T, bool Smaller>
struct Test {
    using V = Vec<T>;
    V x1, y1, x2, y2, share, area, threshold;

    Test(const Box<T>& b, const Bound<T>& bound)
        : x1(V::set(b.x1)), y1(V::set(b.y1)), x2(V::set(b.x2)), y2(V::set(b.y2)) {
        const T a = fastdet::area(b);
        share = V::set(bound.share(a) + bound.floor);
        area = V::set(a);
        threshold = V::set(bound.threshold);
    }

    // Lanes that may be above the threshold. Conservative: false positives only.
    uint32_t maybe(V bx1, V by1, V bx2, V by2, V bshare) const {
        const V w = max(min(x2, bx2) - max(x1, bx1), V::set(0));
        const V h = min(y2, by2) - max(y1, by1);
        return ge(w * h, Smaller ? min(share, bshare) : share + bshare);
    }

    // Lanes that are above it: measure_once of box.h on ordinary boxes.
    uint32_t hit(V bx1, V by1, V bx2, V by2) const {
        const V zero = V::set(0);
        const V w = max(min(x2, bx2) - max(x1, bx1), zero), h = max(min(y2, by2) - max(y1, by1), zero);
        const V inter = w * h, barea = max(bx2 - bx1, zero) * max(by2 - by1, zero);
        const V denominator = Smaller ? min(area, barea) : (area + barea) - inter;
        return gt(where_positive(denominator, inter / denominator, zero), threshold);
    }
};

template <class T, bool Smaller>
int64_t dense(NmsJob<T>& job) {
    using V = Vec<T>;
    constexpr int L = V::lanes, U = 2;
    const int64_t stride = job.stride;
    T *x1 = job.scratch, *y1 = x1 + stride, *x2 = y1 + stride, *y2 = x2 + stride, *share = y2 + stride;
    const Bound<T> bound = job.bound;
    int64_t kept = 0, i = 0, pairs = 0;
    for (; i < job.n && kept != job.limit && kept != job.dense_limit; ++i) {
        const Box<T> box = job.boxes[i];
        const Test<T, Smaller> test(box, bound);
        bool gone = false;
        int64_t k = 0;
        for (; k < kept; k += U * L) {
            uint32_t maybe[U], any = 0;
            for (int u = 0; u < U; ++u) {
                const int64_t at = k + u * L;
                maybe[u] = test.maybe(V::load(x1 + at), V::load(y1 + at), V::load(x2 + at), V::load(y2 + at),
                                      V::load(share + at));
                any |= maybe[u];
            }
            if (!any) continue;
            for (int u = 0; u < U; ++u) {
                const int64_t at = k + u * L;
                if (maybe[u])
                    gone |= test.hit(V::load(x1 + at), V::load(y1 + at), V::load(x2 + at), V::load(y2 + at)) != 0;
            }
            if (gone) break;
        }
        pairs += k;
        if (gone) continue;
        if (kept % (U * L) == 0) {  // a new vector: its lanes overlap nothing
            for (int64_t at = kept; at < kept + U * L; at += L) {
                V::set(1).store(x1 + at), V::set(1).store(y1 + at), V::set(-1).store(x2 + at);
                V::set(-1).store(y2 + at), V::set(Limits<T>::large).store(share + at);
            }
        }
        x1[kept] = box.x1, y1[kept] = box.y1, x2[kept] = box.x2, y2[kept] = box.y2;
        share[kept] = bound.share(area(box)) + (Smaller ? bound.floor : T(0));
        job.keep[i] = 1;
        ++kept;
    }
    job.kept = kept;
    job.pairs += pairs;
    return kept == job.limit ? job.n : i;
}

// The candidates near a kept box. Blocks are listed first and tested afterwards, so that neither loop waits for the
// branches of the other, and blocks of the next boxes can be prefetched.
struct BlockList {
    static constexpr int capacity = 256;
    int32_t block[capacity + 2];
    int count;
    bool full;  // not all fit: search again while testing

    inline void add(int64_t first, int64_t last, int lanes) {
        const int64_t k = first / lanes;
        const int64_t n = first < last ? (last - 1) / lanes - k + 1 : 0;
        if (count + n > capacity) {
            full = true;
            return;
        }
        block[count] = int32_t(k), block[count + 1] = int32_t(k + 1);  // most ranges are in one or two
        for (int64_t more = 2; more < n; ++more) block[count + more] = int32_t(k + more);
        count += int(n);
    }
};

template <class T>
struct Push {
    using V = Vec<T>;
    const Grid<T>& grid;
    const Bound<T>& bound;
    uint8_t* dead;
    int64_t struck = 0, looked = 0;  // candidates struck out; levels and rows of cells that were looked at

    // Each range of candidates, in the order of the blocks, that may hold one that the box suppresses.
    template <class F>
    inline void each_range(const Box<T>& box, F&& range) {
        const double w = double(side(box.x1, box.x2)), h = double(side(box.y1, box.y2)), t = grid.threshold;
        if (!(w > 0 && h > 0) || !is_finite(w * h)) return;  // overlaps nothing by more than t
        const double cx = centre(box.x1, box.x2), cy = centre(box.y1, box.y2);
        const double size = w > h ? w : h;
        const Level* const end = grid.levels + grid.end_level[size_exponent(t > 0 ? size / t : INFINITY)];
        for (const Level* level = grid.levels + grid.first_level[size_exponent(size * t)]; level < end; ++level) {
            const double rx = reach(w, level->max_size, t, cx), ry = reach(h, level->max_size, t, cy);
            const double per_cell = level->per_cell;
            const int64_t column = grid_cell(cx - rx, per_cell), columns = grid_cell(cx + rx, per_cell) - column;
            const int64_t row = grid_cell(cy - ry, per_cell), rows = grid_cell(cy + ry, per_cell) - row + 1;
            const int64_t mask = level->mask;
            ++looked;
            if (columns < 0 || rows <= 0) continue;                             // no box of the level reaches so far
            if (columns >= mask || rows > (level->last - level->first) / 32) {  // then test the whole level
                range(level->first, level->last);
                continue;
            }
            const int32_t* start = grid.start + level->base;
            looked += rows;
            for (int64_t r = row; r < row + rows; ++r) {
                const int64_t a = (row_hash(r) + column) & mask, b = a + columns;
                if (b <= mask) {
                    range(start[a], start[b + 1]);
                } else {  // the row wraps around to the first bucket
                    range(start[a], start[mask + 1]);
                    range(start[0], start[b - mask]);
                }
            }
        }
    }

    inline void find(const Box<T>& box, BlockList& list) {
        list.count = 0;
        list.full = false;
        each_range(box, [&](int64_t first, int64_t last) { list.add(first, last, Block<T>::lanes); });
    }

    // Suppress the candidates of a block that overlap the box. Testing all lanes is safe, since the test is exact.
    inline void strike(const Test<T, false>& test, int64_t k) {
        constexpr int L = V::lanes;
        Block<T>& block = grid.blocks[k];
        for (int at = 0; at < Block<T>::lanes; at += L) {
            const V x1 = V::load(block.x1 + at), y1 = V::load(block.y1 + at), x2 = V::load(block.x2 + at),
                    y2 = V::load(block.y2 + at);
            if (!test.maybe(x1, y1, x2, y2, V::load(block.share + at))) continue;
            for (uint32_t hits = test.hit(x1, y1, x2, y2); hits; hits &= hits - 1) {
                const int lane = at + __builtin_ctz(hits);
                dead[grid.rank[k * Block<T>::lanes + lane]] = 1;
                block.share[lane] = std::numeric_limits<T>::infinity();  // suppressed once, never tested again
                ++struck;
            }
        }
    }

    inline void strike(const Box<T>& box, const BlockList& list) {
        const Test<T, false> test(box, bound);
        if (list.full) {
            each_range(box, [&](int64_t first, int64_t last) {
                for (int64_t k = first / Block<T>::lanes; k * Block<T>::lanes < last; ++k) strike(test, k);
            });
            return;
        }
        for (int n = 0; n < list.count; ++n) strike(test, list.block[n]);
    }

    inline void prefetch(const BlockList& list) const {
        for (int n = 0; n < list.count; ++n) {
            const char* p = reinterpret_cast<const char*>(grid.blocks + list.block[n]);
            for (size_t at = 0; at < sizeof(Block<T>); at += 64) __builtin_prefetch(p + at);
        }
    }
};

template <class T>
int64_t nms_dense(NmsJob<T>& job) {
    return job.kind == Measure::ios ? dense<T, true>(job) : dense<T, false>(job);
}

// Extreme boxes are in no grid. A kept extreme box is compared with all others, any other kept box with the extreme
// ones.
template <class T>
void meet_extreme(const NmsJob<T>& job, int64_t i) {
    bool extreme = false;
    for (int64_t k = 0; k < job.extremes; ++k) {
        const int64_t j = job.extreme[k];
        extreme |= i == j;
        if (j > i && !job.dead[j]) job.dead[j] = suppresses(job.boxes[i], job.boxes[j], job.bound.threshold, job.kind);
    }
    for (int64_t j = i + 1; extreme && j < job.n; ++j) {
        if (!job.dead[j]) job.dead[j] = suppresses(job.boxes[i], job.boxes[j], job.bound.threshold, job.kind);
    }
}

template <class T>
int64_t nms_grid(NmsJob<T>& job, int64_t first, bool fresh) {
    Push<T> push{*job.grid, job.bound, job.dead};
    constexpr int kAhead = 4;
    BlockList lists[kAhead];
    int64_t waiting[kAhead];
    int head = 0, size = 0;
    for (int64_t i = 0; fresh && i < first; ++i) {
        if (!job.keep[i]) continue;
        push.find(job.boxes[i], lists[0]);
        push.strike(job.boxes[i], lists[0]);
    }
    int64_t next = first, before = job.kept, tested = 0;
    while (job.kept != job.limit) {
        for (; size < kAhead && next < job.n; ++next) {
            if (job.dead[next]) continue;
            const int slot = (head + size++) % kAhead;
            waiting[slot] = next;
            push.find(job.boxes[next], lists[slot]);
            push.prefetch(lists[slot]);
        }
        if (!size) break;
        const int64_t i = waiting[head];
        if (!job.dead[i]) {  // not suppressed meanwhile
            job.keep[i] = 1;
            ++job.kept;
            push.strike(job.boxes[i], lists[head]);
            tested += lists[head].full ? job.grid->candidates / Block<T>::lanes : lists[head].count;
            if (job.extremes) meet_extreme(job, i);
        }
        head = (head + 1) % kAhead;
        --size;
        // Many tests, and half of the tested boxes are decided: a new grid of the rest is faster. Far too many: a tree.
        const int64_t work = tested + push.looked / 4, candidates = job.grid->candidates;
        if (work > 8 * candidates) {
            const int64_t decided = push.struck + job.kept - before, pairs = work * Block<T>::lanes;
            job.crowded =
                (pairs > kCrowded * candidates && 4 * decided < candidates) || job.pairs + pairs > kTooCrowded * job.n;
            if (job.crowded || 2 * decided > candidates) {
                job.pairs += tested * Block<T>::lanes;
                return i + 1;
            }
        }
    }
    job.pairs += tested * Block<T>::lanes;
    return job.n;
}

// Two boxes of infinite area overlap by 0: the largest share of a box that one of this area may suppress.
template <class T>
T share_cap(T area) {
    return is_finite(area) ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
}

template <class T, bool Smaller>
struct TreePush {
    NmsJob<T>& job;
    int64_t tested = 0;
    int64_t at = 0;  // the box that strikes

    inline void mark(int32_t other) const {
        job.dead[other] = 1;
        if (job.claimer && other > at) job.claimer[other] = int32_t(at);  // it strikes itself out, too
    }

    // Pair by pair, by the rule for any boxes.
    template <class U>
    inline void strike_careful(const Tree<U>& tree, const Box<T>& box, int64_t leaf, uint32_t found) const {
        for (; found; found &= found - 1) {
            const int lane = __builtin_ctz(found);
            const int32_t other = tree.rank[leaf * Block<U>::lanes + lane];
            if (!suppresses(box, job.boxes[other], job.bound.threshold, job.kind)) continue;
            mark(other);
            take_out(tree, leaf, lane);
        }
    }

    inline void strike_near(const Box<T>& box, T its_area) {
        using V = Vec<T>;
        const Tree<T>& tree = *job.tree;
        Test<T, Smaller> test(box, job.bound);
        const bool any = job.large && is_large(box);  // its area may be infinite
        if (any) {
            const T share =
                job.far_bound.factor > 0 ? job.bound.share(lesser(its_area, std::numeric_limits<T>::max())) : 0;
            test.share = V::set(share + job.bound.floor);
        }
        const V cap = V::set(share_cap(its_area));
        const auto maybe = [&](const Block<T>& b, int at) {
            const V other = V::load(b.share + at);
            const uint32_t found =
                test.maybe(V::load(b.x1 + at), V::load(b.y1 + at), V::load(b.x2 + at), V::load(b.y2 + at), other);
            return Smaller ? found & ge(cap, other) : found;
        };
        const T floor = job.bound.floor;
        const V zero = V::set(0), one = V::set(floor), own = V::set(any ? 0 : union_part(its_area, floor));
        const V factor = V::set(any ? 0 : job.bound.threshold * (1 - 64 * std::numeric_limits<T>::epsilon()));
        const auto inside = [&](const Block<T>& b, const Block<T>& core, int at) {
            if (Smaller) return ~0u;
            const V w = min(test.x2, V::load(b.x2 + at)) - max(test.x1, V::load(b.x1 + at));
            const V h = min(test.y2, V::load(b.y2 + at)) - max(test.y1, V::load(b.y1 + at));
            const V cw = min(test.x2, V::load(core.x2 + at)) - max(test.x1, V::load(core.x1 + at));
            const V ch = min(test.y2, V::load(core.y2 + at)) - max(test.y1, V::load(core.y1 + at));
            const V joint = (own + V::load(core.share + at)) - max(cw, zero) * max(ch, zero);
            return ge(w * h + one, factor * joint);
        };
        tested += walk(tree, maybe, inside, [&](int64_t leaf, uint32_t found) {
            if (any) return strike_careful(tree, box, leaf, found);
            const Block<T>& b = tree.blocks[leaf];
            uint32_t hits = 0;
            for (int at = 0; at < Block<T>::lanes; at += V::lanes)
                hits |= test.hit(V::load(b.x1 + at), V::load(b.y1 + at), V::load(b.x2 + at), V::load(b.y2 + at)) << at;
            for (hits &= found; hits; hits &= hits - 1) {
                const int lane = __builtin_ctz(hits);
                mark(tree.rank[leaf * Block<T>::lanes + lane]);
                take_out(tree, leaf, lane);
            }
        });
    }

    inline void strike_far(const Box<T>& box) {
        using V = Vec<double>;
        const Box<double> b = far_box(box, job.far_scale);
        const V x1 = V::set(b.x1), y1 = V::set(b.y1), x2 = V::set(b.x2), y2 = V::set(b.y2), zero = V::set(0);
        const V share = V::set(far_share(b, job.far_bound)),
                cap = V::set(share_cap(is_bounded(box) ? 0 : double(INFINITY)));
        const auto maybe = [&](const Block<double>& o, int at) {
            const V w = min(x2, V::load(o.x2 + at)) - max(x1, V::load(o.x1 + at));
            const V h = min(y2, V::load(o.y2 + at)) - max(y1, V::load(o.y1 + at));
            const V other = V::load(o.share + at);
            const uint32_t found = gt(min(w, h), zero) & ge(w * h, Smaller ? min(share, other) : share + other);
            return Smaller ? found & ge(cap, other) : found;
        };
        const auto inside = [](const Block<double>&, const Block<double>&, int) { return ~0u; };
        tested += walk(*job.far, maybe, inside,
                       [&](int64_t leaf, uint32_t found) { strike_careful(*job.far, box, leaf, found); });
    }

    inline void strike(int64_t i) {
        const Box<T>& box = job.boxes[i];
        at = i;
        const T its_area = area(box);
        if (!can_overlap(box, Smaller ? Measure::ios : Measure::iou)) return;
        if (job.tree) strike_near(box, its_area);
        if (job.far) strike_far(box);
    }
};

// Every box strikes, those that are struck out too. Boxes of one score first go, so that they do not meet.
template <class T, bool Smaller>
void merge_of(NmsJob<T>& job, TreePush<T, Smaller>& push) {
    for (int64_t i = 0, end = 0; i < job.n; i = end) {
        for (end = i; end == i || (end < job.n && job.ties->tied[end]); ++end) {
            const int64_t slot = job.ties->slot[end], far = -2 - slot;
            if (job.dead[end]) continue;
            if (slot >= 0) take_out(*job.tree, slot / Block<T>::lanes, int(slot % Block<T>::lanes));
            if (far >= 0) take_out(*job.far, far / Block<double>::lanes, int(far % Block<double>::lanes));
        }
        for (int64_t k = i; k < end; ++k) push.strike(k);
    }
}

template <class T, bool Smaller>
int64_t tree_of(NmsJob<T>& job, int64_t first, bool fresh) {
    TreePush<T, Smaller> push{job};
    if (job.ties) merge_of(job, push);
    for (int64_t i = 0; fresh && i < first; ++i) {
        if (job.keep[i]) push.strike(i);
    }
    for (int64_t i = first; !job.ties && i < job.n && job.kept != job.limit; ++i) {
        if (job.dead[i]) continue;
        job.keep[i] = 1;
        ++job.kept;
        push.strike(i);
    }
    job.pairs += push.tested * Block<T>::lanes;
    return job.n;
}

template <class T>
int64_t nms_tree(NmsJob<T>& job, int64_t first, bool fresh) {
    return job.kind == Measure::ios ? tree_of<T, true>(job, first, fresh) : tree_of<T, false>(job, first, fresh);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(NmsKernels, nms_kernels,
                {{nms_dense<float>, nms_grid<float>, nms_tree<float>},
                 {nms_dense<double>, nms_grid<double>, nms_tree<double>}})

}  // namespace fastdet
