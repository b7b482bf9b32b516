// The class of the highest score, pixel by pixel: of planes as they are, or resampled on the way, so that scores at
// full resolution never exist. For confusion_matrix_loops.cpp, compiled once per instruction set.
//
// A few vectors of pixels keep their best score and its class in registers while the classes pass by. Resampling goes
// down the image in tiles of columns, whose two expanded rows of every class stay in the first cache for all the rows
// between them: about seven operations a vector and class.
// A class is taken where not (best >= score): the lower one of two that are equal.
#pragma once

#include "core/half.h"
#include "segmentation/confusion_matrix.h"
#include "upsample/bilinear_rows.h"

namespace fastdet {
namespace FASTDET_ISA {

template <class S>
using Computed = decltype(widen(S()));

// kGroup vectors of pixels at once.
template <class T>
struct Best {
    static constexpr int kGroup = 4, pixels = kGroup * Vec<T>::lanes;
    Vec<T> score[kGroup], index[kGroup];

    FASTDET_MEMBER void take(int g, Vec<T> x, Vec<T> c) {
        index[g] = where_ge(score[g], x, index[g], c);
        score[g] = where_ge(score[g], x, score[g], x);
    }
    FASTDET_MEMBER void put(uint16_t* to, int64_t n) const {
        T whole[pixels];
        for (int g = 0; g < kGroup; ++g) index[g].store(whole + g * Vec<T>::lanes);
        if (n >= pixels) {
            for (int i = 0; i < pixels; ++i) to[i] = uint16_t(int(whole[i]));
        } else {
            for (int64_t i = 0; i < n; ++i) to[i] = uint16_t(int(whole[i]));
        }
    }
};

// n values at a distance of `step` from each other, widened.
static inline void fetch(const float* x, int64_t step, int64_t n, float* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = x[i * step];
}
static inline void fetch(const double* x, int64_t step, int64_t n, double* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = x[i * step];
}
template <class S>
static inline void fetch(const S* x, int64_t step, int64_t n, float* to) {
    if (step == 1) return widen_row(x, n, to);
    for (int64_t i = 0; i < n; ++i) to[i] = widen(x[i * step]);
}

// Pixels with scores of class c at x + c * stride; false where one is NaN.
template <class T>
static inline bool argmax_group(const T* x, int64_t stride, int64_t classes, int64_t n, uint16_t* to) {
    using V = Vec<T>;
    using B = Best<T>;
    constexpr uint32_t all = uint32_t((uint64_t(1) << V::lanes) - 1);
    B best;
    uint32_t good = all;
    for (int g = 0; g < B::kGroup; ++g) {
        best.score[g] = V::load(x + g * V::lanes);
        best.index[g] = V::set(0);
        good &= eq(best.score[g], best.score[g]);
    }
    const V one = V::set(1);
    V index = one;
    for (int64_t c = 1; c < classes; ++c, index = index + one) {
        for (int g = 0; g < B::kGroup; ++g) {
            const V score = V::load(x + c * stride + g * V::lanes);
            good &= eq(score, score);
            best.take(g, score, index);
        }
    }
    best.put(to, n);
    return good == all;
}

template <class S>
static bool argmax_plain(const Scores<S>& scores, int64_t image, int64_t first, int64_t last, void* scratch,
                         uint16_t* prediction) {
    using T = Computed<S>;
    constexpr int pixels = Best<T>::pixels;
    const int64_t classes = scores.classes, plane = scores.in_height * scores.in_width;
    const int64_t of_pixel = scores.channels_last ? classes : 1, of_class = scores.channels_last ? 1 : plane;
    const S* x = scores.data + image * classes * plane;
    T* tile = static_cast<T*>(scratch);
    bool good = true;
    for (int64_t i = first; i < last; i += pixels) {
        const int64_t n = last - i < pixels ? last - i : pixels;
        if constexpr (sizeof(S) == sizeof(T)) {
            if (of_pixel == 1 && n == pixels) {
                good &= argmax_group(x + i, plane, classes, n, prediction + (i - first));
                continue;
            }
        }
        for (int64_t c = 0; c < classes; ++c) {
            T* to = tile + c * pixels;
            fetch(x + i * of_pixel + c * of_class, of_pixel, n, to);
            for (int64_t k = n; k < pixels; ++k) to[k] = 0;
        }
        good &= argmax_group(tile, pixels, classes, n, prediction + (i - first));
    }
    return good;
}

template <class S>
static int64_t argmax_taps_bytes(const Scores<S>& scores) {
    using T = Computed<S>;
    return int64_t(sizeof(RowTaps<T>)) + row_taps_bytes<T>(scores.width);
}

template <class S>
static void argmax_prepare(const Scores<S>& scores) {
    using T = Computed<S>;
    const T step = tap_step<T>(scores.in_width, scores.width, scores.align_corners, 0);
    RowTaps<T>* taps = static_cast<RowTaps<T>*>(scores.taps);
    *taps = row_taps<T>(scores.in_width, scores.width, scores.align_corners, step, taps + 1);
}

// Row y of every class, columns [first, end) of the result; class c at `to + c * tile`.
template <class S>
static void expand_classes(const Scores<S>& scores, int64_t image, int64_t y, int64_t first, int64_t end,
                           Computed<S>* row, Computed<S>* to) {
    using T = Computed<S>;
    const RowTaps<T>& taps = *static_cast<const RowTaps<T>*>(scores.taps);
    const int64_t classes = scores.classes, width = scores.in_width, plane = scores.in_height * width;
    const S* x = scores.data + image * classes * plane;
    int64_t from, past;
    part_inputs(taps, first, end, &from, &past);
    const int64_t start = y * width + taps.start;
    for (int64_t c = 0; c < classes; ++c, to += scores.tile) {
        if constexpr (sizeof(S) == sizeof(T)) {
            if (!scores.channels_last) {
                expand_part(taps, x + c * plane + start, first, end, to);
                continue;
            }
        }
        if (scores.channels_last) {
            fetch(x + (start + from) * classes + c, classes, past - from, row + from);
        } else {
            fetch(x + c * plane + start + from, 1, past - from, row + from);
        }
        expand_part(taps, row, first, end, to);
    }
}

template <class S>
static void argmax_resampled(const Scores<S>& scores, int64_t image, int64_t first, int64_t last, void* scratch,
                             uint16_t* prediction) {
    using T = Computed<S>;
    using V = Vec<T>;
    using B = Best<T>;
    const int64_t classes = scores.classes, tile = scores.tile, width = scores.width;
    const int64_t padded = static_cast<const RowTaps<T>*>(scores.taps)->padded;
    const T step = tap_step<T>(scores.in_height, scores.height, scores.align_corners, 0);
    T* upper = static_cast<T*>(scratch);
    T* lower = upper + classes * tile;
    T* const row = lower + classes * tile;
    for (int64_t left = 0; left < width; left += tile) {
        const int64_t right = left + tile < padded ? left + tile : padded;
        int64_t in_upper = -1, in_lower = -1;  // the rows of the input that are expanded there
        for (int64_t y = first; y < last; ++y) {
            const Tap<T> t = tap(y, scores.in_height, scores.height, scores.align_corners, step);
            if (t.i0 != in_upper) {
                T* const other = upper;
                upper = lower, lower = other;
                const int64_t before = in_upper;
                in_upper = in_lower, in_lower = before;
                if (t.i0 != in_upper) expand_classes(scores, image, t.i0, left, right, row, upper);
                in_upper = t.i0;
            }
            if (t.i1 != t.i0 && t.i1 != in_lower) {
                expand_classes(scores, image, t.i1, left, right, row, lower);
                in_lower = t.i1;
            }
            const T* const a = upper;
            const T* const b = t.i1 == t.i0 ? upper : lower;
            const V h0 = V::set(t.w0), h1 = V::set(t.w1), one = V::set(1);
            uint16_t* to = prediction + (y - first) * width + left;
            const int64_t columns = left + tile < width ? tile : width - left;
            for (int64_t j = 0; j < columns; j += B::pixels) {
                const auto at = [&](int64_t i) { return h0 * V::load(a + i) + h1 * V::load(b + i); };
                B best;
                for (int g = 0; g < B::kGroup; ++g) {
                    best.score[g] = at(j + g * V::lanes);
                    best.index[g] = V::set(0);
                }
                V index = one;
                int64_t i = j + tile;
                for (int64_t c = 1; c < classes; ++c, i += tile, index = index + one) {
                    for (int g = 0; g < B::kGroup; ++g) best.take(g, at(i + g * V::lanes), index);
                }
                best.put(to + j, columns - j);
            }
        }
    }
}

template <class S>
static bool argmax_finite(const S* x, int64_t n) {
    using T = Computed<S>;
    T held[256];
    for (int64_t i = 0; i < n; i += 256) {
        const int64_t some = n - i < 256 ? n - i : 256;
        const T* row = held;
        if constexpr (sizeof(S) == sizeof(T)) {
            row = x + i;
        } else {
            fetch(x + i, 1, some, held);
        }
        unsigned extreme = 0;
        for (int64_t k = 0; k < some; ++k) extreme |= unsigned(row[k] - row[k] != 0);  // inf - inf is NaN
        if (extreme) return false;
    }
    return true;
}

}  // namespace FASTDET_ISA
}  // namespace fastdet
