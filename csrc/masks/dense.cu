// Between run lengths and dense masks, and the boxes of dense masks.
//
// Decoding: a thread makes 8 pixels that are neighbours in memory. Of each it looks up the run by bisection: some
// 10 steps of a mask's 500 runs, which stay in the cache. Floor: writing the pixels (100 masks of 480 x 640: 31 MB, 7
// us at 4.3 TB/s); the steps take about as long. Boxes: a block a mask, 16 bytes would be next; floor: reading the
// masks.
#include "cuda/launch.h"
#include "masks/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// The number of runs of a mask that end at or before a pixel: odd within a run of ones.
__device__ inline int64_t runs_before(const int64_t* ends, int64_t first, int64_t last, int64_t pixel) {
    int64_t low = first, high = last;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (ends[middle] <= pixel) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - first;
}

__global__ void __launch_bounds__(kThreads)
    decode_kernel(const int64_t* ends, const int64_t* offsets, bool columns, CudaMasks image) {
    const int64_t pixels = image.height * image.width, total = image.count * pixels, begin = 8 * thread_index();
    for (int64_t at = begin; at < begin + 8 && at < total; ++at) {
        const int64_t mask = at / pixels, place = at % pixels;
        const int64_t pixel = columns ? place : place % image.width * image.height + place / image.width;
        const int64_t first = offsets[mask], last = offsets[mask + 1];
        const int64_t run = runs_before(ends, first, last, pixel);
        image.out[at] = uint8_t(run & 1 && run < last - first);
    }
}

// The extent of some pixels. Low values are kept as their negatives, so that all four are maxima.
struct Corners {
    int left, top, right, bottom;
};

__device__ inline int warp_max(int x) {
    for (int step = kWarp / 2; step; step /= 2) {
        const int other = __shfl_xor_sync(kAllLanes, x, step);
        x = other > x ? other : x;
    }
    return x;
}

__global__ void __launch_bounds__(kThreads)
    boxes_kernel(const uint8_t* masks, int64_t height, int64_t width, float* boxes) {
    constexpr int kNone = -0x7fffffff;
    FASTDET_SHARED(int, found, [kWarps][4]);
    const int64_t pixels = height * width, mask = blockIdx.x;
    const uint8_t* const from = masks + mask * pixels;
    Corners own = {kNone, kNone, kNone, kNone};
    // The row and the column go on by those of kThreads pixels: no division on the way.
    const int64_t wide = width > 0 ? width : 1;
    const int rows = int(kThreads / wide), columns = int(kThreads % wide);
    int y = int(threadIdx.x / wide), x = int(threadIdx.x % wide);
    for (int64_t at = threadIdx.x; at < pixels; at += kThreads, y += rows, x += columns) {
        if (x >= width) x -= int(width), ++y;
        if (!from[at]) continue;
        own.left = own.left > -x ? own.left : -x, own.top = own.top > -y ? own.top : -y;
        own.right = own.right > x ? own.right : x, own.bottom = own.bottom > y ? own.bottom : y;
    }
    const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
    own = {warp_max(own.left), warp_max(own.top), warp_max(own.right), warp_max(own.bottom)};
    if (lane == 0) {
        found[warp][0] = own.left, found[warp][1] = own.top;
        found[warp][2] = own.right, found[warp][3] = own.bottom;
    }
    __syncthreads();
    if (threadIdx.x >= 4) return;
    int most = kNone;
    for (int k = 0; k < kWarps; ++k) most = found[k][lane] > most ? found[k][lane] : most;
    boxes[4 * mask + lane] = most == kNone ? 0.f : float(lane < 2 ? -most : most);
}

}  // namespace

void decode_cuda(const int64_t* ends, const int64_t* offsets, bool columns, const CudaMasks& image,
                 cudaStream_t stream) {
    const int64_t blocks = blocks_for(image.count * image.height * image.width, 8 * kThreads);
    if (!blocks) return;
    FASTDET_LAUNCH((decode_kernel), unsigned(blocks), kThreads, stream, ends, offsets, columns, image);
}

void masks_to_boxes_cuda(const uint8_t* masks, int64_t n, int64_t height, int64_t width, float* boxes,
                         cudaStream_t stream) {
    if (!n) return;
    FASTDET_LAUNCH((boxes_kernel), unsigned(n), kThreads, stream, masks, height, width, boxes);
}

}  // namespace fastdet
