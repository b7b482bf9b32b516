// Cross-entropy of the pixels with the highest losses: the losses of all pixels (softmax_losses.cu), a stable sort of
// them, and the gradient of those that are kept (softmax_losses.cu again, with labels and weights made here).
//
// How many are kept is known on the GPU alone; nothing comes back to the host. Floor: logits read twice, gradient
// written once; the sort reads and writes 8 bytes a pixel (float32) some five times.
#include "cuda/sort.h"
#include "cuda/sum.h"
#include "losses/loss_keys.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

struct Chosen {
    unsigned long long counted, kept;
};

template <class T>
struct OhemWorkspace {
    void *first, *second;  // workspaces of softmax_loss_cuda; the first begins with the divisor
    Chosen* chosen;
    T *loss, *weight;
    LossKey<T>*keys, *sorted;
    int32_t *index, *order, *label;
    void *scratch, *nowhere;
    SumWorkspace sum;
    OhemWorkspace(Parts& memory, int64_t images, int64_t classes, int64_t pixels)
        : first(memory.take<char>(softmax_loss_workspace(images, classes, pixels))),
          second(memory.take<char>(softmax_loss_workspace(images, classes, pixels))),
          chosen(memory.take<Chosen>(1)),
          loss(memory.take<T>(images * pixels)),
          weight(memory.take<T>(classes)),
          keys(memory.take<LossKey<T>>(images * pixels)),
          sorted(memory.take<LossKey<T>>(images * pixels)),
          index(memory.take<int32_t>(images * pixels)),
          order(memory.take<int32_t>(images * pixels)),
          label(memory.take<int32_t>(images * pixels)),
          scratch(memory.take<char>(sort_scratch(images * pixels))),
          nowhere(memory.take<double>(1)),
          sum(memory, images * pixels) {}
};

// Class numbers (those out of range are classes + 1), keys, and how many pixels count.
template <class I, class T>
__global__ void __launch_bounds__(kThreads)
    key_kernel(const I* from, Labels labels, int64_t n, const T* weight, T even, const T* loss, LossKey<T>* keys,
               int32_t* index, int32_t* label, Chosen* chosen) {
    const int64_t i = thread_index();
    const int32_t classes = int32_t(labels.classes), bad = classes + 1;
    bool counts = false;
    if (i < n) {
        const int32_t c =
            class_number(int64_t(from[i]), labels.classes, labels.ignore, labels.ignores ? classes : bad, bad);
        counts = c < classes && (weight ? weight[c] : even) > 0;
        keys[i] = counts ? falling_key(score_of(loss[i])) : kNotCounted<T>;
        index[i] = int32_t(i);
        label[i] = c;
    }
    const int together = warp_sum(counts);
    if (threadIdx.x % kWarp == 0 && together) atomicAdd(&chosen->counted, static_cast<unsigned long long>(together));
}

// Labels of the pixels that are not kept become -1, which is ignored; one out of range stays, and makes all NaN.
template <class T>
__global__ void __launch_bounds__(kThreads)
    keep_kernel(const int32_t* order, int64_t n, const T* loss, OhemOptions options, int32_t classes, int32_t* label,
                Chosen* chosen) {
    const int64_t rank = thread_index(), counted = int64_t(chosen->counted);
    bool keep = false;
    if (rank < n) {
        const int32_t i = order[rank];
        keep = rank < counted && (rank < options.least(counted) || score_of(loss[i]) > T(options.threshold));
        if (!keep && label[i] <= classes) label[i] = -1;
    }
    const int together = warp_sum(keep);
    if (threadIdx.x % kWarp == 0 && together) atomicAdd(&chosen->kept, static_cast<unsigned long long>(together));
}

// Weights divided by the number of pixels that are kept.
template <class T>
__global__ void __launch_bounds__(kThreads)
    weight_kernel(const T* weight, T even, int64_t classes, const Chosen* chosen, const LabelsFound* found, T* to) {
    const int64_t c = thread_index();
    if (c >= classes) return;
    const T share = T(chosen->kept ? 1 / double(chosen->kept) : 0);
    to[c] = found->poison ? T(NAN) : (weight ? weight[c] : even) * share;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    kept_sum_kernel(const T* loss, const int32_t* label, int32_t classes, int64_t n, double* sums) {
    double mine[4];
    for (int k = 0; k < 4; ++k) {
        const int64_t i = int64_t(blockIdx.x) * kSumBlock + threadIdx.x + k * kSumThreads;
        mine[k] = i < n && label[i] >= 0 && label[i] < classes ? double(loss[i]) : 0;
    }
    const double sum = sum_of_block(mine);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <class S>
struct OhemTotal {
    const Chosen* chosen;
    const LabelsFound* found;
    S* loss;
    __device__ void operator()(const double* total, int64_t) const {
        if (threadIdx.x) return;
        const double sum = *static_cast<const volatile double*>(total);
        const double value = chosen->kept ? sum / double(chosen->kept) : 0;
        *loss = stored<S>(found->poison ? Compute<S>(NAN) : Compute<S>(value));
    }
};

}  // namespace

template <class S>
int64_t ohem_cross_entropy_workspace(int64_t images, int64_t classes, int64_t pixels) {
    Parts parts;
    OhemWorkspace<Compute<S>>(parts, images, classes, pixels);
    return parts.bytes();
}

template <class S>
void ohem_cross_entropy_cuda(const CudaLogits<S>& x, const OhemOptions& options, void* workspace, int64_t* fault,
                             cudaStream_t stream) {
    using T = Compute<S>;
    Parts parts(workspace);
    const OhemWorkspace<T> w(parts, x.images, x.classes, x.pixels);
    const int64_t n = x.images * x.pixels;
    const unsigned blocks = unsigned(blocks_for(n, kThreads));
    const int32_t classes = int32_t(x.classes);
    CudaLogits<S> call = x;
    call.grad = nullptr;
    call.wide_loss = w.loss;
    softmax_loss_cuda(call, {false, 0, 0, Reduction::none}, w.first, fault, stream);
    const LabelsFound* found = static_cast<const LabelsFound*>(w.first);
    check_cuda(cudaMemsetAsync(w.chosen, 0, sizeof(Chosen), stream));
    if (n) {
        by_type(x.labels, [&](const auto* from) {
            using I = std::remove_const_t<std::remove_pointer_t<decltype(from)>>;
            FASTDET_LAUNCH((key_kernel<I, T>), blocks, kThreads, stream, from, x.labels, n, x.weight, x.even, w.loss,
                           w.keys, w.index, w.label, w.chosen);
        });
        sort_pairs(w.scratch, w.keys, w.sorted, w.index, w.order, n, 8 * int(sizeof(T)), stream);
        FASTDET_LAUNCH((keep_kernel<T>), blocks, kThreads, stream, w.order, n, w.loss, options, classes, w.label,
                       w.chosen);
        FASTDET_LAUNCH((kept_sum_kernel<T>), unsigned(blocks_for(n, kSumBlock)), kSumThreads, stream, w.loss, w.label,
                       classes, n, w.sum.sums);
    }
    w.sum.sum(OhemTotal<S>{w.chosen, found, x.loss}, stream);
    if (!x.grad) return;
    FASTDET_LAUNCH((weight_kernel<T>), unsigned(blocks_for(x.classes, kThreads)), kThreads, stream, x.weight, x.even,
                   x.classes, w.chosen, found, w.weight);
    call.grad = x.grad;
    call.wide_loss = nullptr;
    call.loss = static_cast<S*>(w.nowhere);
    call.weight = w.weight;
    call.labels = Labels{w.label, 4, true, true, -1, x.classes};
    softmax_loss_cuda(call, {false, 0, 0, Reduction::sum}, w.second, fault, stream);
}

#define FASTDET_INSTANTIATE(S)                                                   \
    template int64_t ohem_cross_entropy_workspace<S>(int64_t, int64_t, int64_t); \
    template void ohem_cross_entropy_cuda(const CudaLogits<S>&, const OhemOptions&, void*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
