// What the kernels of bilinear resampling, upsample_bilinear.cu and upsample_bilinear_backward.cu, share.
#pragma once

#include <type_traits>

#include "cuda/rows.h"
#include "upsample/bilinear.h"
#include "upsample/upsample_bilinear.h"

namespace fastdet {

template <class S>
using Computed = typename std::conditional<std::is_same<S, double>::value, double, float>::type;

// Of the forward direction, from (in_h, in_w, channels) to (out_h, out_w, channels).
template <class T>
struct Sizes {
    int in_h, in_w, out_h, out_w, channels;
    bool align_corners;
    T step_y, step_x;

    explicit Sizes(const UpsampleJob& job)
        : in_h(int(job.in_h)),
          in_w(int(job.in_w)),
          out_h(int(job.out_h)),
          out_w(int(job.out_w)),
          channels(int(job.channels)),
          align_corners(job.align_corners),
          step_y(tap_step<T>(job.in_h, job.out_h, job.align_corners, job.factor_y)),
          step_x(tap_step<T>(job.in_w, job.out_w, job.align_corners, job.factor_x)) {}

    // Values a row.
    __host__ __device__ int in_row() const { return in_w * channels; }
    __host__ __device__ int out_row() const { return out_w * channels; }

    __device__ Tap<T, int> row(int y) const { return tap(y, in_h, out_h, align_corners, step_y); }
    __device__ Tap<T, int> column(int x) const { return tap(x, in_w, out_w, align_corners, step_x); }
    // The first row, or column, of the result that has input `i` or a later one as its first.
    __device__ int first_row(int i) const { return first_of(i, in_h, out_h, align_corners, step_y); }
    __host__ __device__ int first_column(int i) const { return first_of(i, in_w, out_w, align_corners, step_x); }
};

}  // namespace fastdet
