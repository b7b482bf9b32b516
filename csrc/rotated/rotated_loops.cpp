// The loops of rotated boxes. Compiled once per instruction set.
//
// A pair costs some 200 operations, so the upright boxes around them are compared first, a vector at a time; the pairs
// that are left are gathered and computed a vector at a time, in double.
#include "nms/tree_walk.h"
#include "rotated/columns.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

using V = Vec<double>;
constexpr int L = V::lanes;

// A box over all lanes.
struct Wide {
    V x, y, p, q, c, s, reach_x, reach_y;
};

inline Wide wide(const RotatedColumns& b, int64_t i) {
    return {V::set(b.x[i]), V::set(b.y[i]), V::set(b.p[i]),       V::set(b.q[i]),
            V::set(b.c[i]), V::set(b.s[i]), V::set(b.reach_x[i]), V::set(b.reach_y[i])};
}
inline Wide wide(const Rect& r) {
    const V none = V::set(0);
    return {V::set(r.x), V::set(r.y), V::set(0.5 * r.w), V::set(0.5 * r.h), V::set(r.c), V::set(r.s), none, none};
}

// 1 where a > b, -1 where a < b, else `equal`.
inline V order(V a, V b, V equal) {
    const V one = V::set(1), less = V::set(-1);
    return where_ge(b, a, where_ge(a, b, equal, less), one);
}

// The measure of a box with those of a list, a vector at a time. The list is padded.
inline void measure(const RotatedColumns& b, const Wide& a, const int32_t* near, int64_t count, RotatedMeasure kind,
                    double* out) {
    for (int64_t k = 0; k < count; k += L) {
        double columns[6][L];
        for (int lane = 0; lane < L; ++lane) {
            const int64_t j = near[k + lane];
            columns[0][lane] = b.x[j], columns[1][lane] = b.y[j], columns[2][lane] = b.p[j];
            columns[3][lane] = b.q[j], columns[4][lane] = b.c[j], columns[5][lane] = b.s[j];
        }
        const V x = V::load(columns[0]), y = V::load(columns[1]), p = V::load(columns[2]), q = V::load(columns[3]),
                c = V::load(columns[4]), s = V::load(columns[5]), zero = V::set(0), four = V::set(4);
        // the first of the pair, as comes_first has it
        V turned = order(a.c, c, order(a.s, s, zero));
        turned = order(a.x, x, order(a.y, y, order(a.p, p, order(a.q, q, turned))));
        const auto either = [&](V yes, V no) { return where_positive(turned, yes, no); };
        const V dx = either(a.x - x, x - a.x), dy = either(a.y - y, y - a.y);
        const V inter = lanes::shared_area(either(p, a.p), either(q, a.q), either(c, a.c), either(s, a.s),
                                           either(a.p, p), either(a.q, q), either(a.c, c), either(a.s, s), dx, dy);
        const V area_a = four * (a.p * a.q), area_b = four * (p * q);
        V denominator = area_a;
        if (kind == RotatedMeasure::iou) denominator = (area_a + area_b) - inter;
        if (kind == RotatedMeasure::ios) denominator = min(area_a, area_b);
        (inter / denominator).store(out + k);
    }
}

// The boxes of b whose reach meets that of a, padded to whole vectors. Returns how many there are.
inline int64_t meeting(const RotatedColumns& b, int64_t first, int64_t last, const Wide& a, int32_t* near) {
    int64_t count = 0;
    for (int64_t j = first; j < last; j += L) {
        const V dx = V::load(b.x + j) - a.x, dy = V::load(b.y + j) - a.y;
        uint32_t found = ge(V::load(b.reach_x + j) + a.reach_x, lanes::size_of(dx)) &
                         ge(V::load(b.reach_y + j) + a.reach_y, lanes::size_of(dy));
        if (last - j < L) found &= (1u << (last - j)) - 1;
        for (; found; found &= found - 1) near[count++] = int32_t(j) + __builtin_ctz(found);
    }
    for (int k = 0; k < L; ++k) near[count + k] = 0;
    return count;
}

constexpr int64_t kBatch = 256;

template <class T>
void row(const RotatedIouJob& job, int64_t i, int32_t* near, T* out) {
    for (int64_t j = 0; j < job.m; ++j) out[j] = T(0);
    const Rect& box = job.a[i];
    if (!is_valid(box) || !is_ordinary(box)) return;
    Wide a = wide(box);
    double reach[2];
    rotated_reach(box, reach);
    a.reach_x = V::set(reach[0]), a.reach_y = V::set(reach[1]);
    const int64_t count = meeting(job.b, 0, job.m, a, near);
    double found[kBatch];
    for (int64_t k = 0; k < count; k += kBatch) {
        const int64_t n = count - k < kBatch ? count - k : kBatch;
        measure(job.b, a, near + k, n, job.kind, found);
        for (int64_t at = 0; at < n; ++at) out[near[k + at]] = T(found[at]);
    }
}

void measure_of(const RotatedColumns& b, const Rect& box, const int32_t* near, int64_t count, RotatedMeasure kind,
                double* out) {
    measure(b, wide(box), near, count, kind, out);
}

int64_t meeting_of(const RotatedColumns& b, int64_t i, int64_t first, int64_t last, int32_t* near) {
    return meeting(b, first, last, wide(b, i), near);
}

// Whether one of `count` <= kBatch measures is above the threshold; hits(at) for each that is.
template <class F>
inline void above(const RotatedNmsJob& job, const Wide& a, const int32_t* near, int64_t count, F&& hit) {
    double found[kBatch];
    measure(job.boxes, a, near, count, job.kind, found);
    for (int64_t at = 0; at < count; ++at) {
        const double value = job.single ? double(float(found[at])) : found[at];
        if (value > job.threshold) hit(at);
    }
}

// Each box, by falling score, against the kept ones.
void dense(RotatedNmsJob& job) {
    const int64_t stride = job.n + kRotatedPad;
    double *x = job.scratch, *y = x + stride, *reach_x = y + stride, *reach_y = reach_x + stride,
           *share = reach_y + stride;
    int64_t kept = 0, listed = 0;
    int32_t* kept_at = job.near;  // ranks of the kept boxes that can meet others
    const V two = V::set(2);
    for (int64_t i = 0; i < job.n && kept != job.limit; ++i) {
        bool gone = false;
        if (job.boxes.reach_x[i] >= 0) {
            const Wide a = wide(job.boxes, i);
            const V mine = V::set(job.share[i]);
            int32_t near[kBatch + L];
            int64_t count = 0;
            const auto settle = [&] {
                for (int k = 0; k < L; ++k) near[count + k] = int32_t(i);
                above(job, a, near, count, [&](int64_t) { gone = true; });
                count = 0;
            };
            for (int64_t k = 0; k < listed && !gone; k += L) {
                const V rx = V::load(reach_x + k), ry = V::load(reach_y + k);
                const V w = min((rx + a.reach_x) - lanes::size_of(V::load(x + k) - a.x), two * min(rx, a.reach_x));
                const V h = min((ry + a.reach_y) - lanes::size_of(V::load(y + k) - a.y), two * min(ry, a.reach_y));
                uint32_t found = ge(max(w, V::set(0)) * h, mine + V::load(share + k));
                for (; found; found &= found - 1) near[count++] = kept_at[k + __builtin_ctz(found)];
                if (count >= L) settle();
            }
            if (!gone && count) settle();
            job.pairs += listed;
            if (!gone) {
                if (listed % L == 0) {
                    for (int k = 0; k < L; ++k) {
                        x[listed + k] = y[listed + k] = 0, reach_x[listed + k] = reach_y[listed + k] = -1;
                        share[listed + k] = Limits<double>::large;
                    }
                }
                x[listed] = job.boxes.x[i], y[listed] = job.boxes.y[i], reach_x[listed] = job.boxes.reach_x[i];
                reach_y[listed] = job.boxes.reach_y[i], share[listed] = job.share[i];
                kept_at[listed++] = int32_t(i);
            }
        }
        if (gone) continue;
        job.keep[i] = 1;
        ++kept;
    }
}

// Each kept box strikes out those that it suppresses, which a tree of their upright boxes finds.
void by_tree(RotatedNmsJob& job) {
    constexpr int B = Block<double>::lanes;
    Tree<double>& tree = *job.tree;
    int64_t kept = 0, tested = 0;
    for (int64_t i = 0; i < job.n && kept != job.limit; ++i) {
        if (job.dead[i]) continue;
        job.keep[i] = 1;
        ++kept;
        if (!(job.boxes.reach_x[i] >= 0)) continue;
        const Wide a = wide(job.boxes, i);
        const Box<double> hull = upright_box(job.boxes, i);
        const V x1 = V::set(hull.x1), y1 = V::set(hull.y1), x2 = V::set(hull.x2), y2 = V::set(hull.y2);
        const V mine = V::set(job.share[i]), zero = V::set(0);
        int32_t near[kBatch + B + L], place[kBatch + B];
        int64_t count = 0;
        const auto settle = [&] {
            for (int k = 0; k < L; ++k) near[count + k] = int32_t(i);
            for (int64_t first = 0; first < count; first += kBatch) {
                const int64_t n = count - first < kBatch ? count - first : kBatch;
                above(job, a, near + first, n, [&](int64_t at) {
                    job.dead[near[first + at]] = 1;
                    take_out(tree, place[first + at] / B, place[first + at] % B);
                });
            }
            count = 0;
        };
        const auto maybe = [&](const Block<double>& b, int at) {
            const V w = max(min(x2, V::load(b.x2 + at)) - max(x1, V::load(b.x1 + at)), zero);
            const V h = min(y2, V::load(b.y2 + at)) - max(y1, V::load(b.y1 + at));
            return ge(w * h, mine + V::load(b.share + at));
        };
        const auto inside = [](const Block<double>&, const Block<double>&, int) { return ~0u; };
        tested += walk(tree, maybe, inside, [&](int64_t leaf, uint32_t found) {
            for (; found; found &= found - 1) {
                const int lane = __builtin_ctz(found);
                const int32_t other = tree.rank[leaf * B + lane];
                if (other == i) {  // itself: decided
                    take_out(tree, leaf, lane);
                } else {
                    near[count] = other, place[count++] = int32_t(leaf * B + lane);
                }
            }
            if (count >= kBatch) settle();
        });
        if (count) settle();
    }
    job.pairs += tested * B;
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(RotatedLoops, rotated_loops, {row<float>, row<double>, measure_of, meeting_of, dense, by_tree})

}  // namespace fastdet
