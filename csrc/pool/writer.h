// For the loops of pooling and unpooling: rows in and out, outputs in whole lines. For files that are compiled
// once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/arena.h"
#include "core/half.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {

namespace {

// Writes one output from its first to its last element: in place, or by whole lines that bypass the caches.
template <class S>
struct Writer {
    static constexpr int64_t kStage = 8 << 10;
    char *to, *stage;
    int64_t fill, begin, capacity;
    bool stream;
    S blank;  // what is put where there is nothing

    // `max_count`: elements that are asked for at a time.
    static int64_t room(int64_t max_count) {
        const int64_t bytes = max_count * int64_t(sizeof(S));
        return kStage + (bytes > kStage ? bytes : kStage) + 64;
    }
    Writer(Arena& arena, bool stream, int64_t max_count, S blank = S{})
        : to(nullptr),
          stage(arena.take<char>(room(max_count))),
          fill(0),
          begin(0),
          capacity(room(max_count)),
          stream(stream),
          blank(blank) {}
    void start(S* at) {
        to = reinterpret_cast<char*>(at);
        begin = fill = int64_t(reinterpret_cast<uintptr_t>(at) % 64);
        if (stream) to -= begin;
    }
    S* next(int64_t n) {
        if (!stream) return reinterpret_cast<S*>(to);
        if (fill + n * int64_t(sizeof(S)) > capacity) flush();
        return reinterpret_cast<S*>(stage + fill);
    }
    void done(int64_t n) {
        if (stream) {
            fill += n * int64_t(sizeof(S));
        } else {
            to += n * int64_t(sizeof(S));
        }
    }
    // n elements of `from`, or blanks
    void put(const S* from, int64_t n) {
        constexpr int64_t kPiece = kStage / int64_t(sizeof(S));
        for (int64_t at = 0; at < n; at += kPiece) {
            const int64_t m = n - at < kPiece ? n - at : kPiece;
            if (from) {
                std::memcpy(next(m), from + at, size_t(m) * sizeof(S));
            } else {
                S* const to = next(m);
                for (int64_t i = 0; i < m; ++i) to[i] = blank;
            }
            done(m);
        }
    }
    void flush() {
        const int64_t whole = fill / 64 * 64;
        int64_t at = 0;
        if (begin && whole) {  // the line that another part of the output shares
            std::memcpy(to + begin, stage + begin, size_t(64 - begin));
            at = 64;
            begin = 0;
        }
        for (; at < whole; at += 64) {
            using V = Vec<float>;
            for (int j = 0; j < 16; j += V::lanes) {
                V::load(reinterpret_cast<const float*>(stage + at) + j).stream(reinterpret_cast<float*>(to + at) + j);
            }
        }
        to += whole;
        fill -= whole;
        std::memcpy(stage, stage + whole, size_t(fill));
    }
    void finish() {
        if (!stream) return;
        flush();
        if (fill > begin) std::memcpy(to + begin, stage + begin, size_t(fill - begin));
        store_fence();
    }
};

template <class S, class T>
static inline void load_row(const S* __restrict from, int64_t n, T* __restrict to) {
    for (int64_t i = 0; i < n; ++i) to[i] = T(from[i]);
}
template <>
inline void load_row(const Half* __restrict from, int64_t n, float* __restrict to) {
    widen_row(from, n, to);
}
template <>
inline void load_row(const BFloat16* __restrict from, int64_t n, float* __restrict to) {
    widen_row(from, n, to);
}
template <class T, class S>
static inline void store_row(const T* __restrict from, int64_t n, S* __restrict to) {
    for (int64_t i = 0; i < n; ++i) to[i] = S(from[i]);
}
template <>
inline void store_row(const float* __restrict from, int64_t n, Half* __restrict to) {
    narrow_row(from, n, to);
}
template <>
inline void store_row(const float* __restrict from, int64_t n, BFloat16* __restrict to) {
    narrow_row(from, n, to);
}

}  // namespace
}  // namespace FASTDET_ISA
}  // namespace fastdet
