// RoI max-pooling: the loops, with channels in lanes. Compiled once per instruction set.
//
// Of equal maxima the first wins, of NaNs the last. Floor: one comparison per pixel and channel that a bin looks at.
#include <type_traits>

#include "roi/roi_pool.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int64_t kGroup = 64;  // channels whose maxima are kept in the first cache

template <class T>
inline void larger(const T* x, int64_t n, T* best) {
    for (int64_t c = 0; c < n; ++c) best[c] = (x[c] > best[c]) | (x[c] != x[c]) ? x[c] : best[c];
}
template <class T, class I>
inline void larger(const T* x, int64_t n, I place, T* best, I* where) {
    for (int64_t c = 0; c < n; ++c) {
        const bool better = (x[c] > best[c]) | (x[c] != x[c]);
        where[c] = better ? place : where[c];
        best[c] = better ? x[c] : best[c];
    }
}

// I: as wide as T where places fit, so that both have as many lanes
template <class T, class I>
void pool_places(const PoolBins<T>& job) {
    T best[kGroup];
    I where[kGroup];
    T* out = job.out;
    int64_t* places = job.places;
    for (int64_t p = job.top; p < job.bottom; ++p) {
        const int64_t y0 = job.y[2 * p], y1 = job.y[2 * p + 1];
        for (int64_t q = 0; q < job.bins_x; ++q, out += job.channels, places += places ? job.channels : 0) {
            const int64_t x0 = job.x[2 * q], x1 = job.x[2 * q + 1];
            const bool empty = y0 >= y1 || x0 >= x1;
            for (int64_t c = 0; c < job.channels; c += kGroup) {
                const int64_t n = job.channels - c < kGroup ? job.channels - c : kGroup;
                for (int64_t i = 0; i < n; ++i) {
                    best[i] = empty ? T(0) : job.map[y0 * job.row + x0 * job.pixel + c + i];
                    where[i] = empty ? I(-1) : I(job.first + y0 * job.width + x0);
                }
                for (int64_t y = empty ? y1 : y0; y < y1; ++y) {
                    const T* row = job.map + y * job.row + c;
                    const int64_t first = job.first + y * job.width;
                    for (int64_t x = y == y0 ? x0 + 1 : x0; x < x1; ++x) {
                        if (places) {
                            larger(row + x * job.pixel, n, I(first + x), best, where);
                        } else {
                            larger(row + x * job.pixel, n, best);
                        }
                    }
                }
                for (int64_t i = 0; i < n; ++i) out[c + i] = best[i];
                for (int64_t i = 0; places && i < n; ++i) places[c + i] = where[i];
            }
        }
    }
}

template <class T>
void pool(const PoolBins<T>& job) {
    const int64_t last = job.first + job.y[2 * job.bottom - 1] * job.width;
    if (sizeof(T) == 4 && last < INT32_MAX - job.width) return pool_places<T, int32_t>(job);
    pool_places<T, int64_t>(job);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(RoiPoolKernels, roi_pool_kernels, {{{pool<float>}, {pool<double>}}})

}  // namespace fastdet
