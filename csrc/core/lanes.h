// The operations that float and double share with the vectors of simd.h. One formula then serves the loops of the CPU,
// a vector of values at a time, and the threads of a GPU, one value each. Compiled by g++ and nvcc.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/macros.h"

namespace fastdet {
namespace lanes {

// The numbers of split2: with the bits of sqrt(1/2) moved to those of 1, the exponent's field is n + its bias.
template <class T>
struct Split;
template <>
struct Split<float> {
    using Bits = uint32_t;
    static constexpr int mantissa = 23;
    static constexpr uint32_t root = 0x3f3504f3, one = 0x3f800000, offset = one - root, mask = 0x007fffff,
                              magic = 0x4b000000;
    static constexpr float bias = 0x1p23f + 127;
};
template <>
struct Split<double> {
    using Bits = uint64_t;
    static constexpr int mantissa = 52;
    static constexpr uint64_t root = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000, offset = one - root,
                              mask = 0x000fffffffffffff, magic = 0x4330000000000000;
    static constexpr double bias = 0x1p52 + 1023;
};

template <class To, class From>
FASTDET_HD To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

// p * 2^n, n held in the low bits of t = n + magic
template <class T>
FASTDET_HD T scale2_scalar(T p, T t) {
    using S = Split<T>;
    using Bits = typename S::Bits;
    return p * bits_as<T>(Bits((bits_as<Bits>(t) << S::mantissa) + S::one));
}
// m in [sqrt(1/2), sqrt(2)) and the integer n of x = m * 2^n; x positive, normal
template <class T>
FASTDET_HD T split2_scalar(T x, T& n) {
    using S = Split<T>;
    using Bits = typename S::Bits;
    const Bits i = bits_as<Bits>(x) + S::offset;
    n = bits_as<T>(Bits((i >> S::mantissa) | S::magic)) - S::bias;
    return bits_as<T>(Bits((i & S::mask) + S::root));
}

// x - n * c where the product is exact: on a GPU in one operation, which rounds alike.
template <class V>
FASTDET_HD V minus_exact(V x, V n, V c) {
#if defined(__CUDA_ARCH__)
    return fma(-n, c, x);
#else
    return x - n * c;
#endif
}

#define FASTDET_SCALAR(T)                                                      \
    FASTDET_HD T where_ge(T x, T y, T a, T b) { return x >= y ? a : b; }       \
    FASTDET_HD T where_positive(T test, T a, T b) { return test > 0 ? a : b; } \
    FASTDET_HD T min(T a, T b) { return a < b ? a : b; }                       \
    FASTDET_HD T max(T a, T b) { return a > b ? a : b; }                       \
    FASTDET_HD T scale2(T p, T t) { return scale2_scalar(p, t); }              \
    FASTDET_HD T split2(T x, T& n) { return split2_scalar(x, n); }
FASTDET_SCALAR(float)
FASTDET_SCALAR(double)
#undef FASTDET_SCALAR

template <class V>
struct Of {
    using Scalar = typename V::Scalar;
};
template <>
struct Of<float> {
    using Scalar = float;
};
template <>
struct Of<double> {
    using Scalar = double;
};
template <class V>
using ScalarOf = typename Of<V>::Scalar;

template <class V>
FASTDET_HD V all(ScalarOf<V> x) {
    if constexpr (sizeof(V) == sizeof(x)) {
        return V{x};
    } else {
        return V::set(x);
    }
}

// Horner's rule: p z^K + terms K - 1, ..., 0 of Table::series. They are constants of the code, since nvcc cannot take
// them from an array at run time.
template <class Table, int K, class V>
FASTDET_HD V horner(V z, V p) {
    if constexpr (K == 0) {
        return p;
    } else {
        constexpr auto term = ScalarOf<V>(Table::series[K - 1]);
        return horner<Table, K - 1>(z, p * z + all<V>(term));
    }
}

// The series' first `Terms` terms at z.
template <class Table, int Terms, class V>
FASTDET_HD V polynomial(V z) {
    constexpr auto last = ScalarOf<V>(Table::series[Terms - 1]);
    return horner<Table, Terms - 1>(z, all<V>(last));
}

}  // namespace lanes
}  // namespace fastdet
