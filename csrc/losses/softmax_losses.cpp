// Losses on a softmax and their gradients: threads, scratch memory and the sums of all chunks around the loops of
// softmax_losses_loops.cpp.
#include "losses/softmax_losses.h"

#include <type_traits>

#include "core/memory.h"
#include "core/sums.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kScratch = 512 << 10;  // bytes of a tile, which stays in the second cache: more classes, fewer pixels
constexpr int64_t kTaskLogits = 1 << 17;    // logits from which one more thread is faster
constexpr int64_t kTaskLabels = 1 << 18;    // labels from which one more thread is faster
constexpr int64_t kStreamBytes = 16 << 20;  // gradients from which stores bypass the caches

template <class T>
const SoftmaxLoops<T>& loops() {
    const LossKernels& all = softmax_losses_kernels();
    if constexpr (std::is_same<T, double>::value) {
        return all.twice;
    } else {
        return all.single;
    }
}

}  // namespace

int64_t count_all_labels(const Labels& labels, int64_t n, int64_t* counts) {
    const int64_t size = labels.classes + 2, tasks = n / kTaskLabels + 1;
    Buffer<int64_t> part(tasks * 4 * size), bad(tasks);
    parallel_for(tasks, [&](int64_t task) {
        int64_t* mine = part.get() + task * 4 * size;
        for (int64_t c = 0; c < 4 * size; ++c) mine[c] = 0;
        const int64_t first = task * kTaskLabels, last = first + kTaskLabels < n ? first + kTaskLabels : n;
        bad[task] = softmax_losses_kernels().count_labels(labels, first, last, mine);
    });
    for (int64_t c = 0; c < labels.classes; ++c) counts[c] = 0;
    for (int64_t task = 0; task < tasks; ++task) {
        if (bad[task] >= 0) return bad[task];
        for (int64_t k = 4 * task; k < 4 * (task + 1); ++k) {
            for (int64_t c = 0; c < labels.classes; ++c) counts[c] += part[k * size + c];
        }
    }
    return -1;
}

template <class T>
void prepare_job(SoftmaxJob<T>& job) {
    job.tile = kPixelChunk;
    while (job.tile > 16 && job.classes * job.tile * int64_t(sizeof(T)) > kScratch) job.tile /= 2;
    const int64_t bytes = job.storage == Storage::twice ? 8 : job.storage == Storage::single ? 4 : 2;
    job.stream =
        job.grad && !job.channels_last && bytes >= 4 && job.images * job.classes * job.pixels * bytes > kStreamBytes;
}

template <class T>
void run_loop(const SoftmaxJob<T>& job, typename SoftmaxLoops<T>::Loop loop) {
    const int64_t chunks = job.chunks();
    if (!chunks) return;
    const int64_t logits = (job.pixels < kPixelChunk ? job.pixels : kPixelChunk) * job.classes;
    const int64_t per_task = kTaskLogits / logits + 1;
    parallel_for((chunks + per_task - 1) / per_task, [&](int64_t task) {
        Buffer<T> scratch(job.scratch());
        const int64_t first = task * per_task, last = first + per_task;
        loop(job, first, last < chunks ? last : chunks, scratch.get());
    });
}

template <class T>
LossResult softmax_loss(SoftmaxJob<T>& job, const T* weight, const LossOptions& options) {
    const int64_t C = job.classes;
    Buffer<int64_t> counts(C);
    const int64_t bad = count_all_labels(job.labels, job.images * job.pixels, counts.get());
    if (bad >= 0) return {0, 0, bad};
    Buffer<T> weights(C + 1);
    double divisor = 0, weight_sum = 0;
    for (int64_t c = 0; c < C; ++c) {
        weights[c] = weight[c];
        weight_sum += double(weight[c]);
        divisor += double(counts[c]) * double(weight[c]);
    }
    weights[C] = 0;
    prepare_job(job);
    job.weight = weights.get();
    job.terms = loss_terms<T>(options, C, divisor, weight_sum);
    Buffer<double> partial(job.chunks());
    job.partial = partial.get();
    const SoftmaxLoops<T>& all = loops<T>();
    const auto loop = options.kind() == SoftmaxKind::focal      ? all.focal
                      : options.kind() == SoftmaxKind::smoothed ? all.smoothed
                                                                : all.cross_entropy;
    run_loop(job, loop);
    const double total = sum_of_sums(partial.get(), job.chunks());
    return {reduced_loss(options.reduction, total, divisor), divisor, -1};
}

template <class T>
LossResult overlap_loss(SoftmaxJob<T>& job, const OverlapTerms& terms) {
    const int64_t C = job.classes;
    Buffer<int64_t> counts(C);
    const int64_t bad = count_all_labels(job.labels, job.images * job.pixels, counts.get());
    if (bad >= 0) return {0, 0, bad};
    prepare_job(job);
    Buffer<T> weights(C + 1), slope(C), bonus(C + 1);
    for (int64_t c = 0; c < C; ++c) weights[c] = 1;
    weights[C] = bonus[C] = 0;
    job.weight = weights.get();
    Buffer<double> sums(job.chunks() * 2 * C);
    job.sums = sums.get();
    const SoftmaxLoops<T>& all = loops<T>();
    run_loop(job, all.dice_sums);
    double mean = 0, counted = 0;
    Buffer<double> column(job.chunks());
    const auto total = [&](int64_t of) {
        for (int64_t k = 0; k < job.chunks(); ++k) column[k] = sums[2 * k * C + of];
        return sum_of_sums(column.get(), job.chunks());
    };
    for (int64_t c = 0; c < C; ++c) {
        const OverlapClass of_class(total(c), total(C + c), counts[c], terms);
        mean += of_class.score;
        slope[c] = T(of_class.slope / double(C));
        bonus[c] = T(of_class.bonus / double(C));
        counted += double(counts[c]);
    }
    job.slope = slope.get();
    job.bonus = bonus.get();
    if (job.grad) run_loop(job, all.dice_gradient);
    return {1 - mean / double(C), counted, -1};
}

template <class T>
LossResult soft_cross_entropy(SoftmaxJob<T>& job, const T* weight, const LossOptions& options) {
    const double pixels = double(job.images * job.pixels);
    prepare_job(job);
    job.weight = weight;
    job.terms = loss_terms<T>(options, job.classes, pixels, 0);
    Buffer<double> partial(job.chunks());
    job.partial = partial.get();
    const SoftKernels& kernels = soft_cross_entropy_kernels();
    if constexpr (std::is_same<T, double>::value) {
        run_loop(job, kernels.twice);
    } else {
        run_loop(job, kernels.single);
    }
    const double total = sum_of_sums(partial.get(), job.chunks());
    return {reduced_loss(options.reduction, total, pixels), pixels, -1};
}

template void prepare_job(SoftmaxJob<float>&);
template void prepare_job(SoftmaxJob<double>&);
template void run_loop(const SoftmaxJob<float>&, SoftmaxLoops<float>::Loop);
template void run_loop(const SoftmaxJob<double>&, SoftmaxLoops<double>::Loop);
template LossResult softmax_loss(SoftmaxJob<float>&, const float*, const LossOptions&);
template LossResult softmax_loss(SoftmaxJob<double>&, const double*, const LossOptions&);
template LossResult overlap_loss(SoftmaxJob<float>&, const OverlapTerms&);
template LossResult overlap_loss(SoftmaxJob<double>&, const OverlapTerms&);
template LossResult soft_cross_entropy(SoftmaxJob<float>&, const float*, const LossOptions&);
template LossResult soft_cross_entropy(SoftmaxJob<double>&, const double*, const LossOptions&);

}  // namespace fastdet
