// The loops of greedy suppression. Compiled once per instruction set.
//
// Two ways to the same answer. Dense: each candidate, by falling score, against the kept boxes, a vector of them
// at a time, until one suppresses it; no set-up, all in the first cache while few are kept. Grid: each kept box
// strikes out the candidates of the cells around it that are of like size; a few vectors per kept box whatever n.
// Floor: a read of boxes and scores and a sort. A pair costs 9 operations a lane; a division only near a hit.
#include "loops.h"
#include "nms.h"
#include "simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

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

    // Lanes that may be over the threshold; never without one that is.
    uint32_t maybe(V bx1, V by1, V bx2, V by2, V bshare) const {
        const V w = max(min(x2, bx2) - max(x1, bx1), V::set(0));
        const V h = min(y2, by2) - max(y1, by1);
        return ge(w * h, Smaller ? min(share, bshare) : share + bshare);
    }

    // Lanes that are: measure_once of box.h on ordinary boxes.
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
    int64_t kept = 0, i = 0;
    for (; i < job.n && kept != job.limit && kept != job.dense_limit; ++i) {
        const Box<T> box = job.boxes[i];
        const Test<T, Smaller> test(box, bound);
        bool gone = false;
        for (int64_t k = 0; k < kept; k += U * L) {
            uint32_t maybe[U], any = 0;
            for (int u = 0; u < U; ++u) {
                const int64_t at = k + u * L;
                maybe[u] = test.maybe(V::load(x1 + at), V::load(y1 + at), V::load(x2 + at), V::load(y2 + at), V::load(share + at));
                any |= maybe[u];
            }
            if (!any) continue;
            for (int u = 0; u < U; ++u) {
                const int64_t at = k + u * L;
                if (maybe[u]) gone |= test.hit(V::load(x1 + at), V::load(y1 + at), V::load(x2 + at), V::load(y2 + at)) != 0;
            }
            if (gone) break;
        }
        if (gone) continue;
        if (kept % (U * L) == 0) {  // a fresh vector: lanes that meet nothing
            for (int64_t k = kept; k < kept + U * L; k += L) {
                V::set(1).store(x1 + k), V::set(1).store(y1 + k), V::set(-1).store(x2 + k), V::set(-1).store(y2 + k);
                V::set(Limits<T>::large).store(share + k);
            }
        }
        x1[kept] = box.x1, y1[kept] = box.y1, x2[kept] = box.x2, y2[kept] = box.y2;
        share[kept] = bound.share(area(box)) + (Smaller ? bound.floor : T(0));
        job.keep[i] = 1;
        ++kept;
    }
    job.kept = kept;
    return kept == job.limit ? job.n : i;
}

template <class T>
struct Push {
    using V = Vec<T>;
    const Grid<T>& grid;
    const Bound<T>& bound;
    uint8_t* dead;

    // Strike out candidates [first, last) in the order of the blocks. A block's other lanes are candidates as
    // well: the test is exact, so they may be struck out too.
    void range(const Test<T, false>& test, int64_t first, int64_t last) const {
        constexpr int B = Block<T>::lanes, L = V::lanes;
        for (int64_t k = first / B; k <= (last - 1) / B; ++k) {
            const Block<T>& block = grid.blocks[k];
            for (int at = 0; at < B; at += L) {
                const V x1 = V::load(block.x1 + at), y1 = V::load(block.y1 + at), x2 = V::load(block.x2 + at), y2 = V::load(block.y2 + at);
                if (!test.maybe(x1, y1, x2, y2, V::load(block.share + at))) continue;
                for (uint32_t hits = test.hit(x1, y1, x2, y2); hits; hits &= hits - 1)
                    dead[grid.rank[k * B + at + __builtin_ctz(hits)]] = 1;
            }
        }
    }

    void operator()(const Box<T>& box) const {
        const double w = double(side(box.x1, box.x2)), h = double(side(box.y1, box.y2)), t = grid.threshold;
        if (!(w > 0 && h > 0) || !is_finite(w * h)) return;  // overlaps nothing by more than t
        const double cx = 0.5 * box.x1 + 0.5 * double(box.x2), cy = 0.5 * box.y1 + 0.5 * double(box.y2);
        const double size = w > h ? w : h;
        const Test<T, false> test(box, bound);
        for (int l = 0; l < grid.level_count; ++l) {
            const Level& level = grid.levels[l];
            if (level.most < t * size || t * level.least > size) continue;
            const double rx = reach(w, level.most_width, t), ry = reach(h, level.most_height, t);
            const int64_t column0 = cell(cx - rx, level), columns = cell(cx + rx, level) - column0;
            const int64_t row0 = cell(cy - ry, level), rows = cell(cy + ry, level) - row0;
            if (columns >= level.mask || (rows + 1) * 32 > level.last - level.first) {  // as well all of it
                range(test, level.first, level.last);
                continue;
            }
            for (int64_t row = row0; row <= row0 + rows; ++row) {
                const int64_t a = (row_hash(row) + column0) & level.mask, b = a + columns;
                const int32_t* start = grid.start + level.base;
                const int64_t wrapped = b - level.mask;  // > 0: the row goes on at the first bucket
                const int32_t first = start[a], last = start[wrapped > 0 ? level.mask + 1 : b + 1];
                if (first < last) range(test, first, last);
                if (wrapped > 0 && start[0] < start[wrapped]) range(test, start[0], start[wrapped]);
            }
        }
    }

    static int64_t cell(double x, const Level& level) { return grid_cell(x, level.per_cell); }

    // How far centres may be apart, along one axis, from a box of side w to one of side 0 .. most: IoU > t needs
    // an overlap of t * max(sides) at least, and centres |d| apart overlap by (w + other) / 2 - |d| at most.
    double reach(double w, double most, double t) const {
        const double free = t >= 0.5 ? w : w < most * t ? w / t : most;  // the other side that allows most
        const double other = free < most ? free : most;
        return (0.5 * (w + other) - t * (w > other ? w : other)) * (1 + 1e-6) + grid.pad;
    }
};

}  // namespace

template <class T>
int64_t nms_dense(NmsJob<T>& job) {
    return job.kind == Measure::ios ? dense<T, true>(job) : dense<T, false>(job);
}

template <class T>
void nms_grid(NmsJob<T>& job, int64_t first) {
    const Push<T> push{*job.grid, job.bound, job.dead};
    for (int64_t i = 0; i < first; ++i) {
        if (job.keep[i]) push(job.boxes[i]);
    }
    int64_t kept = job.kept;
    for (int64_t i = first; i < job.n && kept != job.limit; ++i) {
        if (job.dead[i]) continue;
        job.keep[i] = 1;
        ++kept;
        push(job.boxes[i]);
    }
    job.kept = kept;
}

template int64_t nms_dense(NmsJob<float>&);
template int64_t nms_dense(NmsJob<double>&);
template void nms_grid(NmsJob<float>&, int64_t);
template void nms_grid(NmsJob<double>&, int64_t);

}  // namespace FASTDET_ISA
}  // namespace fastdet
