// Non-maximum merging, exact, in O(n) memory and a number of launches that only n decides.
//
// A box is claimed by the first box by score of its key that overlaps it enough: greedily by the first kept one, so NMS
// (nms.cu, nms_rounds.cu) says first which are kept. Transitively by any, so no box waits for another: a warp a box
// looks through the boxes before it. What a box is claimed by comes before it, so the kept box of a chain is found by
// doubling steps, log2 n launches. Two sorts bring the boxes in order: by the rank of the claiming box, then by group.
// A thread a group unites.
// Cost: the pairs up to the one that claims, n^2 / 2 where boxes lie apart (100k: 5e9 pairs, some 20 ms on an H200),
// and three sorts. Floor: the sorts. Limit: the union of one large group is a dependent step a box.
#include "boxes/load_box.h"
#include "cuda/compact.h"
#include "cuda/launch.h"
#include "cuda/sort.h"
#include "fusion/cuda.h"
#include "fusion/faults.h"
#include "nms/nms_chunks.h"
#include "nms/nms_rounds.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    fault_kernel(const Box<T>* boxes, const S* scores, int64_t n, FusionStatus* status) {
    const int64_t i = thread_index();
    if (i < n) note_faults(load_box(boxes + i), scores[i], i, status);
}

// A warp a position. flags, by rank: the kept boxes; transitively null. parent (n,), by rank.
template <class T, class S>
__global__ void __launch_bounds__(kThreads)
    parent_kernel(Ordered<T> o, const S* scores, int64_t n, Rule<T> rule, const uint8_t* flags, int32_t* parent) {
    const int64_t p = thread_index() / kWarp;
    if (p >= n) return;  // the whole warp
    const int lane = threadIdx.x % kWarp;
    const int32_t mine = o.rank[p];
    int32_t found = mine;
    if (!flags || !flags[mine]) {
        const Box<T> box = load_box(o.boxes + p);
        const S score = scores[o.order[mine]];
        for (int64_t base = o.start[p]; base < p; base += kWarp) {
            const int64_t q = base + lane;
            bool claims = false;
            if (q < p && (!flags || flags[o.rank[q]])) {
                const Box<T> other = load_box(o.boxes + q);
                claims =
                    rule(other, box) && (flags || may_claim(other, box, scores[o.order[o.rank[q]]] == score, true));
            }
            const uint32_t votes = __ballot_sync(kAllLanes, claims);
            if (!votes) continue;
            found = o.rank[base + __ffs(votes) - 1];
            break;
        }
    }
    if (lane == 0) parent[mine] = found;
}

__global__ void __launch_bounds__(kThreads) jump_kernel(const int32_t* from, int64_t n, int32_t* to) {
    const int64_t r = thread_index();
    if (r < n) to[r] = from[from[r]];
}

__global__ void __launch_bounds__(kThreads)
    mark_kernel(const int32_t* parent, const int32_t* order, int64_t n, uint8_t* flags, int32_t* rank_of) {
    const int64_t r = thread_index();
    if (r >= n) return;
    flags[r] = parent[r] == r;
    rank_of[order[r]] = int32_t(r);
}

// slots (*count,): the kept ranks. number, by rank: the group of a kept one.
template <class S>
__global__ void __launch_bounds__(kThreads)
    number_kernel(const int64_t* slots, const int64_t* count, const int32_t* order, const S* scores, int32_t* number,
                  int64_t* keep, S* out_scores) {
    const int64_t c = thread_index();
    if (c >= *count) return;
    const int64_t r = slots[c];
    number[r] = int32_t(c);
    keep[c] = order[r];
    out_scores[c] = scores[order[r]];
}

// Ranks in the order in which one box claims them, with the key of who does: a kept box comes before all that it
// claims.
__global__ void __launch_bounds__(kThreads)
    claim_kernel(const int32_t* parent, const int32_t* rank_of, int64_t n, uint32_t* key, int32_t* value) {
    const int64_t k = thread_index();
    if (k >= n) return;
    const int32_t r = rank_of ? rank_of[k] : int32_t(k);
    key[k] = 2 * uint32_t(parent[r]) + (parent[r] != r);
    value[k] = r;
}

__global__ void __launch_bounds__(kThreads)
    group_kernel(const int32_t* root, const int32_t* number, const int32_t* ranks, int64_t n, uint32_t* key) {
    const int64_t k = thread_index();
    if (k < n) key[k] = uint32_t(number[root[ranks[k]]]);
}

// ranks: group by group, whose numbers are `group`. first (n,): where each group begins.
__global__ void __launch_bounds__(kThreads)
    place_kernel(const int32_t* order, const int32_t* parent, const int32_t* ranks, const uint32_t* group, int64_t n,
                 DeviceGroups out, int32_t* first) {
    const int64_t k = thread_index();
    if (k >= n) return;
    const int32_t r = ranks[k];
    const int64_t i = order[r];
    out.order[k] = i;
    out.groups[i] = group[k];
    out.parents[i] = order[parent[r]];
    if (k == 0 || group[k - 1] != group[k]) first[group[k]] = int32_t(k);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    unite_kernel(const Box<T>* boxes, const int64_t* order, const int32_t* first, const int64_t* count, int64_t n,
                 Rule<T> rule, Box<T>* united) {
    const int64_t c = thread_index();
    if (c >= *count) return;
    const int64_t begin = first[c], end = c + 1 < *count ? first[c + 1] : n;
    Box<T> box = load_box(boxes + order[begin]);
    for (int64_t k = begin + 1; k < end; ++k) {
        const Box<T> other = load_box(boxes + order[k]);
        if (rule(box, other)) box = unite(box, other);
    }
    store_box(united + c, box);
}

// What follows shares its memory with the way of NMS and with ordering, which come before.
template <class T>
struct Workspace {
    Ordered<T> ordered;
    Status* status;
    uint8_t* flags;
    int32_t *parent, *counters;
    uint32_t *masks, *kept;
    char* rest;
    // in `rest`
    int32_t *root, *other, *rank_of, *number, *value, *claimed, *ranks, *first;
    uint32_t *key, *sorted;
    int64_t* slots;
    char* sorter;

    Workspace(void* memory, int64_t n, bool chunks, int64_t before) {
        Parts parts(memory);
        const int64_t count = chunks ? blocks_for(n, kChunk) : 0;
        ordered = take_ordered<T>(parts, n);
        status = parts.take<Status>(1);
        flags = parts.take<uint8_t>(n);
        parent = parts.take<int32_t>(n), counters = parts.take<int32_t>(kCompactScratch);
        masks = parts.take<uint32_t>(count * kWords * kChunk), kept = parts.take<uint32_t>(count * kWords);
        rest = parts.take<char>(0);
        Parts more(rest);
        root = more.take<int32_t>(n), other = more.take<int32_t>(n), rank_of = more.take<int32_t>(n);
        number = more.take<int32_t>(n), value = more.take<int32_t>(n), claimed = more.take<int32_t>(n);
        ranks = more.take<int32_t>(n), first = more.take<int32_t>(n);
        key = more.take<uint32_t>(n), sorted = more.take<uint32_t>(n);
        slots = more.take<int64_t>(n);
        sorter = more.take<char>(sort_scratch(n));
        bytes = parts.bytes() + (more.bytes() > before ? more.bytes() : before);
    }
    int64_t bytes;
};

enum class Way { transitive, chunks, rounds };
Way way_of(int64_t n, const MergingRule& rule) {
    if (rule.transitive) return Way::transitive;
    return nms_in_rounds(n, rule.threshold, rule.kind) ? Way::rounds : Way::chunks;
}

template <class T, class S>
Workspace<T> workspace_for(void* memory, int64_t n, bool keys, const MergingRule& rule) {
    const Way way = way_of(n, rule);
    const int64_t rounds = way == Way::rounds ? nms_rounds_workspace<T>(n) : 0, order = order_scratch<S>(n, keys);
    return Workspace<T>(memory, n, way == Way::chunks, rounds > order ? rounds : order);
}

int bits_for(int64_t x) {
    int bits = 1;
    while (x >> bits) ++bits;
    return bits;
}

}  // namespace

template <class T, class S>
int64_t nmm_workspace(int64_t n, bool keys, const MergingRule& rule) {
    return workspace_for<T, S>(nullptr, n, keys, rule).bytes;
}

template <class T, class S>
void nmm_cuda(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const MergingRule& options,
              void* workspace, Box<T>* out_boxes, S* out_scores, const DeviceGroups& out, FusionStatus* status,
              cudaStream_t stream) {
    const Workspace<T> w = workspace_for<T, S>(workspace, n, keys != nullptr, options);
    const Ordered<T>& o = w.ordered;
    const Rule<T> rule{T(options.threshold), options.kind};
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    check_cuda(cudaMemsetAsync(status, 0xff, sizeof *status, stream));
    order_boxes(Candidates<T, S>{boxes, scores, keys, n, nullptr}, w.rest, o, w.status, stream);
    const int32_t* root = w.parent;
    if (n) {
        FASTDET_LAUNCH((fault_kernel<T, S>), blocks, kThreads, stream, boxes, scores, n, status);
        check_cuda(cudaMemsetAsync(w.flags, 0, size_t(n), stream));
        const Way way = way_of(n, options);
        if (way == Way::rounds) nms_rounds(o, n, rule, w.rest, w.flags, stream);
        if (way == Way::chunks) in_chunks(o.boxes, o, n, rule, w.masks, w.kept, w.flags, stream);
        FASTDET_LAUNCH((parent_kernel<T, S>), unsigned(blocks_for(n * kWarp, kThreads)), kThreads, stream, o, scores, n,
                       rule, way == Way::transitive ? nullptr : w.flags, w.parent);
        FASTDET_LAUNCH((mark_kernel), blocks, kThreads, stream, w.parent, o.order, n, w.flags, w.rank_of);
        for (int64_t step = 1; way == Way::transitive && step < n; step *= 2) {
            int32_t* const to = root == w.root ? w.other : w.root;
            FASTDET_LAUNCH((jump_kernel), blocks, kThreads, stream, root, n, to);
            root = to;
        }
    }
    compact(w.flags, nullptr, n, -1, w.counters, w.slots, &status->count, stream);
    if (!n) return;
    FASTDET_LAUNCH((number_kernel<S>), blocks, kThreads, stream, w.slots, &status->count, o.order, scores, w.number,
                   out.keep, out_scores);
    FASTDET_LAUNCH((claim_kernel), blocks, kThreads, stream, w.parent, options.transitive ? w.rank_of : nullptr, n,
                   w.key, w.value);
    sort_pairs(w.sorter, w.key, w.sorted, w.value, w.claimed, n, bits_for(2 * n), stream);
    FASTDET_LAUNCH((group_kernel), blocks, kThreads, stream, root, w.number, w.claimed, n, w.key);
    sort_pairs(w.sorter, w.key, w.sorted, w.claimed, w.ranks, n, bits_for(n), stream);
    FASTDET_LAUNCH((place_kernel), blocks, kThreads, stream, o.order, w.parent, w.ranks, w.sorted, n, out, w.first);
    FASTDET_LAUNCH((unite_kernel<T>), blocks, kThreads, stream, boxes, out.order, w.first, &status->count, n, rule,
                   out_boxes);
}

#define FASTDET_INSTANTIATE(T, S)                                                                                    \
    template int64_t nmm_workspace<T, S>(int64_t, bool, const MergingRule&);                                         \
    template void nmm_cuda(const Box<T>*, const S*, const int64_t*, int64_t, const MergingRule&, void*, Box<T>*, S*, \
                           const DeviceGroups&, FusionStatus*, cudaStream_t);
FASTDET_INSTANTIATE(float, float)
FASTDET_INSTANTIATE(float, double)
FASTDET_INSTANTIATE(double, float)
FASTDET_INSTANTIATE(double, double)

}  // namespace fastdet
