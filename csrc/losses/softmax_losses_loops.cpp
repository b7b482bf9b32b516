// Losses on a softmax: the loops. Compiled once per instruction set.
//
// A tile of pixels at a time: its logits are copied into scratch memory, class by class, so that they are read once
// from memory (the rows of 2^k x 2^k planes share cache sets and would evict each other); the maximum over the
// classes, the exponentials and the gradient are made there, a vector of pixels at a time. The target's logit is taken
// out before the exponentials are summed: `rest`, the sum of the others, gives 1 - p without cancellation, and
//     nll = log(rest + e_target) - z_target,    gradient = m * e_class, but -m * rest for the target,
// with one number m per pixel, for cross-entropy and focal loss alike. One exponential a logit, three divisions a
// pixel. Floor: read the logits, write the gradient.
#include <cmath>
#include <type_traits>

#include "core/half.h"
#include "losses/softmax_pixel.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {

namespace {

// Class numbers: `classes` for ignored labels, `bad` for labels out of range.
void read_labels(const Labels& labels, int64_t first, int64_t n, int32_t bad, int32_t* __restrict to) {
    by_type(labels, [&](const auto* from) {
        const int64_t classes = labels.classes, ignore = labels.ignore;
        const int32_t ignored = labels.ignores ? int32_t(classes) : bad;
        from += first;
        for (int64_t i = 0; i < n; ++i) {
            to[i] = class_number(int64_t(from[i]), classes, ignore, ignored, bad);
        }
    });
}

int64_t count_labels(const Labels& labels, int64_t first, int64_t last, int64_t* counts) {
    const int64_t classes = labels.classes, size = classes + 2;
    int32_t label[kChunk];
    for (int64_t at = first; at < last; at += kChunk) {
        const int64_t n = at + kChunk < last ? kChunk : last - at;
        read_labels(labels, at, n, int32_t(classes + 1), label);
        int64_t i = 0;
        for (; i + 4 <= n;
             i += 4) {  // four tables: neighbours have one class, and additions to one cell wait for each other
            for (int64_t k = 0; k < 4; ++k) ++counts[k * size + label[i + k]];
        }
        for (; i < n; ++i) ++counts[label[i]];
        int64_t bad = 0;
        for (int64_t k = 0; k < 4; ++k) bad += counts[k * size + classes + 1];
        for (i = 0; bad && i < n; ++i) {
            if (label[i] == classes + 1) return at + i;
        }
    }
    return -1;
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
    int32_t label[kChunk];
    T weight[kChunk], highest[kChunk], rest[kChunk], target[kChunk], loss[kChunk], factor[kChunk], extra[kChunk];

    Tile(const SoftmaxJob<T>& j, T* scratch)
        : job(j), rows(scratch), line(scratch + (j.classes + 1) * j.stride()), stride(j.stride()) {
        T* last = rows + job.classes * stride;
        for (int64_t i = 0; i < job.tile; ++i) last[i] = 0;
    }

    // f(tile) for each tile of a chunk.
    template <class F>
    void each_tile(int64_t chunk, F&& f) {
        image = chunk / job.chunks_of_image();
        const int64_t from = chunk % job.chunks_of_image() * kChunk;
        const int64_t to = from + kChunk < job.pixels ? from + kChunk : job.pixels;
        for (at = from; at < to; at += job.tile) {
            n = job.tile < to - at ? job.tile : to - at;
            padded = (n + 15) / 16 * 16;
            f();
        }
    }

    // Reads logits into the rows, their maximum, labels and weights. Padding of the tile is ignored.
    void load() {
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
        read_labels(job.labels, image * P + at, n, int32_t(C), label);
        for (int64_t i = n; i < padded; ++i) label[i] = int32_t(C);
        for (int64_t i = 0; i < padded; ++i) weight[i] = job.weight[label[i]];
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

template <class T, SoftmaxKind K>
void softmax(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const int64_t C = job.classes;
    const V zero = V::set(0);
    const LossTerms<T> terms = job.terms;
    Tile<T> tile(job, scratch);
    T counted[kChunk];
    for (int64_t chunk = first; chunk < last; ++chunk) {
        double sum[kSumLanes] = {};
        tile.each_tile(chunk, [&] {
            tile.load();
            if constexpr (K == SoftmaxKind::smoothed) {
                for (int64_t i = 0; i < tile.padded; i += L) {
                    const V m = V::load(tile.highest + i);
                    V all = zero;
                    for (int64_t c = 0; c < C; ++c)
                        all = all + V::set(job.weight[c]) * (V::load(tile.rows + c * tile.stride + i) - m);
                    all.store(tile.extra + i);
                }
                for (int64_t i = 0; i < tile.padded; ++i) counted[i] = tile.label[i] < C;
            }
            for (int64_t i = 0; i < tile.padded; ++i) {
                T& own = tile.own(i);
                tile.target[i] = own;
                own = -T(INFINITY);
            }
            tile.template exponentials<false>();
            tile.clear_uncounted(K == SoftmaxKind::smoothed ? counted : tile.weight);
            for (int64_t i = 0; i < tile.padded; i += L) {
                const V z = V::load(tile.target + i) - V::load(tile.highest + i);
                const bool smoothed = K == SoftmaxKind::smoothed;
                const auto pixel = lanes::pixel_loss<K>(terms, V::load(tile.weight + i), V::load(tile.rest + i), z,
                                                        smoothed ? V::load(counted + i) : zero,
                                                        smoothed ? V::load(tile.extra + i) : zero);
                pixel.loss.store(tile.loss + i);
                pixel.factor.store(tile.factor + i);
                pixel.own.store(tile.rest + i);
            }
            for (int64_t i = 0; i < tile.padded; i += kSumLanes) {
                for (int64_t l = 0; l < kSumLanes; ++l) sum[l] += double(tile.loss[i + l]);
            }
            if (job.each)
                std::memcpy(job.each + tile.image * job.pixels + tile.at, tile.loss, size_t(tile.n) * sizeof(T));
            if (!job.grad) return;
            for (int64_t i = 0; i < tile.padded; ++i) tile.own(i) = tile.rest[i];
            tile.write([&](int64_t c, int64_t i, V e) {
                const V g = e * V::load(tile.factor + i);
                if constexpr (K == SoftmaxKind::smoothed) {
                    return g - V::set((terms.smooth * job.weight[c]) * terms.scale) * V::load(counted + i);
                } else {
                    (void)c;
                    return g;
                }
            });
        });
        double all = 0;
        for (int64_t l = 0; l < kSumLanes; ++l) all += sum[l];
        job.partial[chunk] = all;
    }
    if (job.stream) store_fence();
}

template <class T>
void dice_sums(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const int64_t C = job.classes;
    Tile<T> tile(job, scratch);
    T* lanes = scratch + (C + 1) * job.stride() + C;
    for (int64_t chunk = first; chunk < last; ++chunk) {
        double *all = job.sums + chunk * 2 * C, *own = all + C;
        for (int64_t c = 0; c < C; ++c) own[c] = 0;
        for (int64_t k = 0; k < C * kDiceLanes; ++k) lanes[k] = 0;
        tile.each_tile(chunk, [&] {
            tile.load();
            tile.template exponentials<false>();
            tile.clear_uncounted(tile.weight);
            for (int64_t i = 0; i < tile.padded; i += L)
                (V::load(tile.weight + i) / V::load(tile.rest + i)).store(tile.factor + i);
            for (int64_t c = 0; c < C; ++c) {
                const T* row = tile.rows + c * tile.stride;
                for (int64_t l = 0; l < kDiceLanes; l += L) {
                    V sum = V::load(lanes + c * kDiceLanes + l);
                    for (int64_t i = l; i < tile.padded; i += kDiceLanes)
                        sum = sum + V::load(row + i) * V::load(tile.factor + i);
                    sum.store(lanes + c * kDiceLanes + l);
                }
            }
            for (int64_t i = 0; i < tile.n; ++i) {
                if (tile.label[i] < C) own[tile.label[i]] += double(tile.own(i) * tile.factor[i]);
            }
        });
        for (int64_t c = 0; c < C; ++c) {
            all[c] = 0;
            for (int64_t l = 0; l < kDiceLanes; ++l) all[c] += double(lanes[c * kDiceLanes + l]);
        }
    }
}

template <class T>
void dice_gradient(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    Tile<T> tile(job, scratch);
    T bonus[kChunk];
    for (int64_t chunk = first; chunk < last; ++chunk) {
        tile.each_tile(chunk, [&] {
            tile.load();
            tile.template exponentials<true>();
            tile.clear_uncounted(tile.weight);
            for (int64_t i = 0; i < tile.padded; ++i) {
                tile.target[i] = tile.own(i);
                bonus[i] = job.bonus[tile.label[i]];
            }
            // p_k (slope_k - mean slope), and p_target * bonus more for the target
            for (int64_t i = 0; i < tile.padded; i += L) {
                const auto pixel =
                    lanes::dice_pixel(V::load(tile.weight + i), V::load(tile.rest + i), V::load(tile.extra + i),
                                      V::load(tile.target + i), V::load(bonus + i));
                pixel.inverse.store(tile.factor + i);
                pixel.mean.store(tile.highest + i);
                pixel.more.store(tile.loss + i);
            }
            for (int64_t c = 0; c < job.classes; ++c) {
                T* row = tile.rows + c * tile.stride;
                for (int64_t i = 0; i < tile.padded; i += L) {
                    const V p = V::load(row + i) * V::load(tile.factor + i);
                    (p * (V::set(job.slope[c]) - V::load(tile.highest + i))).store(row + i);
                }
            }
            for (int64_t i = 0; i < tile.padded; ++i) tile.own(i) += tile.loss[i];
            tile.write([](int64_t, int64_t, V g) { return g; });
        });
    }
    if (job.stream) store_fence();
}

template <class T>
constexpr SoftmaxLoops<T> loops_of = {softmax<T, SoftmaxKind::cross_entropy>, softmax<T, SoftmaxKind::smoothed>,
                                      softmax<T, SoftmaxKind::focal>, dice_sums<T>, dice_gradient<T>};

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(LossKernels, softmax_losses_kernels, {count_labels, loops_of<float>, loops_of<double>})

}  // namespace fastdet
