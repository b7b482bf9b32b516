// The loop of Soft-NMS. Compiled once per instruction set.
//
// Boxes lie in clusters of one 64-byte vector each, near ones together; over the clusters stands a tree of hulls with
// as many children a node. A selected box looks at the hulls that it could overlap by enough, a vector of hulls at a
// time, then at the boxes of their clusters. Each node knows the best of its scores, so that a selection reads the top
// level and a change writes one path. Per selection the nodes and clusters met, and a path for each cluster that
// changes; floor: a read of the scores that change. Division and exponential only for vectors that overlap (by enough,
// where the method has a threshold).
#include "core/elementary.h"
#include "nms/soft_nms.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Re-score the boxes of a cluster one by one, by the rule for any boxes; false where none overlaps by enough.
template <class T, bool Gaussian>
bool meet_extreme(const SoftJob<T>& job, const Box<T>& box, T share, int64_t cluster) {
    Cluster<T>& c = job.cluster[cluster];
    bool changed = false;
    for (int l = 0; l < Cluster<T>::lanes; ++l) {
        const Box<T> other{c.x1[l], c.y1[l], c.x2[l], c.y2[l]};
        if (!(c.score[l] >= job.min_score) || !(intersection(box, other) >= share + c.share[l])) continue;
        changed = true;
        const T iou = measure(box, other, Measure::iou, false, 0.0);
        if (Gaussian) {
            c.score[l] *= lanes::exp_negative(-(iou * iou) / job.sigma);
        } else if (iou >= job.threshold) {
            c.score[l] *= T(1) - iou;
        }
    }
    return changed;
}

// A selected box, as the loops compare it.
template <class T>
struct Chosen {
    using V = Vec<T>;
    Box<T> box;
    T share;  // of its area, and the floor
    V x1, y1, x2, y2, area, shares;

    FASTDET_MEMBER Chosen(const SoftJob<T>& job, const Box<T>& box, T its_area)
        : box(box),
          share(job.bound.share(lesser(its_area, 4 * Limits<T>::large * Limits<T>::large)) + job.bound.floor),
          x1(V::set(box.x1)),
          y1(V::set(box.y1)),
          x2(V::set(box.x2)),
          y2(V::set(box.y2)),
          area(V::set(its_area)),
          shares(V::set(share)) {}
};

// The state of one group, and the steps of a selection.
template <class T, bool Gaussian>
struct Selection {
    using V = Vec<T>;
    using Level = SoftLevel<T>;
    static constexpr int L = V::lanes, B = Cluster<T>::lanes;
    SoftJob<T>& job;

    // The largest of n scores, whole vectors; -1 without any. A NaN (inf * 0) is passed over.
    FASTDET_MEMBER static T best_in(const T* scores, int64_t n = B) {
        V best = V::set(-1);
        for (int64_t at = 0; at < n; at += L) best = max(V::load(scores + at), best);
        T lanes[L], value = -1;
        best.store(lanes);
        for (int l = 0; l < L; ++l) value = lanes[l] > value ? lanes[l] : value;
        return value;
    }

    FASTDET_MEMBER static void empty_hull(const Level& level, int64_t k) {
        level.left[k] = level.top[k] = 1, level.right[k] = level.bottom[k] = -1;
        level.wide[k] = level.high[k] = 0, level.share[k] = Limits<T>::large;
    }

    FASTDET_MEMBER static T lowest_lane(V v) {
        T lanes[L];
        v.store(lanes);
        T value = lanes[0];
        for (int l = 1; l < L; ++l) value = lesser(value, lanes[l]);
        return value;
    }
    FASTDET_MEMBER static T highest_lane(V v) {
        T lanes[L];
        v.store(lanes);
        T value = lanes[0];
        for (int l = 1; l < L; ++l) value = greater(value, lanes[l]);
        return value;
    }

    // The hull of B boxes or hulls; empty ones have no part in it, and are larger than none.
    FASTDET_MEMBER static void join(const T* x1, const T* y1, const T* x2, const T* y2, const T* wide, const T* high,
                                    const T* share, const Level& to, int64_t k) {
        const V most = V::set(std::numeric_limits<T>::max()), least = V::set(-std::numeric_limits<T>::max());
        V left = most, top = most, right = least, bottom = least, w = V::set(0), h = w, s = most;
        for (int at = 0; at < B; at += L) {
            const V a = V::load(x1 + at), b = V::load(y1 + at), c = V::load(x2 + at), d = V::load(y2 + at);
            const V width = c - a;
            left = min(where_positive(width, a, most), left), top = min(where_positive(width, b, most), top);
            right = max(where_positive(width, c, least), right), bottom = max(where_positive(width, d, least), bottom);
            w = max(wide ? V::load(wide + at) : width, w), h = max(high ? V::load(high + at) : d - b, h);
            s = min(V::load(share + at), s);
        }
        to.left[k] = lowest_lane(left), to.right[k] = highest_lane(right);
        if (!(to.right[k] > to.left[k])) return empty_hull(to, k);
        to.top[k] = lowest_lane(top), to.bottom[k] = highest_lane(bottom);
        to.wide[k] = highest_lane(w), to.high[k] = highest_lane(h), to.share[k] = lowest_lane(s);
    }

    // Node k of a level above the clusters, from its children.
    FASTDET_MEMBER void set_hull(int l, int64_t k) const {
        const Level& from = job.level[l - 1];
        const int64_t c = k * B;
        join(from.left + c, from.top + c, from.right + c, from.bottom + c, from.wide + c, from.high + c, from.share + c,
             job.level[l], k);
    }
    FASTDET_MEMBER void set_best(int l, int64_t k) const {
        const Level &from = job.level[l - 1], &to = job.level[l];
        to.best[k] = best_in(from.best + k * B);
        to.home[k] = to.best[k] >= job.min_score ? lowest_among(l - 1, k * B, k * B + B, to.best[k]) : -1;
    }

    // Of nodes [first, end), whole vectors, the one with the best score; of equals that of the lowest index.
    FASTDET_MEMBER int32_t lowest_among(int l, int64_t first, int64_t end, T best) const {
        const V wanted = V::set(best);
        int32_t lowest = -1, its_index = 0;
        for (int64_t k = first; k < end; k += L) {
            uint32_t found = eq(V::load(job.level[l].best + k), wanted);
            if (!found) continue;
            if (lowest < 0 && !(found & (found - 1))) {
                lowest = int32_t(k + __builtin_ctz(found));
                its_index = -1;  // until another one is equal
                continue;
            }
            if (lowest >= 0 && its_index < 0) its_index = index_of(l, lowest);
            for (; found; found &= found - 1) {
                const int32_t other = int32_t(k + __builtin_ctz(found));
                const int32_t index = index_of(l, other);
                if (lowest < 0 || index < its_index) lowest = other, its_index = index;
            }
        }
        return lowest;
    }

    // The slot of the best of a node; its index.
    FASTDET_MEMBER int64_t slot_of(int l, int64_t k) const {
        for (; l > 0; --l) k = job.level[l].home[k];
        int32_t& home = job.level[0].home[k];
        if (home < 0) home = slot_in(job.cluster[k], job.level[0].best[k]);
        return k * B + home;
    }
    FASTDET_MEMBER int32_t index_of(int l, int64_t k) const {
        const int64_t slot = slot_of(l, k);
        return job.cluster[slot / B].index[slot % B];
    }
    FASTDET_MEMBER static int32_t slot_in(const Cluster<T>& c, T best) {
        const V wanted = V::set(best);
        int32_t lowest = -1;
        for (int at = 0; at < B; at += L) {
            for (uint32_t found = eq(V::load(c.score + at), wanted); found; found &= found - 1) {
                const int32_t slot = at + __builtin_ctz(found);
                if (lowest < 0 || c.index[slot] < c.index[lowest]) lowest = slot;
            }
        }
        return lowest;
    }

    FASTDET_MEMBER void make_tree() const {
        const Level& low = job.level[0];
        for (int64_t k = 0; k < low.count; ++k) {
            const Cluster<T>& c = job.cluster[k];
            join(c.x1, c.y1, c.x2, c.y2, nullptr, nullptr, c.share, low, k);
            low.best[k] = best_in(c.score);
            low.home[k] = -1;
        }
        for (int l = 0; l < job.levels; ++l) {
            const Level& level = job.level[l];
            for (int64_t k = 0; k < level.padded; ++k) {
                if (k >= level.count) {
                    empty_hull(level, k);
                    level.best[k] = -1, level.home[k] = -1;
                } else if (l) {
                    set_hull(l, k);
                    set_best(l, k);
                }
            }
        }
    }

    // After scores of cluster k fell: its best, its hull where none of its scores can fall any more, and the path up.
    FASTDET_MEMBER void note_change(int64_t k) const {
        const Level& low = job.level[0];
        const T best = best_in(job.cluster[k].score);
        low.best[k] = best;
        low.home[k] = -1;
        const bool over = !(best > 0 && best >= job.min_score) && low.right[k] > low.left[k];
        if (over) empty_hull(low, k);
        for (int l = 1; l < job.levels; ++l) {
            const int64_t child = k;
            k /= B;
            if (over) set_hull(l, k);
            // the best of a node is that of one child: the scores of others fall without a change here
            if (job.level[l].home[k] == child) {
                set_best(l, k);
            } else if (!over) {
                break;
            }
        }
    }

    // The slot of the best score, of equals that of the lowest index; -1 where none is left.
    FASTDET_MEMBER int64_t find_best() const {
        const int top = job.levels - 1;
        const int64_t padded = job.level[top].padded;
        const T best = best_in(job.level[top].best, padded);
        return best >= job.min_score ? slot_of(top, lowest_among(top, 0, padded, best)) : -1;
    }

    // Take a box out of its cluster: it overlaps nothing from now on.
    FASTDET_MEMBER Box<T> take(int64_t home) const {
        Cluster<T>& its = job.cluster[home / B];
        const int slot = int(home % B);
        const Box<T> box{its.x1[slot], its.y1[slot], its.x2[slot], its.y2[slot]};
        its.x1[slot] = its.y1[slot] = 1, its.x2[slot] = its.y2[slot] = -1;
        its.share[slot] = Limits<T>::large, its.score[slot] = -1;
        note_change(home / B);
        return box;
    }

    // Those of nodes [first, end) whose boxes the chosen one may overlap by enough: `count` more of `to`. Sides and
    // shares of a hull bound those of its boxes, rounded too.
    FASTDET_MEMBER static int64_t find_among(const Level& level, int64_t first, int64_t end, const Chosen<T>& c,
                                             int32_t* to, int64_t count) {
        for (int64_t k = first; k < end; k += L) {
            const V w = min(c.x2, V::load(level.right + k)) - max(c.x1, V::load(level.left + k));
            const V h = min(c.y2, V::load(level.bottom + k)) - max(c.y1, V::load(level.top + k));
            uint32_t meet = gt(min(w, h), V::set(0));
            if (!meet) continue;
            const V most = min(w, V::load(level.wide + k)) * min(h, V::load(level.high + k));
            meet &= ge(most, c.shares + V::load(level.share + k));
            for (; meet; meet &= meet - 1) to[count++] = int32_t(k + __builtin_ctz(meet));
        }
        return count;
    }

    // The clusters that the box may change: how many, and which into `*near`.
    FASTDET_MEMBER int64_t find_near(const Chosen<T>& c, int32_t** near) const {
        int32_t *from = job.near, *to = from + job.clusters;
        int l = job.levels - 1;
        int64_t count = find_among(job.level[l], 0, job.level[l].padded, c, from, 0);
        job.compared += job.level[l].padded;
        while (l-- > 0) {
            int64_t found = 0;
            for (int64_t n = 0; n < count; ++n) {
                const int64_t first = int64_t(from[n]) * B;
                found = find_among(job.level[l], first, first + B, c, to, found);
            }
            job.compared += count * B;
            count = found;
            int32_t* const swapped = from;
            from = to, to = swapped;
        }
        *near = from;
        job.compared += count * B;
        return count;
    }

    // Re-score the boxes of an ordinary cluster; false where none overlaps by enough.
    FASTDET_MEMBER bool meet(const Chosen<T>& chosen, Cluster<T>& c) const {
        const V zero = V::set(0), one = V::set(1), threshold = V::set(job.threshold), sigma = V::set(job.sigma);
        bool changed = false;
        for (int at = 0; at < B; at += L) {
            const V cx1 = V::load(c.x1 + at), cy1 = V::load(c.y1 + at), cx2 = V::load(c.x2 + at),
                    cy2 = V::load(c.y2 + at);
            const V w = max(min(chosen.x2, cx2) - max(chosen.x1, cx1), zero);
            const V h = max(min(chosen.y2, cy2) - max(chosen.y1, cy1), zero);
            const V meet = w * h;
            if (!ge(meet, chosen.shares + V::load(c.share + at))) continue;
            const V both = (chosen.area + max(cx2 - cx1, zero) * max(cy2 - cy1, zero)) - meet;
            const V iou = where_positive(both, meet / both, zero);
            const V weight =
                Gaussian ? lanes::exp_negative((zero - iou * iou) / sigma) : where_ge(iou, threshold, one - iou, one);
            (V::load(c.score + at) * weight).store(c.score + at);
            changed = true;
        }
        return changed;
    }

    // Re-score the boxes near a selected one.
    FASTDET_MEMBER void rescore(const Box<T>& box, bool extreme) const {
        const T its_area = area(box);
        if (!(its_area > 0)) return;  // it overlaps nothing
        const Chosen<T> chosen(job, box, its_area);
        int32_t* near;
        const int64_t count = find_near(chosen, &near);
        int64_t changed = 0;
        if (job.ordinary < job.clusters) {
            for (int64_t n = 0; n < count; ++n) {
                const int64_t k = near[n];
                near[changed] = near[n];
                changed += extreme || k >= job.ordinary ? meet_extreme<T, Gaussian>(job, box, chosen.share, k)
                                                        : meet(chosen, job.cluster[k]);
            }
        } else {
            for (int64_t n = 0; n < count; ++n) {
                const int32_t k = near[n];
                near[changed] = k;
                changed += meet(chosen, job.cluster[k]);
            }
        }
        for (int64_t n = 0; n < changed; ++n) note_change(near[n]);
    }
};

template <class T, bool Gaussian>
int64_t run(SoftJob<T>& job) {
    const Selection<T, Gaussian> state{job};
    constexpr int B = Cluster<T>::lanes;
    state.make_tree();
    job.compared = 0;
    int64_t selected = 0;
    for (; selected != job.limit; ++selected) {
        const int64_t home = state.find_best();
        if (home < 0) break;
        job.selected[selected] = job.cluster[home / B].index[home % B];
        job.selected_score[selected] = job.cluster[home / B].score[home % B];  // its sign where it is 0
        const Box<T> box = state.take(home);
        state.rescore(box, home / B >= job.ordinary);
    }
    return selected;
}

template <class T>
int64_t soft_nms(SoftJob<T>& job) {
    return job.gaussian ? run<T, true>(job) : run<T, false>(job);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(SoftNmsKernels, soft_nms_kernels, {{soft_nms<float>}, {soft_nms<double>}})

}  // namespace fastdet
