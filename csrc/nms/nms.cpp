// A whole call of nms or soft_nms: look at the input, sort, group, run each group, gather.
#include <cmath>
#include <limits>

#include "core/exp.h"
#include "core/kernels.h"
#include "core/order.h"
#include "core/threads.h"
#include "nms/grid.h"
#include "nms/nms.h"

namespace fastdet {
namespace {

// Kept boxes after which the dense way gives over to a grid, if at least kGridLeft candidates are left: a kept
// box costs a dense test of every later candidate, but a grid only its neighbours. Found by measurement.
constexpr int64_t kDenseKept = 256, kGridLeft = 1024;
// Odd boxes (areas that overflow or underflow) that are compared one by one beside a grid; with more of them there is
// none.
constexpr int64_t kMostOdd = 1024;
// Boxes below which a group is not worth a thread of its own. Found by measurement.
constexpr int64_t kThreadBoxes = 16384;

enum class Input { ordinary, large, nan };

// Ordinary: every coordinate within Limits::large, or infinite.
template <class T>
Input look(const T* x, int64_t n) {
    bool odd = false;
    for (int64_t i = 0; i < n; ++i) odd |= !(std::fabs(x[i]) <= Limits<T>::large);
    if (!odd) return Input::ordinary;
    Input found = Input::ordinary;
    for (int64_t i = 0; i < n; ++i) {
        if (x[i] != x[i]) return Input::nan;
        if (std::fabs(x[i]) > Limits<T>::large && is_finite(x[i])) found = Input::large;
    }
    return found;
}

// See Bound: rounding of areas, sum and product is off by a few ulps, and the factor errs to the safe side.
template <class T>
Bound<T> make_bound(double threshold, Measure kind) {
    const T t = T(threshold);
    const double exact = kind == Measure::ios ? double(t) : double(t) / (1 + double(t));
    return {t, T(exact * (1 - 32 * double(std::numeric_limits<T>::epsilon()))), std::numeric_limits<T>::denorm_min()};
}

// The plain rule, pair by pair.
template <class T>
void nms_careful(NmsJob<T>& job) {
    Buffer<int32_t> kept(job.n);
    for (int64_t i = 0; i < job.n && job.kept != job.limit; ++i) {
        bool gone = false;
        for (int64_t k = 0; k < job.kept && !gone; ++k)
            gone = suppresses(job.boxes[kept[k]], job.boxes[i], job.bound.threshold, job.kind);
        if (gone) continue;
        job.keep[i] = 1;
        kept[job.kept++] = int32_t(i);
    }
}

// One group: boxes (n,) by falling score, keep (n,) zeros on entry; `large`: some coordinate is.
template <class T>
void nms_group(const Box<T>* boxes, int64_t n, const Bound<T>& bound, Measure kind, int64_t limit, bool large,
               uint8_t* keep) {
    const Kernels<T>& loops = of<T>(kernels());
    NmsJob<T> job = {};
    job.boxes = boxes;
    job.n = n;
    job.bound = bound;
    job.kind = kind;
    job.limit = limit;
    job.keep = keep;
    Buffer<int32_t> odd(kMostOdd + 1);
    job.odd = odd.get();
    bool grid = kind == Measure::iou && n > kDenseKept + kGridLeft;
    for (int64_t i = 0; grid && i < n; ++i) {
        odd[job.odds] = int32_t(i);
        job.odds += is_tiny(boxes[i]) || (large && is_large(boxes[i]));
        grid = job.odds <= kMostOdd;
    }
    if (!grid && large) return nms_careful(job);
    int64_t done = 0;
    if (!grid || !job.odds) {
        job.dense_limit = grid ? kDenseKept : -1;
        job.stride = ((grid ? kDenseKept : n) + 63) / 64 * 64;
        Buffer<T> scratch(5 * job.stride);
        job.scratch = scratch.get();
        done = loops.nms_dense(job);
    }
    if (done == n) return;
    Buffer<uint8_t> dead(n), out(job.odds ? n : 0);
    std::memset(dead.get(), 0, size_t(n));
    job.dead = dead.get();
    for (bool fresh = true; done < n; fresh = false) {
        const uint8_t* left_out = dead.get();
        if (job.odds) {
            std::memcpy(out.get(), dead.get(), size_t(n));
            for (int64_t k = 0; k < job.odds; ++k) out[odd[k]] = 1;
            left_out = out.get();
        }
        const GridStore<T> store(boxes, done, n, bound, left_out);
        job.grid = &store.grid();
        done = loops.nms_grid(job, done, fresh);
    }
}

// Run f(group) for each group, several groups at a time where there is enough to do. f may run out of memory.
template <class F>
void run_groups(const std::vector<int32_t>& segments, F&& f) {
    const int64_t groups = int64_t(segments.size()) - 1;
    if (segments.back() < kThreadBoxes || groups < 2) {
        for (int64_t g = 0; g < groups; ++g) f(g);
        return;
    }
    std::vector<int64_t> first{0};  // groups in tasks of about equal numbers of boxes
    for (int64_t g = 0; g < groups; ++g) {
        if (segments[size_t(g) + 1] - segments[size_t(first.back())] >= kThreadBoxes / 4) first.push_back(g + 1);
    }
    if (first.back() != groups) first.push_back(groups);
    parallel_for(int64_t(first.size()) - 1, [&](int64_t task) {
        for (int64_t g = first[size_t(task)]; g < first[size_t(task) + 1]; ++g) f(g);
    });
}

uint32_t spread_bits(uint32_t x) {  // of 10 bits, one apart
    x = (x | x << 8) & 0x00ff00ffu;
    x = (x | x << 4) & 0x0f0f0f0fu;
    x = (x | x << 2) & 0x33333333u;
    return (x | x << 1) & 0x55555555u;
}

// Positions of boxes by size and place, so that neighbours in the order are near each other: octave of the larger
// side, then Morton order of the centre. Only speed depends on it.
template <class T>
void order_by_place(const Box<T>* boxes, int64_t n, int32_t* order) {
    Buffer<uint64_t> items(2 * n);
    double low_x = 0, low_y = 0, high_x = 0, high_y = 0, largest = 0;
    const auto usable = [](const Box<T>& b) {
        return is_finite(b.x1) && is_finite(b.y1) && is_finite(b.x2) && is_finite(b.y2) && !is_large(b);
    };
    bool first = true;
    for (int64_t i = 0; i < n; ++i) {
        const Box<T>& b = boxes[i];
        if (!usable(b)) continue;
        low_x = first || b.x1 < low_x ? b.x1 : low_x;
        low_y = first || b.y1 < low_y ? b.y1 : low_y;
        high_x = first || b.x1 > high_x ? b.x1 : high_x;
        high_y = first || b.y1 > high_y ? b.y1 : high_y;
        const double size = double(greater(b.x2 - b.x1, b.y2 - b.y1));
        largest = size > largest ? size : largest;
        first = false;
    }
    const auto scale = [](double span) { return span > 1e-300 ? 1023 / span : 0; };
    const double sx = scale(high_x - low_x), sy = scale(high_y - low_y);
    for (int64_t i = 0; i < n; ++i) {
        const Box<T>& b = boxes[i];
        uint32_t key = 0xffffffffu;
        if (usable(b)) {
            uint32_t octave = 0;
            for (double size = double(greater(b.x2 - b.x1, b.y2 - b.y1)); octave < 12 && size * 2 < largest; size *= 2)
                ++octave;
            key = octave << 20 | spread_bits(uint32_t((b.x1 - low_x) * sx)) |
                  spread_bits(uint32_t((b.y1 - low_y) * sy)) << 1;
        }
        items[i] = uint64_t(key) << 32 | uint32_t(i);
    }
    const uint64_t* sorted = sort_high(items.get(), items.get() + n, n);
    for (int64_t i = 0; i < n; ++i) order[i] = int32_t(uint32_t(sorted[i]));
}

// One group: the boxes among[0 .. n), rising. Selected positions in `among` and scores out.
template <class T>
int64_t soft_group(const Box<T>* boxes, const T* scores, const int32_t* among, int64_t n, const SoftOptions& options,
                   bool large, int32_t* selected, T* selected_score) {
    constexpr int B = Cluster<T>::lanes;
    // ordinary boxes by place, then, in clusters of their own, those whose areas overflow
    Buffer<Box<T>> mine(n);
    Buffer<int32_t> from(n), order(n);
    int64_t ordinary = 0, odds = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Box<T>& b = boxes[among[i]];
        const int64_t at = large && is_large(b) ? n - ++odds : ordinary++;
        mine[at] = b;
        from[at] = int32_t(i);
    }
    order_by_place(mine.get(), ordinary, order.get());
    const int64_t first_odd = (ordinary + B - 1) / B, clusters = first_odd + (odds + B - 1) / B;
    Buffer<int32_t> near(clusters);
    Buffer<Cluster<T>> cluster(clusters);
    Buffer<T> hull(5 * ((clusters + B - 1) / B * B));
    const Bound<T> bound = make_bound<T>(options.gaussian ? 0 : options.threshold, Measure::iou);
    for (int64_t k = 0; k < clusters * B; ++k) {
        Cluster<T>& c = cluster[k / B];
        const int at = int(k % B);
        const int64_t odd = k - first_odd * B;
        const int64_t i = odd < 0 ? (k < ordinary ? order[k] : -1) : odd < odds ? ordinary + odd : -1;
        const Box<T> b = i >= 0 ? mine[i] : Box<T>{1, 1, -1, -1};
        c.x1[at] = b.x1, c.y1[at] = b.y1, c.x2[at] = b.x2, c.y2[at] = b.y2;
        c.share[at] = i >= 0 ? bound.share(area(b)) : Limits<T>::large;
        c.score[at] = i >= 0 ? scores[among[from[i]]] : T(-1);
        c.index[at] = i >= 0 ? from[i] : 0;
    }
    SoftJob<T> job = {};
    job.cluster = cluster.get(), job.clusters = clusters, job.ordinary = first_odd;
    job.hull = hull.get(), job.near = near.get();
    job.bound = bound;
    job.gaussian = options.gaussian;
    job.threshold = T(options.threshold), job.sigma = T(options.sigma), job.min_score = T(options.min_score);
    job.limit = options.max_output;
    job.selected = selected, job.selected_score = selected_score;
    return of<T>(kernels()).soft_nms(job);
}

}  // namespace

template <class T, class S>
int64_t nms(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
            int64_t* keep) {
    const Input input = look(&boxes->x1, 4 * n);
    if (input == Input::nan) return -1 - 2 * (first_nan(&boxes->x1, 4 * n) / 4);
    const int64_t bad = first_nan(scores, n);
    if (bad >= 0) return -2 - 2 * bad;

    Buffer<int32_t> order(n);
    int64_t count = n;
    if (options.score_threshold) {
        const S least = S(*options.score_threshold);
        Buffer<int32_t> among(n);
        count = 0;
        for (int64_t i = 0; i < n; ++i) {
            among[count] = int32_t(i);
            count += scores[i] > least;
        }
        order_by_score(scores, among.get(), count, order.get());
    } else {
        order_by_score(scores, nullptr, n, order.get());
    }

    const Bound<T> bound = make_bound<T>(options.threshold, options.kind);
    const bool large = input == Input::large;
    Buffer<uint8_t> flags(count);
    std::memset(flags.get(), 0, size_t(count));
    if (!keys) {
        Buffer<Box<T>> sorted(count);
        for (int64_t i = 0; i < count; ++i) sorted[i] = boxes[order[i]];
        nms_group(sorted.get(), count, bound, options.kind, options.max_output, large, flags.get());
    } else {
        Buffer<int32_t> members(count);
        std::vector<int32_t> segments;
        group_by_key(keys, order.get(), count, members.get(), segments);
        int64_t limit = options.max_per_key;
        if (options.max_output >= 0 && (limit < 0 || options.max_output < limit)) limit = options.max_output;
        const auto run = [&](int64_t g) {
            const int32_t* mine = members.get() + segments[size_t(g)];
            const int64_t size = segments[size_t(g) + 1] - segments[size_t(g)];
            if (size == 1) {
                flags[mine[0]] = limit != 0;
                return;
            }
            Buffer<Box<T>> sorted(size);
            Buffer<uint8_t> kept(size);
            for (int64_t i = 0; i < size; ++i) sorted[i] = boxes[order[mine[i]]];
            std::memset(kept.get(), 0, size_t(size));
            nms_group(sorted.get(), size, bound, options.kind, limit, large, kept.get());
            for (int64_t i = 0; i < size; ++i) flags[mine[i]] = kept[i];
        };
        run_groups(segments, run);
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {  // without a branch: which are kept cannot be foreseen
        keep[kept] = order[i];
        kept += flags[i];
    }
    return options.max_output >= 0 && kept > options.max_output ? options.max_output : kept;
}

template <class T>
int64_t soft_nms(const Box<T>* boxes, const T* scores, const int64_t* keys, int64_t n, const SoftOptions& options,
                 int64_t* keep, T* new_scores) {
    const Input input = look(&boxes->x1, 4 * n);
    if (input == Input::nan) return -1 - 2 * (first_nan(&boxes->x1, 4 * n) / 4);
    const int64_t bad = first_nan(scores, n);
    if (bad >= 0) return -2 - 2 * bad;

    Buffer<int32_t> among(n), members(n), selected(n);
    Buffer<T> score(n);
    const T least = T(options.min_score);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
        among[count] = int32_t(i);
        count += scores[i] >= least;
    }
    const bool large = input == Input::large;
    if (!keys) {
        const int64_t found =
            soft_group(boxes, scores, among.get(), count, options, large, selected.get(), score.get());
        for (int64_t i = 0; i < found; ++i) {
            keep[i] = among[selected[i]];
            new_scores[i] = score[i];
        }
        return found;
    }
    std::vector<int32_t> segments;
    group_by_key(keys, among.get(), count, members.get(), segments);
    for (int64_t i = 0; i < count; ++i) members[i] = among[members[i]];  // indices now
    std::vector<int32_t> found(segments.size());
    run_groups(segments, [&](int64_t g) {
        const int32_t first = segments[size_t(g)];
        found[size_t(g)] = int32_t(soft_group(boxes, scores, members.get() + first, segments[size_t(g) + 1] - first,
                                              options, large, selected.get() + first, score.get() + first));
    });
    // The order of selection over all groups: always the best of what each group would take next.
    struct Head {
        T score;
        int64_t index;
        size_t group;
        int32_t at;
        bool operator<(const Head& other) const {
            return score != other.score ? score < other.score : index > other.index;
        }
    };
    std::vector<Head> heads;
    const auto head = [&](size_t g, int32_t at) {
        const int32_t i = segments[g] + at;
        heads.push_back({score[i], members[segments[g] + selected[i]], g, at});
    };
    for (size_t g = 0; g + 1 < segments.size(); ++g) {
        if (found[g]) head(g, 0);
    }
    std::make_heap(heads.begin(), heads.end());
    int64_t kept = 0;
    while (!heads.empty() && kept != options.max_output) {
        std::pop_heap(heads.begin(), heads.end());
        const Head best = heads.back();
        heads.pop_back();
        keep[kept] = best.index;
        new_scores[kept++] = best.score;
        if (best.at + 1 < found[best.group]) {
            head(best.group, best.at + 1);
            std::push_heap(heads.begin(), heads.end());
        }
    }
    return kept;
}

template int64_t nms(const Box<float>*, const float*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t nms(const Box<float>*, const double*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t nms(const Box<double>*, const float*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t nms(const Box<double>*, const double*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t soft_nms(const Box<float>*, const float*, const int64_t*, int64_t, const SoftOptions&, int64_t*,
                          float*);
template int64_t soft_nms(const Box<double>*, const double*, const int64_t*, int64_t, const SoftOptions&, int64_t*,
                          double*);

}  // namespace fastdet
