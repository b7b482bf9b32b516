// Losses on a softmax over classes, and their gradients.
#pragma once

#include <cstdint>

#include "core/isa.h"
#include "core/macros.h"

namespace fastdet {

// The class of each pixel, of any integer type. Ignored pixels, and labels out of range, get class number `classes`.
struct Labels {
    const void* data;
    int bytes;
    bool is_signed;
    bool ignores;    // whether one label is ignored
    int64_t ignore;  // which; sign- or zero-extended as the labels are; INT64_MIN where none is
    int64_t classes;
};
// `ignored` and `bad`: the class numbers for ignored labels and for labels out of range.
FASTDET_HD int32_t class_number(int64_t label, int64_t classes, int64_t ignore, int32_t ignored, int32_t bad) {
    const int32_t known = uint64_t(label) < uint64_t(classes) ? int32_t(label) : bad;
    return label == ignore ? ignored : known;
}

// f(labels, as their type), for any of the eight; f is the host's or the device's as the caller is.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class F>
FASTDET_HD void by_type(const Labels& labels, F&& f) {
    const int code = labels.bytes * 2 + labels.is_signed;
    if (code == 3) return f(static_cast<const int8_t*>(labels.data));
    if (code == 2) return f(static_cast<const uint8_t*>(labels.data));
    if (code == 5) return f(static_cast<const int16_t*>(labels.data));
    if (code == 4) return f(static_cast<const uint16_t*>(labels.data));
    if (code == 9) return f(static_cast<const int32_t*>(labels.data));
    if (code == 8) return f(static_cast<const uint32_t*>(labels.data));
    return f(static_cast<const int64_t*>(labels.data));  // uint64 above int64 is out of range either way
}

enum class SoftmaxKind : int { cross_entropy, smoothed, focal };

// The constants of the loss of a pixel.
template <class T>
struct LossTerms {
    T scale;  // the gradient of the result for the loss of a pixel
    // focal: gamma = whole + fraction
    T gamma, fraction;
    int64_t whole;
    // cross-entropy with label smoothing e: 1 - e, e / classes, and the sum of the weights
    T keep, smooth, weight_sum;
};

// Pixels are taken in chunks that do not depend on threads or instruction sets: sums are made per chunk, in 8
// interleaved lanes (16 for the probabilities of Dice), and the chunks' sums are added up as core/sums.h says.
constexpr int64_t kPixelChunk = 256;
constexpr int64_t kSumLanes = 8, kDiceLanes = 16;

enum class Storage : int { single = 0, twice = 1, half = 2, bfloat16 = 3 };

template <class T>
struct SoftmaxJob {
    using Value = T;
    const void* logits;  // (images, classes, pixels) or, channels last, (images, pixels, classes)
    void* grad;          // of the same shape and type; null: not wanted
    Storage storage;     // of both
    int64_t images, classes, pixels;
    bool channels_last;
    bool stream;   // stores of the gradient bypass the caches
    int64_t tile;  // pixels that are worked on at once, a multiple of 16 that divides kPixelChunk
    Labels labels;
    const T* weight;  // (classes + 1,) the last, 0, is for ignored pixels
    LossTerms<T> terms;
    T* each;          // (images, pixels) out: the loss of each pixel; may be null
    double* partial;  // (chunks,) out: its sum
    const T* soft;    // probabilities, of the logits' shape and layout; null: there are labels
    // Dice
    double* sums;    // (chunks, 2, classes) out: probability of each class, and that of its own pixels
    const T* slope;  // (classes,) gradient for a probability
    const T* bonus;  // (classes + 1,) more of it where the pixel is of the class
    // Lovasz
    T* errors;  // (classes, images, pixels) or, by image, (images, classes, pixels); null: another loss
    bool errors_by_image;
    int32_t* classes_out;  // (images, pixels) out: the class of each pixel, `classes` where it does not count

    FASTDET_MEMBER int64_t error_at(int64_t image, int64_t c) const {
        return errors_by_image ? (image * classes + c) * pixels : (c * images + image) * pixels;
    }

    FASTDET_MEMBER int64_t chunks_of_image() const { return (pixels + kPixelChunk - 1) / kPixelChunk; }
    FASTDET_MEMBER int64_t chunks() const { return images * chunks_of_image(); }
    // Of rows in the scratch memory: no power of two.
    FASTDET_MEMBER int64_t stride() const { return tile + 16; }
    FASTDET_MEMBER int64_t scratch_of_logits() const { return (classes + 1) * stride() + classes * (kDiceLanes + 1); }
    FASTDET_MEMBER int64_t scratch() const { return scratch_of_logits() + (soft || errors ? classes * stride() : 0); }
};

// The loops, compiled once per instruction set; see core/isa.h. They work on chunks [first, last).
template <class T>
struct SoftmaxLoops {
    using Loop = void (*)(const SoftmaxJob<T>&, int64_t first, int64_t last, T* scratch);
    Loop cross_entropy, smoothed, focal, dice_sums, dice_gradient;
};
struct LossKernels {
    // Counts labels [first, last) into four tables (4, classes + 2), to be added up: classes, ignored, out of range.
    // Returns the position of the first label out of range, or -1.
    int64_t (*count_labels)(const Labels&, int64_t first, int64_t last, int64_t* counts);
    // The class of labels [first, first + n); `bad` for one that is out of range.
    void (*read_labels)(const Labels&, int64_t first, int64_t n, int32_t bad, int32_t* to);
    SoftmaxLoops<float> single;  // of logits stored as float, Half or BFloat16
    SoftmaxLoops<double> twice;
};
const LossKernels& softmax_losses_kernels();
struct SoftKernels {
    SoftmaxLoops<float>::Loop single;
    SoftmaxLoops<double>::Loop twice;
};
const SoftKernels& soft_cross_entropy_kernels();
template <class T>
struct LovaszLoops {
    typename SoftmaxLoops<T>::Loop errors, gradient;
};
struct LovaszKernels {
    LovaszLoops<float> single;
    LovaszLoops<double> twice;
};
const LovaszKernels& lovasz_kernels();

enum class Reduction : int { mean = 0, sum = 1, none = 2 };

struct LossOptions {
    bool focal;
    double gamma, label_smoothing;
    Reduction reduction;

    SoftmaxKind kind() const {
        return focal ? SoftmaxKind::focal : label_smoothing > 0 ? SoftmaxKind::smoothed : SoftmaxKind::cross_entropy;
    }
};

// divisor: the sum of the weights of the pixels that count; weight_sum: of the classes.
FASTDET_HD double loss_scale(Reduction reduction, double divisor) {
    return reduction != Reduction::mean ? 1 : divisor > 0 ? 1 / divisor : 0;
}
template <class T>
FASTDET_HD LossTerms<T> loss_terms(const LossOptions& options, int64_t classes, double divisor, double weight_sum) {
    LossTerms<T> terms;
    terms.scale = T(loss_scale(options.reduction, divisor));
    terms.whole = int64_t(options.gamma);
    terms.gamma = T(options.gamma);
    terms.fraction = T(options.gamma - double(terms.whole));
    terms.keep = T(1 - options.label_smoothing);
    terms.smooth = T(options.label_smoothing / double(classes));
    terms.weight_sum = T(weight_sum);
    return terms;
}
FASTDET_HD double reduced_loss(Reduction reduction, double total, double divisor) {
    return reduction != Reduction::mean ? total : divisor > 0 ? total / divisor : 0;
}

// Of Dice and Tversky: the score of a class, and the gradients of the loss for the probabilities, but for the number
// of classes.
struct OverlapTerms {
    bool tversky;
    double alpha, beta, eps;  // alpha, beta: of false positives and false negatives
};
struct OverlapClass {
    double score, slope, bonus;
    FASTDET_MEMBER OverlapClass(double probability, double both, int64_t count, const OverlapTerms& terms) {
        if (terms.tversky) {
            const double positive = terms.alpha * (probability - both), negative = terms.beta * (double(count) - both);
            const double above = both + terms.eps, below = ((both + positive) + negative) + terms.eps;
            const double rate = above / (below * below);
            score = above / below;
            slope = terms.alpha * rate;
            bonus = ((1 - terms.alpha) - terms.beta) * rate - 1 / below;
        } else {
            const double above = 2 * both + terms.eps, below = (probability + double(count)) + terms.eps;
            score = above / below;
            slope = above / (below * below);
            bonus = -2 / below;
        }
    }
};

struct LossResult {
    double loss;
    double divisor;
    int64_t bad_label;  // position of a label that is out of range; -1: none
};

// Pixels of each class, counts (classes,) out; the position of the first label that is out of range, or -1.
int64_t count_all_labels(const Labels& labels, int64_t n, int64_t* counts);
// Fill in `stream` and `tile`; run a loop over all chunks.
template <class T>
void prepare_job(SoftmaxJob<T>& job);
template <class T>
void run_loop(const SoftmaxJob<T>& job, typename SoftmaxLoops<T>::Loop loop);

// Logits, grad, storage, shape and labels of `job` are the caller's, and `each` for Reduction::none; the rest is filled
// in.
template <class T>
LossResult softmax_loss(SoftmaxJob<T>& job, const T* weight, const LossOptions& options);
template <class T>
LossResult overlap_loss(SoftmaxJob<T>& job, const OverlapTerms& terms);

// Which pixels are kept of those that count: the highest losses.
struct OhemOptions {
    double fraction;
    int64_t min_kept;
    double threshold;  // losses above it are kept, too

    // As many at least.
    FASTDET_MEMBER int64_t least(int64_t counted) const {
        const int64_t part = int64_t(fraction * double(counted)), wanted = part > min_kept ? part : min_kept;
        return wanted < counted ? wanted : counted;
    }
};
// `each`, labels and gradient of the job are used up. The divisor is the number of pixels that are kept.
template <class T>
LossResult ohem_cross_entropy(SoftmaxJob<T>& job, const T* weight, const OhemOptions& options);
// With `soft` of the job the caller's, and no labels. The divisor is the number of pixels.
template <class T>
LossResult soft_cross_entropy(SoftmaxJob<T>& job, const T* weight, const LossOptions& options);

}  // namespace fastdet
