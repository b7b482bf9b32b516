// The loops of max-pooling over plain arrays, apart from each other: one copy serves every stored type that is compared
// in T, and each becomes vector instructions. Places count from the window's first tap. For files that are compiled
// once per instruction set.
#pragma once

#include <type_traits>

#include "core/floats.h"
#include "pool/max_pool2d.h"
#include "pool/writer.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// What values are compared in, exactly, and a place of the same width.
template <class S>
struct Compute {
    using T = float;
    using K = int32_t;
};
template <>
struct Compute<double> {
    using T = double;
    using K = int64_t;
};
template <>
struct Compute<int32_t> : Compute<double> {};
template <>
struct Compute<int64_t> {
    using T = int64_t;
    using K = int64_t;
};
template <>
struct Compute<uint8_t> {
    using T = uint8_t;
    using K = int32_t;  // of kernels of more than 256 places
};
template <>
struct Compute<int8_t> {
    using T = int8_t;
    using K = int32_t;
};

template <class T>
static inline T lowest() {
    return -T(__builtin_inf());
}
template <>
inline int64_t lowest<int64_t>() {
    return INT64_MIN;
}
template <>
inline uint8_t lowest<uint8_t>() {
    return 0;
}
template <>
inline int8_t lowest<int8_t>() {
    return INT8_MIN;
}

// n values of S as T: themselves, or converted into `room`.
template <class S, class T>
static inline const T* as_compute(const S* from, int64_t n, T* room) {
    if constexpr (std::is_same_v<S, T>) {
        return from;
    } else {
        load_row(from, n, room);
        return room;
    }
}

#define FASTDET_LOOP __attribute__((noinline)) static

// 2 x 2 windows side by side, of the rows `top` and `low`. The lower row's places begin at `down`.
template <bool kPlaces, class T, class K>
FASTDET_MEMBER void some_twos(const T* __restrict top, const T* __restrict low, int64_t n, K down, T* __restrict v,
                              K* __restrict p) {
    for (int64_t i = 0; i < n; ++i) {
        T b = top[2 * i];
        K k = 0;
        const T second = top[2 * i + 1], third = low[2 * i], fourth = low[2 * i + 1];
        k = takes(second, b) ? K(1) : k;
        b = takes(second, b) ? second : b;
        k = takes(third, b) ? down : k;
        b = takes(third, b) ? third : b;
        k = takes(fourth, b) ? K(down + 1) : k;
        b = takes(fourth, b) ? fourth : b;
        v[i] = b;
        if (kPlaces) p[i] = k;
    }
}
template <bool kPlaces, class T, class K>
FASTDET_LOOP void pool_twos(const T* top, const T* low, int64_t n, K down, T* v, K* p) {
    constexpr int64_t kBlock = 32;
    if (sizeof(T) > 1 || n < kBlock) return some_twos<kPlaces>(top, low, n, down, v, p);
    int64_t i = 0;
    for (; i + kBlock <= n; i += kBlock) {
        some_twos<kPlaces>(top + 2 * i, low + 2 * i, kBlock, down, v + i, p + i);
    }
    if (i == n) return;
    i = n - kBlock;  // the last block overlaps the one before: single bytes take as long as a block
    some_twos<kPlaces>(top + 2 * i, low + 2 * i, kBlock, down, v + i, p + i);
}

// The windows of one row, across, from N taps; `start`: the first tap of each that is within the image.
template <int N, bool kPlaces, class T, class K>
FASTDET_LOOP void pool_taps(const T* const* taps, const K* __restrict start, int64_t n, T* __restrict v,
                            K* __restrict p) {
    const T* tap[N];
    for (int k = 0; k < N; ++k) tap[k] = taps[k];
    for (int64_t i = 0; i < n; ++i) {
        T b = lowest<T>();
        K at = kPlaces ? start[i] : K(0);
        for (int k = 0; k < N; ++k) {
            const T value = tap[k][i];
            at = takes(value, b) ? K(k) : at;
            b = takes(value, b) ? value : b;
        }
        v[i] = b;
        if (kPlaces) p[i] = at;
    }
}

// Another tap at place `here` for each of n windows. Inlined, as the next: n is small where channels are few.
template <bool kPlaces, class T, class K>
FASTDET_MEMBER void pool_tap(const T* __restrict tap, K here, int64_t n, T* __restrict v, K* __restrict p) {
    for (int64_t i = 0; i < n; ++i) {
        const T value = tap[i], best = v[i];
        const bool take = takes(value, best);
        if (kPlaces) {
            const K kept = p[i];
            p[i] = take ? here : kept;
        }
        v[i] = take ? value : best;
    }
}
template <bool kPlaces, class T, class K>
FASTDET_MEMBER void first_tap(const T* __restrict tap, K here, int64_t n, T* __restrict v, K* __restrict p) {
    for (int64_t i = 0; i < n; ++i) {
        v[i] = tap[i];
        if (kPlaces) p[i] = here;
    }
}
// The four taps of 2 x 2 windows, the lanes being channels.
template <bool kPlaces, class T, class K>
FASTDET_LOOP void pool_four(const T* __restrict t0, const T* __restrict t1, const T* __restrict t2,
                            const T* __restrict t3, K base, K down, int64_t n, T* __restrict v, K* __restrict p) {
    for (int64_t i = 0; i < n; ++i) {
        T b = t0[i];
        K k = base;
        k = takes(t1[i], b) ? K(base + 1) : k;
        b = takes(t1[i], b) ? t1[i] : b;
        k = takes(t2[i], b) ? K(base + down) : k;
        b = takes(t2[i], b) ? t2[i] : b;
        k = takes(t3[i], b) ? K(base + down + 1) : k;
        b = takes(t3[i], b) ? t3[i] : b;
        v[i] = b;
        if (kPlaces) p[i] = k;
    }
}

// The row that stands `down` below the window's first: v and p, of the rows so far, take over v1 and p1 where they are
// above. v0 is the first row where v has not been written yet, else v.
template <bool kPlaces, class T, class K>
FASTDET_LOOP void pool_down(const T* v0, const T* __restrict v1, const K* __restrict p1, K down, int64_t n, T* v,
                            K* __restrict p) {
    if (v0 == v) {
        T* __restrict both = v;
        for (int64_t i = 0; i < n; ++i) {
            const T value = v1[i], best = both[i];
            const bool take = takes(value, best);
            if (kPlaces) {
                const K moved = K(p1[i] + down), kept = p[i];
                p[i] = take ? moved : kept;
            }
            both[i] = take ? value : best;
        }
        return;
    }
    const T* __restrict first = v0;
    T* __restrict to = v;
    for (int64_t i = 0; i < n; ++i) {
        const T value = v1[i], best = first[i];
        const bool take = takes(value, best);
        if (kPlaces) {
            const K moved = K(p1[i] + down), kept = p[i];
            p[i] = take ? moved : kept;
        }
        to[i] = take ? value : best;
    }
}
template <class K>
FASTDET_LOOP void move_places(const K* __restrict from, K by, int64_t n, K* __restrict to) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i] + by;
}

// Every `step`-th of the values.
template <class T>
FASTDET_LOOP void take_every(const T* __restrict from, int64_t step, int64_t n, T* __restrict to) {
    if (step == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = from[i];
    } else if (step == 2) {
        for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
    }
}

// Every second of the bytes, in whole vectors: up to 2 * kBytes of `from` past the last one are read, and up to kBytes
// of `to` written.
constexpr int64_t kBytes = 64;
template <class T>
FASTDET_LOOP void take_every_second(const T* __restrict from, int64_t n, T* __restrict to) {
    n = (n + kBytes - 1) / kBytes * kBytes;
    for (int64_t i = 0; i < n; ++i) {
        uint16_t two;
        std::memcpy(&two, from + 2 * i, 2);
        to[i] = T(two);
    }
}

// Places of windows as indices of the image: the first window's places count from `origin`, the next one's from `by`
// further on.
template <class K>
FASTDET_LOOP void flat_indices(const K* __restrict p, int64_t n, int64_t origin, int64_t by, int64_t* __restrict to) {
    if (by) {
        for (int64_t i = 0; i < n; ++i) to[i] = int64_t(p[i]) + (origin + i * by);
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = int64_t(p[i]) + origin;
    }
}
// The same of places that are codes in a window `kw` wide; `inverse`: of `code_inverse`.
FASTDET_LOOP void flat_indices(const uint8_t* __restrict p, int32_t inverse, int32_t width, int32_t kw, int64_t n,
                               int64_t origin, int64_t by, int64_t* __restrict to) {
    for (int64_t i = 0; i < n; ++i) {
        const int32_t code = p[i], row = code * inverse >> 16;
        to[i] = int64_t(code + row * (width - kw)) + (origin + i * by);
    }
}
// code * inverse >> 16 is code / kw for each code and each kw of at most 256: it is above by less than 1 / 256.
static inline int32_t code_inverse(int64_t kw) { return int32_t(65536 / kw + 1); }
template <class K>
FASTDET_LOOP void compact_indices(const K* __restrict p, int64_t n, uint8_t* __restrict to) {
    for (int64_t i = 0; i < n; ++i) to[i] = uint8_t(p[i]);
}

}  // namespace
}  // namespace FASTDET_ISA
}  // namespace fastdet
