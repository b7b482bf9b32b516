// Max-pooling: the loops. Compiled once per instruction set.
//
// Pooling of planes is separable, also with places and NaN: an input row is pooled across once (its columns by phase of
// the stride, so that every tap is a contiguous load), and the rows of a window are then pooled down. Channels last,
// the lanes are channels. Both are plain loops that the compiler turns into vectors. 2 x 2 windows, the usual ones, are
// done at once. Large outputs are streamed in whole lines. Floor: the image read and the results written once.
//
// Bytes are compared as bytes, and their places are codes in the window, bytes too, where the kernel has at most 256:
// 64 abreast. Codes become flat indices as they are written.
#include "pool/max_pool2d.h"

#include "pool/max_pool2d_taps.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int64_t kAhead = 6;  // input rows

// Everything that one call needs: the writers, and scratch for one way or the other. K: a place, a code in the window
// if it is a byte. kPlaces: whether places are wanted.
template <class S, class K, bool kPlaces>
struct Pooling {
    using T = typename Compute<S>::T;
    static constexpr bool kCodes = sizeof(K) == 1;
    static constexpr int64_t kSlack = sizeof(T) == 1 ? kBytes : 0;  // past the end of a row of a phase
    static constexpr int64_t kWhole =
        sizeof(T) == 1 ? kBytes : 1;  // bytes are done in whole vectors, past the end of a row
    const PoolJob& job;
    const PoolWindow& w;
    int64_t H, W, C, columns, run_columns, kh, kw, phases, length, step;
    bool two;  // 2 x 2 windows side by side, all within the image
    Writer<S> values;
    Writer<int64_t> flat;
    Writer<uint8_t> compact;
    T *best, *wide, *more, *split, *ring;
    K *place, *first, *ring_place;

    Pooling(const PoolJob& job, Arena& arena)
        : job(job),
          w(job.window),
          H(job.height),
          W(job.width),
          C(job.inner),
          columns(job.columns),
          run_columns((columns + kWhole - 1) / kWhole * kWhole),
          kh(lesser<int64_t>(w.kh, H + w.ph)),  // taps beyond the image never count
          kw(lesser<int64_t>(w.kw, W + w.pw)),
          phases(lesser<int64_t>(w.sw, kw)),
          length((columns + (kw - 1) / w.sw + kWhole - 1) / kWhole * kWhole + kSlack),
          step(job.compact || kCodes ? w.kw : W),
          two(has_twos(w) && 2 * job.rows <= H && 2 * columns <= W),
          values(arena, job.stream, C > 1 ? C : columns),
          flat(arena, job.stream && job.indices && !job.compact, C > 1 ? C : columns),
          compact(arena, job.stream && job.indices && job.compact, C > 1 ? C : columns) {
        const int64_t n = C > 1 ? C : run_columns;
        const bool separate = C == 1 && !two;
        best = arena.take<T>(n);
        place = arena.take<K>(n);
        wide = arena.take<T>(sizeof(S) == 1 ? W + 4 * kBytes : std::is_same_v<S, T> ? 0 : C > 1 ? 4 * C : W);
        more = arena.take<T>(std::is_same_v<S, T> || C > 1 ? 0 : W);
        first = arena.take<K>(separate ? n : 0);
        split = arena.take<T>(separate ? phases * length + kSlack : 0);
        ring = arena.take<T>(separate ? kh * n : 0);
        ring_place = arena.take<K>(separate ? kh * n : 0);
    }

    void run(int64_t plane, int64_t from, int64_t to) {
        const S* x = static_cast<const S*>(job.x) + plane * H * W * C;
        const int64_t at = (plane * job.rows + from) * columns * C;
        values.start(static_cast<S*>(job.values) + at);
        if (job.indices && job.compact) compact.start(static_cast<uint8_t*>(job.indices) + at);
        if (job.indices && !job.compact) flat.start(static_cast<int64_t*>(job.indices) + at);
        if (C > 1) {
            pixels(x, from, to);
        } else if (two) {
            twos(x, from, to);
        } else {
            rows(x, from, to);
        }
        values.finish();
        if (job.indices && job.compact) compact.finish();
        if (job.indices && !job.compact) flat.finish();
    }

    // n results: the values, and where they are: a place is counted from `origin`, which moves by `by` per result.
    void emit(const T* __restrict v, const K* __restrict p, int64_t n, int64_t origin, int64_t by) {
        store_row(v, n, values.next(n));
        values.done(n);
        emit_places(p, n, origin, by);
    }
    void emit_places(const K* __restrict p, int64_t n, int64_t origin, int64_t by) {
        if (!kPlaces) return;
        if (job.compact) {
            compact_indices(p, n, compact.next(n));
            compact.done(n);
            return;
        }
        int64_t* const to = flat.next(n);
        if constexpr (kCodes) {
            flat_indices(p, code_inverse(w.kw), int32_t(W), int32_t(w.kw), n, origin, by, to);
        } else {
            flat_indices(p, n, origin, by, to);
        }
        flat.done(n);
    }

    void twos(const S* x, int64_t from, int64_t to) {
        const K down = K(step);
        for (int64_t r = from; r < to; ++r) {
            const T* top = as_compute(x + 2 * r * W, 2 * columns, wide);
            const T* low = as_compute(x + (2 * r + 1) * W, 2 * columns, more);
            // two streams of short rows: the processor's own prefetching falls behind by an eighth
            for (int64_t j = 0; j < 2 * W; j += int64_t(64 / sizeof(S))) {
                __builtin_prefetch(reinterpret_cast<const char*>(x) + ((2 * r + kAhead) * W + j) * int64_t(sizeof(S)));
            }
            T* v = best;
            if constexpr (std::is_same_v<S, T>) v = values.next(columns);
            pool_twos<kPlaces>(top, low, columns, down, v, place);
            if constexpr (!std::is_same_v<S, T>) store_row(v, columns, values.next(columns));
            values.done(columns);
            if (kPlaces) emit_places(place, columns, 2 * r * W, 2);
        }
    }

    // One input row, its columns sorted by phase: column q * sw + r - pw stands at r * length + q. Padding stays as it
    // was filled once.
    void split_row(const S* row) {
        const T* in = as_compute(row, W, wide);
        if (sizeof(T) == 1 && w.sw == 2) {  // with what is read past the end
            std::memcpy(wide, row, size_t(W));
            in = wide;
        }
        for (int64_t r = 0; r < phases; ++r) {
            const int64_t q = (w.pw - r + w.sw - 1 > 0) ? (w.pw - r + w.sw - 1) / w.sw : 0, x = q * w.sw + r - w.pw;
            const int64_t n = lesser<int64_t>(length - kSlack - q, x < W ? (W - x + w.sw - 1) / w.sw : 0);
            if (sizeof(T) == 1 && w.sw == 2) {
                take_every_second(in + x, n, split + r * length + q);
            } else {
                take_every(in + x, w.sw, n, split + r * length + q);
            }
        }
    }

    template <int N>
    void across(T* v, K* p) {
        const T* taps[N];
        for (int64_t k = 0; k < N; ++k) taps[k] = split + k % w.sw * length + k / w.sw;
        pool_taps<N, kPlaces>(taps, first, run_columns, v, p);
    }
    void across(T* v, K* p) {
        for (int64_t i = 0; i < run_columns; ++i) {
            v[i] = lowest<T>();
            if (kPlaces) p[i] = first[i];
        }
        for (int64_t k = 0; k < kw; ++k) {
            pool_tap<kPlaces>(split + k % w.sw * length + k / w.sw, K(k), run_columns, v, p);
        }
    }

    void rows(const S* x, int64_t from, int64_t to) {
        for (int64_t i = 0; i < phases * length; ++i) split[i] = lowest<T>();
        if (sizeof(T) == 1) {
            for (int64_t i = W; i < W + 4 * kBytes; ++i) wide[i] = lowest<T>();
        }
        for (int64_t i = 0; i < run_columns; ++i) first[i] = K(greater<int64_t>(0, w.pw - i * w.sw));
        int64_t next = 0;
        for (int64_t r = from; r < to; ++r) {
            const int64_t top = r * w.sh - w.ph, begin = greater<int64_t>(top, 0), end = lesser<int64_t>(top + kh, H);
            for (next = greater<int64_t>(next, begin); next < end; ++next) {
                split_row(x + next * W);
                T* v = ring + next % kh * run_columns;
                K* p = ring_place + next % kh * run_columns;
                kw == 2 ? across<2>(v, p) : kw == 3 ? across<3>(v, p) : across(v, p);
            }
            const T* const v0 = ring + begin % kh * run_columns;
            for (int64_t y = begin; y < end; ++y) {
                const T* const v1 = ring + y % kh * run_columns;
                const K* const p1 = ring_place + y % kh * run_columns;
                const K down = K((y - top) * step);
                if (y == begin) {
                    if (kPlaces) move_places(p1, down, run_columns, place);
                    if (end == begin + 1) std::memcpy(best, v0, size_t(columns) * sizeof(T));
                } else {
                    pool_down<kPlaces>(y == begin + 1 ? v0 : best, v1, p1, down, run_columns, best, place);
                }
            }
            emit(best, place, columns, top * W - w.pw, w.sw);
        }
    }

    void pixels(const S* x, int64_t from, int64_t to) {
        for (int64_t r = from; r < to; ++r) {
            const int64_t top = r * w.sh - w.ph, y0 = greater<int64_t>(top, 0), y1 = lesser<int64_t>(top + kh, H);
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t left = c * w.sw - w.pw, x0 = greater<int64_t>(left, 0),
                              x1 = lesser<int64_t>(left + kw, W);
                if (y1 - y0 == 2 && x1 - x0 == 2) {
                    const S* at = x + (y0 * W + x0) * C;
                    const K base = K((y0 - top) * step + x0 - left), down = K(step);
                    pool_four<kPlaces>(as_compute(at, C, wide), as_compute(at + C, C, wide + C),
                                       as_compute(at + W * C, C, wide + 2 * C),
                                       as_compute(at + W * C + C, C, wide + 3 * C), base, down, C, best, place);
                } else {
                    for (int64_t y = y0; y < y1; ++y) {
                        for (int64_t xx = x0; xx < x1; ++xx) {
                            const T* tap = as_compute(x + (y * W + xx) * C, C, wide);
                            const K here = K((y - top) * step + xx - left);
                            if (y == y0 && xx == x0) {
                                first_tap<kPlaces>(tap, here, C, best, place);
                            } else {
                                pool_tap<kPlaces>(tap, here, C, best, place);
                            }
                        }
                    }
                }
                emit(best, place, C, top * W + left, 0);
            }
        }
    }
};

// f(a Pooling, made with that scratch memory) of the job's type, places and whether they are wanted.
template <class F>
auto with(const PoolJob& job, void* scratch, F&& f) {
    const auto of = [&](auto s, auto k) {
        Arena arena(scratch);
        using S = decltype(s);
        using K = decltype(k);
        if (job.indices) {
            Pooling<S, K, true> pooling(job, arena);
            return f(pooling, arena);
        }
        Pooling<S, K, false> pooling(job, arena);
        return f(pooling, arena);
    };
    const auto by_type = [&](auto s) { return of(s, typename Compute<decltype(s)>::K()); };
    const bool codes = job.window.kh * job.window.kw <= 256;
    switch (job.type) {
        case PoolType::f32:
            return by_type(float());
        case PoolType::f64:
            return by_type(double());
        case PoolType::f16:
            return by_type(Half());
        case PoolType::bf16:
            return by_type(BFloat16());
        case PoolType::u8:
            return codes ? of(uint8_t(), uint8_t()) : by_type(uint8_t());
        case PoolType::i8:
            return codes ? of(int8_t(), uint8_t()) : by_type(int8_t());
        case PoolType::i32:
            return by_type(int32_t());
        default:
            return by_type(int64_t());
    }
}

int64_t scratch_bytes(const PoolJob& job) {
    return with(job, nullptr, [](auto&, const Arena& arena) { return int64_t(arena.used); });
}

void max_pool2d(const PoolJob& job, int64_t plane, int64_t first, int64_t last, void* scratch) {
    with(job, scratch, [&](auto& pooling, const Arena&) { pooling.run(plane, first, last); });
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(MaxPool2dKernels, max_pool2d_kernels, {scratch_bytes, max_pool2d})

}  // namespace fastdet
