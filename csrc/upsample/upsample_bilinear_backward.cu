// Bilinear resampling backward, the exact transpose, as a gather: each sum in the CPU's order, from the top and from
// the left, and rounded once.
//
// A block has a tile of input columns (and of channels, channels last) of a band of input rows. Its threads hold 16
// bytes' worth of a row of the gradient each and run down the rows: those between input rows r and r + 1 are added to
// the sums of both. The finished sums of row r go through shared memory, where each input column adds up its outputs'.
// Columns between two tiles and rows between two bands are read by both. Where one input column has more outputs than
// a block holds (from 1 x 1 to 2000 x 2000) they are taken piece by piece, and each input row is a band.
//
// Floor: reading the gradient and writing the result, 4 (planes H W + planes h w) bytes in float32 (8 x 21 x 1024^2 to
// 128^2: 166 us at 4.3 TB/s), and what two tiles or bands read, (n + 1) / n for n input columns or rows of one: 5 %
// there, 14 % with many channels last, 8 times larger. Operations: 4 a value read, some 30 a thread and row, 5 a value
// and input row: half of what an H200 issues in that time. Limit: rows of 2^30 values; rows much shorter than a warp's
// 512 bytes leave lanes idle.
#include "core/half.h"
#include "upsample/cuda.h"
#include "upsample/sizes.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxInputs = 1024;                // of a tile
constexpr int kAbreast = 4;                     // rows of the gradient that a thread loads at once
constexpr int64_t kBlocks = 8;                  // a multiprocessor, at least
constexpr int64_t kCached = int64_t(16) << 20;  // bytes: what is read twice comes from the cache

// How the work is cut into units, a block's each.
struct Cut {
    int64_t units;      // ((plane * chunks + chunk) * tiles + tile) * bands + band
    int rows, bands;    // of input rows
    int pixels, tiles;  // of input columns
    int channels, chunks;
    int unit;   // output columns that a block reads begin at a multiple of it
    int piece;  // output columns that it holds at once
};

// A place in shared memory: each 32 values are one place longer, so that inputs 2, 4, ... outputs apart do not meet in
// one bank.
__device__ inline int apart(int k) { return k + k / 32; }

// What a block works on: a tile of input columns and channels of a band of input rows.
template <class S>
struct Unit {
    const S* from;  // the plane of the gradient
    S* to;          // the unit's first value of the result, in input row 0
    int top, bottom, left, pixels;
    int c0, channels;

    __device__ Unit(const S* grad, S* out, const Sizes<Computed<S>>& sizes, const Cut& cut, int64_t unit) {
        int64_t rest = unit;
        const auto part = [&rest](int count) {
            const int64_t above = rest / count;
            const int mine = int(rest - above * count);
            rest = above;
            return mine;
        };
        top = part(cut.bands) * cut.rows, left = part(cut.tiles) * cut.pixels;
        c0 = part(cut.chunks) * cut.channels;
        channels = sizes.channels - c0 < cut.channels ? sizes.channels - c0 : cut.channels;
        bottom = sizes.in_h - top < cut.rows ? sizes.in_h : top + cut.rows;
        pixels = sizes.in_w - left < cut.pixels ? sizes.in_w - left : cut.pixels;
        from = grad + rest * sizes.out_h * sizes.out_row();
        to = out + (rest * sizes.in_h * sizes.in_w + left) * sizes.channels + c0;
    }
};

// The sum over output columns for channel c of the unit's input column `pixel`, from `total` on. `sum` is a row of
// sums over output rows; `starts` and `weights` are the kernel's.
template <class T>
__device__ inline T add_columns(const T* sum, const T* weights, const int* starts, int pixel, int c, int channels,
                                bool equal_w, bool own, T total) {
    const int middle = starts[pixel + 1], after = starts[pixel + 2];
    for (int i = equal_w ? middle : starts[pixel]; i < middle; ++i)
        total = total + weights[i] * sum[apart(i * channels + c)];
    for (int i = middle; i < after; ++i) {
        const T w1 = weights[i], value = sum[apart(i * channels + c)];
        total = total + (T(1) - w1) * value;
        if (own) total = total + w1 * value;
    }
    return total;
}

// Rows [y, y + kAbreast) of the gradient, as far as `y_end`: this thread's values of each.
template <bool kVectors, class S, int V, int N>
__device__ inline void load_rows(const S* from, int64_t out_row, int y, int y_end, const int (&offset)[N],
                                 Pack<S, V> (&rows)[kAbreast]) {
#pragma unroll
    for (int i = 0; i < kAbreast; ++i) {
        if (y_end - y <= i) break;
        const S* row = from + (y + i) * out_row;
        if constexpr (kVectors) {
            if (offset[0] >= 0) rows[i] = load_pack<V>(row + offset[0]);
        } else {
#pragma unroll
            for (int j = 0; j < V; ++j) {
                if (offset[j] >= 0) rows[i].v[j] = row[offset[j]];
            }
        }
    }
}

// A row of the gradient to the sums of the input rows above and below it; own: all to the one above.
template <class S, int V>
__device__ inline void add_row(const Pack<S, V>& row, const Tap<Computed<S>, int>& t, bool own, Computed<S> (&cur)[V],
                               Computed<S> (&next)[V]) {
#pragma unroll
    for (int j = 0; j < V; ++j) {
        const Computed<S> value = widen(row.v[j]), second = t.w1 * value;
        cur[j] = cur[j] + t.w0 * value;
        cur[j] = own ? cur[j] + second : cur[j];
        next[j] = own ? next[j] : next[j] + second;
    }
}

template <class S, bool kVectors>
__global__ void __launch_bounds__(kThreads, sizeof(S) == 4 ? 3 : 2)
    backward_kernel(const S* grad, S* out, const Sizes<Computed<S>> sizes, const Cut cut) {
    using T = Computed<S>;
    constexpr int V = 16 / int(sizeof(S)), kMaxValues = kThreads * V;
    FASTDET_SHARED(T, sums, [2][kMaxValues + kMaxValues / 32]);  // of rows, by output column and channel
    FASTDET_SHARED(T, weights, [kMaxValues]);                    // of an output column for its second input
    FASTDET_SHARED(int, starts, [kMaxInputs + 2]);               // first output column of input `left - 1 + i`
    const int me = int(threadIdx.x), threads = int(blockDim.x);
    const bool equal_h = sizes.in_h == sizes.out_h, equal_w = sizes.in_w == sizes.out_w;
    const int64_t out_row = sizes.out_row();
    for (int64_t number = blockIdx.x; number < cut.units; number += gridDim.x) {
        const Unit<S> unit(grad, out, sizes, cut, number);
        const int top = unit.top, left = unit.left, pixels = unit.pixels, channels = unit.channels;
        // Rows that lie between row top - 1 and row top of the input belong to both.
        const int first = top && !equal_h ? top - 1 : top;
        const int y_begin = sizes.first_row(first), y_end = sizes.first_row(unit.bottom);
        const int x_end = sizes.first_column(left + pixels);
        int x = left ? sizes.first_column(left - 1) : 0;
        x -= x % cut.unit;
        T carried = 0;  // the sum of input column `left` over the pieces before
        for (bool begun = false, done = false; !done; begun = true, x += cut.piece) {
            const int width = x_end - x < cut.piece ? x_end - x : cut.piece, n = width * channels;
            done = x_end - x <= cut.piece;
            __syncthreads();  // what was in shared memory has been read
            for (int k = me; k < width; k += threads) weights[k] = sizes.column(x + k).w1;
            for (int k = me; k < pixels + 2; k += threads) {
                const int start = (left + k ? sizes.first_column(left - 1 + k) : 0) - x;
                starts[k] = start < 0 ? 0 : start < width ? start : width;
            }
            constexpr int kOffsets = kVectors ? 1 : V;
            int offset[kOffsets];  // of this thread's values from the row's begin; -1: none
#pragma unroll
            for (int j = 0; j < kOffsets; ++j) {
                const int k = kVectors ? me * V : me + j * threads, pixel = k / channels;
                offset[j] = k < n ? (x + pixel) * sizes.channels + unit.c0 + (k - pixel * channels) : -1;
            }
            T cur[V], next[V];  // sums of input rows r and r + 1
#pragma unroll
            for (int j = 0; j < V; ++j) cur[j] = next[j] = 0;
            int r = first;
            const auto finish = [&] {  // row r
                if (r >= top) {
                    T* sum = sums[r & 1];  // the other one may still be read
#pragma unroll
                    for (int j = 0; j < V; ++j) sum[apart(kVectors ? me * V + j : me + j * threads)] = cur[j];
                    __syncthreads();
                    for (int k = me; k < pixels * channels; k += threads) {
                        const int pixel = k / channels, c = k - pixel * channels;
                        const bool own = equal_w || left + pixel == sizes.in_w - 1;
                        const T total =
                            add_columns(sum, weights, starts, pixel, c, channels, equal_w, own, begun ? carried : T(0));
                        if (done) {
                            unit.to[(int64_t(r) * sizes.in_w + pixel) * sizes.channels + c] = narrow_to(S{}, total);
                        } else {
                            carried = total;
                        }
                    }
                }
#pragma unroll
                for (int j = 0; j < V; ++j) cur[j] = next[j], next[j] = 0;
                ++r;
            };
            for (int y = y_begin; y < y_end; y += kAbreast) {
                Pack<S, V> rows[kAbreast];
                load_rows<kVectors>(unit.from, out_row, y, y_end, offset, rows);
#pragma unroll
                for (int i = 0; i < kAbreast; ++i) {
                    if (y_end - y <= i) break;
                    const Tap<T, int> t = sizes.row(y + i);
                    while (r < t.i0) finish();
                    const bool own = equal_h || r == sizes.in_h - 1;
                    add_row(rows[i], t, own, cur, next);
                }
            }
            while (r < unit.bottom) finish();
        }
    }
}

int at_most(int64_t x, int64_t max) { return int(x < max ? x : max); }

// The largest number of output columns that a tile of so many input columns looks at.
template <class T>
int64_t reach(const Sizes<T>& sizes, int pixels, int unit) {
    int widest = 0;
    for (int left = 0; left < sizes.in_w; left += pixels) {
        const int begin = left ? sizes.first_column(left - 1) : 0;
        const int width = sizes.first_column(at_most(int64_t(left) + pixels, sizes.in_w)) - (begin - begin % unit);
        widest = width > widest ? width : widest;
    }
    return widest;
}

}  // namespace

template <class S>
void upsample_bilinear_backward_cuda(const UpsampleJob& job, cudaStream_t stream) {
    constexpr int V = 16 / int(sizeof(S)), kMaxValues = kThreads * V;
    constexpr int kChannels = 64 / int(sizeof(S));  // whole sectors of memory
    if (!job.planes || !job.channels) return;
    const Sizes<Computed<S>> sizes(job);
    Cut cut;
    cut.channels = sizes.channels <= 2 * kChannels ? sizes.channels : kChannels;
    cut.chunks = int(blocks_for(sizes.channels, cut.channels));
    const bool whole = sizes.channels % V == 0;
    const bool vectors = sizes.out_row() % V == 0 && (cut.chunks == 1 || whole);
    cut.unit = vectors && !whole ? V : 1;
    cut.piece = kMaxValues / cut.channels / cut.unit * cut.unit;
    // tiles of about as many columns as fit, all alike
    int64_t pixels = at_most(sizes.in_w, kMaxInputs / cut.channels);
    if (sizes.out_w > sizes.in_w) pixels = at_most(int64_t(cut.piece) * sizes.in_w / sizes.out_w + 1, pixels);
    for (;; pixels -= (pixels + 7) / 8) {
        cut.tiles = int(blocks_for(sizes.in_w, pixels));
        cut.pixels = int(blocks_for(sizes.in_w, cut.tiles));
        if (pixels == 1 || reach(sizes, cut.pixels, cut.unit) <= cut.piece) break;
    }
    const int64_t columns = reach(sizes, cut.pixels, cut.unit), parts = job.planes * cut.chunks * cut.tiles;
    const int64_t bytes = job.planes * sizes.out_h * sizes.out_row() * int64_t(sizeof(S));
    cut.rows = 1;
    if (columns <= cut.piece) {
        const int64_t min_rows = bytes <= kCached ? 1 : 8;
        const int64_t bands = at_most(blocks_for(kBlocks * device_attribute(cudaDevAttrMultiProcessorCount), parts),
                                      blocks_for(sizes.in_h, min_rows));
        cut.rows = int(blocks_for(sizes.in_h, bands));
    }
    cut.bands = int(blocks_for(sizes.in_h, cut.rows));
    cut.units = parts * cut.bands;
    const int64_t values = at_most(columns, cut.piece) * cut.channels, inputs = int64_t(cut.pixels) * cut.channels;
    const int64_t busy = blocks_for(values, V) > inputs / 4 ? blocks_for(values, V) : inputs / 4;
    const int threads = at_most(blocks_for(busy, kWarp) * kWarp, kThreads);
    const unsigned blocks = unsigned(at_most(cut.units, INT32_MAX));
    const S* from = static_cast<const S*>(job.from);
    S* to = static_cast<S*>(job.to);
    if (vectors) {
        FASTDET_LAUNCH((backward_kernel<S, true>), blocks, threads, stream, from, to, sizes, cut);
    } else {
        FASTDET_LAUNCH((backward_kernel<S, false>), blocks, threads, stream, from, to, sizes, cut);
    }
}

template void upsample_bilinear_backward_cuda<float>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_backward_cuda<double>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_backward_cuda<Half>(const UpsampleJob&, cudaStream_t);
template void upsample_bilinear_backward_cuda<BFloat16>(const UpsampleJob&, cudaStream_t);

}  // namespace fastdet
