// A whole call of generate_proposals: the top of each level of each image, then NMS image by image.
#include "proposals/generate_proposals.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/memory.h"
#include "core/order.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kLanes = 64;      // columns are padded to a multiple of this
constexpr int64_t kSampled = 4096;  // scores from which on a sample of them estimates the lowest of the top
constexpr int64_t kEvery = 61;      // of the scores are in the sample

constexpr int64_t kThreadScores = 1 << 15, kThreadRows = 512;  // below both a second thread is slower

template <class F>
void by_tasks(bool threads, int64_t tasks, const F& f) {
    if (threads) return parallel_for(tasks, f);
    for (int64_t task = 0; task < tasks; ++task) f(task);
}

// The indices of the `count` highest scores of n, by falling score, into order (n,); nan is set where there is one.
//
// A bound from a sample, which a little more than `count` scores should reach, leaves few to sort. Where too few reach
// it, the bound is selected from all.
template <class T>
void top_of(const T* scores, int64_t n, int64_t count, int32_t* order, bool* nan) {
    if (count >= n) {
        *nan |= first_nan(scores, n) >= 0;
        return order_by_score(scores, nullptr, n, order);
    }
    const auto& loops = generate_proposals_kernels().of<T>();
    Buffer<int32_t> among(n);
    int64_t found = 0;
    if (n >= kSampled) {
        const int64_t size = n / kEvery;
        Buffer<T> sample(size);
        for (int64_t i = 0; i < size; ++i) {
            const T score = scores[i * kEvery];
            sample[i] = score == score ? score : T(0);
        }
        const double expected = double(count) * double(size) / double(n);
        const int64_t rank = int64_t(expected + 3 * __builtin_sqrt(expected) + 2);
        if (rank < size) {
            std::nth_element(sample.get(), sample.get() + rank, sample.get() + size, [](T a, T b) { return a > b; });
            found = loops.at_least(scores, n, sample[rank], among.get(), nan);
        }
    }
    if (found < count) {  // bounds of the whole; another thread may write to the scores, so these are a copy
        Buffer<T> all(n);
        for (int64_t i = 0; i < n; ++i) {
            const T score = scores[i];
            *nan |= score != score;
            all[i] = score == score ? score : T(0);
        }
        if (*nan) return;
        Buffer<T> sorted(n);
        std::copy(all.get(), all.get() + n, sorted.get());
        std::nth_element(sorted.get(), sorted.get() + (count - 1), sorted.get() + n, [](T a, T b) { return a > b; });
        found = loops.at_least(all.get(), n, sorted[count - 1], among.get(), nan);
        Buffer<int32_t> whole(found);
        order_by_score(all.get(), among.get(), found, whole.get());
        std::copy(whole.get(), whole.get() + count, order);
        return;
    }
    Buffer<int32_t> whole(found);
    order_by_score(scores, among.get(), found, whole.get());
    std::copy(whole.get(), whole.get() + count, order);
}

// What is left of the top of one level of one image.
template <class T>
struct Left {
    Box<T>* boxes;
    T* scores;
    int64_t count;
};

// The lowest code of a NaN among the top of a level, or -1.
template <class T>
int64_t nan_code(const ProposalLevel<T>& level, const T* deltas, const int32_t* top, int64_t n, int64_t place) {
    int64_t lowest = -1;
    for (int64_t i = 0; i < n; ++i) {
        const T* d = deltas + 4 * int64_t(top[i]);
        const bool in_deltas = d[0] != d[0] || d[1] != d[1] || d[2] != d[2] || d[3] != d[3];
        if (!in_deltas && !is_nan(level.anchors[top[i]])) continue;
        const int64_t code = 3 * (place + top[i]) + (in_deltas ? 1 : 2);
        if (lowest < 0 || code < lowest) lowest = code;
    }
    return lowest;
}

// The top of one level of one image: decoded, clipped, filtered. Returns the code of a NaN, or -1.
template <class T>
int64_t take_top(const ProposalJob<T>& job, int64_t at_level, int64_t image, int64_t place, Left<T>& left, bool* nan) {
    const ProposalLevel<T>& level = job.level[at_level];
    const T *scores = level.scores + image * level.count, *deltas = level.deltas + image * level.count * 4;
    const int64_t n = std::min(job.pre_nms_top_n, level.count);
    left.count = 0;
    if (!n) return -1;
    Buffer<int32_t> top(level.count);
    top_of(scores, level.count, n, top.get(), nan);
    if (*nan) return -1;
    const int64_t stride = (n + kLanes - 1) / kLanes * kLanes;
    Buffer<T> columns(14 * stride);
    Chosen<T> chosen;
    for (int k = 0; k < 4; ++k) {
        chosen.anchor[k] = columns.get() + k * stride;
        chosen.delta[k] = columns.get() + (4 + k) * stride;
        chosen.box[k] = columns.get() + (8 + k) * stride;
    }
    chosen.logit = columns.get() + 12 * stride;
    chosen.score = columns.get() + 13 * stride;
    bool wrong = false;
    for (int64_t i = 0; i < stride; ++i) {
        const int64_t from = top[i < n ? i : 0];
        const Box<T> anchor = level.anchors[from];
        const T* d = deltas + 4 * from;
        chosen.anchor[0][i] = anchor.x1, chosen.anchor[1][i] = anchor.y1;
        chosen.anchor[2][i] = anchor.x2, chosen.anchor[3][i] = anchor.y2;
        for (int k = 0; k < 4; ++k) {
            const T value = d[k];
            chosen.delta[k][i] = value;
            wrong |= value != value;
        }
        wrong |= is_nan(anchor);
        chosen.logit[i] = scores[from];
    }
    if (wrong) {
        const int64_t code = nan_code(level, deltas, top.get(), n, place);
        if (code >= 0) return code;
    }
    generate_proposals_kernels().of<T>().decode(chosen, stride, T(job.max_log_ratio));
    const T height = T(job.sizes[2 * image]), width = T(job.sizes[2 * image + 1]);
    const T side = T(job.min_size), least = T(job.score_threshold);
    for (int64_t i = 0; i < n; ++i) {
        const Box<T> box{clipped(chosen.box[0][i], width), clipped(chosen.box[1][i], height),
                         clipped(chosen.box[2][i], width), clipped(chosen.box[3][i], height)};
        left.boxes[left.count] = box;
        left.scores[left.count] = chosen.score[i];
        left.count += (box.x2 - box.x1 >= side) & (box.y2 - box.y1 >= side) & (chosen.score[i] >= least);
    }
    return -1;
}

// NMS of what is left of an image, level by level, and its best. The boxes that NMS keeps of the first of all boxes are
// the first of those that it keeps of all: so a part is tried first, and a larger one where it leaves too few.
template <class T>
void suppress(const ProposalJob<T>& job, int64_t image, const Left<T>* left) {
    int64_t n = 0;
    for (int64_t l = 0; l < job.levels; ++l) n += left[l].count;
    Buffer<Box<T>> boxes(n), sorted(n);
    Buffer<T> scores(n), sorted_scores(n);
    Buffer<int64_t> keys(n), sorted_keys(n), keep(n);
    Buffer<int32_t> order(n);
    for (int64_t l = 0, at = 0; l < job.levels; ++l) {
        for (int64_t i = 0; i < left[l].count; ++i, ++at) {
            boxes[at] = left[l].boxes[i];
            scores[at] = left[l].scores[i];
            keys[at] = l;
        }
    }
    order_by_score(scores.get(), nullptr, n, order.get());
    for (int64_t i = 0; i < n; ++i) {
        sorted[i] = boxes[order[i]];
        sorted_scores[i] = scores[order[i]];
        sorted_keys[i] = keys[order[i]];
    }
    const int64_t most = job.post_nms_top_n;
    const NmsOptions options{job.iou_threshold, nullptr, most, -1, Measure::iou};
    int64_t kept = 0;
    for (int64_t part = std::min(n, 2 * most); part; part = std::min(n, 2 * part)) {
        kept = nms(sorted.get(), sorted_scores.get(), sorted_keys.get(), part, options, keep.get());
        if (kept >= most || part == n) break;
    }
    job.counts[image] = kept;
    for (int64_t k = 0; k < most; ++k) {
        const bool real = k < kept;
        job.boxes[image * most + k] = real ? sorted[keep[k]] : Box<T>{0, 0, 0, 0};
        job.scores[image * most + k] = real ? sorted_scores[keep[k]] : T(0);
    }
}

template <class T>
int64_t nan_of_scores(const ProposalJob<T>& job) {
    int64_t place = 0;
    for (int64_t l = 0; l < job.levels; place += job.images * job.level[l].count, ++l) {
        const int64_t nan = first_nan(job.level[l].scores, job.images * job.level[l].count);
        if (nan >= 0) return 3 * (place + nan);
    }
    return -1;
}

}  // namespace

template <class T>
int64_t generate_proposals(const ProposalJob<T>& job) {
    const int64_t levels = job.levels, images = job.images;
    std::vector<int64_t> first(size_t(levels) + 1), place(size_t(levels) + 1);  // of a level in the rows; in the scores
    for (int64_t l = 0; l < levels; ++l) {
        first[size_t(l) + 1] = first[size_t(l)] + std::min(job.pre_nms_top_n, job.level[l].count);
        place[size_t(l) + 1] = place[size_t(l)] + images * job.level[l].count;
    }
    const int64_t rows = first[size_t(levels)];
    Buffer<Box<T>> boxes(images * rows);
    Buffer<T> scores(images * rows);
    Buffer<Left<T>> left(images * levels);
    Buffer<int64_t> codes(images * levels);
    std::atomic<bool> nan{false};
    const bool threads = images * rows >= kThreadRows || place[size_t(levels)] >= kThreadScores;
    by_tasks(threads, images * levels, [&](int64_t task) {  // the largest level of all images first
        const int64_t l = task / images, image = task % images, at = image * rows + first[size_t(l)];
        Left<T>& mine = left[image * levels + l];
        mine = {boxes.get() + at, scores.get() + at, 0};
        bool in_scores = false;
        codes[task] = take_top(job, l, image, place[size_t(l)] + image * job.level[l].count, mine, &in_scores);
        if (in_scores) nan = true;
    });
    if (nan) {
        const int64_t code = nan_of_scores(job);
        if (code >= 0) return code;
    }
    int64_t lowest = -1;
    for (int64_t task = 0; task < images * levels; ++task) {
        if (codes[task] >= 0 && (lowest < 0 || codes[task] < lowest)) lowest = codes[task];
    }
    if (lowest >= 0) return lowest;
    by_tasks(threads, images, [&](int64_t image) { suppress(job, image, left.get() + image * levels); });
    return -1;
}

template int64_t generate_proposals(const ProposalJob<float>&);
template int64_t generate_proposals(const ProposalJob<double>&);

}  // namespace fastdet
