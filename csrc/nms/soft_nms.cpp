// A whole call of soft_nms: check the input, group, put near boxes together, run each group, merge their selections.
#include "nms/soft_nms.h"

#include <algorithm>

#include "core/memory.h"
#include "nms/groups.h"
#include "nms/place.h"

namespace fastdet {
namespace {

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
    int64_t ordinary = 0, extremes = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Box<T>& b = boxes[among[i]];
        const int64_t at = large && is_large(b) ? n - ++extremes : ordinary++;
        mine[at] = b;
        from[at] = int32_t(i);
    }
    order_by_place(mine.get(), ordinary, order.get());
    const int64_t first_extreme = (ordinary + B - 1) / B, clusters = first_extreme + (extremes + B - 1) / B;
    Buffer<int32_t> near(clusters);
    Buffer<Cluster<T>> cluster(clusters);
    Buffer<T> hull(5 * ((clusters + B - 1) / B * B));
    const Bound<T> bound = make_bound<T>(options.gaussian ? 0 : options.threshold, Measure::iou);
    for (int64_t k = 0; k < clusters * B; ++k) {
        Cluster<T>& c = cluster[k / B];
        const int at = int(k % B);
        const int64_t extreme = k - first_extreme * B;
        const int64_t i = extreme < 0 ? (k < ordinary ? order[k] : -1) : extreme < extremes ? ordinary + extreme : -1;
        const Box<T> b = i >= 0 ? mine[i] : Box<T>{1, 1, -1, -1};
        c.x1[at] = b.x1, c.y1[at] = b.y1, c.x2[at] = b.x2, c.y2[at] = b.y2;
        c.share[at] = i >= 0 ? bound.share(area(b)) : Limits<T>::large;
        c.score[at] = i >= 0 ? scores[among[from[i]]] : T(-1);
        c.index[at] = i >= 0 ? from[i] : 0;
    }
    SoftJob<T> job = {};
    job.cluster = cluster.get(), job.clusters = clusters, job.ordinary = first_extreme;
    job.hull = hull.get(), job.near = near.get();
    job.bound = bound;
    job.gaussian = options.gaussian;
    job.threshold = T(options.threshold), job.sigma = T(options.sigma), job.min_score = T(options.min_score);
    job.limit = options.max_output;
    job.selected = selected, job.selected_score = selected_score;
    return soft_nms_kernels().of<T>().run(job);
}

}  // namespace

template <class T>
int64_t soft_nms(const Box<T>* boxes, const T* scores, const int64_t* keys, int64_t n, const SoftOptions& options,
                 int64_t* keep, T* new_scores) {
    const Input input = look(&boxes->x1, 4 * n);
    if (input == Input::nan) return -1 - 2 * (first_nan(&boxes->x1, 4 * n) / 4);
    const int64_t bad = first_nan(scores, n);
    if (bad >= 0) return -2 - 2 * bad;

    Buffer<int32_t> among(n), members(n), selected(n);
    Buffer<T> score(n);
    const T min_score = T(options.min_score);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
        among[count] = int32_t(i);
        count += scores[i] >= min_score;
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

template int64_t soft_nms(const Box<float>*, const float*, const int64_t*, int64_t, const SoftOptions&, int64_t*,
                          float*);
template int64_t soft_nms(const Box<double>*, const double*, const int64_t*, int64_t, const SoftOptions&, int64_t*,
                          double*);

}  // namespace fastdet
