// Losses on a GPU: launchers. Pointers are the device's; softmax_losses.h, box_losses.h and sigmoid_focal_loss.h say
// what they compute.
#pragma once

#include "core/half.h"
#include "cuda/call.h"
#include "losses/box_losses.h"
#include "losses/lovasz.h"
#include "losses/softmax_losses.h"

namespace fastdet {

// S: as the logits are stored.
template <class S>
struct CudaLogits {
    const S* logits;  // (images, classes, pixels) or, channels last, (images, pixels, classes)
    S* grad;          // of the same shape; null: not wanted
    int64_t images, classes, pixels;
    bool channels_last;
    Labels labels;
    const Compute<S>* weight;  // (classes,); null: each is `even`
    Compute<S> even;
    S* loss;                // (1,) out; for Reduction::none (images, pixels)
    Compute<S>* wide_loss;  // (images, pixels) out in its place for Reduction::none; may be null
};

// A workspace begins with the divisor of a mean, float64. *fault (the host's): see cuda/fault.h; a label that is out of
// range makes the loss and all of the gradient NaN, and so does a weight that is negative or not finite.
int64_t softmax_loss_workspace(int64_t images, int64_t classes, int64_t pixels);
template <class S>
void softmax_loss_cuda(const CudaLogits<S>& x, const LossOptions& options, void* workspace, int64_t* fault,
                       cudaStream_t stream);

template <class S>
int64_t dice_loss_workspace(int64_t images, int64_t classes, int64_t pixels);
template <class S>
void overlap_loss_cuda(const CudaLogits<S>& x, const OverlapTerms& terms, void* workspace, int64_t* fault,
                       cudaStream_t stream);

// target: of the logits' shape and layout; x has no labels. The workspace is softmax_loss_workspace.
template <class S>
void soft_cross_entropy_cuda(const CudaLogits<S>& x, const Compute<S>* target, const LossOptions& options,
                             void* workspace, int64_t* fault, cudaStream_t stream);

template <class S>
int64_t ohem_cross_entropy_workspace(int64_t images, int64_t classes, int64_t pixels);
template <class S>
void ohem_cross_entropy_cuda(const CudaLogits<S>& x, const OhemOptions& options, void* workspace, int64_t* fault,
                             cudaStream_t stream);

template <class S>
int64_t lovasz_softmax_loss_workspace(int64_t images, int64_t classes, int64_t pixels);
template <class S>
void lovasz_softmax_loss_cuda(const CudaLogits<S>& x, const LovaszOptions& options, void* workspace, int64_t* fault,
                              cudaStream_t stream);

// Fields of x as of one class: (images, pixels); `images` is the number of groups.
template <class S>
int64_t lovasz_hinge_loss_workspace(int64_t images, int64_t pixels);
template <class S>
void lovasz_hinge_loss_cuda(const CudaLogits<S>& x, void* workspace, int64_t* fault, cudaStream_t stream);

// grad (n,) times *factor, in place; nothing is done where that is 1.
template <class S>
void scale_cuda(S* grad, int64_t n, const S* factor, cudaStream_t stream);

// The results of counting the labels. All bytes are 0 at first.
struct LabelsFound {
    double divisor;          // the sum of the weights of the pixels that count
    double scale;            // the gradient of the result for the loss of a pixel
    double weight_sum;       // of the classes
    unsigned long long bad;  // ~(flat position of the first label out of range); 0: none
    unsigned poison;         // 1: the results are NaN
    unsigned blocks;         // that are done
};
// counts (classes + 2,) 0 at first: the pixels of each class, ignored pixels, labels out of range. weight and
// even as above.
template <class T>
void count_labels_cuda(const Labels& labels, int64_t n, const T* weight, T even, Reduction reduction,
                       unsigned long long* counts, LabelsFound* found, int64_t* fault, cudaStream_t stream);

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
void sigmoid_focal_loss_cuda(const CudaSigmoidFocal<S>& x, double gamma, const CudaTotal& total, void* workspace,
                             cudaStream_t stream);

}  // namespace fastdet
