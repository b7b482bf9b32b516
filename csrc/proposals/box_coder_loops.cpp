// The loops of the box coder. Compiled once per instruction set.
//
// Rows of four numbers are turned into columns and back, a block at a time that stays in the first cache. Floor: rows
// and anchors read once, results written once.
#include "proposals/box_coder.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int kBlock = 64;

// kernel(row vectors, anchor vectors, weights, out vectors) on each row of [first, last).
template <class T, class Kernel>
void by_blocks(const CoderJob<T>& job, int64_t first, int64_t last, const Kernel& kernel) {
    using V = Vec<T>;
    static_assert(kBlock % V::lanes == 0, "a whole number of vectors");
    V weight[4];
    for (int k = 0; k < 4; ++k) weight[k] = V::set(job.coding.weight[k]);
    T row[4][kBlock], anchor[4][kBlock], out[4][kBlock];
    for (int k = 0; k < 4; ++k) {
        for (int i = 0; i < kBlock; ++i) row[k][i] = 0, anchor[k][i] = T(k / 2);
    }
    int64_t owner = first / job.per_anchor, left = job.per_anchor - first % job.per_anchor;
    for (int64_t start = first; start < last; start += kBlock) {
        const int count = int(last - start < kBlock ? last - start : kBlock);
        for (int i = 0; i < count; ++i) {
            for (int k = 0; k < 4; ++k) {
                row[k][i] = job.rows[4 * (start + i) + k];
                anchor[k][i] = job.anchors[4 * owner + k];
            }
            if (--left == 0) ++owner, left = job.per_anchor;
        }
        for (int i = 0; i < count; i += V::lanes) {
            V r[4], a[4], result[4];
            for (int k = 0; k < 4; ++k) r[k] = V::load(row[k] + i), a[k] = V::load(anchor[k] + i);
            kernel(r, a, weight, result);
            for (int k = 0; k < 4; ++k) result[k].store(out[k] + i);
        }
        for (int i = 0; i < count; ++i) {
            for (int k = 0; k < 4; ++k) job.out[4 * (start + i) + k] = out[k][i];
        }
    }
}

template <class T>
void encode(const CoderJob<T>& job, int64_t first, int64_t last) {
    using V = Vec<T>;
    by_blocks(job, first, last,
              [](const V* row, const V* anchor, const V* weight, V* out) { encode_box(row, anchor, weight, out); });
}

template <class T>
void decode(const CoderJob<T>& job, int64_t first, int64_t last) {
    using V = Vec<T>;
    const V limit = V::set(job.coding.limit);
    by_blocks(job, first, last, [&](const V* row, const V* anchor, const V* weight, V* out) {
        decode_box(anchor, row, weight, limit, out);
    });
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(CoderKernels, box_coder_kernels, {{encode<float>, decode<float>}, {encode<double>, decode<double>}})

}  // namespace fastdet
