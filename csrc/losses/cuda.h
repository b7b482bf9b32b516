// Losses on a softmax on a GPU: launchers. Pointers are the device's; see losses.h for what they compute.
#pragma once

#include "core/half.h"
#include "cuda/call.h"
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
    S* loss;  // (1,) out; for Reduction::none (images, pixels)
};

// A workspace begins with the divisor of a mean, float64. *fault (the host's): see cuda_fault.h; a label that is out of
// range makes the loss and all of the gradient NaN, and so does a weight that is negative or not finite.
int64_t softmax_loss_workspace(int64_t images, int64_t classes, int64_t pixels);
template <class S>
void softmax_loss_cuda(const CudaLogits<S>& x, const LossOptions& options, void* workspace, int64_t* fault,
                       cudaStream_t stream);

template <class S>
int64_t dice_loss_workspace(int64_t images, int64_t classes, int64_t pixels);
template <class S>
void dice_loss_cuda(const CudaLogits<S>& x, double eps, void* workspace, int64_t* fault, cudaStream_t stream);

// grad (n,) times *factor, in place; nothing is done where that is 1.
template <class S>
void scale_cuda(S* grad, int64_t n, const S* factor, cudaStream_t stream);

// What is found by counting the labels. All bytes 0 at first.
struct LabelsFound {
    double divisor;          // the sum of the weights of the pixels that count
    double scale;            // the gradient of the result for the loss of a pixel
    double weight_sum;       // of the classes
    unsigned long long bad;  // ~(flat position of the first label out of range); 0: none
    unsigned poison;         // 1: the results are NaN
    unsigned blocks;         // that are done
};
// counts (classes + 2,) 0 at first: the pixels of each class, of what is ignored, of what is out of range. weight and
// even as above.
template <class T>
void count_labels_cuda(const Labels& labels, int64_t n, const T* weight, T even, Reduction reduction,
                       unsigned long long* counts, LabelsFound* found, int64_t* fault, cudaStream_t stream);

}  // namespace fastdet
