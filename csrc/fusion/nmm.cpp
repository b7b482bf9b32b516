// A whole call of non-maximum merging: sort, group by key, find who claims each box, unite.
//
// A box is claimed by the first box by score that overlaps it enough: by the first kept one in greedy merging. So the
// trees of NMS find the claims: a box takes those that it claims out of them. Cost: that of NMS by trees.
#include "fusion/nmm.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/memory.h"
#include "core/work.h"
#include "nms/groups.h"
#include "nms/place.h"

namespace fastdet {
namespace {

constexpr int64_t kFewBoxes = 24;  // of a group, compared pair by pair; by measurement

// A score or a coordinate as bits, 0 and -0 alike, so that comparisons are an order whatever the numbers are.
template <class T>
uint64_t bits_of(T x) {
    x += T(0);
    uint64_t bits = 0;
    std::memcpy(&bits, &x, sizeof x);
    return bits;
}

template <class T>
void claims_of_few(const Box<T>* boxes, const uint8_t* tied, int64_t n, const MergingRule& rule, int32_t* claimer) {
    int64_t level = 0, pairs = 0;  // the first box of this score
    for (int64_t i = 0; i < n; ++i) {
        if (!tied[i]) level = i;
        for (int64_t k = 0; k < i && claimer[i] == i; ++k) {
            if (!rule.transitive && claimer[k] != k) continue;
            ++pairs;
            if (may_claim(boxes[k], boxes[i], k >= level, rule.transitive) &&
                suppresses(boxes[k], boxes[i], T(rule.threshold), rule.kind))
                claimer[i] = int32_t(k);
        }
    }
    count_pairs(pairs);
}

// The first of the equal boxes of each score claims the others, unless a better box claims all of them.
template <class T>
void claims_of_twins(const Box<T>* boxes, const uint8_t* tied, int64_t n, const MergingRule& rule, int32_t* claimer) {
    using Key = std::array<uint64_t, 4>;
    std::vector<std::pair<Key, int32_t>> level;
    for (int64_t i = 0, end = 0; i < n; i = end) {
        level.clear();
        for (end = i; end == i || (end < n && tied[end]); ++end) {
            const Box<T>& b = boxes[end];
            level.push_back({{bits_of(b.x1), bits_of(b.y1), bits_of(b.x2), bits_of(b.y2)}, int32_t(end)});
        }
        if (level.size() < 2) continue;
        std::sort(level.begin(), level.end());
        size_t first = 0;
        for (size_t k = 1; k < level.size(); ++k) {
            if (level[k].first != level[first].first) first = k;
            const Box<T>& b = boxes[level[k].second];
            if (k > first && suppresses(b, b, T(rule.threshold), rule.kind))
                claimer[level[k].second] = level[first].second;
        }
    }
}

// claimer (n,) <- the box that claims each of boxes (n,), which lie by falling score.
template <class T>
void claims(const Box<T>* boxes, const uint8_t* tied, int64_t n, const MergingRule& rule, int32_t* claimer) {
    for (int64_t i = 0; i < n; ++i) claimer[i] = int32_t(i);
    if (T(rule.threshold) >= 1) return;  // no overlap is above 1, rounded either
    if (n <= kFewBoxes) return claims_of_few(boxes, tied, n, rule, claimer);
    if (rule.transitive) claims_of_twins(boxes, tied, n, rule, claimer);
    Buffer<uint8_t> keep(n), dead(n);
    std::memset(keep.get(), 0, size_t(n));
    std::memset(dead.get(), 0, size_t(n));
    NmsJob<T> job = {};
    job.boxes = boxes;
    job.n = n;
    job.bound = make_bound<T>(rule.threshold, rule.kind);
    job.kind = rule.kind;
    job.limit = -1;
    job.keep = keep.get();
    job.dead = dead.get();
    job.large = look(&boxes->x1, 4 * n) != Input::ordinary;
    job.claimer = claimer;
    nms_by_tree(job, 0, true, rule.transitive ? tied : nullptr);
    count_pairs(job.pairs);
}

// All boxes by rank into `out`, from the rank of the box that claims each.
template <class T>
void place(const Box<T>* sorted, const int32_t* order, const int32_t* parent, int64_t n, const MergingRule& rule,
           MergedGroups<T>& out) {
    Buffer<int32_t> rank(n), group(n), first(n + 1), child(n);
    std::memset(first.get(), 0, size_t(n + 1) * sizeof(int32_t));
    int64_t kept = 0;
    for (int64_t r = 0; r < n; ++r) {  // a parent comes before what it claims
        rank[order[r]] = int32_t(r);
        group[r] = parent[r] == r ? int32_t(kept++) : group[parent[r]];
        if (parent[r] == r) out.keep.push_back(order[r]);
        out.groups[order[r]] = group[r];
        out.parents[order[r]] = order[parent[r]];
        first[parent[r] + 1] += parent[r] != r;
    }
    for (int64_t r = 0; r < n; ++r) first[r + 1] += first[r];
    for (int64_t k = n; k-- > 0;) {  // what a box claims, by score, or transitively by index; backwards
        const int32_t r = rule.transitive ? rank[k] : int32_t(k), p = parent[r];
        if (p != r) child[--first[p + 1]] = r;
    }  // first[p + 1] is now where the children of p begin
    std::vector<int64_t> at(size_t(kept) + 1, 0);
    for (int64_t r = 0; r < n; ++r) ++at[size_t(group[r]) + 1];
    for (size_t g = 0; g < size_t(kept); ++g) at[g + 1] += at[g];
    out.boxes.resize(size_t(kept));
    for (int64_t r = 0; r < n; ++r) {
        const size_t g = size_t(group[r]);
        Box<T>& united = out.boxes[g];
        if (parent[r] == r) {
            united = sorted[r];
            out.order[at[g]++] = order[r];
        }
        const int32_t end = r + 1 < n ? first[r + 2] : int32_t(n - kept);
        for (int32_t k = first[r + 1]; k < end; ++k) {
            const Box<T>& other = sorted[child[k]];
            if (suppresses(united, other, T(rule.threshold), rule.kind)) united = unite(united, other);
            out.order[at[g]++] = order[child[k]];
        }
    }
}

}  // namespace

template <class T, class S>
void nmm(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const MergingRule& rule,
         MergedGroups<T>& out) {
    Buffer<int32_t> order(n), parent(n);
    Buffer<S> value(n);  // read once: another thread may write to the caller's
    std::memcpy(value.get(), scores, size_t(n) * sizeof(S));
    order_by_score(value.get(), nullptr, n, order.get());
    Buffer<Box<T>> sorted(n);
    for (int64_t r = 0; r < n; ++r) sorted[r] = boxes[order[r]];
    const auto tied = [&](int64_t a, int64_t b) { return value[order[a]] == value[order[b]]; };
    Buffer<int32_t> members(keys ? n : 0);
    std::vector<int32_t> segments{0, int32_t(n)};
    if (keys) group_by_key(keys, order.get(), n, members.get(), segments);
    const auto run = [&](int64_t g) {
        const int64_t begin = segments[size_t(g)], size = segments[size_t(g) + 1] - begin;
        const auto rank_of = [&](int64_t i) { return keys ? members[begin + i] : int32_t(i); };
        Buffer<Box<T>> mine(keys ? size : 0);
        Buffer<uint8_t> ties(size);
        Buffer<int32_t> claimer(size);
        for (int64_t i = 0; i < size; ++i) {
            if (keys) mine[i] = sorted[rank_of(i)];
            ties[i] = i > 0 && tied(rank_of(i - 1), rank_of(i));
        }
        claims(keys ? mine.get() : sorted.get(), ties.get(), size, rule, claimer.get());
        for (int64_t i = 0; i < size; ++i) parent[rank_of(i)] = rank_of(claimer[i]);
    };
    if (n) run_groups(segments, run);
    place(sorted.get(), order.get(), parent.get(), n, rule, out);
}

#define FASTDET_INSTANTIATE(T, S) \
    template void nmm(const Box<T>*, const S*, const int64_t*, int64_t, const MergingRule&, MergedGroups<T>&);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
