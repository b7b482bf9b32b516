// exp and log by IEEE operations alone, the same ones in the same order as _vmath.py and _numba_vmath.py: libraries
// differ in the last bit, these do not. No tables; about 26 operations for exp, 30 and a division for log. Of floats,
// doubles and vectors; see lanes.h.
#pragma once

#include "core/exp.h"

namespace fastdet {
namespace lanes {

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
    static constexpr float normal = 0x1p-126f, up = 0x1p25f, shift = 25, most = 0x1.fffffep127f;
};
template <>
struct LogConstants<double> {
    static constexpr int terms = 7;
    static constexpr double series[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                                        2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                                        1.479819860511658591e-01};
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    static constexpr double normal = 0x1p-1022, up = 0x1p54, shift = 54, most = 0x1.fffffffffffffp1023;
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
    return where_ge(all<V>(C::most), x, where_ge(zero, x, all<V>(-T(INFINITY)), y), x);
}

// log(1 + x) for x >= 0, to 2 ulp however small x is.
template <class V>
FASTDET_HD V log1p_positive(V x) {
    const V one = all<V>(1), s = one + x;
    return where_ge(all<V>(LogConstants<ScalarOf<V>>::most), s, log_positive(s) + (x - (s - one)) / s, s);
}

}  // namespace lanes
}  // namespace fastdet
