// The sigmoid focal loss: the loops. Compiled once per instruction set.
//
// Everything is a function of |x| and of the target seen from the likelier side, so that one exponential, one logarithm
// and one division, which these share, serve both signs without cancellation. Floor: 16 bytes a value of float32 with
// its gradient.
#include "losses/sigmoid_focal_loss.h"

#include "core/half.h"
#include "core/sums.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// n <= kSumBlock values from `at` on, widened to `to`; a whole block that needs no widening is used where it lies.
template <class T>
inline const T* row(const void* from, FloatType type, int64_t at, int n, T* to) {
    if constexpr (sizeof(T) == 4) {
        if (type == FloatType::half) {
            widen_row(static_cast<const Half*>(from) + at, n, to);
            return to;
        }
        if (type == FloatType::bfloat16) {
            widen_row(static_cast<const BFloat16*>(from) + at, n, to);
            return to;
        }
    }
    const T* values = static_cast<const T*>(from) + at;
    if (n >= kSumBlock) return values;
    std::memcpy(to, values, size_t(n) * sizeof(T));
    return to;
}

// Where a block of results is computed: in place, where it is whole and is not rounded, else in `own`.
template <class T>
inline T* place(void* to, FloatType type, int64_t at, int n, T* own) {
    const bool as_it_is = sizeof(T) == 8 || type == FloatType::single;
    return to && as_it_is && n == kSumBlock ? static_cast<T*>(to) + at : own;
}

template <class T>
inline void put(const T* from, int n, void* to, FloatType type, int64_t at) {
    if constexpr (sizeof(T) == 4) {
        if (type == FloatType::half) return narrow_row(from, n, static_cast<Half*>(to) + at);
        if (type == FloatType::bfloat16) return narrow_row(from, n, static_cast<BFloat16*>(to) + at);
    }
    std::memcpy(static_cast<T*>(to) + at, from, size_t(n) * sizeof(T));
}

// Plain stores: stores that bypass the caches were slower, since the arithmetic hides the cost of reading the lines
// first.
template <class T, FocalPower P, bool Grad>
void run(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    using V = Vec<T>;
    const lanes::SigmoidFocalTerms<V> terms{V::set(T(job.alpha)), V::set(T(job.beta)), V::set(T(job.gamma)),
                                            V::set(T(job.scale))};
    const FloatType target_type = job.wide_targets ? FloatType::single : job.type;
    alignas(64) T x_row[kSumBlock] = {}, t_row[kSumBlock] = {}, loss_row[kSumBlock], grad_row[kSumBlock];
    for (int64_t at = first; at < last; at += kSumBlock) {
        const int n = int(last - at < kSumBlock ? last - at : kSumBlock);
        const T* x = row(job.inputs, job.type, at, n, x_row);
        const T* t = row(job.targets, target_type, at, n, t_row);
        T* loss = place(job.loss, job.type, at, n, loss_row);
        T* grad = place(job.grad, job.type, at, n, grad_row);
        for (int i = 0; i < n; i += V::lanes) {  // values beyond n are not read
            V g;
            lanes::sigmoid_focal<P, Grad>(terms, V::load(x + i), V::load(t + i), &g).store(loss + i);
            if (Grad) g.store(grad + i);
        }
        if (Grad && grad == grad_row) put(grad, n, job.grad, job.type, at);
        if (job.loss && loss == loss_row) put(loss, n, job.loss, job.type, at);
        if (job.sums) {
            for (int i = n; i < kSumBlock; ++i) loss_row[i] = 0;
            job.sums[at / kSumBlock] = block_sum(loss_row);
        }
    }
}

template <class T, FocalPower P>
void either(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    return job.grad ? run<T, P, true>(job, first, last) : run<T, P, false>(job, first, last);
}

template <class T>
void powers(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    switch (focal_power(job.gamma)) {
        case FocalPower::zero:
            return either<T, FocalPower::zero>(job, first, last);
        case FocalPower::one:
            return either<T, FocalPower::one>(job, first, last);
        case FocalPower::two:
            return either<T, FocalPower::two>(job, first, last);
        case FocalPower::any:
            return either<T, FocalPower::any>(job, first, last);
    }
}

void types(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    return job.type == FloatType::twice ? powers<double>(job, first, last) : powers<float>(job, first, last);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(SigmoidFocalKernels, sigmoid_focal_loss_kernels, {types})

}  // namespace fastdet
