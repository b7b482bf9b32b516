// The loop of Soft-NMS. Compiled once per instruction set.
//
// Boxes lie in clusters of one 64-byte vector each, near ones together. A selected box looks at the hulls of the
// clusters, a vector of hulls at a time, then at the boxes of those that it meets; a cluster keeps its best score, so
// that the next selection looks at one number per cluster. Per selection n / lanes^2 hull vectors and the clusters
// met; floor: a read of the scores that change. Division and exponential only for vectors that overlap (by enough,
// where the method has a threshold).
#include "core/elementary.h"
#include "nms/soft_nms.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Re-score the boxes of a cluster one by one, by the rule for any boxes.
template <class T, bool Gaussian>
void meet_extreme(const SoftJob<T>& job, const Box<T>& box, int64_t cluster) {
    Cluster<T>& c = job.cluster[cluster];
    for (int l = 0; l < Cluster<T>::lanes; ++l) {
        if (!(c.score[l] >= job.min_score)) continue;
        const Box<T> other{c.x1[l], c.y1[l], c.x2[l], c.y2[l]};
        const T iou = measure(box, other, Measure::iou, false, 0.0);
        if (Gaussian) {
            c.score[l] *= lanes::exp_negative(-(iou * iou) / job.sigma);
        } else if (iou >= job.threshold) {
            c.score[l] *= T(1) - iou;
        }
    }
}

// The state of one group, and the steps of a selection.
template <class T, bool Gaussian>
struct Selection {
    using V = Vec<T>;
    static constexpr int L = V::lanes, B = Cluster<T>::lanes;
    const SoftJob<T>& job;
    const int64_t clusters, padded;
    T *const left, *const top, *const right, *const bottom;  // hulls
    T* const best_of;                                        // the best score of each cluster

    FASTDET_MEMBER explicit Selection(const SoftJob<T>& job)
        : job(job),
          clusters(job.clusters),
          padded((clusters + B - 1) / B * B),
          left(job.hull),
          top(left + padded),
          right(top + padded),
          bottom(right + padded),
          best_of(bottom + padded) {}

    FASTDET_MEMBER static T best_in(const Cluster<T>& c) {
        V best = V::set(-1);
        for (int at = 0; at < B; at += L) best = max(V::load(c.score + at), best);  // a NaN (inf * 0) is passed over
        T lanes[L], value = -1;
        best.store(lanes);
        for (int l = 0; l < L; ++l) value = lanes[l] > value ? lanes[l] : value;
        return value;
    }

    FASTDET_MEMBER void set_empty(int64_t k) const {  // a hull that meets nothing
        left[k] = top[k] = 1, right[k] = bottom[k] = -1, best_of[k] = -1;
    }

    FASTDET_MEMBER void make_hulls() const {
        for (int64_t k = 0; k < padded; ++k) {
            set_empty(k);
            if (k >= clusters) continue;
            const Cluster<T>& c = job.cluster[k];
            best_of[k] = best_in(c);
            if (k >= job.ordinary) continue;
            bool first = true;
            for (int at = 0; at < B; ++at) {
                if (!(c.x2[at] > c.x1[at] && c.y2[at] > c.y1[at])) continue;  // overlaps nothing
                left[k] = first || c.x1[at] < left[k] ? c.x1[at] : left[k];
                top[k] = first || c.y1[at] < top[k] ? c.y1[at] : top[k];
                right[k] = first || c.x2[at] > right[k] ? c.x2[at] : right[k];
                bottom[k] = first || c.y2[at] > bottom[k] ? c.y2[at] : bottom[k];
                first = false;
            }
        }
    }

    // The best score, and the cluster and slot of its box; of equal scores the lowest index. `home` is -1 where the
    // best is below the minimum.
    FASTDET_MEMBER T find_best(int64_t* home, int* slot) const {
        V highest = V::set(-1);
        for (int64_t k = 0; k < padded; k += L) highest = max(V::load(best_of + k), highest);
        T lanes[L], best = -1;
        highest.store(lanes);
        for (int l = 0; l < L; ++l) best = lanes[l] > best ? lanes[l] : best;
        *home = -1;
        *slot = 0;
        if (!(best >= job.min_score)) return best;
        const V wanted = V::set(best);
        for (int64_t k = 0; k < padded; k += L) {
            for (uint32_t found = eq(V::load(best_of + k), wanted); found; found &= found - 1) {
                const int64_t at = k + __builtin_ctz(found);
                const Cluster<T>& c = job.cluster[at];
                for (int l = 0; l < B; ++l) {
                    if (c.score[l] == best && (*home < 0 || c.index[l] < job.cluster[*home].index[*slot]))
                        *home = at, *slot = l;
                }
            }
        }
        return best;
    }

    // Take a box out of its cluster: it overlaps nothing from now on.
    FASTDET_MEMBER Box<T> take(int64_t home, int slot) const {
        Cluster<T>& its = job.cluster[home];
        const Box<T> box{its.x1[slot], its.y1[slot], its.x2[slot], its.y2[slot]};
        its.x1[slot] = its.y1[slot] = 1, its.x2[slot] = its.y2[slot] = -1;
        its.share[slot] = Limits<T>::large, its.score[slot] = -1;
        best_of[home] = best_in(its);
        return box;
    }

    // The clusters whose hulls meet the box: how many, and which into job.near.
    FASTDET_MEMBER int64_t find_near(V x1, V y1, V x2, V y2) const {
        int64_t count = 0;
        for (int64_t k = 0; k < padded; k += L) {
            const V w = min(x2, V::load(right + k)) - max(x1, V::load(left + k));
            const V h = min(y2, V::load(bottom + k)) - max(y1, V::load(top + k));
            for (uint32_t meet = gt(min(w, h), V::set(0)); meet; meet &= meet - 1)
                job.near[count++] = int32_t(k + __builtin_ctz(meet));
        }
        return count;
    }

    // Re-score the boxes near a selected one.
    FASTDET_MEMBER void rescore(const Box<T>& box) const {
        const V zero = V::set(0), one = V::set(1), threshold = V::set(job.threshold), sigma = V::set(job.sigma);
        const T its_area = area(box);
        const V x1 = V::set(box.x1), y1 = V::set(box.y1), x2 = V::set(box.x2), y2 = V::set(box.y2);
        const V barea = V::set(its_area), bshare = V::set(job.bound.share(its_area) + job.bound.floor);
        const int64_t count = find_near(x1, y1, x2, y2);
        for (int64_t n = 0; n < count; ++n) {
            Cluster<T>& c = job.cluster[job.near[n]];
            bool changed = false;
            for (int at = 0; at < B; at += L) {
                const V cx1 = V::load(c.x1 + at), cy1 = V::load(c.y1 + at), cx2 = V::load(c.x2 + at),
                        cy2 = V::load(c.y2 + at);
                const V w = max(min(x2, cx2) - max(x1, cx1), zero), h = max(min(y2, cy2) - max(y1, cy1), zero);
                const V meet = w * h;
                if (!ge(meet, bshare + V::load(c.share + at))) continue;
                const V both = (barea + max(cx2 - cx1, zero) * max(cy2 - cy1, zero)) - meet;
                const V iou = where_positive(both, meet / both, zero);
                const V weight = Gaussian ? lanes::exp_negative((zero - iou * iou) / sigma)
                                          : where_ge(iou, threshold, one - iou, one);
                (V::load(c.score + at) * weight).store(c.score + at);
                changed = true;
            }
            if (!changed) continue;
            const T value = best_in(c);
            best_of[job.near[n]] = value;
            if (!(value >= job.min_score)) set_empty(job.near[n]);  // no box of it can be selected any more
        }
    }
};

template <class T, bool Gaussian>
int64_t run(SoftJob<T>& job) {
    const Selection<T, Gaussian> state(job);
    const int64_t clusters = job.clusters;
    state.make_hulls();
    int64_t selected = 0;
    for (;; ++selected) {
        int64_t home;
        int slot;
        state.find_best(&home, &slot);
        if (home < 0 || selected == job.limit) break;
        job.selected[selected] = job.cluster[home].index[slot];
        job.selected_score[selected] = job.cluster[home].score[slot];  // its sign where it is 0
        const Box<T> box = state.take(home, slot);
        if (job.ordinary < clusters) {
            // box by box: an extreme one with all, any other one with the extreme ones
            for (int64_t k = home >= job.ordinary ? 0 : job.ordinary; k < clusters; ++k)
                meet_extreme<T, Gaussian>(job, box, k);
            for (int64_t k = 0; k < clusters; ++k) state.best_of[k] = state.best_in(job.cluster[k]);
            if (home >= job.ordinary) continue;
        }
        state.rescore(box);
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
