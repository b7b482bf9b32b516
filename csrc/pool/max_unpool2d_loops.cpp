// Unpooling and the gradients of both: the loops. Compiled once per instruction set.
//
// Scattering goes through a band of rows that stays in the cache, so that each line of the image is written once; where
// an index points out of its band the plane is done again by a plain scatter. Gathering reads the places of the
// indices. Floor: values and indices read, the image written once.
#include "pool/max_unpool2d.h"

#include <type_traits>

#include "core/floats.h"
#include "core/read_once.h"
#include "pool/writer.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// The place of each index. Compact ones through tables of the window's rows and columns.
template <class I>
struct Places {
    int64_t ky[256], kx[256], H, W;
    const PoolWindow& w;
    Places(const PlaceJob& job) : H(job.height), W(job.width), w(job.window) {
        if (sizeof(I) > 1) return;
        const int64_t far = int64_t(1) << 40;  // outside any image
        for (uint32_t code = 0; code < 256; ++code) {
            uint32_t row, column;
            ky[code] = window_place(code, w, &row, &column) ? row : far;
            kx[code] = column;
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

// 0 + value, as a sum from 0 gives it: 0 + -0 is 0.
static inline float plus_zero(float x) { return x + 0.0f; }
static inline double plus_zero(double x) { return x + 0.0; }
static inline Half plus_zero(Half x) { return {uint16_t(x.bits == 0x8000 ? 0 : x.bits)}; }
static inline BFloat16 plus_zero(BFloat16 x) { return {uint16_t(x.bits == 0x8000 ? 0 : x.bits)}; }
template <class S>
static inline S plus_zero(S x) {
    return x;
}

// How far n indices lie from the first place of their 2 x 2 window, into `to`; not 0: one lies outside it. Flat: 0, 1,
// W, W + 1.
template <class I>
FASTDET_MEMBER uint32_t window_offsets(const I* __restrict index, int64_t n, int64_t origin, int64_t by, uint32_t down,
                                       uint32_t* __restrict to) {
    uint32_t outside = 0;
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

template <bool kAdd, class S>
FASTDET_MEMBER S one(S v, bool here, S blank) {
    return here ? (kAdd ? plus_zero(v) : v) : blank;
}

// Each value to the one of its four places that it came from, blanks to the others.
template <bool kAdd, class S>
FASTDET_MEMBER void spread(const S* __restrict v, const uint32_t* __restrict d, int64_t n, uint32_t down, S blank,
                           S* __restrict a, S* __restrict b, S* __restrict c, S* __restrict e) {
    for (int64_t i = 0; i < n; ++i) {
        a[i] = one<kAdd>(v[i], d[i] == 0, blank);
        b[i] = one<kAdd>(v[i], d[i] == 1, blank);
        c[i] = one<kAdd>(v[i], d[i] == down, blank);
        e[i] = one<kAdd>(v[i], d[i] == down + 1, blank);
    }
}

// The same where places lie side by side: n values to the rows `top` and `low`, which are `width` long.
template <bool kAdd, class S>
FASTDET_MEMBER void spread_pairs(const S* __restrict v, const uint32_t* __restrict d, int64_t n, uint32_t down,
                                 int64_t width, S blank, S* __restrict top, S* __restrict low) {
    for (int64_t i = 0; i < n; ++i) {
        top[2 * i] = one<kAdd>(v[i], d[i] == 0, blank);
        top[2 * i + 1] = one<kAdd>(v[i], d[i] == 1, blank);
    }
    for (int64_t i = 2 * n; i < width; ++i) top[i] = low[i] = blank;
    for (int64_t i = 0; i < n; ++i) {
        low[2 * i] = one<kAdd>(v[i], d[i] == down, blank);
        low[2 * i + 1] = one<kAdd>(v[i], d[i] == down + 1, blank);
    }
}

// S as stored, A as summed (S itself where nothing is summed), I the index
template <class S, class A, class I, bool kAdd>
struct Scatter {
    const PlaceJob& job;
    const PoolWindow& w;
    const int64_t H, W, C, h, columns, band_rows, row;  // row: elements of a row of the image
    const bool two;
    const Places<I> places;
    const A blank;
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
          band_rows(lesser<int64_t>(w.kh, H + w.ph)),
          row(W * C),
          two(has_twos(w) && 2 * h <= H && 2 * columns <= W && W < int64_t(1) << 30),
          places(job),
          blank(A(job.fill)),
          out(arena, job.stream, two ? 2 * (C > 1 ? C : W) : 0, stored(blank)),
          below(arena, job.stream && C > 1, C > 1 && two ? 2 * C : 0, stored(blank)),
          band(arena.take<A>(two ? 0 : band_rows * row)),
          near(arena.take<uint32_t>(two ? (C > 1 ? C : columns) : 0)) {}

    static S stored(A value) {
        if constexpr (std::is_same_v<S, A>) return value;
        return S{};  // of sums: 0
    }

    bool run(int64_t plane, int64_t from, int64_t to) {
        x = static_cast<const S*>(job.x) + plane * h * columns * C;
        indices = static_cast<const I*>(job.indices) + plane * h * columns * C;
        S* image = static_cast<S*>(job.out) + plane * H * row;
        return two ? C > 1 ? two_pixels(image, from, to) : twos(image, from, to) : by_band(image, from, to);
    }

    uint32_t offsets(const I* index, int64_t n, int64_t origin, int64_t by) {
        return window_offsets(index, n, origin, by, uint32_t(sizeof(I) > 1 ? W : 2), near);
    }

    bool twos(S* image, int64_t from, int64_t to) {
        const uint32_t down = uint32_t(sizeof(I) > 1 ? W : 2);
        out.start(image + 2 * from * W);
        for (int64_t r = from; r < to; ++r) {
            if (offsets(indices + r * columns, columns, 2 * r * W, 2)) return false;
            S* const top = out.next(2 * W);
            spread_pairs<kAdd>(x + r * columns, near, columns, down, W, out.blank, top, top + W);
            out.done(2 * W);
        }
        if (to == h) out.put(nullptr, (H - 2 * h) * W);
        out.finish();
        return true;
    }

    bool two_pixels(S* image, int64_t from, int64_t to) {
        const uint32_t down = uint32_t(sizeof(I) > 1 ? W : 2);
        for (int64_t r = from; r < to; ++r) {
            out.start(image + 2 * r * row);
            below.start(image + (2 * r + 1) * row);
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t at = (r * columns + c) * C;
                if (offsets(indices + at, C, 2 * r * W + 2 * c, 0)) return false;
                S *top = out.next(2 * C), *low = below.next(2 * C);
                spread<kAdd>(x + at, near, C, down, out.blank, top, top + C, low, low + C);
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
        if constexpr (std::is_same_v<S, A>) {
            out.put(from, row);
        } else if (!from) {
            out.put(nullptr, row);
        } else {
            constexpr int64_t kPiece = 1024;
            for (int64_t i = 0; i < row; i += kPiece) {
                const int64_t n = lesser<int64_t>(kPiece, row - i);
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
        int64_t y = from ? greater<int64_t>(from * w.sh - w.ph, 0) : 0;  // the next row to write out
        const int64_t stop = to == h ? H : lesser<int64_t>(greater<int64_t>(to * w.sh - w.ph, 0), H);
        if (y < H) out.start(image + y * row);
        for (int64_t i = 0; i < band_rows * row; ++i) band[i] = blank;
        for (int64_t r = greater<int64_t>(0, from - (band_rows - 1) / w.sh); r < to; ++r) {
            const int64_t top = r * w.sh - w.ph, low = greater<int64_t>(top, 0) * W,
                          high = lesser<int64_t>(top + band_rows, H) * W;
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
            for (int64_t i = kept * row; i < band_rows * row; ++i) band[i] = blank;
        }
        if (y < stop) return false;
        out.finish();
        return true;
    }

    // Any indices: the whole plane at once.
    bool whole(int64_t plane, A* sum) {
        run_from(plane);
        S* image = static_cast<S*>(job.out) + plane * H * row;
        if constexpr (std::is_same_v<S, A>) sum = image;
        for (int64_t i = 0; i < H * row; ++i) sum[i] = blank;
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
        if constexpr (!std::is_same_v<S, A>) store_row(sum, H * row, image);
        return true;
    }
    void run_from(int64_t plane) {
        x = static_cast<const S*>(job.x) + plane * h * columns * C;
        indices = static_cast<const I*>(job.indices) + plane * h * columns * C;
    }
};

constexpr int64_t kIndices = 256;  // at a time

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
                bool bad = !size && n;
                if (bad) return false;
                I own[kIndices];
                for (int64_t at = 0; at < n; at += kIndices) {
                    const int64_t count = n - at < kIndices ? n - at : kIndices;
                    read_once(index + at, count, own);
                    for (int64_t i = 0; i < count; ++i) {
                        const uint64_t place = uint64_t(own[i]);
                        const bool fits = place < size;
                        bad |= !fits;
                        y[at + i] = x[fits ? place : 0];
                    }
                }
                if (bad) return false;
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

int64_t scatter_scratch(const PlaceJob& job) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena(nullptr);
        Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value> scatter(job, arena);
        return arena.used;
    });
}

bool scatter_rows(const PlaceJob& job, int64_t plane, int64_t first, int64_t last, void* scratch) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena(scratch);
        return Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value>(job, arena).run(plane, first, last);
    });
}

int64_t scatter_plane_scratch(const PlaceJob& job) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena(nullptr);
        Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value> scatter(job, arena);
        if (!std::is_same_v<decltype(s), decltype(a)>) arena.take<decltype(a)>(job.height * job.width * job.inner);
        return arena.used;
    });
}

bool scatter_plane(const PlaceJob& job, int64_t plane, void* scratch) {
    return by_scatter(job, [&](auto s, auto a, auto i, auto add) {
        Arena arena(scratch);
        Scatter<decltype(s), decltype(a), decltype(i), decltype(add)::value> scatter(job, arena);
        return scatter.whole(plane, arena.take<decltype(a)>(0));
    });
}

int64_t gather_scratch(const PlaceJob& job) {
    return by_gather(job, [&](auto s, auto i) {
        Arena arena(nullptr);
        Gather<decltype(s), decltype(i)> gather(job, arena);
        return arena.used;
    });
}

bool gather_rows(const PlaceJob& job, int64_t plane, int64_t first, int64_t last, void* scratch) {
    return by_gather(job, [&](auto s, auto i) {
        Arena arena(scratch);
        return Gather<decltype(s), decltype(i)>(job, arena).run(plane, first, last);
    });
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(MaxUnpool2dKernels, max_unpool2d_kernels,
                {scatter_scratch, scatter_rows, scatter_plane_scratch, scatter_plane, gather_scratch, gather_rows})

}  // namespace fastdet
