// A whole call of nms: check the input, sort, group, run each group, gather.
#include "nms/nms.h"

#include "nms/grid.h"
#include "nms/groups.h"
#include "nms/place.h"

namespace fastdet {
namespace {

// Kept boxes after which the dense way switches to a grid, if at least kGridLeft candidates are left. The dense way
// tests a kept box against every later candidate, a grid against its neighbours only. By measurement.
constexpr int64_t kDenseKept = 256, kGridLeft = 1024;
// Extreme boxes (areas that overflow or underflow) that are compared one by one beside a grid; with more of them there
// is none.
constexpr int64_t kMaxExtreme = 1024;
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
    const NmsLoops<T>& loops = nms_kernels().of<T>();
    NmsJob<T> job = {};
    job.boxes = boxes;
    job.n = n;
    job.bound = bound;
    job.kind = kind;
    job.limit = limit;
    job.keep = keep;
    Buffer<int32_t> extreme(kMaxExtreme + 1);
    job.extreme = extreme.get();
    bool grid = kind == Measure::iou && n > kDenseKept + kGridLeft;
    for (int64_t i = 0; grid && i < n; ++i) {
        extreme[job.extremes] = int32_t(i);
        job.extremes += is_tiny(boxes[i]) || (large && is_large(boxes[i]));
        grid = job.extremes <= kMaxExtreme;
    }
    if (!grid && large) return nms_careful(job);
    int64_t done = 0;
    if (!grid || !job.extremes) {
        job.dense_limit = grid ? kDenseKept : -1;
        job.stride = ((grid ? kDenseKept : n) + 63) / 64 * 64;
        Buffer<T> scratch(5 * job.stride);
        job.scratch = scratch.get();
        done = loops.dense(job);
    }
    if (done == n) return;
    Buffer<uint8_t> dead(n), out(job.extremes ? n : 0);
    std::memset(dead.get(), 0, size_t(n));
    job.dead = dead.get();
    for (bool fresh = true; done < n; fresh = false) {
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
