// Masks of a network's heads at the size of the image.
//
// A thread makes 8 pixels of a row, one byte of bits. Positions are computed where they are used, in float64, as the
// CPU computes them. Logits of prototypes are summed first, at their own size: a thread sums a pixel of 8 masks, so
// that a prototype is read once for 8.
//
// Floor: writing the pixels (100 masks of 800 x 1333 as bytes: 107 MB, 25 us at 4.3 TB/s); threads outside of a mask's
// box do little else. Within: some 60 operations a pixel, half of them float64. Sums of prototypes: 2 k operations a
// value, k / 8 values read.
#include "cuda/launch.h"
#include "masks/cuda.h"
#include "masks/place.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 8;  // masks whose logits a thread sums

__device__ inline float mixed(float a, float b, float weight) { return a + weight * (b - a); }

// The 8 pixels of a thread.
struct Eight {
    int64_t mask, y, x;
};
__device__ inline bool eight_of(const CudaMasks& image, Eight* own) {
    const int64_t groups = (image.width + 7) / 8, at = thread_index();
    if (at >= image.count * image.height * groups) return false;
    const int64_t row = at / groups;
    *own = {row / image.height, row % image.height, (at - row * groups) * 8};
    return true;
}
__device__ inline void put(const CudaMasks& image, const Eight& own, unsigned bits) {
    const int64_t row = own.mask * image.height + own.y;
    if (image.bits) {
        image.out[row * ((image.width + 7) / 8) + own.x / 8] = uint8_t(bits);
        return;
    }
    uint8_t* const to = image.out + row * image.width + own.x;
    for (int k = 0; k < 8 && own.x + k < image.width; ++k) to[k] = uint8_t(bits >> k & 1);
}

__global__ void __launch_bounds__(kThreads)
    paste_kernel(const float* masks, const double* boxes, int64_t h, int64_t w, float threshold, CudaMasks image) {
    Eight own;
    if (!eight_of(image, &own)) return;
    const double x1 = boxes[4 * own.mask], y1 = boxes[4 * own.mask + 1];
    const double x2 = boxes[4 * own.mask + 2], y2 = boxes[4 * own.mask + 3];
    unsigned bits = 0;
    const double down = double(h) / (y2 - y1), across = double(w) / (x2 - x1);
    const double at_y = pasted_at(double(own.y), y1, down);
    if (x2 > x1 && y2 > y1 && at_y > -1 && at_y < double(h)) {
        const MaskPlace row = place_of(at_y, double(h));
        const float* const mask = masks + own.mask * h * w;
        const auto value = [&](int64_t r, int64_t c) {
            return r < 0 || r >= h || c < 0 || c >= w ? 0.f : mask[r * w + c];
        };
        for (int k = 0; k < 8 && own.x + k < image.width; ++k) {
            const double at = pasted_at(double(own.x + k), x1, across);
            if (!(at > -1 && at < double(w))) continue;
            const MaskPlace column = place_of(at, double(w));
            const int64_t r = row.before, c = column.before;
            const float top = mixed(value(r, c), value(r, c + 1), column.weight);
            const float bottom = mixed(value(r + 1, c), value(r + 1, c + 1), column.weight);
            bits |= unsigned(mixed(top, bottom, row.weight) >= threshold) << k;
        }
    }
    put(image, own, bits);
}

__global__ void __launch_bounds__(kThreads) logits_kernel(const float* prototypes, const float* coefficients,
                                                          int64_t count, int64_t k, int64_t pixels, float* logits) {
    const int64_t at = thread_index(), groups = (count + kTogether - 1) / kTogether;
    if (at >= groups * pixels) return;
    const int64_t first = at / pixels * kTogether, pixel = at % pixels;
    const int n = count - first < kTogether ? int(count - first) : kTogether;
    float sum[kTogether];
    for (int j = 0; j < kTogether; ++j) {
        if (j < n) sum[j] = coefficients[(first + j) * k] * prototypes[pixel];
    }
    for (int64_t p = 1; p < k; ++p) {
        const float value = prototypes[p * pixels + pixel];
        for (int j = 0; j < kTogether; ++j) {
            if (j < n) sum[j] = sum[j] + coefficients[(first + j) * k + p] * value;
        }
    }
    for (int j = 0; j < kTogether; ++j) {  // a fixed number of times: sums stay in registers
        if (j < n) logits[(first + j) * pixels + pixel] = sum[j];
    }
}

__global__ void __launch_bounds__(kThreads)
    process_kernel(const float* logits, const double* boxes, int64_t h, int64_t w, CudaMasks image) {
    Eight own;
    if (!eight_of(image, &own)) return;
    const double x1 = boxes[4 * own.mask], y1 = boxes[4 * own.mask + 1];
    const double x2 = boxes[4 * own.mask + 2], y2 = boxes[4 * own.mask + 3];
    unsigned bits = 0;
    if (double(own.y) >= y1 && double(own.y) < y2) {
        const double down = double(h) / double(image.height), across = double(w) / double(image.width);
        const MaskPlace row = place_of(clamped_at(double(own.y), down, double(h)), double(h));
        const float* const upper = logits + (own.mask * h + row.before) * w;
        const float* const lower = row.before + 1 < h ? upper + w : upper;
        for (int k = 0; k < 8 && own.x + k < image.width; ++k) {
            const double x = double(own.x + k);
            if (!(x >= x1 && x < x2)) continue;
            const MaskPlace column = place_of(clamped_at(x, across, double(w)), double(w));
            const int64_t c = column.before, next = c + 1 < w ? c + 1 : c;
            const float top = mixed(upper[c], upper[next], column.weight);
            const float bottom = mixed(lower[c], lower[next], column.weight);
            bits |= unsigned(mixed(top, bottom, row.weight) > 0) << k;
        }
    }
    put(image, own, bits);
}

int64_t blocks_of(const CudaMasks& image) {
    return blocks_for(image.count * image.height * ((image.width + 7) / 8), kThreads);
}

}  // namespace

void paste_masks_cuda(const float* masks, const double* boxes, int64_t h, int64_t w, float threshold,
                      const CudaMasks& image, cudaStream_t stream) {
    const int64_t blocks = blocks_of(image);
    if (!blocks) return;
    FASTDET_LAUNCH((paste_kernel), unsigned(blocks), kThreads, stream, masks, boxes, h, w, threshold, image);
}

void process_mask_cuda(const float* prototypes, const float* coefficients, const double* boxes, int64_t k, int64_t h,
                       int64_t w, float* logits, const CudaMasks& image, cudaStream_t stream) {
    const int64_t blocks = blocks_of(image);
    if (!blocks) return;
    const int64_t sums = blocks_for((image.count + kTogether - 1) / kTogether * h * w, kThreads);
    FASTDET_LAUNCH((logits_kernel), unsigned(sums), kThreads, stream, prototypes, coefficients, image.count, k, h * w,
                   logits);
    FASTDET_LAUNCH((process_kernel), unsigned(blocks), kThreads, stream, logits, boxes, h, w, image);
}

}  // namespace fastdet
