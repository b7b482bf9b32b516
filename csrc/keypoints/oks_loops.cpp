// See oks_loops.h. Compiled once per instruction set.
#include "keypoints/oks_loops.h"

#include "core/elementary.h"
#include "core/isa.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

void terms(const double* x, const double* y, const OksTruth& truth, int64_t padded, double* to) {
    using V = Vec<double>;
    static_assert(kOksStep % V::lanes == 0, "a whole number of vectors");
    const V scale = V::set(truth.scale), two = V::set(2), zero = V::set(0);
    const V x0 = V::set(truth.x0), y0 = V::set(truth.y0), x1 = V::set(truth.x1), y1 = V::set(truth.y1);
    for (int64_t k = 0; k < padded; k += V::lanes) {
        const V px = V::load(x + k), py = V::load(y + k);
        V dx = px - V::load(truth.x + k), dy = py - V::load(truth.y + k);
        if (truth.by_box) {
            dx = max(zero, x0 - px) + max(zero, px - x1);
            dy = max(zero, y0 - py) + max(zero, py - y1);
        }
        const V e = (dx * dx + dy * dy) / V::load(truth.variance + k) / scale / two;
        lanes::exp_or_zero(zero - e).store(to + k);
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(OksLoops, oks_loops, {terms})

}  // namespace fastdet
