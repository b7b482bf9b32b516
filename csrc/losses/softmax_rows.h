// A tile of pixels whose logits lie in rows of scratch memory, class by class, for the loops of the losses on a
// softmax. For files that are compiled once per instruction set.
#pragma once

#include <cstring>
#include <type_traits>

#include "core/elementary.h"
#include "core/half.h"
#include "core/read_once.h"
#include "losses/softmax_losses.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Class numbers: `classes` for ignored labels, `bad` for labels out of range.
inline void read_labels(const Labels& labels, int64_t first, int64_t n, int32_t bad, int32_t* to) {
    by_type(labels, [&](const auto* from) {
        const int64_t classes = labels.classes, ignore = labels.ignore;
        const int32_t ignored = labels.ignores ? int32_t(classes) : bad;
        std::remove_const_t<std::remove_reference_t<decltype(*from)>> own[kPixelChunk];
        for (int64_t at = 0; at < n; at += kPixelChunk) {
            const int64_t count = n - at < kPixelChunk ? n - at : kPixelChunk;
            read_once(from + first + at, count, own);
            for (int64_t i = 0; i < count; ++i)
                to[at + i] = class_number(int64_t(own[i]), classes, ignore, ignored, bad);
        }
    });
}

// n values from place `at` of logits, widened to `to`; and back, into the gradient.
template <class T>
inline void read_row(const void* from, Storage storage, int64_t at, int64_t n, T* to) {
    if constexpr (sizeof(T) == 4) {
        if (storage == Storage::half) return widen_row(static_cast<const Half*>(from) + at, n, to);
        if (storage == Storage::bfloat16) return widen_row(static_cast<const BFloat16*>(from) + at, n, to);
    }
    std::memcpy(to, static_cast<const T*>(from) + at, size_t(n) * sizeof(T));
}
template <class T>
inline void write_row(const T* from, int64_t n, void* to, Storage storage, int64_t at) {
    if constexpr (sizeof(T) == 4) {
        if (storage == Storage::half) return narrow_row(from, n, static_cast<Half*>(to) + at);
        if (storage == Storage::bfloat16) return narrow_row(from, n, static_cast<BFloat16*>(to) + at);
    }
    std::memcpy(static_cast<T*>(to) + at, from, size_t(n) * sizeof(T));
}

// The tile of a chunk that is being worked on.
template <class T>
struct Tile {
    using V = Vec<T>;
    static constexpr int L = V::lanes;

    const SoftmaxJob<T>& job;
    T* rows;         // (classes + 1, stride) logits, then exponentials, then the gradient; the last for what is ignored
    T* line;         // (classes,) of one pixel
    int64_t stride;  // of rows
    int64_t at;      // first pixel
    int64_t image;
    int64_t n, padded;  // pixels; a multiple of 16
    int32_t label[kPixelChunk];
    T weight[kPixelChunk], highest[kPixelChunk], rest[kPixelChunk], target[kPixelChunk], loss[kPixelChunk],
        factor[kPixelChunk], extra[kPixelChunk];

    Tile(const SoftmaxJob<T>& j, T* scratch)
        : job(j), rows(scratch), line(scratch + (j.classes + 1) * j.stride()), stride(j.stride()) {
        T* last = rows + job.classes * stride;
        for (int64_t i = 0; i < job.tile; ++i) last[i] = 0;
    }

    // f(tile) for each tile of a chunk.
    template <class F>
    void each_tile(int64_t chunk, F&& f) {
        image = chunk / job.chunks_of_image();
        const int64_t from = chunk % job.chunks_of_image() * kPixelChunk;
        const int64_t to = from + kPixelChunk < job.pixels ? from + kPixelChunk : job.pixels;
        for (at = from; at < to; at += job.tile) {
            n = job.tile < to - at ? job.tile : to - at;
            padded = (n + 15) / 16 * 16;
            f();
        }
    }

    // Reads logits into the rows, their maximum, labels and weights. Padding of the tile is ignored.
    void load() {
        load_logits();
        read_labels(job.labels, image * job.pixels + at, n, int32_t(job.classes), label);
        for (int64_t i = n; i < padded; ++i) label[i] = int32_t(job.classes);
        for (int64_t i = 0; i < padded; ++i) weight[i] = job.weight[label[i]];
    }

    void load_logits() {
        const int64_t C = job.classes, P = job.pixels;
        if (job.channels_last) {
            const int64_t first = (image * P + at) * C;
            const bool own_type = as_it_is();
            const T* from = static_cast<const T*>(job.logits) + (own_type ? first : 0);
            for (int64_t i = 0; own_type && i < n; ++i, from += C) {
                for (int64_t c = 0; c < C; ++c) rows[c * stride + i] = from[c];
            }
            for (int64_t i = 0; !own_type && i < n; ++i) {
                read_row(job.logits, job.storage, first + i * C, C, line);
                for (int64_t c = 0; c < C; ++c) rows[c * stride + i] = line[c];
            }
        } else {
            const int64_t first = image * C * P + at;
            for (int64_t c = 0; c < C; ++c) read_row(job.logits, job.storage, first + c * P, n, rows + c * stride);
        }
        if (n < padded) {
            for (int64_t c = 0; c < C; ++c) {
                for (int64_t i = n; i < padded; ++i) rows[c * stride + i] = 0;
            }
        }
        for (int64_t i = 0; i < padded; i += L) {
            V m = V::load(rows + i);
            for (int64_t c = 1; c < C; ++c) m = max(V::load(rows + c * stride + i), m);
            m.store(highest + i);
        }
    }

    // Numbers of the logits' shape and layout, in the type of the computation, into rows of their own; 0 for padding.
    void load_beside(const T* from, T* to) const {
        const int64_t C = job.classes, P = job.pixels;
        for (int64_t c = 0; c < C; ++c) {
            T* row = to + c * stride;
            if (!job.channels_last) std::memcpy(row, from + (image * C + c) * P + at, size_t(n) * sizeof(T));
            for (int64_t i = 0; job.channels_last && i < n; ++i) row[i] = from[((image * P) + at + i) * C + c];
            for (int64_t i = n; i < padded; ++i) row[i] = 0;
        }
    }

    bool as_it_is() const { return sizeof(T) == 8 || job.storage == Storage::single; }  // stored as T

    T& own(int64_t i) const { return rows[label[i] * stride + i]; }  // of the target of pixel i

    // Logits to exponentials, and their sum over the classes to `rest`; also that of exponential times slope.
    template <bool Slope>
    void exponentials() {
        const int64_t C = job.classes, step = stride;
        const uintptr_t bytes = as_it_is() ? sizeof(T) : 2;
        const uintptr_t plane = job.channels_last ? 0 : uintptr_t(job.pixels) * bytes;
        const uintptr_t next = reinterpret_cast<uintptr_t>(job.logits) +
                               (uintptr_t(image * C * job.pixels) + uintptr_t(at + job.tile)) * bytes;
        for (int64_t i = 0; i < padded; i += L) {
            const V m = V::load(highest + i);
            V sum = V::set(0), sloped = V::set(0);
            T* row = rows + i;
            uintptr_t ahead = next + uintptr_t(i) * bytes;
            for (int64_t c = 0; c < C; ++c, row += step, ahead += plane) {
                __builtin_prefetch(reinterpret_cast<const void*>(ahead));  // the next tile's; it may lie anywhere
                const V e = lanes::exp_or_zero(V::load(row) - m);
                e.store(row);
                sum = sum + e;
                if constexpr (Slope) sloped = sloped + e * V::set(job.slope[c]);
            }
            sum.store(rest + i);
            if constexpr (Slope) sloped.store(extra + i);
        }
    }

    // Pixels of weight 0 do not count, even with NaN.
    void clear_uncounted(const T* counts) {
        bool any = false;
        for (int64_t i = 0; i < padded; ++i) any |= (counts[i] == 0) & (rest[i] != rest[i]);
        for (int64_t i = 0; any && i < padded; ++i) {
            if (counts[i] != 0 || rest[i] == rest[i]) continue;
            for (int64_t c = 0; c < job.classes; ++c) rows[c * stride + i] = 0;
            rest[i] = 1;
        }
    }

    // The gradient of class c is make(c, i, exponentials) for the vector at pixel i.
    template <class F>
    void write(F&& make) {
        const int64_t C = job.classes, P = job.pixels;
        if (as_it_is() && !job.channels_last) {
            T* to = static_cast<T*>(job.grad) + image * C * P + at;
            for (int64_t c = 0; c < C; ++c, to += P) {
                const T* row = rows + c * stride;
                const auto part = [&](int64_t i, int64_t count) {
                    T few[L];
                    make(c, i, V::load(row + i)).store(few);
                    for (int64_t k = 0; k < count; ++k) to[i + k] = few[k];
                };
                int64_t i = 0;
                if (job.stream) {
                    const int64_t past = int64_t(reinterpret_cast<uintptr_t>(to) / sizeof(T) % L);
                    if (past) {
                        i = L - past < n ? L - past : n;
                        part(0, i);
                    }
                    for (; i + L <= n; i += L) make(c, i, V::load(row + i)).stream(to + i);
                } else {
                    for (; i + L <= n; i += L) make(c, i, V::load(row + i)).store(to + i);
                }
                if (i < n) part(i, n - i);
            }
            return;
        }
        for (int64_t c = 0; c < C; ++c) {
            T* row = rows + c * stride;
            for (int64_t i = 0; i < padded; i += L) make(c, i, V::load(row + i)).store(row + i);
            if (!job.channels_last) write_row(row, n, job.grad, job.storage, (image * C + c) * P + at);
        }
        if (!job.channels_last) return;
        const int64_t first = (image * P + at) * C;
        const bool own_type = as_it_is();
        T* to = static_cast<T*>(job.grad) + (own_type ? first : 0);
        for (int64_t i = 0; own_type && i < n; ++i, to += C) {
            for (int64_t c = 0; c < C; ++c) to[c] = rows[c * stride + i];
        }
        for (int64_t i = 0; !own_type && i < n; ++i) {
            for (int64_t c = 0; c < C; ++c) line[c] = rows[c * stride + i];
            write_row(line, C, job.grad, job.storage, first + i * C);
        }
    }
};

}  // namespace
}  // namespace FASTDET_ISA
}  // namespace fastdet
