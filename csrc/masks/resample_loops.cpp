// See resample.h. Compiled once per instruction set.
#include "masks/resample.h"

#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <bool Strict>
void row(const float* top, const float* bottom, float weight, float level, int64_t words, uint64_t* bits) {
    using V = Vec<float>;
    const V w = V::set(weight), t = V::set(level);
    for (int64_t i = 0; i < words; ++i) {
        uint64_t word = 0;
        for (int k = 0; k < 64; k += V::lanes) {
            const V a = V::load(top + 64 * i + k), b = V::load(bottom + 64 * i + k);
            const V x = a + w * (b - a);
            word |= uint64_t(Strict ? gt(x, t) : ge(x, t)) << k;
        }
        bits[i] = word;
    }
}

void row_bits(const float* top, const float* bottom, float weight, float level, bool strict, int64_t words,
              uint64_t* bits) {
    strict ? row<true>(top, bottom, weight, level, words, bits) : row<false>(top, bottom, weight, level, words, bits);
}

void expand(const float* from, const int32_t* at, const float* weight, int64_t n, float* to) {
    for (int64_t k = 0; k < n; ++k) {
        const float left = from[at[k]], right = from[at[k] + 1];
        to[k] = left + weight[k] * (right - left);
    }
}

void combine(const float* planes, int64_t step, const float* weight, int64_t count, int64_t n, float* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = weight[0] * planes[i];
    int64_t k = 1;
    for (; k + 4 <= count; k += 4) {
        const float *p = planes + k * step, *q = p + step, *r = q + step, *s = r + step;
        const float a = weight[k], b = weight[k + 1], c = weight[k + 2], d = weight[k + 3];
        for (int64_t i = 0; i < n; ++i) to[i] = (((to[i] + a * p[i]) + b * q[i]) + c * r[i]) + d * s[i];
    }
    for (; k < count; ++k) {
        const float* p = planes + k * step;
        for (int64_t i = 0; i < n; ++i) to[i] += weight[k] * p[i];
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(MaskLoops, mask_loops, {row_bits, expand, combine})

}  // namespace fastdet
