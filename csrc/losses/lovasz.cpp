// Lovasz losses: sorting the errors of a class and the steps of its Jaccard distance, around the loops of
// lovasz_loops.cpp. A task is a class (of an image). The sort is the work: about 30 ns a pixel and class.
#include "losses/lovasz.h"

#include <cmath>
#include <type_traits>

#include "core/memory.h"
#include "core/order.h"
#include "core/sums.h"
#include "core/threads.h"

namespace fastdet {
namespace {

// The errors of n pixels, by rank: make(pixel, step). Returns the sum of errors times steps. `ignored`: the label of
// pixels that do not count.
template <class T, class F>
double each_step(const T* errors, const int32_t* label, int32_t own, int32_t ignored, int64_t n, F&& make) {
    Buffer<T> score(n);
    Buffer<int32_t> order(n);
    int64_t counted = 0, total = 0;
    for (int64_t i = 0; i < n; ++i) {
        const T e = errors[i];
        score[i] = label[i] == ignored ? T(-1) : e == e ? e : T(INFINITY);
        counted += label[i] != ignored;
        total += label[i] == own;
    }
    if (n) order_by_score(score.get(), nullptr, n, order.get());
    const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
    Buffer<double> sums(blocks);
    double before = 0;
    int64_t found = 0;
    for (int64_t block = 0; block < blocks; ++block) {
        double terms[kSumBlock];
        for (int64_t k = 0; k < kSumBlock; ++k) {
            const int64_t rank = block * kSumBlock + k;
            terms[k] = 0;
            if (rank >= n) continue;
            const int32_t i = order[rank];
            if (rank >= counted) {
                make(i, 0.0);
                continue;
            }
            found += label[i] == own;
            const double jaccard = jaccard_distance(total, found, rank + 1), step = jaccard - before;
            before = jaccard;
            terms[k] = double(errors[i]) * step;
            make(i, step);
        }
        sums[block] = block_sum(terms);
    }
    return sum_of_sums(sums.get(), blocks);
}

template <class T>
const LovaszLoops<T>& loops() {
    if constexpr (std::is_same<T, double>::value) {
        return lovasz_kernels().twice;
    } else {
        return lovasz_kernels().single;
    }
}

}  // namespace

template <class T>
LossResult lovasz_softmax_loss(SoftmaxJob<T>& job, const LovaszOptions& options) {
    const int64_t C = job.classes, n = job.images * job.pixels;
    Buffer<int64_t> counts(C);
    const int64_t bad = count_all_labels(job.labels, n, counts.get());
    if (bad >= 0) return {0, 0, bad};
    double counted = 0;
    for (int64_t c = 0; c < C; ++c) counted += double(counts[c]);
    Buffer<T> weights(C + 1), errors(n * C);
    Buffer<int32_t> label(n);
    for (int64_t c = 0; c < C; ++c) weights[c] = 1;
    weights[C] = 0;
    job.weight = weights.get();
    job.errors = errors.get();
    job.classes_out = label.get();
    job.errors_by_image = options.per_image;
    prepare_job(job);
    run_loop(job, loops<T>().errors);

    const int64_t groups = options.per_image ? job.images : 1, size = options.per_image ? job.pixels : n;
    Buffer<double> loss(groups * C);
    Buffer<int64_t> pixels(groups * C), chosen(groups);
    for (int64_t k = 0; k < groups * C; ++k) pixels[k] = 0;
    for (int64_t g = 0; g < groups; ++g) {
        for (int64_t i = 0; i < size; ++i) {
            const int32_t c = label[g * size + i];
            if (c < C) ++pixels[g * C + c];
        }
        chosen[g] = 0;
        for (int64_t c = 0; c < C; ++c) chosen[g] += !options.present || pixels[g * C + c] > 0;
    }
    parallel_for(groups * C, [&](int64_t task) {
        const int64_t g = task / C;
        const int32_t c = int32_t(task % C);
        T* own = errors.get() + task * size;
        loss[task] = 0;
        if (options.present && !pixels[task]) {
            for (int64_t i = 0; i < size; ++i) own[i] = 0;
            return;
        }
        const double scale = 1 / double(chosen[g] * groups);
        const int32_t* labels = label.get() + g * size;
        Buffer<T> slopes(size);
        loss[task] = each_step(own, labels, c, int32_t(C), size, [&](int32_t i, double step) {
            slopes[i] = lovasz_slope<T>(labels[i] == c, step, scale);
        });
        for (int64_t i = 0; i < size; ++i) own[i] = slopes[i];
    });
    double total = 0;
    for (int64_t g = 0; g < groups; ++g) {
        double image_loss = 0;
        for (int64_t c = 0; c < C; ++c) image_loss += loss[g * C + c];
        total += chosen[g] ? image_loss / double(chosen[g]) : 0;
    }
    if (job.grad) run_loop(job, loops<T>().gradient);
    return {groups ? total / double(groups) : 0, counted, -1};
}

template <class T>
LossResult lovasz_hinge_loss(const T* x, const Labels& labels, int64_t images, int64_t pixels, T* grad) {
    const int64_t n = images * pixels;
    int64_t counts[2];
    const int64_t bad = count_all_labels(labels, n, counts);
    if (bad >= 0) return {0, 0, bad};
    Buffer<int32_t> label(n);
    softmax_losses_kernels().read_labels(labels, 0, n, 2, label.get());
    Buffer<double> loss(images);
    const double scale = 1 / double(images);
    parallel_for(images, [&](int64_t image) {
        const T* from = x + image * pixels;
        const int32_t* own = label.get() + image * pixels;
        Buffer<T> errors(pixels);
        for (int64_t i = 0; i < pixels; ++i) errors[i] = hinge_error(from[i], own[i] == 1);
        loss[image] = each_step(errors.get(), own, 1, 2, pixels, [&](int32_t i, double step) {
            if (!grad) return;
            grad[image * pixels + i] = own[i] == 2 ? T(0) : hinge_gradient(errors[i], own[i] == 1, step, scale);
        });
    });
    double total = 0;
    for (int64_t image = 0; image < images; ++image) total += loss[image];
    return {images ? total / double(images) : 0, double(counts[0] + counts[1]), -1};
}

template LossResult lovasz_softmax_loss(SoftmaxJob<float>&, const LovaszOptions&);
template LossResult lovasz_softmax_loss(SoftmaxJob<double>&, const LovaszOptions&);
template LossResult lovasz_hinge_loss(const float*, const Labels&, int64_t, int64_t, float*);
template LossResult lovasz_hinge_loss(const double*, const Labels&, int64_t, int64_t, double*);

}  // namespace fastdet
