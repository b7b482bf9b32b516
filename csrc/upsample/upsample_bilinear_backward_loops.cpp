// Bilinear resampling backward, the exact transpose: the loops. Compiled once per instruction set.
//
// The rows of the gradient that lie between input rows r and r + 1 are read once, and added to the sums of both; the
// finished sum of a row is then summed over columns alike. Each sum has one order, from the top and from the left,
// whatever the tiles and threads. Floor: the gradient is read once.
#include <type_traits>

#include "core/arena.h"
#include "core/floats.h"
#include "core/half.h"
#include "simd/simd.h"
#include "upsample/bilinear.h"
#include "upsample/upsample_bilinear.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int64_t kLanes = 16;     // of a block of sums over columns
constexpr int64_t kMaxTerms = 64;  // of a sum, up to which tables pay

// What the columns [left, right) of the gradient with respect to the input share. Region r: the outputs whose first
// input is r, neighbours all; their second is r + 1, but for the last region and equal sizes (`own`): r itself.
template <class T>
struct Columns16 {
    int64_t left, right;  // input pixels
    int64_t begin, end;   // output pixels: of regions [left - 1, right)
    int64_t channels;
    int64_t whole;   // regions from here on are `own`; those before it, from left on, are in the blocks
    int64_t* start;  // (right - left + 2,) first output of region left - 1 + i, from `begin` on
    T* w1;           // (end - begin,)
    bool tables;     // whether there are blocks
    int32_t *terms,
        *index;            // (blocks,), (terms of all blocks, 16) values of the row of sums; the one past its end is 0
    T *weight0, *weight1;  // as index; 0 where a region has fewer terms
};

template <class S>
struct Backward {
    using T = Compute<S>;
    Columns16<T> columns;
    T *tall[2], *wide, *taken, *second, *sums;
    int64_t reach;  // the maximum of outputs that a tile looks at
    int64_t used;

    Backward(const UpsampleJob& job, void* base) {
        Arena scratch(base);
        const int64_t width = lesser<int64_t>(job.tile, job.in_w), values = width * job.channels;
        const T step = tap_step<T>(job.in_w, job.out_w, job.align_corners, job.factor_x);
        reach = 0;
        int64_t max_terms = 0;  // terms of a block: regions have equally many but for rounding and the first one
        for (int64_t t = 0; t < job.tiles; ++t) {
            const int64_t left = t * job.tile, right = lesser<int64_t>(left + job.tile, job.in_w);
            const int64_t begin = left ? first_of(left - 1, job.in_w, job.out_w, job.align_corners, step) : 0;
            const int64_t end = first_of(right, job.in_w, job.out_w, job.align_corners, step);
            reach = end - begin > reach ? end - begin : reach;
        }
        for (int64_t r = 0; r < lesser<int64_t>(job.in_w, 3); ++r) {
            const int64_t begin = first_of(r, job.in_w, job.out_w, job.align_corners, step);
            const int64_t terms = first_of(r + 1, job.in_w, job.out_w, job.align_corners, step) - begin;
            max_terms = terms > max_terms ? terms : max_terms;
        }
        max_terms += 2;
        columns.channels = job.channels;
        columns.tables = job.channels < kLanes && max_terms <= kMaxTerms;
        const int64_t row = reach * job.channels, blocks = columns.tables ? (values + kLanes - 1) / kLanes : 0;
        const int64_t table = blocks * max_terms * kLanes;
        columns.start = scratch.template take<int64_t>(width + 2);
        columns.w1 = scratch.template take<T>(reach);
        columns.terms = scratch.template take<int32_t>(blocks);
        columns.index = scratch.template take<int32_t>(table);
        columns.weight0 = scratch.template take<T>(table);
        columns.weight1 = scratch.template take<T>(table);
        tall[0] = scratch.template take<T>(row + 1);
        tall[1] = scratch.template take<T>(row + 1);
        wide = scratch.template take<T>(std::is_same_v<S, T> ? 0 : row);
        taken = scratch.template take<T>(table);
        second = scratch.template take<T>(columns.tables ? job.channels + blocks * kLanes : 0);
        sums = scratch.template take<T>(values + kLanes);
        used = scratch.used;
        limit = max_terms;
    }
    int64_t limit;  // terms of a block that the tables have room for
};

template <class T>
void columns_of(const UpsampleJob& job, int64_t tile, int64_t limit, Columns16<T>& to) {
    const T step = tap_step<T>(job.in_w, job.out_w, job.align_corners, job.factor_x);
    const auto at = [&](int64_t j) { return tap(j, job.in_w, job.out_w, job.align_corners, step); };
    const int64_t channels = job.channels;
    to.left = tile * job.tile, to.right = lesser<int64_t>(to.left + job.tile, job.in_w);
    to.begin = to.left ? first_of(to.left - 1, job.in_w, job.out_w, job.align_corners, step) : 0;
    to.end = first_of(to.right, job.in_w, job.out_w, job.align_corners, step);
    int64_t region = to.left - 1;
    to.start[0] = 0;
    for (int64_t j = to.begin; j < to.end; ++j) {
        const Tap<T> t = at(j);
        to.w1[j - to.begin] = t.w1;
        while (region < t.i0) to.start[++region - to.left + 1] = j - to.begin;
    }
    while (region < to.right) to.start[++region - to.left + 1] = to.end - to.begin;
    to.whole = job.in_w == job.out_w ? to.left : lesser<int64_t>(to.right, job.in_w - 1);
    if (!to.tables) return;
    const int64_t values = (to.whole - to.left) * channels;
    const int32_t none = int32_t((to.end - to.begin) * channels);
    int64_t row = 0;
    for (int64_t e = 0; e < values; e += kLanes) {
        int64_t max_terms = 0;
        for (int64_t k = e; k < lesser<int64_t>(e + kLanes, values); ++k) {
            const int64_t* start = to.start + k / channels + 1;
            max_terms = start[1] - start[0] > max_terms ? start[1] - start[0] : max_terms;
        }
        if (max_terms > limit) {  // more than the tables hold: sums without tables
            to.tables = false;
            return;
        }
        to.terms[e / kLanes] = int32_t(max_terms);
        for (int64_t i = 0; i < max_terms; ++i, ++row) {
            for (int64_t lane = 0; lane < kLanes; ++lane) {
                const int64_t k = e + lane, slot = row * kLanes + lane;
                const int64_t* start = to.start + lesser<int64_t>(k, values - 1) / channels + 1;
                const bool has = k < values && start[0] + i < start[1];
                const T w1 = has ? to.w1[start[0] + i] : T(0);
                to.index[slot] = has ? int32_t((start[0] + i) * channels + k % channels) : none;
                to.weight0[slot] = has ? T(1) - w1 : T(0);
                to.weight1[slot] = w1;
            }
        }
    }
}

// cur and next += what `count` rows of the gradient, `stride` apart, give to the rows above and below them. Own: all to
// cur. Fresh: next begins at 0.
template <bool Own, class T>
void add_rows(const T* g, int64_t stride, int64_t count, const T* h0, const T* h1, bool fresh, T* cur, T* next,
              int64_t n) {
    using V = Vec<T>;
    constexpr int64_t L = V::lanes, kAbreast = 4;
    int64_t j = 0;
    for (; j + kAbreast * L <= n; j += kAbreast * L) {
        V a[kAbreast], b[kAbreast];
        for (int64_t i = 0; i < kAbreast; ++i) {
            a[i] = V::load(cur + j + i * L);
            if (!Own) b[i] = fresh ? V::set(0) : V::load(next + j + i * L);
        }
        for (int64_t y = 0; y < count; ++y) {
            const V v0 = V::set(h0[y]), v1 = V::set(h1[y]);
            for (int64_t i = 0; i < kAbreast; ++i) {
                const V x = V::load(g + y * stride + j + i * L);
                a[i] = a[i] + v0 * x;
                if (Own) {
                    a[i] = a[i] + v1 * x;
                } else {
                    b[i] = b[i] + v1 * x;
                }
            }
        }
        for (int64_t i = 0; i < kAbreast; ++i) {
            a[i].store(cur + j + i * L);
            if (!Own) b[i].store(next + j + i * L);
        }
    }
    for (; j < n; ++j) {
        T a = cur[j], b = Own || fresh ? T(0) : next[j];
        for (int64_t y = 0; y < count; ++y) {
            const T x = g[y * stride + j];
            a = a + h0[y] * x;
            if (Own) {
                a = a + h1[y] * x;
            } else {
                b = b + h1[y] * x;
            }
        }
        cur[j] = a;
        if (!Own) next[j] = b;
    }
}

template <class T>
T add_second(const Columns16<T>& columns, const T* v, int64_t i, int64_t c) {  // what region i gives to the next
    T sum = 0;
    for (int64_t j = columns.start[i]; j < columns.start[i + 1]; ++j) {
        sum = sum + columns.w1[j] * v[j * columns.channels + c];
    }
    return sum;
}

// The sum over columns for input pixel r, one value after the other.
template <class T>
void add_columns(const Columns16<T>& columns, const T* v, int64_t r, bool equal, T* to) {
    using V = Vec<T>;
    const int64_t channels = columns.channels, i = r - columns.left + 1;
    const int64_t before = equal ? columns.start[i] : columns.start[i - 1], middle = columns.start[i],
                  after = columns.start[i + 1];
    const bool own = r >= columns.whole;
    const auto sum = [&](auto zero, int64_t c, auto load) {
        auto acc = zero;
        for (int64_t j = before; j < middle; ++j) acc = acc + load(columns.w1[j], v + j * channels + c);
        for (int64_t j = middle; j < after; ++j) {
            acc = acc + load(T(1) - columns.w1[j], v + j * channels + c);
            if (own) acc = acc + load(columns.w1[j], v + j * channels + c);
        }
        return acc;
    };
    int64_t c = 0;
    for (; c + V::lanes <= channels; c += V::lanes) {
        sum(V::set(0), c, [](T w, const T* p) { return V::set(w) * V::load(p); }).store(to + c);
    }
    for (; c < channels; ++c) to[c] = sum(T(0), c, [](T w, const T* p) { return w * *p; });
}

// The sums over columns of the row `v`, by tables: 16 values abreast. What a region gives to the next input is summed
// first, and lies in `second` where that input's own sum goes on from it.
template <class T>
void add_blocks(const Columns16<T>& columns, const T* __restrict v, T* __restrict taken, T* __restrict second,
                T* __restrict to) {
    const int64_t channels = columns.channels, values = (columns.whole - columns.left) * channels;
    for (int64_t c = 0; c < channels; ++c) second[c] = columns.left ? add_second(columns, v, 0, c) : T(0);
    const int32_t* index = columns.index;
    const T *weight0 = columns.weight0, *weight1 = columns.weight1;
    T* kept = taken;
    for (int64_t e = 0; e < values; e += kLanes) {
        T sum[kLanes] = {};
        for (int64_t i = columns.terms[e / kLanes]; i > 0; --i) {
            for (int64_t lane = 0; lane < kLanes; ++lane) {
                const T x = v[index[lane]];
                kept[lane] = x;
                sum[lane] = sum[lane] + weight1[lane] * x;
            }
            index += kLanes, weight1 += kLanes, kept += kLanes;
        }
        for (int64_t lane = 0; lane < kLanes; ++lane) second[channels + e + lane] = sum[lane];
    }
    for (int64_t e = 0; e < values; e += kLanes) {
        T sum[kLanes];
        for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] = second[e + lane];
        for (int64_t i = columns.terms[e / kLanes]; i > 0; --i) {
            for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] = sum[lane] + weight0[lane] * taken[lane];
            weight0 += kLanes, taken += kLanes;
        }
        for (int64_t lane = 0; lane < kLanes; ++lane) to[e + lane] = sum[lane];
    }
}

// The finished sums over rows `v`, summed over columns: a row of the result, into `to`.
template <class S>
FASTDET_MEMBER void write_row(const Backward<S>& memory, const Compute<S>* v, bool equal_w, S* to) {
    using T = Compute<S>;
    const Columns16<T>& columns = memory.columns;
    T* sums;
    if constexpr (std::is_same_v<S, T>) {
        sums = columns.tables ? memory.sums : to;
    } else {
        sums = memory.sums;
    }
    if (columns.tables) add_blocks(columns, v, memory.taken, memory.second, sums);
    for (int64_t i = columns.tables ? columns.whole : columns.left; i < columns.right; ++i) {
        add_columns(columns, v, i, equal_w, sums + (i - columns.left) * columns.channels);
    }
    const int64_t values = (columns.right - columns.left) * columns.channels;
    if constexpr (std::is_same_v<S, T>) {
        if (columns.tables) {
            for (int64_t j = 0; j < values; ++j) to[j] = sums[j];
        }
    } else {
        narrow_row(sums, values, to);
    }
}

template <class S>
void backward(const UpsampleJob& job, int64_t first_unit, int64_t last_unit, void* scratch) {
    using T = Compute<S>;
    Backward<S> memory(job, scratch);
    const bool tables = memory.columns.tables, equal_w = job.in_w == job.out_w, equal_h = job.in_h == job.out_h;
    const int64_t channels = job.channels, in_row = job.in_w * channels, out_row = job.out_w * channels;
    const T step = tap_step<T>(job.in_h, job.out_h, job.align_corners, job.factor_y);
    const auto tap_y = [&](int64_t y) { return tap(y, job.in_h, job.out_h, job.align_corners, step); };
    Columns16<T>& columns = memory.columns;
    int64_t tile = -1;
    for (int64_t unit = first_unit; unit < last_unit; ++unit) {
        const int64_t band = unit % job.bands, plane = unit / job.bands % job.planes;
        if (unit / job.bands / job.planes != tile) {
            tile = unit / job.bands / job.planes;
            columns.tables = tables;
            columns_of(job, tile, memory.limit, columns);
        }
        const int64_t n = (columns.end - columns.begin) * channels;
        const S* g = static_cast<const S*>(job.from) + plane * job.out_h * out_row + columns.begin * channels;
        S* out = static_cast<S*>(job.to) + plane * job.in_h * in_row + columns.left * channels;
        const int64_t top = band * job.rows, bottom = lesser<int64_t>(top + job.rows, job.in_h);
        T *cur = memory.tall[0], *next = memory.tall[1];
        for (int64_t j = 0; j <= n; ++j) cur[j] = next[j] = 0;
        int64_t y = top ? first_of(top - 1, job.in_h, job.out_h, job.align_corners, step) : 0;
        // Row top - 1 is not of this band: only what its rows of the gradient give to row top is kept.
        for (int64_t r = top && !equal_h ? top - 1 : top; r < bottom; ++r) {
            if (equal_h) y = r;
            const bool own = equal_h || r == job.in_h - 1;
            bool fresh = true;
            while (y < job.out_h) {
                constexpr int64_t kMaxStreams = 8;  // as many streams as the processor fetches ahead of
                T h0[kMaxStreams], h1[kMaxStreams];
                int64_t count = 0;
                for (; count < (std::is_same_v<S, T> ? kMaxStreams : 1) && y + count < job.out_h; ++count) {
                    const Tap<T> t = tap_y(y + count);
                    if (t.i0 != r) break;
                    h0[count] = t.w0, h1[count] = t.w1;
                }
                if (!count) break;
                const T* rows;
                if constexpr (std::is_same_v<S, T>) {
                    rows = g + y * out_row;
                } else {
                    widen_row(g + y * out_row, n, memory.wide);
                    rows = memory.wide;
                }
                if (own) {
                    add_rows<true>(rows, out_row, count, h0, h1, fresh, cur, next, n);
                } else {
                    add_rows<false>(rows, out_row, count, h0, h1, fresh, cur, next, n);
                }
                fresh = false;
                y += count;
            }
            if (fresh) {  // no rows there
                for (int64_t j = 0; j < n; ++j) next[j] = 0;
            }
            if (r >= top) write_row(memory, cur, equal_w, out + r * in_row);
            T* const done = cur;
            cur = next, next = done;
            if (equal_h) {
                for (int64_t j = 0; j < n; ++j) cur[j] = 0;
            }
        }
    }
}

template <class S>
int64_t backward_scratch(const UpsampleJob& job) {
    return Backward<S>(job, nullptr).used;
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(UpsampleBilinearBackwardKernels, upsample_bilinear_backward_kernels,
                {{backward<float>, backward<double>, backward<Half>, backward<BFloat16>},
                 {backward_scratch<float>, backward_scratch<double>, backward_scratch<Half>,
                  backward_scratch<BFloat16>}})

}  // namespace fastdet
