// A choice that the losses share, for scalars and for vectors.
#pragma once

#include "core/lanes.h"

namespace fastdet {
namespace lanes {

// a where x is 0, else b.
template <class V>
FASTDET_HD V where_zero(V x, V a, V b) {
    const V zero = all<V>(0);
    return where_ge(x, zero, where_ge(zero, x, a, b), b);
}

}  // namespace lanes
}  // namespace fastdet
