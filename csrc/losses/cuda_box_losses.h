// Losses of aligned boxes and the sigmoid focal loss on a GPU: launchers. Pointers are the device's; see box_losses.h
// and sigmoid_focal.h for what they compute.
#pragma once

#include "core/half.h"
#include "cuda/call.h"
#include "losses/box_losses.h"

namespace fastdet {

// Of n losses, where their sum is wanted: `loss` is (1,), the sum divided by `count`. The workspace is for that.
struct CudaTotal {
    bool wanted;
    double count;
};
int64_t loss_sum_workspace(int64_t n);

template <class T>
struct CudaBoxLoss {
    const Box<T>*a, *b;  // (n,)
    int64_t n;
    T eps, alpha_eps, scale;
    T* loss;                 // (n,) or (1,)
    Box<T>*grad_a, *grad_b;  // (n,); null without gradients
};
template <class T>
void box_loss_cuda(const CudaBoxLoss<T>& x, BoxLoss kind, const CudaTotal& total, void* workspace, cudaStream_t stream);

template <class S>
struct CudaSigmoidFocal {
    const S* inputs;   // (n,)
    const S* targets;  // (n,); null: they are `wide_targets`
    const Compute<S>* wide_targets;
    int64_t n;
    Compute<S> alpha, beta, gamma, scale;
    S* loss;  // (n,) or (1,)
    S* grad;  // (n,); null without
};
template <class S>
void sigmoid_focal_cuda(const CudaSigmoidFocal<S>& x, double gamma, const CudaTotal& total, void* workspace,
                        cudaStream_t stream);

}  // namespace fastdet
