// Count the pixels of each class, and compute the divisor of a mean, which gradients need.
//
// 16 bytes of labels a thread at a time, which are mostly alike; equal ones are counted in a register, and a run is
// added to the block's table in shared memory when it ends (past kTable classes, to the one in memory). The block that
// is done last adds up counts times weights in the order of the classes. Floor: reading the labels (8 x 1024^2: 2 us of
// bytes, 16 us of int64, at 4.3 TB/s).
#include "cuda/sum.h"
#include "cuda/vector.h"
#include "losses/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kMaxBlocks = 1024;
constexpr int64_t kTable = 2048;

// Equal labels of a thread, one after the other.
struct Run {
    int32_t label = 0;
    unsigned length = 0;
    int64_t at = 0;
};

// Small: the table holds all classes.
template <class I, class T, bool Small>
__global__ void __launch_bounds__(kThreads, 4)
    count_kernel(const I* from, Labels labels, int64_t n, const T* weight, T even, Reduction reduction,
                 unsigned long long* counts, LabelsFound* found, int64_t* fault) {
    FASTDET_SHARED(unsigned, table, [kTable]);
    const int64_t classes = labels.classes, entries = classes + 2;
    for (int64_t c = threadIdx.x; Small && c < entries; c += kThreads) table[c] = 0;
    __syncthreads();
    const int32_t bad = int32_t(classes) + 1, ignored = labels.ignores ? int32_t(classes) : bad;
    Run run;
    const auto end_run = [&] {
        if constexpr (Small) {
            atomicAdd(&table[run.label], run.length);
        } else {
            atomicAdd(&counts[run.label], static_cast<unsigned long long>(run.length));
        }
        if (run.label == bad) atomicMax(&found->bad, ~static_cast<unsigned long long>(run.at));
    };
    const auto take = [&](I label, int64_t at, unsigned count) {
        const int32_t c = class_number(int64_t(label), classes, labels.ignore, ignored, bad);
        if (c != run.label) {
            end_run();
            run = {c, 0, at};
        }
        run.length += count;
    };
    constexpr int N = 16 / int(sizeof(I));
    const int64_t step = int64_t(gridDim.x) * kThreads;
    for (int64_t at = thread_index() * N; at < n; at += step * N) {
        bool alike = at + N <= n;
        I first = 0;
        if (alike) {
            const Pack<I, N> pack = load_pack<N>(from + at);
            first = pack.v[0];
#pragma unroll
            for (int i = 1; i < N; ++i) alike = alike && pack.v[i] == first;
        }
        if (alike) {
            take(first, at, N);
        } else {
#pragma unroll 1
            for (int i = 0; i < N && at + i < n; ++i) take(from[at + i], at + i, 1);
        }
    }
    end_run();
    __syncthreads();
    for (int64_t c = threadIdx.x; Small && c < entries; c += kThreads) {
        if (table[c]) atomicAdd(&counts[c], static_cast<unsigned long long>(table[c]));
    }
    if (!comes_last(&found->blocks, gridDim.x)) return;
    FASTDET_SHARED(double, weights, [kThreads]);
    FASTDET_SHARED(double, products, [kThreads]);
    double divisor = 0, weight_sum = 0;
    for (int64_t first = 0; first < classes; first += kThreads) {
        const int64_t c = first + threadIdx.x;
        if (c < classes) {
            const T w = weight ? weight[c] : even;
            weights[threadIdx.x] = w >= 0 && is_finite(w) ? double(w) : double(NAN);
            products[threadIdx.x] =
                double(int64_t(static_cast<const volatile unsigned long long*>(counts)[c])) * weights[threadIdx.x];
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int i = 0; i < kThreads && first + i < classes; ++i) {
                weight_sum += weights[i];
                divisor += products[i];
            }
        }
        __syncthreads();
    }
    if (threadIdx.x) return;
    const unsigned long long at = *static_cast<const volatile unsigned long long*>(&found->bad);
    found->divisor = divisor;
    found->scale = loss_scale(reduction, divisor);
    found->weight_sum = weight_sum;
    found->poison = at || weight_sum != weight_sum;
    if (at) *fault = 1 + int64_t(~at);
}

}  // namespace

template <class T>
void count_labels_cuda(const Labels& labels, int64_t n, const T* weight, T even, Reduction reduction,
                       unsigned long long* counts, LabelsFound* found, int64_t* fault, cudaStream_t stream) {
    const int64_t blocks = blocks_for(n * labels.bytes, 16 * kThreads);
    const unsigned grid = unsigned(blocks < 1 ? 1 : blocks < kMaxBlocks ? blocks : kMaxBlocks);
    by_type(labels, [&](const auto* from) {
        using I = std::remove_const_t<std::remove_pointer_t<decltype(from)>>;
        if (labels.classes + 2 <= kTable) {
            FASTDET_LAUNCH((count_kernel<I, T, true>), grid, kThreads, stream, from, labels, n, weight, even, reduction,
                           counts, found, fault);
        } else {
            FASTDET_LAUNCH((count_kernel<I, T, false>), grid, kThreads, stream, from, labels, n, weight, even,
                           reduction, counts, found, fault);
        }
    });
}

template void count_labels_cuda(const Labels&, int64_t, const float*, float, Reduction, unsigned long long*,
                                LabelsFound*, int64_t*, cudaStream_t);
template void count_labels_cuda(const Labels&, int64_t, const double*, double, Reduction, unsigned long long*,
                                LabelsFound*, int64_t*, cudaStream_t);

}  // namespace fastdet
