// A chunk of pixels with some classes of its logits in shared memory, for the kernels of the losses on a softmax.
//
// A block is a chunk (softmax_losses.h): a thread has V neighbouring pixels of planes, where rows begin at a vector,
// else one. The logits of up to `max_classes` classes at a time are its rows; up to that many classes they are read
// from memory once, and the exponentials stay there until the gradient is made. More classes are read again for each
// pass (maximum, sum, gradient: through the caches, where they fit), and their exponentials are made twice.
#pragma once

#include "core/elementary.h"
#include "cuda/sum.h"
#include "cuda/vector.h"
#include "losses/cuda.h"

namespace fastdet {

// Classes that stay: as many as leave a multiprocessor enough threads.
template <class T>
constexpr int64_t kResident = 160 / int64_t(sizeof(T));
template <class T>
constexpr int64_t kStep = 128 / int64_t(sizeof(T));  // classes at a time, where there are more

template <class S, int V>
class SoftmaxTile {
  public:
    using T = Compute<S>;
    using Values = Pack<T, V>;
    static constexpr int kThreads = int(kPixelChunk) / V;

    int n;             // pixels of the chunk
    int mine;          // the first one of this thread, which may be past n
    int64_t pixel;     // the chunk's first pixel in (images, pixels)
    int32_t label[V];  // class, or `classes` for what is ignored, out of range or past n
    bool resident;     // all classes are in the rows at once

    __device__ SoftmaxTile(const CudaLogits<S>& logits, T* rows)
        : resident(logits.classes <= kResident<T>), x_(logits), rows_(rows) {
        const int64_t per_image = (x_.pixels + kPixelChunk - 1) / kPixelChunk, image = blockIdx.x / per_image;
        const int64_t at = blockIdx.x % per_image * kPixelChunk;
        n = int(x_.pixels - at < kPixelChunk ? x_.pixels - at : kPixelChunk);
        mine = int(threadIdx.x) * V;
        pixel = image * x_.pixels + at;
        max_classes_ = resident ? x_.classes : kStep<T>;
        step_ = x_.channels_last ? 1 : kPixelChunk;
        pitch_ = x_.channels_last ? int(max_classes_ | 1) : 1;  // an odd pitch: a warp's pixels lie in different banks
        first_ = x_.channels_last ? pixel * x_.classes : image * x_.classes * x_.pixels + at;
        const int32_t classes = int32_t(x_.classes);
#pragma unroll
        for (int k = 0; k < V; ++k) label[k] = classes;
        if (mine < n && x_.labels.data) {
            by_type(x_.labels, [&](const auto* from) {
#pragma unroll
                for (int k = 0; k < V; ++k)
                    label[k] =
                        class_number(int64_t(from[pixel + mine + k]), classes, x_.labels.ignore, classes, classes);
            });
        }
    }

    // Bytes of shared memory for the rows.
    static int64_t bytes(const CudaLogits<S>& x) {
        const int64_t max_classes = x.classes <= kResident<T> ? x.classes : kStep<T>;
        return kPixelChunk * (x.channels_last ? max_classes | 1 : max_classes) * int64_t(sizeof(T));
    }

    // f(first class, count) for the classes that are in the rows at once, in order.
    template <class F>
    __device__ void each_part(F&& f) const {
        for (int64_t c = 0; c < x_.classes; c += max_classes_)
            f(c, int(max_classes_ < x_.classes - c ? max_classes_ : x_.classes - c));
    }

    // Logits of classes [first, first + count) to the rows; 0 past n.
    __device__ void stage(int64_t first, int count) {
        if (V > 1 || !x_.channels_last) {
            const S* from = x_.logits + first_ + first * x_.pixels + mine;
            if (mine < n) {
#pragma unroll 8
                for (int c = 0; c < count; ++c) put(c, widened(load_pack<V>(from + c * x_.pixels)));
            } else {
                for (int c = 0; c < count; ++c) put(c, Values{});
            }
            return;
        }
        __syncthreads();  // the rows have been read
        const S* from = x_.logits + first_ + first;
        each_in_memory(count, int(kPixelChunk),
                       [&](int p, int c) { rows_[p * pitch_ + c] = p < n ? widen(from[p * x_.classes + c]) : T(0); });
        __syncthreads();
    }

    // The rows of classes [first, first + count) to the gradient, by make(class in the rows, values).
    template <class F>
    __device__ void write(int64_t first, int count, F&& make) {
        if (V > 1 || !x_.channels_last) {
            if (mine >= n) return;
            S* to = x_.grad + first_ + first * x_.pixels + mine;
#pragma unroll 4
            for (int c = 0; c < count; ++c) store_narrowed<S, V>(to + c * x_.pixels, make(c, row(c)));
            return;
        }
        for (int c = 0; c < count; ++c) put(c, make(c, row(c)));
        __syncthreads();
        S* to = x_.grad + first_ + first;
        each_in_memory(count, n, [&](int p, int c) { to[p * x_.classes + c] = stored<S>(rows_[p * pitch_ + c]); });
    }

    // Where this thread's pixels of a class lie in an array of the logits' shape and layout.
    __device__ int64_t place(int64_t c) const {
        return x_.channels_last ? first_ + mine * x_.classes + c : first_ + c * x_.pixels + mine;
    }

    // This thread's pixels of a row; any pixel p of the chunk; the k-th own one.
    __device__ Values row(int c) const { return load_pack<V>(rows_ + c * step_ + mine * pitch_); }
    __device__ void put(int c, const Values& x) { store_shared<T, V>(rows_ + c * step_ + mine * pitch_, x); }
    __device__ T& at(int c, int p) const { return rows_[c * step_ + p * pitch_]; }
    __device__ T& own(int64_t c, int k) const { return at(int(c), mine + k); }

    // Whether the target of the k-th pixel is among classes [first, first + count).
    __device__ bool holds(int64_t first, int count, int k) const {
        return label[k] >= first && label[k] < first + count && label[k] < x_.classes;
    }

    // The maximum over the classes, as the kernels of the CPU find it where there is a NaN: a first one stays.
    __device__ Values maximum() {
        Values highest{}, zeroth{};
        each_part([&](int64_t first, int count) {
            stage(first, count);
            if (first == 0) highest = zeroth = row(0);
#pragma unroll 4
            for (int c = 0; c < count; ++c) {
                const Values x = row(c);
#pragma unroll
                for (int k = 0; k < V; ++k) highest.v[k] = std::fmax(x.v[k], highest.v[k]);
            }
        });
#pragma unroll
        for (int k = 0; k < V; ++k) {
            if (zeroth.v[k] != zeroth.v[k]) highest.v[k] = zeroth.v[k];
        }
        return highest;
    }

    // Logits in the rows to exponentials; f(class in the rows, exponentials) for each.
    template <class F>
    __device__ void exponentials(int count, const Values& highest, F&& f) {
        const T low = lanes::ExpConstants<T>::low;
#pragma unroll(V > 1 ? 2 : 4)
        for (int c = 0; c < count; ++c) {
            const Values x = row(c);
            Values e;
#pragma unroll
            for (int k = 0; k < V; ++k) {
                const T z = x.v[k] - highest.v[k];
                e.v[k] = lanes::where_ge(low, z, T(0), lanes::exp_in_range(z));  // exp_or_zero
            }
            put(c, e);
            f(c, e);
        }
    }

    // Pixels that do not count must not spread a NaN: their sum becomes 1, and their exponentials 0 (by clear()).
    __device__ bool is_cleared(bool counts, T* sum) {
        const bool cleared = !counts && *sum != *sum;
        if (cleared) *sum = 1;
        return cleared;
    }
    __device__ void clear(int count, const bool (&cleared)[V]) {
#pragma unroll
        for (int k = 0; k < V; ++k) {
            for (int c = 0; cleared[k] && c < count; ++c) own(c, k) = 0;
        }
    }

  private:
    // f(pixel, class in the rows) for the logits as they lie in memory, neighbours to neighbours; channels last.
    template <class F>
    __device__ void each_in_memory(int count, int pixels, F&& f) const {
        const uint64_t inverse = ((uint64_t(1) << 32) + uint64_t(count) - 1) / uint64_t(count);  // exact: i is small
        for (int i = int(threadIdx.x); i < pixels * count; i += kThreads) {
            const int p = int((uint64_t(i) * inverse) >> 32);
            f(p, i - p * count);
        }
    }

    const CudaLogits<S>& x_;
    T* rows_;
    int64_t first_, max_classes_;
    int step_, pitch_;
};

// run(tag): SoftmaxTile's V is tag.value.
template <class S, class F>
void by_width(const CudaLogits<S>& x, F&& run) {
    constexpr int V = 16 / int(sizeof(Compute<S>));
    if (!x.channels_last && x.pixels % V == 0) {
        run(std::integral_constant<int, V>());
    } else {
        run(std::integral_constant<int, 1>());
    }
}

template <class S>
int64_t chunks_of(const CudaLogits<S>& x) {
    return x.images * blocks_for(x.pixels, kPixelChunk);
}

template <class S>
__device__ inline Compute<S> weight_of(const CudaLogits<S>& x, int64_t c) {
    return x.weight ? x.weight[c] : x.even;
}

// The sum of a chunk's losses, in the CPU's order: kSumLanes sums, which are then added up.
template <class T>
__device__ inline void sum_chunk(const T* losses, double* partial) {
    __syncthreads();
    if (threadIdx.x >= kWarp) return;
    double sum = 0, all = 0;
    for (int i = int(threadIdx.x); threadIdx.x < kSumLanes && i < kPixelChunk; i += kSumLanes) sum += double(losses[i]);
    for (int l = 0; l < kSumLanes; ++l) all += __shfl_sync(kAllLanes, sum, l);
    if (threadIdx.x == 0) partial[blockIdx.x] = all;
}

// Of a loss that counts labels or checks weights, then adds up chunks.
struct SoftmaxWorkspace {
    LabelsFound* found;
    unsigned* done;
    unsigned long long* counts;
    int64_t zeroed;  // bytes at the front that have to be 0
    double *partial, *parts;
    SoftmaxWorkspace(Parts& memory, int64_t chunks, int64_t classes) {
        found = memory.take<LabelsFound>(1);
        done = memory.take<unsigned>(2);
        counts = memory.take<unsigned long long>(classes + 2);
        zeroed = memory.bytes();
        partial = memory.take<double>(chunks);
        parts = memory.take<double>(parts_of(chunks));
    }
};

}  // namespace fastdet
