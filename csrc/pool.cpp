// Max-pooling and unpooling: the loops. Compiled once per instruction set.
//
// Pooling of planes is separable, also with places and NaN: an input row is pooled across once (its columns by phase of
// the stride, so that every tap is a contiguous load), and the rows of a window are then pooled down. Channels last,
// the lanes are channels. Both are plain loops that the compiler turns into vectors. 2 x 2 windows, the usual ones, are
// done at once. Scattering goes through a band of rows that stays in the cache, so that each line of the image is
// written once. Large outputs are streamed in whole lines.
#include "pool.h"

#include "half.h"
#include "loops.h"
#include "simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Scratch memory, piece by piece; with a null base it only measures.
struct Arena {
    char* base;
    int64_t used = 0;
    template <class T>
    T* take(int64_t n) {
        T* p = reinterpret_cast<T*>(base + used);
        used += (n * int64_t(sizeof(T)) + 63) / 64 * 64;
        return p;
    }
};

// Writes one output from its first to its last element: in place, or by whole lines that pass the caches by.
template <class S>
struct Writer {
    static constexpr int64_t kStage = 8 << 10;
    char *to, *stage;
    int64_t fill, begin, capacity;
    bool stream;

    // `most`: elements that are asked for at a time.
    static int64_t room(int64_t most) {
        const int64_t bytes = most * int64_t(sizeof(S));
        return kStage + (bytes > kStage ? bytes : kStage) + 64;
    }
    Writer(Arena& arena, bool stream, int64_t most)
        : to(nullptr), stage(arena.take<char>(room(most))), fill(0), begin(0), capacity(room(most)), stream(stream) {}
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
    // n elements of `from`, or zeros
    void put(const S* from, int64_t n) {
        constexpr int64_t kPiece = kStage / int64_t(sizeof(S));
        for (int64_t at = 0; at < n; at += kPiece) {
            const int64_t m = n - at < kPiece ? n - at : kPiece;
            if (from) {
                std::memcpy(next(m), from + at, size_t(m) * sizeof(S));
            } else {
                std::memset(static_cast<void*>(next(m)), 0, size_t(m) * sizeof(S));
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

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- pooling

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

template <class T>
static inline T lowest() {
    return -T(__builtin_inf());
}
template <>
inline int64_t lowest<int64_t>() {
    return INT64_MIN;
}

// The one decision: a later value takes over if it is above, or NaN.
template <class T>
static inline bool takes(T v, T best) {
    return (v > best) | (v != v);
}

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

template <class S, class T>
constexpr bool kSame = std::is_same<S, T>::value;

// n values of S as T: themselves, or converted into `room`.
template <class S, class T>
static inline const T* as_compute(const S* from, int64_t n, T* room) {
    if constexpr (kSame<S, T>) {
        return from;
    } else {
        load_row(from, n, room);
        return room;
    }
}

// Everything that one call needs: the writers, and scratch for one way or the other.
template <class S>
struct Pooling {
    using T = typename Compute<S>::T;
    using K = typename Compute<S>::K;
    const PoolJob& job;
    const PoolWindow& w;
    int64_t H, W, C, columns, kh, kw, phases, length, step;
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
          kh(least(w.kh, H + w.ph)),  // taps beyond the image never count
          kw(least(w.kw, W + w.pw)),
          phases(least(w.sw, kw)),
          length(columns + (kw - 1) / w.sw),
          step(job.compact ? w.kw : W),
          two(w.kh == 2 && w.kw == 2 && w.sh == 2 && w.sw == 2 && !w.ph && !w.pw && 2 * job.rows <= H &&
              2 * columns <= W),
          values(arena, job.stream, C > 1 ? C : columns),
          flat(arena, job.stream && job.indices && !job.compact, C > 1 ? C : columns),
          compact(arena, job.stream && job.indices && job.compact, C > 1 ? C : columns) {
        const int64_t n = C > 1 ? C : columns;
        const bool separate = C == 1 && !two;
        best = arena.take<T>(n);
        place = arena.take<K>(n);
        wide = arena.take<T>(kSame<S, T> ? 0 : C > 1 ? 4 * C : W);
        more = arena.take<T>(kSame<S, T> || C > 1 ? 0 : W);
        first = arena.take<K>(separate ? n : 0);
        split = arena.take<T>(separate ? phases * length : 0);
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
            job.indices ? twos<true>(x, from, to) : twos<false>(x, from, to);
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
        if (!job.indices) return;
        if (job.compact) {
            uint8_t* __restrict to = compact.next(n);
            for (int64_t i = 0; i < n; ++i) to[i] = uint8_t(p[i]);
            compact.done(n);
        } else {
            int64_t* __restrict to = flat.next(n);
            if (by) {
                for (int64_t i = 0; i < n; ++i) to[i] = int64_t(p[i]) + (origin + i * by);
            } else {
                for (int64_t i = 0; i < n; ++i) to[i] = int64_t(p[i]) + origin;
            }
            flat.done(n);
        }
    }

    template <bool kPlaces>
    void twos(const S* x, int64_t from, int64_t to) {
        const K down = K(step);
        for (int64_t r = from; r < to; ++r) {
            const T* __restrict top = as_compute(x + 2 * r * W, 2 * columns, wide);
            const T* __restrict low = as_compute(x + (2 * r + 1) * W, 2 * columns, more);
            T* __restrict v = best;
            if constexpr (kSame<S, T>) v = values.next(columns);
            K* __restrict p = place;
            for (int64_t i = 0; i < columns; ++i) {
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
            if constexpr (!kSame<S, T>) store_row(v, columns, values.next(columns));
            values.done(columns);
            if (kPlaces) emit_places(place, columns, 2 * r * W, 2);
        }
    }

    // One input row, its columns sorted by phase: column q * sw + r - pw stands at r * length + q. Padding stays as it
    // was filled once.
    void split_row(const S* row) {
        const T* __restrict in = as_compute(row, W, wide);
        for (int64_t r = 0; r < phases; ++r) {
            const int64_t q = (w.pw - r + w.sw - 1 > 0) ? (w.pw - r + w.sw - 1) / w.sw : 0, x = q * w.sw + r - w.pw;
            const int64_t n = least(length - q, x < W ? (W - x + w.sw - 1) / w.sw : 0);
            T* __restrict to = split + r * length + q;
            const T* __restrict at = in + x;
            if (w.sw == 1) {
                for (int64_t i = 0; i < n; ++i) to[i] = at[i];
            } else if (w.sw == 2) {
                for (int64_t i = 0; i < n; ++i) to[i] = at[2 * i];
            } else {
                for (int64_t i = 0; i < n; ++i) to[i] = at[i * w.sw];
            }
        }
    }

    template <int N>
    void across(T* __restrict v, K* __restrict p) {
        const T* taps[N];
        for (int64_t k = 0; k < N; ++k) taps[k] = split + k % w.sw * length + k / w.sw;
        const K* __restrict start = first;
        for (int64_t i = 0; i < columns; ++i) {
            T b = lowest<T>();
            K at = start[i];
            for (int k = 0; k < N; ++k) {
                const T value = taps[k][i];
                at = takes(value, b) ? K(k) : at;
                b = takes(value, b) ? value : b;
            }
            v[i] = b;
            p[i] = at;
        }
    }
    void across(T* __restrict v, K* __restrict p) {
        for (int64_t i = 0; i < columns; ++i) {
            v[i] = lowest<T>();
            p[i] = first[i];
        }
        for (int64_t k = 0; k < kw; ++k) {
            const T* __restrict tap = split + k % w.sw * length + k / w.sw;
            for (int64_t i = 0; i < columns; ++i) {
                const bool take = takes(tap[i], v[i]);
                p[i] = take ? K(k) : p[i];
                v[i] = take ? tap[i] : v[i];
            }
        }
    }

    void rows(const S* x, int64_t from, int64_t to) {
        for (int64_t i = 0; i < phases * length; ++i) split[i] = lowest<T>();
        for (int64_t i = 0; i < columns; ++i) first[i] = K(most(0, w.pw - i * w.sw));
        int64_t next = 0;
        for (int64_t r = from; r < to; ++r) {
            const int64_t top = r * w.sh - w.ph, begin = most(top, 0), end = least(top + kh, H);
            for (next = most(next, begin); next < end; ++next) {
                split_row(x + next * W);
                T* v = ring + next % kh * columns;
                K* p = ring_place + next % kh * columns;
                kw == 2 ? across<2>(v, p) : kw == 3 ? across<3>(v, p) : across(v, p);
            }
            const T* __restrict v0 = ring + begin % kh * columns;
            const K* __restrict p0 = ring_place + begin % kh * columns;
            T* __restrict v = best;
            K* __restrict p = place;
            for (int64_t y = begin; y < end; ++y) {
                const T* __restrict v1 = ring + y % kh * columns;
                const K* __restrict p1 = ring_place + y % kh * columns;
                const K down = K((y - top) * step);
                if (y == begin) {
                    for (int64_t i = 0; i < columns; ++i) p[i] = p0[i] + down;
                    if (end == begin + 1) std::memcpy(v, v0, size_t(columns) * sizeof(T));
                } else if (y == begin + 1) {
                    for (int64_t i = 0; i < columns; ++i) {
                        const bool take = takes(v1[i], v0[i]);
                        p[i] = take ? K(p1[i] + down) : p[i];
                        v[i] = take ? v1[i] : v0[i];
                    }
                } else {
                    for (int64_t i = 0; i < columns; ++i) {
                        const bool take = takes(v1[i], v[i]);
                        p[i] = take ? K(p1[i] + down) : p[i];
                        v[i] = take ? v1[i] : v[i];
                    }
                }
            }
            emit(best, place, columns, top * W - w.pw, w.sw);
        }
    }

    void pixels(const S* x, int64_t from, int64_t to) {
        T* __restrict v = best;
        K* __restrict p = place;
        for (int64_t r = from; r < to; ++r) {
            const int64_t top = r * w.sh - w.ph, y0 = most(top, 0), y1 = least(top + kh, H);
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t left = c * w.sw - w.pw, x0 = most(left, 0), x1 = least(left + kw, W);
                if (y1 - y0 == 2 && x1 - x0 == 2) {
                    const S* at = x + (y0 * W + x0) * C;
                    const K base = K((y0 - top) * step + x0 - left), down = K(step);
                    const T* __restrict t0 = as_compute(at, C, wide);
                    const T* __restrict t1 = as_compute(at + C, C, wide + C);
                    const T* __restrict t2 = as_compute(at + W * C, C, wide + 2 * C);
                    const T* __restrict t3 = as_compute(at + W * C + C, C, wide + 3 * C);
                    for (int64_t i = 0; i < C; ++i) {
                        T b = t0[i];
                        K k = base;
                        k = takes(t1[i], b) ? K(base + 1) : k;
                        b = takes(t1[i], b) ? t1[i] : b;
                        k = takes(t2[i], b) ? K(base + down) : k;
                        b = takes(t2[i], b) ? t2[i] : b;
                        k = takes(t3[i], b) ? K(base + down + 1) : k;
                        b = takes(t3[i], b) ? t3[i] : b;
                        v[i] = b;
                        p[i] = k;
                    }
                } else {
                    for (int64_t y = y0; y < y1; ++y) {
                        for (int64_t xx = x0; xx < x1; ++xx) {
                            const T* __restrict tap = as_compute(x + (y * W + xx) * C, C, wide);
                            const K here = K((y - top) * step + xx - left);
                            if (y == y0 && xx == x0) {
                                for (int64_t i = 0; i < C; ++i) {
                                    v[i] = tap[i];
                                    p[i] = here;
                                }
                            } else {
                                for (int64_t i = 0; i < C; ++i) {
                                    const bool take = takes(tap[i], v[i]);
                                    p[i] = take ? here : p[i];
                                    v[i] = take ? tap[i] : v[i];
                                }
                            }
                        }
                    }
                }
                emit(best, place, C, top * W + left, 0);
            }
        }
    }
};

// ---- between places

// The place of each index. Compact ones through tables of the window's rows and columns.
template <class I>
struct Places {
    int64_t ky[256], kx[256], H, W;
    const PoolWindow& w;
    Places(const PlaceJob& job) : H(job.height), W(job.width), w(job.window) {
        if (sizeof(I) > 1) return;
        const int64_t far = int64_t(1) << 40;  // outside any image
        for (int64_t code = 0; code < 256; ++code) {
            const bool inside = code / w.kw < w.kh;
            ky[code] = inside ? code / w.kw : far;
            kx[code] = code % w.kw;
        }
    }
    // false: outside the image
    bool operator()(I index, int64_t row, int64_t column, int64_t& place) const {
        if (sizeof(I) > 1) {
            place = int64_t(index);
            return uint64_t(place) < uint64_t(H * W);
        }
        const int64_t y = row * w.sh - w.ph + ky[uint8_t(index)], x = column * w.sw - w.pw + kx[uint8_t(index)];
        place = y * W + x;
        return (uint64_t(y) < uint64_t(H)) & (uint64_t(x) < uint64_t(W));
    }
};

// A value as the sum of nothing and itself: 0 + -0 is 0.
static inline float plus_zero(float x) { return x + 0.0f; }
static inline double plus_zero(double x) { return x + 0.0; }
static inline Half plus_zero(Half x) { return {uint16_t(x.bits == 0x8000 ? 0 : x.bits)}; }
static inline BFloat16 plus_zero(BFloat16 x) { return {uint16_t(x.bits == 0x8000 ? 0 : x.bits)}; }
template <class S>
static inline S plus_zero(S x) {
    return x;
}

// S as stored, A as summed (S itself where nothing is summed), I the index
template <class S, class A, class I, bool kAdd>
struct Scatter {
    const PlaceJob& job;
    const PoolWindow& w;
    const int64_t H, W, C, h, columns, band_rows, row;  // row: elements of a row of the image
    const bool two;
    const Places<I> places;
    Writer<S> out, below;
    A* band;
    uint32_t* near;
    const S* x = nullptr;
    const I* indices = nullptr;

    Scatter(const PlaceJob& job, Arena& arena)
        : job(job),
          w(job.window),
          H(job.height),
          W(job.width),
          C(job.inner),
          h(job.rows),
          columns(job.columns),
          band_rows(least(w.kh, H + w.ph)),
          row(W * C),
          two(w.kh == 2 && w.kw == 2 && w.sh == 2 && w.sw == 2 && !w.ph && !w.pw && 2 * h <= H && 2 * columns <= W &&
              W < int64_t(1) << 30),
          places(job),
          out(arena, job.stream, two ? 2 * (C > 1 ? C : W) : 0),
          below(arena, job.stream && C > 1, C > 1 && two ? 2 * C : 0),
          band(arena.take<A>(two ? 0 : band_rows * row)),
          near(arena.take<uint32_t>(two ? (C > 1 ? C : columns) : 0)) {}

    bool run(int64_t plane, int64_t from, int64_t to) {
        x = static_cast<const S*>(job.x) + plane * h * columns * C;
        indices = static_cast<const I*>(job.indices) + plane * h * columns * C;
        S* image = static_cast<S*>(job.out) + plane * H * row;
        return two ? C > 1 ? two_pixels(image, from, to) : twos(image, from, to) : by_band(image, from, to);
    }

    // How far n indices lie from the first place of their 2 x 2 window; not 0: one lies outside it. Flat: 0, 1, W, W
    // + 1.
    uint32_t offsets(const I* __restrict index, int64_t n, int64_t origin, int64_t by) {
        uint32_t outside = 0;
        const uint32_t down = uint32_t(sizeof(I) > 1 ? W : 2);
        uint32_t* __restrict to = near;
        for (int64_t i = 0; i < n; ++i) {
            if (sizeof(I) > 1) {
                const uint64_t d = uint64_t(index[i]) - uint64_t(origin + i * by);
                outside |= uint32_t(d >> 32);
                to[i] = uint32_t(d);
            } else {
                to[i] = uint8_t(index[i]);
            }
        }
        for (int64_t i = 0; i < n; ++i) {
            const uint32_t d = to[i];
            outside |= uint32_t(d > 1u) & uint32_t(d - down > 1u);
        }
        return outside;
    }

    static S one(S v, bool here) { return here ? (kAdd ? plus_zero(v) : v) : S{}; }

    bool twos(S* image, int64_t from, int64_t to) {
        const uint32_t down = uint32_t(sizeof(I) > 1 ? W : 2);
        out.start(image + 2 * from * W);
        for (int64_t r = from; r < to; ++r) {
            if (offsets(indices + r * columns, columns, 2 * r * W, 2)) return false;
            const S* __restrict v = x + r * columns;
            const uint32_t* __restrict d = near;
            S* __restrict top = out.next(2 * W);
            S* __restrict low = top + W;
            for (int64_t i = 0; i < columns; ++i) {
                top[2 * i] = one(v[i], d[i] == 0);
                top[2 * i + 1] = one(v[i], d[i] == 1);
            }
            for (int64_t i = 2 * columns; i < W; ++i) top[i] = low[i] = S{};
            for (int64_t i = 0; i < columns; ++i) {
                low[2 * i] = one(v[i], d[i] == down);
                low[2 * i + 1] = one(v[i], d[i] == down + 1);
            }
            out.done(2 * W);
        }
        if (to == h) out.put(nullptr, (H - 2 * h) * W);
        out.finish();
        return true;
    }

    // Each value to the one of its four places that it came from, zeros to the others.
    static void spread(const S* __restrict v, const uint32_t* __restrict d, int64_t n, uint32_t down, S* __restrict a,
                       S* __restrict b, S* __restrict c, S* __restrict e) {
        for (int64_t i = 0; i < n; ++i) {
            a[i] = one(v[i], d[i] == 0);
            b[i] = one(v[i], d[i] == 1);
            c[i] = one(v[i], d[i] == down);
            e[i] = one(v[i], d[i] == down + 1);
        }
    }

    bool two_pixels(S* image, int64_t from, int64_t to) {
        const uint32_t down = uint32_t(sizeof(I) > 1 ? W : 2);
        for (int64_t r = from; r < to; ++r) {
            out.start(image + 2 * r * row);
            below.start(image + (2 * r + 1) * row);
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t at = (r * columns + c) * C;
                if (offsets(indices + at, C, 2 * r * W + 2 * c, 0)) return false;
                const S* __restrict v = x + at;
                const uint32_t* __restrict d = near;
                S *top = out.next(2 * C), *low = below.next(2 * C);
                spread(v, d, C, down, top, top + C, low, low + C);
                out.done(2 * C);
                below.done(2 * C);
            }
            const int64_t rest = (W - 2 * columns) * C;
            out.put(nullptr, rest);
            below.put(nullptr, rest);
            out.finish();
            below.finish();
        }
        if (to == h) {
            out.start(image + 2 * h * row);
            out.put(nullptr, (H - 2 * h) * row);
            out.finish();
        }
        return true;
    }

    void emit(const A* from) {
        if constexpr (kSame<S, A>) {
            out.put(from, row);
        } else if (!from) {
            out.put(nullptr, row);
        } else {
            constexpr int64_t kPiece = 1024;
            for (int64_t i = 0; i < row; i += kPiece) {
                const int64_t n = least(kPiece, row - i);
                store_row(from + i, n, out.next(n));
                out.done(n);
            }
        }
    }

    static void put(A& to, S v) {
        if constexpr (kAdd) {
            to += A(widen(v));
        } else {
            to = v;
        }
    }

    // Pooled row r writes to `band`, the rows of its windows; those that no later one reaches are written out. A part
    // begins with the pooled rows whose windows reach into it.
    bool by_band(S* image, int64_t from, int64_t to) {
        int64_t y = from ? most(from * w.sh - w.ph, 0) : 0;  // the next row to write out
        const int64_t stop = to == h ? H : least(most(to * w.sh - w.ph, 0), H);
        if (y < H) out.start(image + y * row);
        for (int64_t i = 0; i < band_rows * row; ++i) band[i] = A{};
        for (int64_t r = most(0, from - (band_rows - 1) / w.sh); r < to; ++r) {
            const int64_t top = r * w.sh - w.ph, low = most(top, 0) * W, high = least(top + band_rows, H) * W;
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t at = (r * columns + c) * C;
                for (int64_t i = 0; i < C; ++i) {
                    int64_t place;
                    const bool fits = places(indices[at + i], r, c, place);
                    if (!(fits & (place >= low) & (place < high))) return false;
                    put(band[(place - top * W) * C + i], x[at + i]);
                }
            }
            for (; y < stop && (y < top + w.sh || r == h - 1); ++y) {
                if (y >= top) emit(y - top < band_rows ? band + (y - top) * row : nullptr);
            }
            const int64_t kept = w.sh < band_rows ? band_rows - w.sh : 0;
            if (kept) std::memmove(band, band + w.sh * row, size_t(kept * row) * sizeof(A));
            for (int64_t i = kept * row; i < band_rows * row; ++i) band[i] = A{};
        }
        if (y < stop) return false;
        out.finish();
        return true;
    }

    // Any indices: the whole plane at once.
    bool whole(int64_t plane, A* sum) {
        run_from(plane);
        S* image = static_cast<S*>(job.out) + plane * H * row;
        if constexpr (kSame<S, A>) sum = image;
        for (int64_t i = 0; i < H * row; ++i) sum[i] = A{};
        for (int64_t r = 0; r < h; ++r) {
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t at = (r * columns + c) * C;
                for (int64_t i = 0; i < C; ++i) {
                    int64_t place;
                    if (!places(indices[at + i], r, c, place)) return false;
                    put(sum[place * C + i], x[at + i]);
                }
            }
        }
        if constexpr (!kSame<S, A>) store_row(sum, H * row, image);
        return true;
    }
    void run_from(int64_t plane) {
        x = static_cast<const S*>(job.x) + plane * h * columns * C;
        indices = static_cast<const I*>(job.indices) + plane * h * columns * C;
    }
};

template <class S, class I>
struct Gather {
    const PlaceJob& job;
    const Places<I> places;
    Writer<S> out;
    Gather(const PlaceJob& job, Arena& arena)
        : job(job), places(job), out(arena, job.stream, job.columns * job.inner) {}

    bool run(int64_t plane, int64_t from, int64_t to) {
        const int64_t C = job.inner, n = job.columns * C, base = plane * job.rows * n;
        const S* __restrict x = static_cast<const S*>(job.x) + plane * job.height * job.width * C;
        const I* indices = static_cast<const I*>(job.indices) + base;
        out.start(static_cast<S*>(job.out) + base + from * n);
        for (int64_t r = from; r < to; ++r) {
            const I* __restrict index = indices + r * n;
            S* __restrict y = out.next(n);
            if (sizeof(I) > 1 && C == 1) {
                const uint64_t size = uint64_t(job.height * job.width);
                bool bad = false;
                for (int64_t i = 0; i < n; ++i) bad |= uint64_t(index[i]) >= size;
                if (bad) return false;
                for (int64_t i = 0; i < n; ++i) y[i] = x[index[i]];
            } else {
                for (int64_t c = 0; c < job.columns; ++c) {
                    for (int64_t i = 0; i < C; ++i) {
                        int64_t place;
                        if (!places(index[c * C + i], r, c, place)) return false;
                        y[c * C + i] = x[place * C + i];
                    }
                }
            }
            out.done(n);
        }
        out.finish();
        return true;
    }
};

// ---- by type

template <class F>
auto by_type(PoolType type, F&& f) {
    switch (type) {
        case PoolType::f32:
            return f(float());
        case PoolType::f64:
            return f(double());
        case PoolType::f16:
            return f(Half());
        case PoolType::bf16:
            return f(BFloat16());
        case PoolType::u8:
            return f(uint8_t());
        case PoolType::i32:
            return f(int32_t());
        default:
            return f(int64_t());
    }
}

int64_t max_pool_scratch(const PoolJob& job) {
    return by_type(job.type, [&](auto s) {
        Arena arena{nullptr};
        Pooling<decltype(s)> pooling(job, arena);
        return arena.used;
    });
}

void max_pool(const PoolJob& job, int64_t plane, int64_t first, int64_t last, void* scratch) {
    by_type(job.type, [&](auto s) {
        Arena arena{static_cast<char*>(scratch)};
        Pooling<decltype(s)>(job, arena).run(plane, first, last);
    });
}

// f(stored type, type of a sum, index type, whether sums are made)
template <class F>
auto by_scatter(const PlaceJob& job, F&& f) {
    const auto of = [&](auto s, auto a, auto add) {
        return job.compact ? f(s, a, uint8_t(), add) : f(s, a, int64_t(), add);
    };
    if (job.add) {
        switch (job.type) {
            case PoolType::f64:
                return of(double(), double(), std::true_type());
            case PoolType::f16:
                return of(Half(), float(), std::true_type());
            case PoolType::bf16:
                return of(BFloat16(), float(), std::true_type());
            default:
                return of(float(), float(), std::true_type());
        }
    }
    switch (job.type) {
        case PoolType::u8:
            return of(uint8_t(), uint8_t(), std::false_type());
        case PoolType::u16:
            return of(uint16_t(), uint16_t(), std::false_type());
        case PoolType::u32:
            return of(uint32_t(), uint32_t(), std::false_type());
        default:
            return of(int64_t(), int64_t(), std::false_type());
    }
}

int64_t scatter_scratch(const PlaceJob& job) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena{nullptr};
        Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value> scatter(job, arena);
        return arena.used;
    });
}

bool scatter(const PlaceJob& job, int64_t plane, int64_t first, int64_t last, void* scratch) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena{static_cast<char*>(scratch)};
        return Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value>(job, arena).run(plane, first, last);
    });
}

int64_t scatter_plane_scratch(const PlaceJob& job) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena{nullptr};
        Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value> scatter(job, arena);
        if (!kSame<decltype(s), decltype(a)>) arena.take<decltype(a)>(job.height * job.width * job.inner);
        return arena.used;
    });
}

bool scatter_plane(const PlaceJob& job, int64_t plane, void* scratch) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena{static_cast<char*>(scratch)};
        Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value> scatter(job, arena);
        return scatter.whole(plane, arena.take<decltype(a)>(0));
    });
}

template <class F>
auto by_gather(const PlaceJob& job, F&& f) {
    const auto of = [&](auto s) { return job.compact ? f(s, uint8_t()) : f(s, int64_t()); };
    switch (job.type) {
        case PoolType::u8:
            return of(uint8_t());
        case PoolType::u16:
            return of(uint16_t());
        case PoolType::u32:
            return of(uint32_t());
        default:
            return of(int64_t());
    }
}

int64_t gather_scratch(const PlaceJob& job) {
    return by_gather(job, [&](auto s, auto i) {
        Arena arena{nullptr};
        Gather<decltype(s), decltype(i)> gather(job, arena);
        return arena.used;
    });
}

bool gather(const PlaceJob& job, int64_t plane, int64_t first, int64_t last, void* scratch) {
    return by_gather(job, [&](auto s, auto i) {
        Arena arena{static_cast<char*>(scratch)};
        return Gather<decltype(s), decltype(i)>(job, arena).run(plane, first, last);
    });
}

}  // namespace

const PoolKernels pool_kernels = {max_pool_scratch,      max_pool,      scatter_scratch, scatter,
                                  scatter_plane_scratch, scatter_plane, gather_scratch,  gather};

}  // namespace FASTDET_ISA
}  // namespace fastdet
