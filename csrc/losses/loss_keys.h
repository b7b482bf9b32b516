// Losses and errors as keys of a sort on a GPU, the highest first; NaN counts among the highest.
#pragma once

#include <type_traits>

#include "core/score_key.h"
#include "losses/cuda.h"

namespace fastdet {

template <class T>
using LossKey = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
__device__ inline T score_of(T loss) {
    return loss == loss ? loss : T(INFINITY);
}

// Beyond that of any number.
template <class T>
constexpr LossKey<T> kNotCounted = LossKey<T>(-1);

}  // namespace fastdet
