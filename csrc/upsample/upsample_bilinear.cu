// Bilinear resampling: planes of rows of values, channels last too (a row is then width * channels values).
//
// A thread holds 16 bytes' worth (uint8 and int8: 8) of a row of the result and runs down up to 32 of its rows: where
// each of its values takes from is found out once, an input row is expanded across when the rows come to it and serves
// all the rows of the result between it and its neighbours, and a row leaves in one store (rows that do not begin at 16
// bytes: one value a store, side by side in a warp). Channels that fill whole pieces of 16 bytes are loaded as such,
// too.
//
// Floor: writing the result and reading the input, 4 (planes H W + planes h w) bytes in float32 (8 x 21 x 128^2 to
// 1024^2: 705 + 11 MB, 166 us at 4.3 TB/s). Operations: 3 a value and some 25 a thread and row, a third of what an H200
// issues in that time; uint8 and int8, whose values are also rounded: all of it. Limit: rows of 2^30 values.
#include "core/half.h"
#include "upsample/cuda.h"
#include "upsample/sizes.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxRows = 32;

template <class S>
constexpr int kAtOnce = sizeof(S) == 1 ? 8 : 16 / int(sizeof(S));  // values a thread; 16 would cost it 128 registers

// How the result's values lie among the threads of a row: V a thread, side by side (`vectors`; `pixels`: all of one
// pixel, and so are the input's), or every so many-th one (`values`).
enum class Access { values, vectors, pixels };

// V values of a row of the result from a row of the input.
template <class S, Access A>
struct Expansion {
    using T = Computed<S>;
    static constexpr int V = kAtOnce<S>, N = A == Access::pixels ? 1 : V;
    int first[N];  // first input of each, in values; the second is `unit` further on, but for the last pixel
    T w1[N];
    int unit, last;

    __device__ Expansion(const Sizes<T>& sizes, int chunk, int chunks) {
        unit = sizes.in_w == sizes.out_w ? 0 : sizes.channels;
        last = (sizes.in_w - 1) * sizes.channels;
        int k = A == Access::values ? chunk : chunk * V, pixel = k / sizes.channels, c = k - pixel * sizes.channels;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const Tap<T, int> t = sizes.column(pixel);
            first[j] = t.i0 * sizes.channels + c;
            w1[j] = t.w1;
            if (A == Access::values) {
                k = k < sizes.out_row() - chunks ? k + chunks : k;  // past the end: one that is there
                pixel = k / sizes.channels, c = k - pixel * sizes.channels;
            } else if (++c == sizes.channels) {
                c = 0, ++pixel;
            }
        }
    }

    __device__ void operator()(const S* row, T (&to)[V]) const {
        if constexpr (A == Access::pixels) {
            const Pack<S, V> a = load_pack<V>(row + first[0]);
            const Pack<S, V> b = load_pack<V>(row + (first[0] < last ? first[0] + unit : first[0]));
            const T w0 = T(1) - w1[0];
#pragma unroll
            for (int j = 0; j < V; ++j) to[j] = w0 * T(widen(a.v[j])) + w1[0] * T(widen(b.v[j]));
        } else {
#pragma unroll
            for (int j = 0; j < V; ++j) {
                const int i0 = first[j], i1 = i0 < last ? i0 + unit : i0;
                to[j] = (T(1) - w1[j]) * T(widen(row[i0])) + w1[j] * T(widen(row[i1]));
            }
        }
    }
};

template <class T, int V>
__device__ inline void copy(const T (&from)[V], T (&to)[V]) {
#pragma unroll
    for (int j = 0; j < V; ++j) to[j] = from[j];
}

// A thread: V values, of `chunks` such in a row, of a band of `rows` rows, of `bands` in a plane.
template <class S, Access A>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const S* x, S* out, Sizes<Computed<S>> sizes, int64_t planes, int chunks, int rows, int bands) {
    using T = Computed<S>;
    constexpr int V = kAtOnce<S>;
    const int64_t thread = thread_index(), line = thread / chunks, plane = line / bands;
    if (plane >= planes) return;
    const int chunk = int(thread - line * chunks), begin = int(line - plane * bands) * rows;
    const int end = sizes.out_h - begin < rows ? sizes.out_h : begin + rows;
    const int64_t in_row = sizes.in_row(), out_row = sizes.out_row();
    const Expansion<S, A> expand(sizes, chunk, chunks);
    const S* in = x + plane * sizes.in_h * in_row;
    S* to = out + (plane * sizes.out_h + begin) * out_row + (A == Access::values ? chunk : int64_t(chunk) * V);
    T upper[V], lower[V];  // the input rows, expanded, between which the row of the result lies
    int upper_row = -1, lower_row = -1;
    for (int y = begin; y < end; ++y, to += out_row) {
        const Tap<T, int> t = sizes.row(y);
        if (t.i0 != upper_row) {
            if (t.i0 == lower_row) {
                copy(lower, upper);
            } else {
                expand(in + t.i0 * in_row, upper);
            }
            upper_row = t.i0;
        }
        if (t.i1 != lower_row) {
            if (t.i1 == upper_row) {
                copy(upper, lower);
            } else {
                expand(in + t.i1 * in_row, lower);
            }
            lower_row = t.i1;
        }
        Pack<S, V> made;
#pragma unroll
        for (int j = 0; j < V; ++j) made.v[j] = narrow_to(S{}, t.w0 * upper[j] + t.w1 * lower[j]);
        if (A == Access::values) {
#pragma unroll
            for (int j = 0; j < V; ++j) {
                if (chunk + int64_t(j) * chunks < out_row) to[int64_t(j) * chunks] = made.v[j];
            }
        } else {
            store_pack(to, made);
        }
    }
}

}  // namespace

template <class S>
void upsample_bilinear_cuda(const UpsampleJob& job, cudaStream_t stream) {
    constexpr int V = kAtOnce<S>;
    if (!job.planes || !job.channels) return;
    const Sizes<Computed<S>> sizes(job);
    const int64_t chunks = blocks_for(sizes.out_row(), V);
    const int64_t wanted = job.planes * job.out_h * chunks / enough_threads();
    const int64_t rows = wanted < 1 ? 1 : wanted > kMaxRows ? kMaxRows : wanted;
    const int64_t bands = blocks_for(job.out_h, rows), blocks = blocks_for(job.planes * bands * chunks, kThreads);
    const auto launch = [&](auto access) {
        constexpr Access A = decltype(access)::value;
        FASTDET_LAUNCH((forward_kernel<S, A>), unsigned(blocks), kThreads, stream, static_cast<const S*>(job.from),
                       static_cast<S*>(job.to), sizes, job.planes, int(chunks), int(rows), int(bands));
    };
    if (job.channels % V == 0) {
        launch(std::integral_constant<Access, Access::pixels>());
    } else if (sizes.out_row() % V == 0) {
        launch(std::integral_constant<Access, Access::vectors>());
    } else {
        launch(std::integral_constant<Access, Access::values>());
    }
}

template void upsample_bilinear_cuda<float>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_cuda<double>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_cuda<Half>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_cuda<BFloat16>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_cuda<uint8_t>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_cuda<Signed8>(const UpsampleJob&, cudaStream_t);

}  // namespace fastdet
