// Max-pooling, of planes and channels last.
//
// 2 x 2 windows side by side in planes whose rows are whole pieces of 16 bytes, the usual ones: a thread loads such a
// piece of two rows and stores half a piece of values with their indices. Anything else: a thread has one output, or
// channels last 16 bytes' worth of the channels of one where they are whole pieces, and walks over its window; windows
// that overlap meet again in the cache. Each thread runs down several rows of outputs.
//
// Floor: the bytes; 8 x 64 x 512^2 in half precision, 2 x 2: 268 MB read, 67 + 34 MB written with compact indices (86
// us at 4.3 TB/s), 67 + 268 MB with flat ones (140 us). Operations: some 25 an output of 2 x 2 windows, a third of what
// an H200 issues in that time; elsewhere some 60 and 9 a place of the window (3 x 3, every second: 160 us). Limit:
// images and windows of 2^30 each way.
#include "core/half.h"
#include "cuda/rows.h"
#include "pool/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxRows = 16;  // of outputs, a thread's

// What values are compared in.
template <class S>
__device__ inline S compared(S x) {
    return x;
}
__device__ inline float compared(Half x) { return widen(x); }
__device__ inline float compared(BFloat16 x) { return widen(x); }

template <class S>
__device__ inline S kept(S, S x) {
    return x;
}
__device__ inline Half kept(Half, float x) { return narrow<Half>(x); }
__device__ inline BFloat16 kept(BFloat16, float x) { return narrow<BFloat16>(x); }

// N results from value `at` of the results on, and where they are: a place is counted from `origin`, which moves by
// `by` from one result to the next.
template <class S, int N, class T>
__device__ inline void emit(const PoolJob& job, int64_t at, const T (&best)[N], const int (&place)[N], int64_t origin,
                            int by) {
    Pack<S, N> values;
#pragma unroll
    for (int j = 0; j < N; ++j) values.v[j] = kept(S{}, best[j]);
    store_pack(static_cast<S*>(job.values) + at, values);
    if (!job.indices) return;
    if (job.compact) {
        Pack<uint8_t, N> codes;
#pragma unroll
        for (int j = 0; j < N; ++j) codes.v[j] = uint8_t(place[j]);
        store_pack(static_cast<uint8_t*>(job.indices) + at, codes);
    } else {
        Pack<int64_t, N> flat;
#pragma unroll
        for (int j = 0; j < N; ++j) flat.v[j] = origin + j * by + place[j];
        store_pack(static_cast<int64_t*>(job.indices) + at, flat);
    }
}

// N channels of a pixel, of any window. Rows of outputs, by N values.
template <class S, int N>
__global__ void __launch_bounds__(kThreads, N == 16 ? 2 : 4) pool_kernel(const PoolJob job, const Rows rows) {
    using T = decltype(compared(S{}));
    int64_t row, end, chunk;
    if (!my_rows(rows, &row, &end, &chunk)) return;
    const PoolWindow& w = job.window;
    const int64_t C = job.inner, column = chunk * N / C, channel = chunk * N - column * C;
    const int H = int(job.height), W = int(job.width), kh = int(w.kh), kw = int(w.kw);
    const int left = int(column * w.sw - w.pw), x0 = left > 0 ? left : 0, x1 = left + kw < W ? left + kw : W;
    const int step = job.compact ? kw : W;
    int64_t plane = row / job.rows;
    int r = int(row - plane * job.rows);
    for (; row < end; ++row) {
        const int top = r * int(w.sh) - int(w.ph), y0 = top > 0 ? top : 0, y1 = top + kh < H ? top + kh : H;
        const S* from = static_cast<const S*>(job.x) + ((plane * H + y0) * W + x0) * C + channel;
        T best[N];
        int place[N];
        const Pack<S, N> first = load_pack<N>(from);
#pragma unroll
        for (int j = 0; j < N; ++j) best[j] = compared(first.v[j]), place[j] = (y0 - top) * step + (x0 - left);
        for (int y = y0; y < y1; ++y, from += W * C) {
            int here = (y - top) * step + (x0 - left);
            const S* p = from;
            for (int x = x0; x < x1; ++x, ++here, p += C) {
                const Pack<S, N> values = load_pack<N>(p);
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    const T value = compared(values.v[j]);
                    const bool take = takes(value, best[j]);
                    best[j] = take ? value : best[j];
                    place[j] = take ? here : place[j];
                }
            }
        }
        emit<S, N>(job, (row * job.columns + column) * C + channel, best, place, int64_t(top) * W + left, 0);
        if (++r == int(job.rows)) r = 0, ++plane;
    }
}

// 2 x 2 windows side by side in planes, N of a row at once.
template <class S>
__global__ void __launch_bounds__(kThreads) twos_kernel(const PoolJob job, const Rows rows) {
    using T = decltype(compared(S{}));
    constexpr int V = 16 / int(sizeof(S)), N = V / 2;
    int64_t row, end, chunk;
    if (!my_rows(rows, &row, &end, &chunk)) return;
    const int64_t W = job.width;
    const int down = int(job.compact ? 2 : W);
    int64_t plane = row / job.rows;
    int r = int(row - plane * job.rows);
    for (; row < end; ++row) {
        const S* from = static_cast<const S*>(job.x) + (plane * job.height + 2 * r) * W + chunk * V;
        const Pack<S, V> upper = load_pack<V>(from), lower = load_pack<V>(from + W);
        T best[N];
        int place[N];
#pragma unroll
        for (int j = 0; j < N; ++j) {
            best[j] = compared(upper.v[2 * j]);
            place[j] = 0;
            const auto look = [&](S x, int here) {
                const T value = compared(x);
                const bool take = takes(value, best[j]);
                best[j] = take ? value : best[j];
                place[j] = take ? here : place[j];
            };
            look(upper.v[2 * j + 1], 1);
            look(lower.v[2 * j], down);
            look(lower.v[2 * j + 1], down + 1);
        }
        emit<S, N>(job, row * job.columns + chunk * N, best, place, 2 * r * W + chunk * V, 2);
        if (++r == int(job.rows)) r = 0, ++plane;
    }
}

template <class S>
void launch(const PoolJob& job, cudaStream_t stream) {
    constexpr int V = 16 / int(sizeof(S));
    const int64_t count = job.planes * job.rows;
    const auto run = [&](auto kernel, int64_t chunks) {
        const Rows rows(count, chunks, kMaxRows);
        kernel(rows, unsigned(blocks_for(rows.threads(), kThreads)));
    };
    if (job.inner == 1 && has_twos(job.window) && job.width == 2 * job.columns && job.width % V == 0 &&
        2 * job.rows <= job.height) {
        run([&](const Rows& rows,
                unsigned blocks) { FASTDET_LAUNCH((twos_kernel<S>), blocks, kThreads, stream, job, rows); },
            job.width / V);
    } else if (job.inner % V == 0) {
        run([&](const Rows& rows,
                unsigned blocks) { FASTDET_LAUNCH((pool_kernel<S, V>), blocks, kThreads, stream, job, rows); },
            job.columns * job.inner / V);
    } else {
        run([&](const Rows& rows,
                unsigned blocks) { FASTDET_LAUNCH((pool_kernel<S, 1>), blocks, kThreads, stream, job, rows); },
            job.columns * job.inner);
    }
}

}  // namespace

void max_pool2d_cuda(const PoolJob& job, cudaStream_t stream) {
    if (!job.planes || !job.inner) return;
    switch (job.type) {
        case PoolType::f32:
            return launch<float>(job, stream);
        case PoolType::f64:
            return launch<double>(job, stream);
        case PoolType::f16:
            return launch<Half>(job, stream);
        case PoolType::bf16:
            return launch<BFloat16>(job, stream);
        case PoolType::u8:
            return launch<uint8_t>(job, stream);
        case PoolType::i8:
            return launch<int8_t>(job, stream);
        case PoolType::i32:
            return launch<int32_t>(job, stream);
        default:
            return launch<int64_t>(job, stream);
    }
}

}  // namespace fastdet
