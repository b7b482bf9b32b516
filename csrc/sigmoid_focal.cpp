// The sigmoid focal loss: the loops. Compiled once per instruction set.
//
// Everything is a function of |x| and of the target seen from the likelier side, so that one exponential, one logarithm
// and one division, which these share, serve both signs without cancellation. Floor: 16 bytes a value of float32 with
// its gradient.
#include "sigmoid_focal.h"

#include "block_sum.h"
#include "half.h"
#include "loops.h"
#include "simd.h"
#include "vmath.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

enum class Power { zero, one, two, any };

template <class V>
struct Focal {
    V alpha, beta, gamma, scale;
};

// log(1 + e) = 2 atanh(z) = 2 z + z^3 (these by powers of z^2), z = e / (2 + e) in [0, 1/3]: within half an ulp.
template <class T>
struct Series;
template <>
struct Series<float> {
    static constexpr int terms = 4;
    static constexpr float c[] = {0.6666663885116577f, 0.40007561445236206f, 0.28236618638038635f, 0.2685149908065796f};
};
template <>
struct Series<double> {
    static constexpr int terms = 10;
    static constexpr double c[] = {0.6666666666666666,  0.40000000000014585, 0.2857142856710876, 0.22222222717427864,
                                   0.18181789436132856, 0.153855700649586,   0.1331414420965543, 0.12001072809587722,
                                   0.08800738486148968, 0.16164045611951677};
};

// sigmoid_focal.py's reference, line by line.
template <Power P, bool Grad, class V>
inline V focal(const Focal<V>& c, V x, V t, V* grad) {
    using T = typename V::Scalar;
    const V zero = V::set(0), one = V::set(1);
    const V size = where_ge(x, zero, x, zero - x);
    const V wrong = where_ge(x, zero, one - t, t);  // the target of the unlikelier side
    const V e = exp_or_zero(zero - size), s = one + e, s2 = (one + one) + e;
    const V both = one / (s * s2);
    const V likely = s2 * both, unlikely = e * likely, z = (e * s) * both, u = z * z;
    V p = V::set(Series<T>::c[Series<T>::terms - 1]);
    for (int k = Series<T>::terms - 2; k >= 0; --k) p = p * u + V::set(Series<T>::c[k]);
    const V log1p = (z + z) + z * (u * p);
    const V ce = log1p + where_ge(zero, wrong, zero, wrong * size);  // not 0 * inf
    const V q = likely * wrong + unlikely * (one - wrong);           // 1 - p_t
    V power = one, by_q;                                             // q^gamma and its derivative
    if constexpr (P == Power::zero) {
        by_q = zero;
    } else if constexpr (P == Power::one) {
        power = q, by_q = one;
    } else if constexpr (P == Power::two) {
        power = q * q, by_q = q + q;
    } else {
        power = exp_or_zero(c.gamma * log_positive(q)), by_q = c.gamma * (power / q);
    }
    const V weight = c.alpha * t + c.beta * (one - t);
    if constexpr (Grad) {
        const V turn = ((wrong + wrong) - one) * (likely * unlikely);
        const V slope = power * (wrong - unlikely) + where_positive(unlikely, ce * by_q * turn, zero);
        const V g = (weight * slope) * c.scale;
        *grad = where_ge(x, zero, g, zero - g);
    }
    return weight * (ce * power);
}

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

// Stores that go past the caches were slower: the arithmetic hides what reading the lines first costs.
template <class T, Power P, bool Grad>
void run(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    using V = Vec<T>;
    const Focal<V> c{V::set(T(job.alpha)), V::set(T(job.beta)), V::set(T(job.gamma)), V::set(T(job.scale))};
    const FloatType target_type = job.wide_targets ? FloatType::single : job.type;
    alignas(64) T x_row[kSumBlock] = {}, t_row[kSumBlock] = {}, loss_row[kSumBlock], grad_row[kSumBlock];
    for (int64_t at = first; at < last; at += kSumBlock) {
        const int n = int(last - at < kSumBlock ? last - at : kSumBlock);
        const T* x = row(job.inputs, job.type, at, n, x_row);
        const T* t = row(job.targets, target_type, at, n, t_row);
        T* loss = place(job.loss, job.type, at, n, loss_row);
        T* grad = place(job.grad, job.type, at, n, grad_row);
        for (int i = 0; i < n; i += V::lanes) {  // beyond n: values that nobody reads
            V g;
            focal<P, Grad>(c, V::load(x + i), V::load(t + i), &g).store(loss + i);
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

template <class T, Power P>
void either(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    return job.grad ? run<T, P, true>(job, first, last) : run<T, P, false>(job, first, last);
}

template <class T>
void powers(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    if (job.gamma == 2) return either<T, Power::two>(job, first, last);
    if (job.gamma == 1) return either<T, Power::one>(job, first, last);
    if (job.gamma == 0) return either<T, Power::zero>(job, first, last);
    return either<T, Power::any>(job, first, last);
}

void types(const SigmoidFocalJob& job, int64_t first, int64_t last) {
    return job.type == FloatType::twice ? powers<double>(job, first, last) : powers<float>(job, first, last);
}

}  // namespace

const SigmoidFocalKernels sigmoid_focal_kernels = {types};

}  // namespace FASTDET_ISA
}  // namespace fastdet
