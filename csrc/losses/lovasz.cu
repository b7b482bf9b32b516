// Lovasz losses: errors of every class, sorted class by class, and the steps of the class's Jaccard distance.
//
// A segment is a class (of an image): its errors are sorted with their pixels (CUB's radix sort), the class's own
// pixels are counted block by block, and each block of 1024 ranks then knows how many came before it. Steps take the
// place of the errors, as derivatives by the probabilities, of which a second pass over the logits makes the gradient.
// Nothing comes back to the host, so that absent classes are sorted, too: some ten launches a segment. Floor: logits
// read twice, gradient written once; the sort moves 8 bytes an error (float32) some five times.
#include "cuda/sort.h"
#include "losses/loss_keys.h"
#include "losses/softmax_tile.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

template <class S>
struct LovaszCall {
    CudaLogits<S> x;
    Compute<S>* errors;  // (classes, images, pixels) or, by image, (images, classes, pixels)
    bool by_image;
    int32_t* label;  // (images, pixels)

    __device__ int64_t error_at(int64_t image, int64_t c) const {
        return by_image ? (image * x.classes + c) * x.pixels : (c * x.images + image) * x.pixels;
    }
};

// What is known of a group of pixels: the batch, or an image.
struct Group {
    int64_t counted, chosen;  // pixels that count, classes that the mean is over
    double scale;
};

template <class T, int V>
struct Probabilities {
    Pack<T, V> inverse;
    bool cleared[V];
};

// Logits to exponentials in the rows, for all classes where they are resident; what makes them probabilities.
template <class S, int V>
__device__ inline Probabilities<Compute<S>, V> probabilities_of(SoftmaxTile<S, V>& tile, int64_t classes,
                                                                const Pack<Compute<S>, V>& highest) {
    using T = Compute<S>;
    Pack<T, V> total{};
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) tile.stage(first, count);
        tile.exponentials(count, highest, [&](int, const Pack<T, V>& e) {
#pragma unroll
            for (int k = 0; k < V; ++k) total.v[k] = total.v[k] + e.v[k];
        });
    });
    Probabilities<T, V> found;
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const bool known = tile.label[k] < classes;
        found.cleared[k] = tile.is_cleared(known, &total.v[k]);
        found.inverse.v[k] = T(known) / total.v[k];
    }
    return found;
}

template <class S, int V>
__global__ void __launch_bounds__(kPixelChunk / V) errors_kernel(const LovaszCall<S> call) {
    using T = Compute<S>;
    FASTDET_SHARED_REST(T, rows);
    const int64_t classes = call.x.classes;
    SoftmaxTile<S, V> tile(call.x, rows);
    const auto highest = tile.maximum();
    const auto p = probabilities_of(tile, classes, highest);
    const bool here = tile.mine < tile.n;
    const int64_t pixel = tile.pixel + tile.mine, image = tile.pixel / call.x.pixels;
    for (int k = 0; here && k < V; ++k) call.label[pixel + k] = tile.label[k];
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) {
            tile.stage(first, count);
            tile.exponentials(count, highest, [](int, const Pack<T, V>&) {});
        }
        tile.clear(count, p.cleared);
        for (int c = 0; here && c < count; ++c) {
            Pack<T, V> error = tile.row(c);
#pragma unroll
            for (int k = 0; k < V; ++k) {
                error.v[k] = error.v[k] * p.inverse.v[k];
                if (tile.label[k] == first + c) error.v[k] = T(1) - error.v[k];
            }
            T* to = call.errors + call.error_at(image, first + c) + (pixel - image * call.x.pixels);
            store_pack(to, error);
        }
    });
}

template <class S, int V>
__global__ void __launch_bounds__(kPixelChunk / V) gradient_kernel(const LovaszCall<S> call) {
    using T = Compute<S>;
    FASTDET_SHARED_REST(T, rows);
    const int64_t classes = call.x.classes;
    SoftmaxTile<S, V> tile(call.x, rows);
    const auto highest = tile.maximum();
    const auto p = probabilities_of(tile, classes, highest);
    const bool here = tile.mine < tile.n;
    const int64_t image = tile.pixel / call.x.pixels, at = tile.pixel - image * call.x.pixels + tile.mine;
    const auto slopes = [&](int64_t c) {
        return here ? load_pack<V>(call.errors + call.error_at(image, c) + at) : Pack<T, V>{};
    };
    Pack<T, V> mean{};
    const auto each_exponential = [&](auto&& f) {
        tile.each_part([&](int64_t first, int count) {
            if (!tile.resident) {
                tile.stage(first, count);
                tile.exponentials(count, highest, [](int, const Pack<T, V>&) {});
            }
            tile.clear(count, p.cleared);
            f(first, count);
        });
    };
    each_exponential([&](int64_t first, int count) {
        for (int c = 0; c < count; ++c) {
            const Pack<T, V> e = tile.row(c), slope = slopes(first + c);
#pragma unroll
            for (int k = 0; k < V; ++k) mean.v[k] = mean.v[k] + e.v[k] * slope.v[k];
        }
    });
#pragma unroll
    for (int k = 0; k < V; ++k) mean.v[k] = mean.v[k] * p.inverse.v[k];
    each_exponential([&](int64_t first, int count) {
        tile.write(first, count, [&](int c, Pack<T, V> e) {
            const Pack<T, V> slope = slopes(first + c);
#pragma unroll
            for (int k = 0; k < V; ++k) e.v[k] = (e.v[k] * p.inverse.v[k]) * (slope.v[k] - mean.v[k]);
            return e;
        });
    });
}

template <class S, class I>
__global__ void __launch_bounds__(kThreads) hinge_kernel(const LovaszCall<S> call, const I* from, int64_t n) {
    const int64_t i = thread_index();
    if (i >= n) return;
    const Labels& labels = call.x.labels;
    const int32_t label = class_number(int64_t(from[i]), 2, labels.ignore, 2, 2);
    call.label[i] = label;
    call.errors[i] = hinge_error(widen(call.x.logits[i]), label == 1);
}

template <class S>
__global__ void __launch_bounds__(kThreads) store_kernel(const Compute<S>* slopes, int64_t n, S* grad) {
    const int64_t i = thread_index();
    if (i < n) grad[i] = stored<S>(slopes[i]);
}

// Pixels of each class of each group.
__global__ void __launch_bounds__(kThreads)
    count_group_kernel(const int32_t* label, int64_t n, int64_t size, int64_t classes, unsigned long long* counts) {
    const int64_t i = thread_index();
    if (i < n && label[i] < classes) atomicAdd(&counts[i / size * classes + label[i]], 1ull);
}

// `hinge`: the only class is 1.
__global__ void __launch_bounds__(kThreads) group_kernel(const unsigned long long* counts, int64_t groups,
                                                         int64_t classes, bool present, bool hinge, Group* to) {
    const int64_t g = thread_index();
    if (g >= groups) return;
    Group group{0, 0, 0};
    for (int64_t c = 0; c < classes; ++c) {
        const int64_t count = int64_t(counts[g * classes + c]);
        group.counted += count;
        group.chosen += !present || count > 0;
    }
    if (hinge) group.chosen = 1;
    if (group.chosen) group.scale = 1 / double(group.chosen * groups);
    to[g] = group;
}

template <class T>
struct Segment {
    T* errors;  // (n,) in; slopes out
    const int32_t* label;
    int64_t n;
    int32_t own, classes;  // the class; the label of what does not count
    bool present, hinge;
    const Group* group;
    const unsigned long long* total;  // pixels of the class
    const LabelsFound* found;
    const int32_t* order;
    int32_t* before;  // own pixels of each block of ranks
};

template <class T>
__global__ void __launch_bounds__(kThreads) key_kernel(const Segment<T> x, LossKey<T>* keys, int32_t* index) {
    const int64_t i = thread_index();
    if (i >= x.n) return;
    keys[i] = x.label[i] < x.classes ? falling_key(score_of(x.errors[i])) : kNotCounted<T>;
    index[i] = int32_t(i);
}

// The sum over the threads of a block of kSumThreads, for all of them.
__device__ inline int64_t sum_of_threads(int64_t mine) {
    FASTDET_SHARED(int64_t, part, [kSumThreads / kWarp]);
    for (int step = kWarp / 2; step; step /= 2) mine += __shfl_xor_sync(kAllLanes, mine, step);
    if (threadIdx.x % kWarp == 0) part[threadIdx.x / kWarp] = mine;
    __syncthreads();
    int64_t all = 0;
    for (int w = 0; w < kSumThreads / kWarp; ++w) all += part[w];
    __syncthreads();
    return all;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads) found_kernel(const Segment<T> x) {
    int64_t mine = 0;
    for (int k = 0; k < 4; ++k) {
        const int64_t rank = int64_t(blockIdx.x) * kSumBlock + threadIdx.x + k * kSumThreads;
        mine += rank < x.n && x.label[x.order[rank]] == x.own;
    }
    const int64_t all = sum_of_threads(mine);
    if (threadIdx.x == 0) x.before[blockIdx.x] = int32_t(all);
}

template <class T>
__global__ void __launch_bounds__(kSumThreads) step_kernel(const Segment<T> x, double* sums) {
    FASTDET_SHARED(int, in_warp, [kSumThreads / kWarp]);
    const int t = int(threadIdx.x), lane = t % kWarp;
    int64_t before = 0;
    for (int64_t block = t; block < int64_t(blockIdx.x); block += kSumThreads) before += x.before[block];
    before = sum_of_threads(before);
    const int64_t counted = x.group->counted, total = int64_t(*x.total);
    const bool skipped = x.present && !x.hinge && !total;
    double mine[4];
    for (int k = 0; k < 4; ++k) {
        const int64_t rank = int64_t(blockIdx.x) * kSumBlock + t + k * kSumThreads;
        const int32_t i = rank < x.n ? x.order[rank] : 0;
        const bool own = rank < x.n && x.label[i] == x.own;
        const uint32_t votes = __ballot_sync(kAllLanes, own);
        if (lane == 0) in_warp[t / kWarp] = __popc(votes);
        __syncthreads();
        int64_t found = before + __popc(votes & ((uint32_t(1) << lane) - 1)) + own;
        for (int w = 0; w < kSumThreads / kWarp; ++w) {
            if (w < t / kWarp) found += in_warp[w];
            before += in_warp[w];
        }
        __syncthreads();
        mine[k] = 0;
        if (rank >= x.n) continue;
        T slope = 0;
        if (rank < counted && !skipped) {
            const double last = rank ? jaccard_distance(total, found - own, rank) : 0;
            const double step = jaccard_distance(total, found, rank + 1) - last;
            const T error = x.errors[i];
            mine[k] = double(error) * step;
            slope =
                x.hinge ? hinge_gradient(error, own, step, x.group->scale) : lovasz_slope<T>(own, step, x.group->scale);
        }
        x.errors[i] = x.found->poison ? T(NAN) : slope;
    }
    const double sum = sum_of_block(mine);
    if (t == 0) sums[blockIdx.x] = sum;
}

struct Put {
    double* to;
    __device__ void operator()(const double* total, int64_t) const {
        if (threadIdx.x == 0) *to = *static_cast<const volatile double*>(total);
    }
};

// segments: of a group.
template <class S>
__global__ void mean_kernel(const double* loss, const Group* group, int64_t groups, int64_t segments,
                            const LabelsFound* found, S* to) {
    if (threadIdx.x) return;
    double total = 0;
    for (int64_t g = 0; g < groups; ++g) {
        double of_group = 0;
        for (int64_t c = 0; c < segments; ++c) of_group += loss[g * segments + c];
        total += group[g].chosen ? of_group / double(group[g].chosen) : 0;
    }
    const double value = groups ? total / double(groups) : 0;
    *to = stored<S>(found->poison ? Compute<S>(NAN) : Compute<S>(value));
}

template <class T>
struct LovaszWorkspace {
    SoftmaxWorkspace labels;  // begins with the divisor
    unsigned long long* counts;
    Group* group;
    double* loss;
    T* errors;
    int32_t *label, *index, *order, *before;
    LossKey<T>*keys, *sorted;
    void* scratch;
    SumWorkspace sum;
    // n: pixels
    LovaszWorkspace(Parts& memory, int64_t groups, int64_t classes, int64_t n, int64_t segments)
        : labels(memory, 0, classes),
          counts(memory.take<unsigned long long>(groups * classes)),
          group(memory.take<Group>(groups)),
          loss(memory.take<double>(groups * segments)),
          errors(memory.take<T>(n * segments)),
          label(memory.take<int32_t>(n)),
          index(memory.take<int32_t>(n)),
          order(memory.take<int32_t>(n)),
          before(memory.take<int32_t>(blocks_for(n, kSumBlock))),
          keys(memory.take<LossKey<T>>(n)),
          sorted(memory.take<LossKey<T>>(n)),
          scratch(memory.take<char>(sort_scratch(n))),
          sum(memory, n) {}
};

// Labels are counted before the errors are made, and groups after it.
template <class S>
void check_labels(const CudaLogits<S>& x, int64_t n, const SoftmaxWorkspace& w, int64_t* fault, cudaStream_t stream) {
    check_cuda(cudaMemsetAsync(w.found, 0, size_t(w.zeroed), stream));
    count_labels_cuda(x.labels, n, static_cast<const Compute<S>*>(nullptr), Compute<S>(1), Reduction::mean, w.counts,
                      w.found, fault, stream);
}

// The losses of all segments of all groups, and slopes in place of errors.
template <class S>
void each_segment(const CudaLogits<S>& x, const LovaszWorkspace<Compute<S>>& w, int64_t n, int64_t groups,
                  int64_t classes, bool present, bool hinge, cudaStream_t stream) {
    using T = Compute<S>;
    const int64_t size = groups ? n / groups : 0, segments = hinge ? 1 : classes;
    const unsigned blocks = unsigned(blocks_for(size, kThreads)), sums = unsigned(blocks_for(size, kSumBlock));
    check_cuda(cudaMemsetAsync(w.counts, 0, size_t(groups * classes) * sizeof *w.counts, stream));
    check_cuda(cudaMemsetAsync(w.loss, 0, size_t(groups * segments) * sizeof *w.loss, stream));
    if (size) {
        FASTDET_LAUNCH((count_group_kernel), unsigned(blocks_for(n, kThreads)), kThreads, stream, w.label, n, size,
                       classes, w.counts);
    }
    if (groups) {
        FASTDET_LAUNCH((group_kernel), unsigned(blocks_for(groups, kThreads)), kThreads, stream, w.counts, groups,
                       classes, present, hinge, w.group);
    }
    for (int64_t task = 0; size && task < groups * segments; ++task) {
        const int64_t g = task / segments, c = hinge ? 1 : task % segments;
        const Segment<T> segment{w.errors + task * size,
                                 w.label + g * size,
                                 size,
                                 int32_t(c),
                                 int32_t(classes),
                                 present,
                                 hinge,
                                 w.group + g,
                                 w.counts + g * classes + c,
                                 w.labels.found,
                                 w.order,
                                 w.before};
        FASTDET_LAUNCH((key_kernel<T>), blocks, kThreads, stream, segment, w.keys, w.index);
        sort_pairs(w.scratch, w.keys, w.sorted, w.index, w.order, size, 8 * int(sizeof(T)), stream);
        FASTDET_LAUNCH((found_kernel<T>), sums, kSumThreads, stream, segment);
        FASTDET_LAUNCH((step_kernel<T>), sums, kSumThreads, stream, segment, w.sum.sums);
        check_cuda(cudaMemsetAsync(w.sum.done, 0, 2 * sizeof *w.sum.done, stream));
        sum_columns(w.sum.sums, int64_t(sums), 1, w.sum.parts, w.sum.done, Put{w.loss + task}, stream);
    }
    FASTDET_LAUNCH((mean_kernel<S>), 1u, unsigned(kWarp), stream, w.loss, w.group, groups, segments, w.labels.found,
                   x.loss);
}

}  // namespace

template <class S>
int64_t lovasz_softmax_loss_workspace(int64_t images, int64_t classes, int64_t pixels) {
    Parts parts;
    LovaszWorkspace<Compute<S>>(parts, images + 1, classes, images * pixels, classes);
    return parts.bytes();
}

template <class S>
void lovasz_softmax_loss_cuda(const CudaLogits<S>& x, const LovaszOptions& options, void* workspace, int64_t* fault,
                              cudaStream_t stream) {
    using T = Compute<S>;
    Parts parts(workspace);
    const int64_t chunks = chunks_of(x), n = x.images * x.pixels;
    const LovaszWorkspace<T> w(parts, x.images + 1, x.classes, n, x.classes);  // groups: one or the images
    check_labels(x, n, w.labels, fault, stream);
    const LovaszCall<S> call{x, w.errors, options.per_image, w.label};
    const auto run = [&](auto gradient) {
        by_width(x, [&](auto width) {
            constexpr int V = decltype(width)::value;
            const int64_t bytes = SoftmaxTile<S, V>::bytes(x);
            if constexpr (decltype(gradient)::value) {
                FASTDET_LAUNCH_SHARED((gradient_kernel<S, V>), unsigned(chunks), unsigned(kPixelChunk / V), bytes,
                                      stream, call);
            } else {
                FASTDET_LAUNCH_SHARED((errors_kernel<S, V>), unsigned(chunks), unsigned(kPixelChunk / V), bytes, stream,
                                      call);
            }
        });
    };
    if (chunks) run(std::false_type());
    each_segment(x, w, n, options.per_image ? x.images : 1, x.classes, options.present, false, stream);
    if (x.grad && chunks) run(std::true_type());
}

template <class S>
int64_t lovasz_hinge_loss_workspace(int64_t images, int64_t pixels) {
    Parts parts;
    LovaszWorkspace<Compute<S>>(parts, images, 2, images * pixels, 1);
    return parts.bytes();
}

template <class S>
void lovasz_hinge_loss_cuda(const CudaLogits<S>& x, void* workspace, int64_t* fault, cudaStream_t stream) {
    using T = Compute<S>;
    Parts parts(workspace);
    const int64_t n = x.images * x.pixels;
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    const LovaszWorkspace<T> w(parts, x.images, 2, n, 1);
    check_labels(x, n, w.labels, fault, stream);
    const LovaszCall<S> call{x, w.errors, true, w.label};
    if (n) {
        by_type(x.labels, [&](const auto* from) {
            using I = std::remove_const_t<std::remove_pointer_t<decltype(from)>>;
            FASTDET_LAUNCH((hinge_kernel<S, I>), blocks, kThreads, stream, call, from, n);
        });
    }
    each_segment(x, w, n, x.images, 2, true, true, stream);
    if (x.grad && n) FASTDET_LAUNCH((store_kernel<S>), blocks, kThreads, stream, w.errors, n, x.grad);
}

#define FASTDET_INSTANTIATE(S)                                                                                         \
    template int64_t lovasz_softmax_loss_workspace<S>(int64_t, int64_t, int64_t);                                      \
    template int64_t lovasz_hinge_loss_workspace<S>(int64_t, int64_t);                                                 \
    template void lovasz_softmax_loss_cuda(const CudaLogits<S>&, const LovaszOptions&, void*, int64_t*, cudaStream_t); \
    template void lovasz_hinge_loss_cuda(const CudaLogits<S>&, void*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
