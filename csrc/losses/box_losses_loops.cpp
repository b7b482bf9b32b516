// Losses of aligned boxes: the loops. Compiled once per instruction set.
//
// A pair costs about 60 operations and, with gradients, 64 to 136 bytes: rows become columns that stay in the first
// cache, so that a vector holds as many pairs as it has lanes; memory is then the limit.
#include "losses/box_losses.h"

#include "core/sums.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int kPixelChunk = 256;
static_assert(kSumBlock % kPixelChunk == 0, "chunks make up blocks");

template <class T>
inline void to_columns(const Box<T>* from, int n, T (*to)[kPixelChunk]) {
    for (int i = 0; i < n; ++i) {
        to[0][i] = from[i].x1, to[1][i] = from[i].y1, to[2][i] = from[i].x2, to[3][i] = from[i].y2;
    }
}
template <class T>
inline void to_rows(const T (*from)[kPixelChunk], int n, Box<T>* to) {
    for (int i = 0; i < n; ++i) to[i] = {from[0][i], from[1][i], from[2][i], from[3][i]};
}

template <class T, BoxLoss K, bool Grad>
void run(const BoxLossJob<T>& job, int64_t first, int64_t last) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const V eps = V::set(job.eps), alpha_eps = V::set(job.alpha_eps), scale = V::set(job.scale);
    T a[4][kPixelChunk] = {}, b[4][kPixelChunk] = {}, grad_a[4][kPixelChunk], grad_b[4][kPixelChunk], loss[kSumBlock];
    for (int64_t block = first; block < last; block += kSumBlock) {
        const int in_block = int(last - block < kSumBlock ? last - block : kSumBlock);
        for (int done = 0; done < in_block; done += kPixelChunk) {
            const int n = in_block - done < kPixelChunk ? in_block - done : kPixelChunk;
            const int64_t at = block + done;
            to_columns(job.a + at, n, a);
            to_columns(job.b + at, n, b);
            for (int i = 0; i < n; i += L) {  // beyond n: earlier pairs, whose results are not read
                V p[4], q[4], gp[4], gq[4];
                for (int k = 0; k < 4; ++k) p[k] = V::load(a[k] + i), q[k] = V::load(b[k] + i);
                lanes::box_loss<K, Grad>(p, q, eps, alpha_eps, scale, gp, gq).store(loss + done + i);
                if (Grad) {
                    for (int k = 0; k < 4; ++k) gp[k].store(grad_a[k] + i), gq[k].store(grad_b[k] + i);
                }
            }
            if (Grad) {
                to_rows(grad_a, n, job.grad_a + at);
                to_rows(grad_b, n, job.grad_b + at);
            }
        }
        if (job.loss) std::memcpy(job.loss + block, loss, size_t(in_block) * sizeof(T));
        if (job.sums) {
            for (int i = in_block; i < kSumBlock; ++i) loss[i] = 0;
            job.sums[block / kSumBlock] = block_sum(loss);
        }
    }
}

template <class T, BoxLoss K>
void either(const BoxLossJob<T>& job, int64_t first, int64_t last) {
    return job.grad_a ? run<T, K, true>(job, first, last) : run<T, K, false>(job, first, last);
}

template <class T>
void any(const BoxLossJob<T>& job, int64_t first, int64_t last) {
    switch (job.kind) {
        case BoxLoss::giou:
            return either<T, BoxLoss::giou>(job, first, last);
        case BoxLoss::diou:
            return either<T, BoxLoss::diou>(job, first, last);
        case BoxLoss::ciou:
            return either<T, BoxLoss::ciou>(job, first, last);
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(BoxLossKernels, box_losses_kernels, {any<float>, any<double>})

}  // namespace fastdet
