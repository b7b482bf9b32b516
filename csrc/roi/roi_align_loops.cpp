// RoIAlign: the loops, with channels in lanes. Compiled once per instruction set.
//
// A bin is sum(wy * sum(wx * x)) / count. A group of vectors of channels stays in registers while the pixels of the bin
// go by, so each weight is read once a group. Floor: one multiplication and one addition per pixel that a bin looks at.
#include "roi/roi_align.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// Whether x / count is x * (1 / count): 1 / count is exact, so both are rounded once, to the same number.
template <class T>
bool is_power_of_two(T count) {
    for (T x = 1; x <= T(1 << 30); x = x + x) {
        if (x == count) return true;
    }
    return false;
}

// Channels [c, c + kVectors * lanes) of one bin.
template <int kVectors, class T>
inline __attribute__((always_inline)) void align_vectors(const AlignBins<T>& job, int64_t p, int64_t q, int64_t c,
                                                         bool exact, T by, T* to) {
    using V = Vec<T>;
    V total[kVectors], line[kVectors];
    const int64_t y0 = job.y.first[p], y1 = job.y.first[p + 1], x0 = job.x.first[q], x1 = job.x.first[q + 1];
    for (int k = 0; k < kVectors; ++k) total[k] = V::set(T(0));
    if (x0 < x1) {
        for (int64_t i = y0; i < y1; ++i) {
            const T* row = job.map + job.y.place[i] * job.row + c;
            const T* x = row + job.x.place[x0] * job.pixel;
            V w = V::set(job.x.weight[x0]);
            for (int k = 0; k < kVectors; ++k) line[k] = w * V::load(x + k * V::lanes);
            for (int64_t j = x0 + 1; j < x1; ++j) {
                x = row + job.x.place[j] * job.pixel;
                w = V::set(job.x.weight[j]);
                for (int k = 0; k < kVectors; ++k) line[k] = line[k] + w * V::load(x + k * V::lanes);
            }
            w = V::set(job.y.weight[i]);
            if (i == y0) {
                for (int k = 0; k < kVectors; ++k) total[k] = w * line[k];
            } else {
                for (int k = 0; k < kVectors; ++k) total[k] = total[k] + w * line[k];
            }
        }
    }
    const V last = V::set(by);
    if (exact) {
        for (int k = 0; k < kVectors; ++k) (total[k] * last).store(to + k * V::lanes);
    } else {
        for (int k = 0; k < kVectors; ++k) (total[k] / last).store(to + k * V::lanes);
    }
}

template <class T>
T align_one(const AlignBins<T>& job, int64_t p, int64_t q, int64_t c) {
    T total = 0;
    const int64_t y0 = job.y.first[p], y1 = job.y.first[p + 1], x0 = job.x.first[q], x1 = job.x.first[q + 1];
    if (x0 == x1) return total;
    for (int64_t i = y0; i < y1; ++i) {
        const T* row = job.map + job.y.place[i] * job.row + c;
        T line = job.x.weight[x0] * row[job.x.place[x0] * job.pixel];
        for (int64_t j = x0 + 1; j < x1; ++j) line = line + job.x.weight[j] * row[job.x.place[j] * job.pixel];
        total = i == y0 ? job.y.weight[i] * line : total + job.y.weight[i] * line;
    }
    return total / job.count;
}

template <class T>
void align(const AlignBins<T>& job) {
    constexpr int64_t L = Vec<T>::lanes;
    const bool exact = is_power_of_two(job.count);
    const T by = exact ? T(1) / job.count : job.count;
    T* out = job.out;
    for (int64_t p = job.top; p < job.bottom; ++p) {
        for (int64_t q = 0; q < job.bins_x; ++q, out += job.out_pixel) {
            int64_t c = 0;
            for (; c + 4 * L <= job.channels; c += 4 * L) align_vectors<4>(job, p, q, c, exact, by, out + c);
            for (; c + L <= job.channels; c += L) align_vectors<1>(job, p, q, c, exact, by, out + c);
            for (; c < job.channels; ++c) out[c] = align_one(job, p, q, c);
        }
    }
}

// to[c] = sum of weight * from[place * step + c] over [begin, end), which is not empty
template <class T>
inline void weigh(const T* from, int64_t step, const TapList<T>& taps, int64_t begin, int64_t end, int64_t n, T* to,
                  bool add) {
    using V = Vec<T>;
    constexpr int64_t L = V::lanes;
    int64_t c = 0;
    for (; c + L <= n; c += L) {
        V sum = V::set(taps.weight[begin]) * V::load(from + taps.place[begin] * step + c);
        for (int64_t k = begin + 1; k < end; ++k)
            sum = sum + V::set(taps.weight[k]) * V::load(from + taps.place[k] * step + c);
        if (add) sum = V::load(to + c) + sum;
        sum.store(to + c);
    }
    for (; c < n; ++c) {
        T sum = taps.weight[begin] * from[taps.place[begin] * step + c];
        for (int64_t k = begin + 1; k < end; ++k) sum = sum + taps.weight[k] * from[taps.place[k] * step + c];
        to[c] = add ? to[c] + sum : sum;
    }
}

template <class T>
void spread(const SpreadBins<T>& job) {
    const int64_t n = job.channels, line = job.n_columns * n, values = job.bins_y * job.bins_x * n;
    if (is_power_of_two(job.count)) {
        const T by = T(1) / job.count;
        for (int64_t i = 0; i < values; ++i) job.grad[i] = job.grad[i] * by;
    } else {
        for (int64_t i = 0; i < values; ++i) job.grad[i] = job.grad[i] / job.count;
    }
    for (int64_t p = 0; p < job.bins_y; ++p) {
        const T* grad = job.grad + p * job.bins_x * n;
        for (int64_t j = 0; j < job.n_columns; ++j)
            weigh(grad, n, job.x, job.x.first[j], job.x.first[j + 1], n, job.wide + p * line + j * n, false);
    }
    for (int64_t i = 0; i < job.n_rows; ++i) {
        T* row = job.sums + job.rows[i] * job.row;
        for (int64_t j = 0; j < job.n_columns; ++j)
            weigh(job.wide + j * n, line, job.y, job.y.first[i], job.y.first[i + 1], n,
                  row + job.columns[j] * job.pixel, true);
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(RoiAlignKernels, roi_align_kernels, {{{align<float>, spread<float>}, {align<double>, spread<double>}}})

}  // namespace fastdet
