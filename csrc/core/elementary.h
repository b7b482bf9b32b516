// exp, log and arctan by IEEE operations alone, of floats, doubles and vectors (see lanes.h). Compiled by g++ and nvcc.
//
// The reference and the Numba kernels have the same operations in the same order. Libraries differ in the last bit, and
// one bit reorders near ties; these do not differ. No tables; about 26 operations for exp, 30 and a division for log.
#pragma once

#include <cmath>

#include "core/lanes.h"

namespace fastdet {
namespace lanes {

struct InverseFactorials {
    static constexpr double series[] = {1.0,
                                        1.0,
                                        1.0 / 2,
                                        1.0 / 2 / 3,
                                        1.0 / 2 / 3 / 4,
                                        1.0 / 2 / 3 / 4 / 5,
                                        1.0 / 2 / 3 / 4 / 5 / 6,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10 / 11,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10 / 11 / 12,
                                        1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10 / 11 / 12 / 13};
};

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
    static constexpr int degree = 7;
    static constexpr float low = -87, magic = 0x1.8p23f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct ExpConstants<double> {
    static constexpr int degree = 13;
    static constexpr double low = -708, magic = 0x1.8p52, ln2_high = 0.6931471803691238,
                            ln2_low = 1.9082149292705877e-10;
};

// For x in [ExpConstants::low, 0] and NaN; undefined below.
template <class V>
FASTDET_HD V exp_in_range(V x) {
    using T = ScalarOf<V>;
    using C = ExpConstants<T>;
    const V magic = all<V>(C::magic), shifted = x * all<V>(T(1.4426950408889634)) + magic, n = shifted - magic;
    const V r = minus_exact(x, n, all<V>(C::ln2_high)) - n * all<V>(C::ln2_low);  // high: n times it is exact
    return scale2(polynomial<InverseFactorials, C::degree + 1>(r), shifted);
}

// Within 2 ulp; below ExpConstants::low as at ExpConstants::low. NaN stays.
template <class V>
FASTDET_HD V exp_negative(V x) {
    return exp_in_range(max(all<V>(ExpConstants<ScalarOf<V>>::low), x));
}

// exp_negative, but 0 from ExpConstants::low down: -inf is probability 0.
template <class V>
FASTDET_HD V exp_or_zero(V x) {
    const V low = all<V>(ExpConstants<ScalarOf<V>>::low);
    return where_ge(low, x, all<V>(0), exp_negative(x));
}

template <class T>
struct LogConstants;
template <>
struct LogConstants<float> {
    static constexpr int terms = 4;
    static constexpr float series[] = {0xaaaaaa.0p-24f, 0xccce13.0p-25f, 0x91e9ee.0p-25f, 0xf89e26.0p-26f};
    static constexpr float ln2_high = 0x1.62e300p-1f, ln2_low = 0x1.2fefa2p-17f;
    static constexpr float normal = 0x1p-126f, up = 0x1p25f, shift = 25, max = 0x1.fffffep127f;
};
template <>
struct LogConstants<double> {
    static constexpr int terms = 7;
    static constexpr double series[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                                        2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                                        1.479819860511658591e-01};
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    static constexpr double normal = 0x1p-1022, up = 0x1p54, shift = 54, max = 0x1.fffffffffffffp1023;
};

// log(x) for x >= 0, to 1 ulp (fdlibm's method): -inf for 0, inf for inf. NaN stays.
template <class V>
FASTDET_HD V log_positive(V x) {
    using T = ScalarOf<V>;
    using C = LogConstants<T>;
    const V zero = all<V>(0), normal = all<V>(C::normal);
    V n;
    const V f = split2(where_ge(x, normal, x, x * all<V>(C::up)), n) - all<V>(1);
    n = n - where_ge(x, normal, zero, all<V>(C::shift));
    const V s = f / (all<V>(2) + f), z = s * s, half = all<V>(T(0.5)) * f * f;
    const V r = polynomial<C, C::terms>(z);
    const V y = (((s * (half + r * z) + n * all<V>(C::ln2_low)) - half) + f) + n * all<V>(C::ln2_high);
    return where_ge(all<V>(C::max), x, where_ge(zero, x, all<V>(-T(INFINITY)), y), x);
}

// log(1 + x) for x >= 0, to 2 ulp however small x is.
template <class V>
FASTDET_HD V log1p_positive(V x) {
    const V one = all<V>(1), s = one + x;
    return where_ge(all<V>(LogConstants<ScalarOf<V>>::max), s, log_positive(s) + (x - (s - one)) / s, s);
}

// The arc tangent of any number, within 3 ulp: Cephes's reduction to tan(pi/8) or 0.66, then a polynomial (float) or
// a rational function (double). Libraries differ in the last bits; this is one.
template <class V>
FASTDET_HD V arctan(V x) {
    using T = ScalarOf<V>;
    constexpr bool kSingle = sizeof(T) == 4;
    const V zero = all<V>(0), one = all<V>(1);
    const V high = all<V>(T(2.414213562373095)), low = all<V>(kSingle ? T(0.4142135623730950) : T(0.66));
    const V a = where_ge(x, zero, x, zero - x);
    const V t = where_ge(a, high, zero - one, where_ge(a, low, a - one, a)) /
                where_ge(a, high, a, where_ge(a, low, a + one, one));
    const V base =
        where_ge(a, high, all<V>(T(1.5707963267948966)), where_ge(a, low, all<V>(T(0.7853981633974483)), zero));
    const V z = t * t;
    V y;
    if constexpr (kSingle) {
        V p = all<V>(8.05374449538e-2f);
        p = p * z + all<V>(-1.38776856032e-1f);
        p = p * z + all<V>(1.99777106478e-1f);
        p = p * z + all<V>(-3.33329491539e-1f);
        y = base + (p * z * t + t);
    } else {
        V p = all<V>(-8.750608600031904122785e-1), q = z + all<V>(2.485846490142306297962e1);
        p = p * z + all<V>(-1.615753718733365076637e1), q = q * z + all<V>(1.650270098316988542046e2);
        p = p * z + all<V>(-7.500855792314704667340e1), q = q * z + all<V>(4.328810604912902668951e2);
        p = p * z + all<V>(-1.228866684490136173410e2), q = q * z + all<V>(4.853903996359136964868e2);
        p = p * z + all<V>(-6.485021904942025371773e1), q = q * z + all<V>(1.945506571482613964425e2);
        y = base + (z * p / q * t + t);
    }
    return where_ge(x, zero, y, zero - y);
}

}  // namespace lanes
}  // namespace fastdet
