// A whole call of nms_rotated: check the input, sort, group, run each group, gather.
#include "rotated/nms_rotated.h"

#include <cstring>

#include "core/work.h"
#include "nms/groups.h"
#include "nms/tree.h"
#include "rotated/columns.h"

namespace fastdet {
namespace {

// Boxes from which a tree of the upright boxes finds the neighbours, by measurement. Below, each box meets the kept
// ones.
constexpr int64_t kTreeBoxes = 512;

// The plain rule, pair by pair: where boxes have extreme sizes or places.
template <class T>
void careful(const T* boxes, const int32_t* order, int64_t n, const RotatedNmsOptions& options, int64_t limit,
             uint8_t* keep) {
    Buffer<Rect> kept(n);
    int64_t count = 0;
    const T threshold = T(options.threshold);
    for (int64_t i = 0; i < n && count != limit; ++i) {
        const Rect box = rect_of(boxes + 5 * int64_t(order[i]), options.angles);
        bool gone = false;
        for (int64_t k = 0; k < count && !gone; ++k) gone = T(rotated_measure(kept[k], box, options.kind)) > threshold;
        if (gone) continue;
        keep[i] = 1;
        kept[count++] = box;
    }
}

// One group: boxes order[0 .. n) by falling score, keep (n,) zeros on entry.
template <class T>
void nms_group(const T* boxes, const int32_t* order, int64_t n, const RotatedNmsOptions& options, int64_t limit,
               uint8_t* keep) {
    const auto keep_all = [&] { std::memset(keep, 1, size_t(limit >= 0 && limit < n ? limit : n)); };
    if (T(options.threshold) >= 1) return keep_all();  // no overlap is above 1, rounded either
    const int64_t stride = n + kRotatedPad;
    Buffer<double> columns(kRotatedColumns * stride), share(stride);
    Buffer<int32_t> near(stride);
    RotatedNmsJob job = {};
    job.boxes = columns_in(columns.get(), stride);
    job.n = n;
    job.threshold = double(T(options.threshold));
    job.kind = options.kind;
    job.single = sizeof(T) == sizeof(float);
    job.share = share.get();
    job.limit = limit;
    job.near = near.get();
    job.keep = keep;
    // a bound as `Bound` has it, less the rounding of measures; the smaller area bounds nothing here
    const double t = job.threshold, least = std::numeric_limits<double>::denorm_min();
    const double factor =
        options.kind == RotatedMeasure::iou ? t / (1 + t) * (1 - 32 * double(std::numeric_limits<T>::epsilon())) : 0;
    for (int64_t i = 0; i < stride; ++i) {
        Rect r{0, 0, 0, 0, 1, 0};
        if (i < n) r = rect_of(boxes + 5 * int64_t(order[i]), options.angles);
        if (is_valid(r) && !is_ordinary(r)) return careful(boxes, order, n, options, limit, keep);
        put_column(job.boxes, i, r);
        share[i] = greater(factor * (r.w * r.h), least);
    }
    if (n < kTreeBoxes) {
        Buffer<double> scratch(5 * stride);
        job.scratch = scratch.get();
        rotated_loops().dense(job);
        return count_pairs(job.pairs);
    }
    Buffer<uint8_t> dead(n);
    std::memset(dead.get(), 0, size_t(n));
    job.dead = dead.get();
    Buffer<Box<double>> upright(n);
    Buffer<double> shares(n);
    Buffer<int32_t> rank(n);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (!(job.boxes.reach_x[i] >= 0)) continue;
        upright[count] = upright_box(job.boxes, i), shares[count] = share[i], rank[count++] = int32_t(i);
    }
    if (!count) return keep_all();  // no box has an area: none meets another
    TreeStore<double> tree(upright.get(), shares.get(), rank.get(), count);
    job.tree = tree.tree();
    rotated_loops().tree(job);
    count_pairs(job.pairs);
}

}  // namespace

template <class T, class S>
int64_t nms_rotated(const T* boxes, const S* scores, const int64_t* keys, int64_t n, const RotatedNmsOptions& options,
                    int64_t* keep) {
    int64_t bad = first_nan(boxes, 5 * n);
    if (bad >= 0) return -1 - 2 * (bad / 5);
    bad = first_nan(scores, n);
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
    Buffer<uint8_t> flags(count);
    std::memset(flags.get(), 0, size_t(count));
    if (!keys) {
        nms_group(boxes, order.get(), count, options, options.max_output, flags.get());
    } else {
        Buffer<int32_t> members(count);
        std::vector<int32_t> segments;
        group_by_key(keys, order.get(), count, members.get(), segments);
        run_groups(segments, [&](int64_t g) {
            const int32_t* mine = members.get() + segments[size_t(g)];
            const int64_t size = segments[size_t(g) + 1] - segments[size_t(g)];
            Buffer<int32_t> of_group(size);
            Buffer<uint8_t> kept(size);
            for (int64_t i = 0; i < size; ++i) of_group[i] = order[mine[i]];
            std::memset(kept.get(), 0, size_t(size));
            nms_group(boxes, of_group.get(), size, options, options.max_output, kept.get());
            for (int64_t i = 0; i < size; ++i) flags[mine[i]] = kept[i];
        });
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {  // without a branch, which could not be predicted
        keep[kept] = order[i];
        kept += flags[i];
    }
    return options.max_output >= 0 && kept > options.max_output ? options.max_output : kept;
}

template int64_t nms_rotated(const float*, const float*, const int64_t*, int64_t, const RotatedNmsOptions&, int64_t*);
template int64_t nms_rotated(const float*, const double*, const int64_t*, int64_t, const RotatedNmsOptions&, int64_t*);
template int64_t nms_rotated(const double*, const float*, const int64_t*, int64_t, const RotatedNmsOptions&, int64_t*);
template int64_t nms_rotated(const double*, const double*, const int64_t*, int64_t, const RotatedNmsOptions&, int64_t*);

}  // namespace fastdet
