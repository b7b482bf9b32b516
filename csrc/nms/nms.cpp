// A whole call of nms: check the input, sort, group, run each group, gather.
#include "nms/nms.h"

#include <cstring>
#include <optional>

#include "core/work.h"
#include "nms/grid.h"
#include "nms/groups.h"
#include "nms/place.h"
#include "nms/tree.h"

namespace fastdet {
namespace {

// Kept boxes after which the dense way switches to a grid, if at least kGridLeft candidates are left. The dense way
// tests a kept box against every later candidate, a grid against its neighbours only. By measurement.
constexpr int64_t kDenseKept = 256, kGridLeft = 1024;
// Kept boxes after which the dense way switches to a tree, where there is no grid, of at least kTreeBoxes candidates.
constexpr int64_t kTreeKept = 1024, kTreeBoxes = 4096;
// Extreme boxes (areas that overflow or underflow) that are compared one by one beside a grid; with more of them there
// is none.
constexpr int64_t kMaxExtreme = 16;
// Candidates that are compared pair by pair, by the rule for any boxes, where coordinates are large.
constexpr int64_t kCarefulBoxes = 64;

// The plain rule, pair by pair.
template <class T>
void nms_careful(NmsJob<T>& job) {
    Buffer<int32_t> kept(job.n);
    for (int64_t i = 0; i < job.n && job.kept != job.limit; ++i) {
        bool gone = false;
        int64_t k = 0;
        for (; k < job.kept && !gone; ++k)
            gone = suppresses(job.boxes[kept[k]], job.boxes[i], job.bound.threshold, job.kind);
        job.pairs += k;
        if (gone) continue;
        job.keep[i] = 1;
        kept[job.kept++] = int32_t(i);
    }
}

// One group: boxes (n,) by falling score, keep (n,) zeros on entry; `large`: some coordinate is. The boxes are a copy:
// what is found out about them stays true while another thread writes to the caller's array.
template <class T>
void nms_group(const Box<T>* boxes, int64_t n, const Bound<T>& bound, Measure kind, int64_t limit, bool large,
               uint8_t* keep) {
    if (bound.threshold >= 1) {  // no overlap is above 1, rounded either
        std::memset(keep, 1, size_t(limit >= 0 && limit < n ? limit : n));
        return;
    }
    const NmsLoops<T>& loops = nms_kernels().of<T>();
    NmsJob<T> job = {};
    job.boxes = boxes;
    job.n = n;
    job.bound = bound;
    job.kind = kind;
    job.limit = limit;
    job.keep = keep;
    job.large = large;
    Buffer<int32_t> extreme(kMaxExtreme + 1);
    job.extreme = extreme.get();
    bool grid = kind == Measure::iou && n > kDenseKept + kGridLeft;
    for (int64_t i = 0; grid && i < n; ++i) {
        extreme[job.extremes] = int32_t(i);
        job.extremes += is_tiny(boxes[i]) || (large && is_large(boxes[i]));
        grid = job.extremes <= kMaxExtreme;
    }
    if (!grid) job.extremes = 0;
    if (large && n <= kCarefulBoxes) {
        nms_careful(job);
        return count_pairs(job.pairs);
    }
    int64_t done = 0;
    if (!large && !job.extremes) {
        job.dense_limit = grid ? kDenseKept : n >= kTreeBoxes ? kTreeKept : -1;
        job.stride = ((job.dense_limit >= 0 ? job.dense_limit : n) + 63) / 64 * 64;
        Buffer<T> scratch(5 * job.stride);
        job.scratch = scratch.get();
        done = loops.dense(job);
        if (done == n) return count_pairs(job.pairs);
    }
    Buffer<uint8_t> dead(n), out(job.extremes ? n : 0);
    std::memset(dead.get(), 0, size_t(n));
    job.dead = dead.get();
    bool fresh = true;
    for (; grid && done < n && !job.crowded; fresh = false) {
        const uint8_t* left_out = dead.get();
        if (job.extremes) {
            std::memcpy(out.get(), dead.get(), size_t(n));
            for (int64_t k = 0; k < job.extremes; ++k) out[extreme[k]] = 1;
            left_out = out.get();
        }
        const GridStore<T> store(boxes, done, n, bound, left_out);
        job.grid = &store.grid();
        done = loops.grid(job, done, fresh);
    }
    if (done < n) nms_by_tree(job, done, fresh, nullptr);
    count_pairs(job.pairs);
}

}  // namespace

template <class T>
void nms_by_tree(NmsJob<T>& job, int64_t first, bool fresh, const uint8_t* tied) {
    Buffer<int32_t> rank(job.n - first);
    int64_t near = 0, far = 0;  // far ones from the back
    for (int64_t i = first; i < job.n; ++i) {
        const Box<T>& b = job.boxes[i];
        if (job.dead[i] || !can_overlap(b, job.kind)) continue;
        rank[job.large && (is_large(b) || !is_bounded(b)) ? job.n - first - ++far : near++] = int32_t(i);
    }
    Buffer<Box<T>> near_box(near);
    Buffer<T> near_share(near);
    for (int64_t k = 0; k < near; ++k) {
        near_box[k] = job.boxes[rank[k]];
        near_share[k] = job.bound.share(area(near_box[k])) + (job.kind == Measure::ios ? job.bound.floor : T(0));
    }
    // areas of floats below 2^-149 are rounded up or down as a whole; a tiny threshold bounds nothing
    const bool bounds = double(job.bound.threshold) >= 1e-6;
    job.far_scale = kFarScale<T>;
    job.far_bound = {double(job.bound.threshold), bounds ? double(job.bound.factor) : 0,
                     sizeof(T) == sizeof(double) ? 0x1p-1072 : 0x1p-148};
    const int32_t* far_rank = rank.get() + (job.n - first - far);
    Buffer<Box<double>> far_boxes(far);
    Buffer<double> far_shares(far);
    for (int64_t k = 0; k < far; ++k) {
        far_boxes[k] = far_box(job.boxes[far_rank[k]], job.far_scale);
        far_shares[k] = far_share(far_boxes[k], job.far_bound);
    }
    std::optional<TreeStore<T>> near_tree;
    std::optional<TreeStore<double>> far_tree;
    if (near) job.tree = near_tree.emplace(near_box.get(), near_share.get(), rank.get(), near).tree();
    if (far) job.far = far_tree.emplace(far_boxes.get(), far_shares.get(), far_rank, far).tree();
    Buffer<int32_t> slot(tied ? job.n : 0);
    const Ties ties{tied, slot.get()};
    if (tied) {
        for (int64_t i = 0; i < job.n; ++i) slot[i] = -1;
        for (int64_t k = 0; k < near; ++k) slot[job.tree->rank[k]] = int32_t(k);
        for (int64_t k = 0; k < far; ++k) slot[job.far->rank[k]] = int32_t(-2 - k);
        job.ties = &ties;
    }
    nms_kernels().of<T>().tree(job, first, fresh);
}
template void nms_by_tree(NmsJob<float>&, int64_t, bool, const uint8_t*);
template void nms_by_tree(NmsJob<double>&, int64_t, bool, const uint8_t*);

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
        const S score_threshold = S(*options.score_threshold);
        Buffer<int32_t> among(n);
        count = 0;
        for (int64_t i = 0; i < n; ++i) {
            among[count] = int32_t(i);
            count += scores[i] > score_threshold;
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
    for (int64_t i = 0; i < count; ++i) {  // without a branch, which could not be predicted
        keep[kept] = order[i];
        kept += flags[i];
    }
    return options.max_output >= 0 && kept > options.max_output ? options.max_output : kept;
}

template int64_t nms(const Box<float>*, const float*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t nms(const Box<float>*, const double*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t nms(const Box<double>*, const float*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
template int64_t nms(const Box<double>*, const double*, const int64_t*, int64_t, const NmsOptions&, int64_t*);
}  // namespace fastdet
