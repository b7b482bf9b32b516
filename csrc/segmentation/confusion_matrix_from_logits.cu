// Confusion matrices of class scores: argmax, and bilinear resampling, on the way into the count (tally.h).
//
// Planes as they are: a thread loads 16 bytes' worth of neighbouring pixels of each class, whose best ones stay in
// registers. Channels last: a warp brings 32 pixels of some classes to shared memory, side by side, and each lane goes
// through its pixel's. Resampled: a warp takes 32 columns and 8 rows of the result; a thread interpolates along the
// rows of the input once and between them for each of its 8 pixels, which lie between few.
// Floor, as they are: the scores and the target are read once (8 x 19 x 1024 x 2048 float32: 1.3 GB, 300 us at
// 4.3 TB/s). Resampled, the bytes are few and the operations count: six a pixel and class, and 20 for 8 pixels where
// the result is larger (the same from 128 x 256: 8.5 a pixel and class, 95 us on 132 SMs). Aims: 1.2 and 1.5 times.
// Limit: 2^31 images; all offsets are 64-bit.
#include "core/floats.h"
#include "segmentation/tally.h"
#include "upsample/bilinear.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

template <class S>
using Computed = decltype(widen(S()));

// Of class c at pixel i of an image, in the order of (N, C, H, W).
template <class S>
__device__ inline int64_t score_place(const Scores<S>& scores, int64_t image, int64_t c, int64_t i) {
    return (image * scores.classes + c) * scores.in_height * scores.in_width + i;
}

template <class S>
__device__ inline void note_nans(const Scores<S>& scores, int64_t image, int64_t pixel, Notes* notes) {
    const int64_t plane = scores.in_height * scores.in_width;
    for (int64_t c = 0; c < scores.classes; ++c) {
        const int64_t at =
            scores.channels_last ? (image * plane + pixel) * scores.classes + c : score_place(scores, image, c, pixel);
        const auto x = widen(scores.data[at]);
        if (x != x) return note(notes, true, score_place(scores, image, c, pixel));
    }
}

// The state of a thread for the pixels that it counts.
struct Counting {
    const LabelMap &target, &prediction;
    const Matrices& m;
    const Tally& tally;
    Run<uint64_t, uint32_t> run;

    // Pixel `at` of the target.
    __device__ void take(int64_t at, uint32_t predicted) {
        const uint64_t label = label_at(target, at);
        if (!run.has(label, predicted)) {
            const uint32_t truth = noted_class(label, target, m.notes, false, at);
            const uint32_t guess = class_of(predicted, uint32_t(prediction.ignore), uint32_t(prediction.void_code));
            run.turn(tally, label, predicted, truth * m.side + guess);
        }
        ++run.count;
    }
};

template <class S, int V>
struct alignas(sizeof(S) * V) Pixels {
    S x[V];
};

// V: pixels at once; their number and the memory allow it.
template <class S, int V>
__global__ void __launch_bounds__(kThreads, 4)
    planes_kernel(Scores<S> scores, LabelMap target, LabelMap prediction, Matrices m) {
    using T = Computed<S>;
    FASTDET_SHARED_REST(uint32_t, memory);
    const Tally tally(m, memory);
    Counting counting{target, prediction, m, tally, {}};
    const int64_t plane = scores.in_height * scores.in_width, image = tally.image();
    for (int64_t i = (tally.block() * kThreads + threadIdx.x) * V; i < plane;
         i += int64_t(m.per_image) * kThreads * V) {
        const S* p = scores.data + image * scores.classes * plane + i;
        T best[V];
        uint32_t index[V];
        bool good = true;
#pragma unroll
        for (int k = 0; k < V; ++k) best[k] = T(NAN), index[k] = 0;
#pragma unroll 4
        for (int64_t c = 0; c < scores.classes; ++c, p += plane) {
            const Pixels<S, V> values = *reinterpret_cast<const Pixels<S, V>*>(p);
#pragma unroll
            for (int k = 0; k < V; ++k) {
                const T score = widen(values.x[k]);
                good = good && score == score;
                const bool better = is_better(score, best[k]);
                index[k] = better ? uint32_t(c) : index[k];
                best[k] = better ? score : best[k];
            }
        }
        if (!good) {
            for (int k = 0; k < V; ++k) note_nans(scores, image, i + k, m.notes);
        }
#pragma unroll
        for (int k = 0; k < V; ++k) counting.take(image * plane + i + k, index[k]);
    }
    counting.run.end(tally);
    tally.finish();
}

constexpr int kPixelThreads = 128, kPixelWarps = kPixelThreads / kWarp;

template <class T>
constexpr int kTile = 128 / int(sizeof(T));  // classes at a time
constexpr int64_t kTileBytes = 18 << 10;     // at least of a block's tiles

template <class S>
__global__ void __launch_bounds__(kPixelThreads, 8)
    channels_last_kernel(Scores<S> scores, LabelMap target, LabelMap prediction, Matrices m) {
    using T = Computed<S>;
    constexpr int kMaxClasses = kTile<T>;
    static_assert(kPixelWarps * kWarp * (kMaxClasses + 1) * sizeof(T) <= kTileBytes, "what is left is the tallies'");
    FASTDET_SHARED(T, tiles, [kPixelWarps][kWarp][kMaxClasses + 1]);
    FASTDET_SHARED_REST(uint32_t, memory);
    const Tally tally(m, memory);
    Counting counting{target, prediction, m, tally, {}};
    T(&tile)[kWarp][kMaxClasses + 1] = tiles[threadIdx.x / kWarp];
    const int lane = threadIdx.x % kWarp;
    const int64_t classes = scores.classes, plane = scores.in_height * scores.in_width;
    const int64_t image = tally.image(), step = int64_t(m.per_image) * kPixelThreads;
    for (int64_t i = tally.block() * kPixelThreads + threadIdx.x / kWarp * kWarp; i < plane; i += step) {
        const int pixels = plane - i < kWarp ? int(plane - i) : kWarp;
        const S* p = scores.data + (image * plane + i) * classes;
        T best = T(NAN);
        uint32_t index = 0;
        bool good = true;
        for (int64_t c = 0; c < classes; c += kMaxClasses) {
            const int width = classes - c < kMaxClasses ? int(classes - c) : kMaxClasses;
            const int down = kWarp / width, right = kWarp % width;
            __syncwarp();  // the last tile has been read
            int row = lane / width, column = lane % width;
#pragma unroll 4
            for (int k = lane; k < pixels * width; k += kWarp) {
                tile[row][column] = widen(p[row * classes + c + column]);
                row += down, column += right;
                if (column >= width) column -= width, ++row;
            }
            __syncwarp();
            if (lane >= pixels) continue;
            for (int k = 0; k < width; ++k) {
                const T score = tile[lane][k];
                good = good && score == score;
                const bool better = is_better(score, best);
                index = better ? uint32_t(c + k) : index;
                best = better ? score : best;
            }
        }
        if (lane >= pixels) continue;
        if (!good) note_nans(scores, image, i + lane, m.notes);
        counting.take(image * plane + i + lane, index);
    }
    counting.run.end(tally);
    tally.finish();
}

constexpr int kRows = 8;                // of the result that a thread takes
constexpr int64_t kTapBytes = 2 << 10;  // at least of a block's taps

template <class S>
__global__ void __launch_bounds__(kThreads, sizeof(Computed<S>) == 8 ? 1 : 3)
    resampled_kernel(Scores<S> scores, LabelMap target, LabelMap prediction, Computed<S> row_step,
                     Computed<S> column_step, Matrices m) {
    using T = Computed<S>;
    static_assert(kWarps * kRows * sizeof(Tap<T>) <= kTapBytes, "what is left is the tallies'");
    FASTDET_SHARED(Tap<T>, taps, [kWarps][kRows]);
    FASTDET_SHARED_REST(uint32_t, memory);
    const Tally tally(m, memory);
    Counting counting{target, prediction, m, tally, {}};
    Tap<T>(&rows)[kRows] = taps[threadIdx.x / kWarp];
    const int lane = threadIdx.x % kWarp;
    const int64_t classes = scores.classes, height = scores.height, width = scores.width;
    const int64_t plane = scores.in_height * scores.in_width;
    const int64_t of_pixel = scores.channels_last ? classes : 1, of_class = scores.channels_last ? 1 : plane;
    const int64_t of_row = scores.in_width * of_pixel;
    const int64_t across = (width + kWarp - 1) / kWarp, tiles = (height + kRows - 1) / kRows * across;
    const int64_t image = tally.image(), step = int64_t(m.per_image) * kWarps;
    for (int64_t tile = tally.block() * kWarps + threadIdx.x / kWarp; tile < tiles; tile += step) {
        const int64_t top = tile / across * kRows, x = tile % across * kWarp + lane;
        __syncwarp();  // the last rows have been read
        if (lane < kRows) {
            const int64_t y = top + lane < height ? top + lane : height - 1;
            rows[lane] = tap(y, scores.in_height, height, scores.align_corners, row_step);
        }
        __syncwarp();
        const Tap<T> column = tap(x < width ? x : width - 1, scores.in_width, width, scores.align_corners, column_step);
        const int64_t right = (column.i1 - column.i0) * of_pixel;
        T upper_weight[kRows], lower_weight[kRows], best[kRows];
        uint32_t index[kRows], turns = 0, moves = 0;  // bit r: row r lies between others than the one before it;
                                                      // its upper one is the lower one of before
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            const Tap<T> row = rows[r];
            upper_weight[r] = row.w0, lower_weight[r] = row.w1;
            best[r] = T(NAN), index[r] = 0;
            if (r && row.i0 == rows[r - 1].i0) continue;
            turns |= 1u << r;
            if (r && row.i0 == rows[r - 1].i1) moves |= 1u << r;
        }
        const S* p = scores.data + image * classes * plane + column.i0 * of_pixel;
        for (uint32_t c = 0; c < uint32_t(classes); ++c, p += of_class) {
            const auto along = [&](const volatile int64_t& row) {  // volatile: not kept in registers, which are scarce
                const S* from = p + row * of_row;
                return column.w0 * widen(*from) + column.w1 * widen(from[right]);
            };
            T upper = 0, lower = 0;
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                if (turns >> r & 1) {
                    upper = moves >> r & 1 ? lower : along(rows[r].i0);
                    lower = along(rows[r].i1);
                }
                const T score = upper_weight[r] * upper + lower_weight[r] * lower;
                const bool better = is_better(score, best[r]);
                index[r] = better ? c : index[r];
                best[r] = better ? score : best[r];
            }
        }
        if (x >= width) continue;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            if (top + r < height) counting.take((image * height + top + r) * width + x, index[r]);
        }
    }
    counting.run.end(tally);
    tally.finish();
}

// Notes the scores (of n) that are not finite.
template <class S>
__global__ void __launch_bounds__(kThreads) finite_kernel(Scores<S> scores, int64_t n, Notes* notes) {
    constexpr int V = 16 / int(sizeof(S));
    const int64_t step = int64_t(gridDim.x) * kThreads * V;
    for (int64_t i = thread_index() * V; i < n; i += step) {
        Pixels<S, V> values;
        if (i + V <= n) {
            values = *reinterpret_cast<const Pixels<S, V>*>(scores.data + i);
        } else {
            for (int k = 0; k < V; ++k) values.x[k] = i + k < n ? scores.data[i + k] : S{};
        }
        bool good = true;
#pragma unroll
        for (int k = 0; k < V; ++k) good = good && is_finite(widen(values.x[k]));
        if (good) continue;
#pragma unroll 1
        for (int64_t k = i; k < i + V && k < n; ++k) {
            if (is_finite(widen(scores.data[k]))) continue;
            if (!scores.channels_last) {
                note(notes, true, k);
                continue;
            }
            const int64_t pixels = scores.in_height * scores.in_width, pixel = k / scores.classes;
            note(notes, true, score_place(scores, pixel / pixels, k % scores.classes, pixel % pixels));
        }
    }
}

}  // namespace

template <class S>
void confusion_matrix_from_logits_cuda(const LabelMap& target, const LabelMap& prediction, const Scores<S>& scores,
                                       int64_t images, const MatrixJob& job, cudaStream_t stream) {
    using T = Computed<S>;
    constexpr int V = 16 / int(sizeof(S));
    clear_matrices(job, images, stream);
    const int64_t pixels = scores.height * scores.width, in_pixels = scores.in_height * scores.in_width;
    if (!images || !pixels) return;
    // `work`: threads with something to do; `max_bytes`: bytes of shared memory
    const auto count = [&](auto* kernel, int threads, int64_t work, int64_t max_bytes, auto... steps) {
        Matrices m = matrices_of(job, pixels, threads / kWarp, max_bytes);
        m.per_image = blocks_of(kernel, threads, m, images, blocks_for(work, threads));
        FASTDET_LAUNCH_SHARED((kernel), grid_of(m, images), threads, shared_bytes(m), stream, scores, target,
                              prediction, steps..., m);
    };
    if (scores.in_height != scores.height || scores.in_width != scores.width) {
        const int64_t n = images * scores.classes * in_pixels, blocks = blocks_for(blocks_for(n, V), kThreads);
        const int64_t max_blocks = at_once(finite_kernel<S>, kThreads, 0);
        FASTDET_LAUNCH((finite_kernel<S>), unsigned(blocks < max_blocks ? blocks : max_blocks), kThreads, stream,
                       scores, n, static_cast<Notes*>(job.workspace));
        const int64_t tiles = blocks_for(scores.height, kRows) * blocks_for(scores.width, kWarp);
        const T row_step = tap_step<T>(scores.in_height, scores.height, scores.align_corners, 0);
        const T column_step = tap_step<T>(scores.in_width, scores.width, scores.align_corners, 0);
        count(resampled_kernel<S>, kThreads, tiles * kWarp, kUnaskedShared - kTapBytes, row_step, column_step);
    } else if (scores.channels_last) {
        count(channels_last_kernel<S>, kPixelThreads, pixels, kUnaskedShared - kTileBytes);
    } else if (pixels % V == 0) {
        count(planes_kernel<S, V>, kThreads, pixels / V, kUnaskedShared);
    } else {
        count(planes_kernel<S, 1>, kThreads, pixels, kUnaskedShared);
    }
}

#define FASTDET_INSTANTIATE(S)                                                                                   \
    template void confusion_matrix_from_logits_cuda(const LabelMap&, const LabelMap&, const Scores<S>&, int64_t, \
                                                    const MatrixJob&, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
