// Losses of aligned boxes and their gradients, in one pass.
//
// A block is a block of the sum, 1024 pairs; a thread takes every 256th, 16 bytes a box. Floor: the bytes, 32 in and 36
// out a pair of float32 with its gradients (1M: 68 MB, 16 us at 4.3 TB/s); operations: some 120 to 250 instructions a
// pair, the divisions among them, 4 to 9 us a million on an H200.
#include "boxes/load_box.h"
#include "cuda/sum.h"
#include "losses/cuda.h"

namespace fastdet {
namespace {

template <class T, BoxLoss K, bool Grad>
__global__ void __launch_bounds__(kSumThreads, 2) box_loss_kernel(const CudaBoxLoss<T> x, double* sums) {
    FASTDET_SHARED(T, losses, [kSumBlock]);
    const int64_t base = int64_t(blockIdx.x) * kSumBlock;
#pragma unroll 1
    for (int at = int(threadIdx.x); at < kSumBlock; at += kSumThreads) {
        const int64_t i = base + at;
        if (i >= x.n) {
            losses[at] = 0;
            continue;
        }
        const Box<T> p = load_box(x.a + i), q = load_box(x.b + i);
        const T a[4] = {p.x1, p.y1, p.x2, p.y2}, b[4] = {q.x1, q.y1, q.x2, q.y2};
        T grad_a[4], grad_b[4];
        const T loss = lanes::box_loss<K, Grad>(a, b, x.eps, x.alpha_eps, x.scale, grad_a, grad_b);
        if (Grad) {
            store_box(x.grad_a + i, {grad_a[0], grad_a[1], grad_a[2], grad_a[3]});
            store_box(x.grad_b + i, {grad_b[0], grad_b[1], grad_b[2], grad_b[3]});
        }
        if (sums) {
            losses[at] = loss;
        } else {
            x.loss[i] = loss;
        }
    }
    if (!sums) return;
    double mine[4];
    for (int k = 0; k < 4; ++k) mine[k] = double(losses[threadIdx.x + k * kSumThreads]);  // this thread's own
    const double sum = sum_of_block(mine);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <class T>
struct Total {
    double count;
    T* loss;
    __device__ void operator()(const double* total, int64_t) const {
        if (threadIdx.x == 0) *loss = T(*static_cast<const volatile double*>(total) / count);
    }
};

template <class T, BoxLoss K>
void run(const CudaBoxLoss<T>& x, double* sums, cudaStream_t stream) {
    const unsigned blocks = unsigned(blocks_for(x.n, kSumBlock));
    if (x.grad_a) {
        FASTDET_LAUNCH((box_loss_kernel<T, K, true>), blocks, kSumThreads, stream, x, sums);
    } else {
        FASTDET_LAUNCH((box_loss_kernel<T, K, false>), blocks, kSumThreads, stream, x, sums);
    }
}

}  // namespace

int64_t loss_sum_workspace(int64_t n) {
    Parts parts;
    SumWorkspace(parts, n);
    return parts.bytes();
}

template <class T>
void box_loss_cuda(const CudaBoxLoss<T>& x, BoxLoss kind, const CudaTotal& total, void* workspace,
                   cudaStream_t stream) {
    Parts parts(workspace);
    const SumWorkspace w(parts, x.n);
    double* sums = total.wanted ? w.sums : nullptr;
    if (x.n) {
        switch (kind) {
            case BoxLoss::giou:
                run<T, BoxLoss::giou>(x, sums, stream);
                break;
            case BoxLoss::diou:
                run<T, BoxLoss::diou>(x, sums, stream);
                break;
            case BoxLoss::ciou:
                run<T, BoxLoss::ciou>(x, sums, stream);
                break;
        }
    }
    if (total.wanted) w.sum(Total<T>{total.count, x.loss}, stream);
}

template void box_loss_cuda(const CudaBoxLoss<float>&, BoxLoss, const CudaTotal&, void*, cudaStream_t);
template void box_loss_cuda(const CudaBoxLoss<double>&, BoxLoss, const CudaTotal&, void*, cudaStream_t);

}  // namespace fastdet
