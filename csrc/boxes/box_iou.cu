// Overlap of every pair, or of box i with box i.
//
// A thread holds 16 bytes' worth of columns (4 float32, 2 float64) in registers and runs down a tile of rows, which the
// block keeps in shared memory; each row's results leave in one 16-byte store (one value a store, still whole lines a
// warp, where rows do not begin at 16 bytes). A pair that does not overlap costs 6 minima and differences and no
// division. Floor: writing the output, 4 n m bytes (10k x 10k float32: 400 MB, 93 us at 4.3 TB/s); operations: about 14
// instructions a pair that does not overlap (50 us on 132 SMs), 50 where it does, 200 with arc tangents.
// Limit: none but memory; rows and columns are 64-bit.
#include "boxes/cuda.h"
#include "boxes/load_box.h"
#include "cuda/launch.h"

namespace fastdet {
namespace {

constexpr int kThreads = 128, kRows = 32;

template <class T>
__device__ inline bool is_ordinary(const Box<T>& b) {  // no NaN, and no area overflows
    const T large = Limits<T>::large;
    return fabs(b.x1) <= large && fabs(b.y1) <= large && fabs(b.x2) <= large && fabs(b.y2) <= large;
}

// `measure` of ordinary boxes.
template <Measure K, class T>
__device__ inline T ordinary_pair(const Box<T>& a, const Box<T>& b, bool crowd, double eps) {
    if (K == Measure::iou || K == Measure::ios) {
        const T w = lesser(a.x2, b.x2) - greater(a.x1, b.x1), h = lesser(a.y2, b.y2) - greater(a.y1, b.y1);
        if (!(w > 0 && h > 0)) return T(0);
    }
    T check;
    return measure_once(a, b, K, crowd, T(eps), &check);
}

// One store of 16 bytes: nvcc takes an assignment apart, since another branch of the kernel stores single values.
__device__ inline void store_row(float* out, const float (&v)[4]) {
    __stwb(reinterpret_cast<float4*>(out), make_float4(v[0], v[1], v[2], v[3]));
}
__device__ inline void store_row(double* out, const double (&v)[2]) {
    __stwb(reinterpret_cast<double2*>(out), make_double2(v[0], v[1]));
}

template <class T, Measure K>
__global__ void __launch_bounds__(kThreads, 16 / sizeof(T))
    pairs_kernel(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, const bool* crowd, double eps, bool whole,
                 T* out) {
    constexpr int V = 16 / int(sizeof(T));
    FASTDET_SHARED(Box<T>, rows, [kRows]);
    FASTDET_SHARED(bool, rows_ordinary, [kRows]);
    // whole: neighbouring columns, else every kThreads-th one, so that a warp's stores are side by side
    const int64_t first = int64_t(blockIdx.x) * kThreads * V + threadIdx.x * (whole ? V : 1);
    const int64_t step = whole ? 1 : kThreads;
    Box<T> columns[V];
    bool ordinary = true, is_crowd[V];
    for (int k = 0; k < V; ++k) {
        const int64_t j = first + k * step;
        columns[k] = j < m ? load_box(b + j) : Box<T>{0, 0, 0, 0};
        ordinary = ordinary && is_ordinary(columns[k]);
        is_crowd[k] = crowd && j < m && crowd[j];
    }
    for (int64_t top = int64_t(blockIdx.y) * kRows; top < n; top += int64_t(gridDim.y) * kRows) {
        const int count = n - top < kRows ? int(n - top) : kRows;
        __syncthreads();  // the last tile has been read
        if (int(threadIdx.x) < count) {
            rows[threadIdx.x] = load_box(a + top + threadIdx.x);
            rows_ordinary[threadIdx.x] = is_ordinary(rows[threadIdx.x]);
        }
        __syncthreads();
        if (first >= m) continue;
        for (int r = 0; r < count; ++r) {
            T* to = out + (top + r) * m + first;
            T values[V];
#pragma unroll
            for (int k = 0; k < V; ++k) values[k] = ordinary_pair<K>(rows[r], columns[k], is_crowd[k], eps);
            if (whole) {
                store_row(to, values);
            } else {
                for (int k = 0; k < V; ++k) {
                    if (first + k * step < m) to[k * step] = values[k];
                }
            }
            if (ordinary && rows_ordinary[r]) continue;
#pragma unroll 1
            for (int k = 0; k < V; ++k) {  // rare: once more, by the rule for any boxes
                const int64_t j = first + k * step;
                if (j < m) to[k * step] = measure(rows[r], load_box(b + j), K, crowd && crowd[j], eps);
            }
        }
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    aligned_kernel(const Box<T>* a, const Box<T>* b, int64_t n, Measure kind, const bool* crowd, double eps, T* out) {
    const int64_t i = thread_index();
    if (i < n) out[i] = measure(load_box(a + i), load_box(b + i), kind, crowd && crowd[i], eps);
}

template <class T, Measure K>
void pairs(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, const bool* crowd, double eps, T* out,
           cudaStream_t stream) {
    constexpr int V = 16 / int(sizeof(T));
    const int64_t tiles = blocks_for(n, kRows);
    const dim3 grid(unsigned(blocks_for(m, kThreads * V)), unsigned(tiles < 65535 ? tiles : 65535));
    const bool whole = m % V == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0;
    FASTDET_LAUNCH((pairs_kernel<T, K>), grid, kThreads, stream, a, n, b, m, crowd, eps, whole, out);
}

}  // namespace

template <class T>
void box_iou_cuda(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, Measure kind, bool aligned, const bool* crowd,
                  double eps, T* out, cudaStream_t stream) {
    if (!n || !m) return;
    if (aligned) {
        FASTDET_LAUNCH((aligned_kernel<T>), unsigned(blocks_for(n, kThreads)), kThreads, stream, a, b, n, kind, crowd,
                       eps, out);
        return;
    }
    switch (kind) {
        case Measure::iou:
            return pairs<T, Measure::iou>(a, n, b, m, crowd, eps, out, stream);
        case Measure::ios:
            return pairs<T, Measure::ios>(a, n, b, m, crowd, eps, out, stream);
        case Measure::giou:
            return pairs<T, Measure::giou>(a, n, b, m, crowd, eps, out, stream);
        case Measure::diou:
            return pairs<T, Measure::diou>(a, n, b, m, crowd, eps, out, stream);
        case Measure::ciou:
            return pairs<T, Measure::ciou>(a, n, b, m, crowd, eps, out, stream);
    }
}

template void box_iou_cuda(const Box<float>*, int64_t, const Box<float>*, int64_t, Measure, bool, const bool*, double,
                           float*, cudaStream_t);
template void box_iou_cuda(const Box<double>*, int64_t, const Box<double>*, int64_t, Measure, bool, const bool*, double,
                           double*, cudaStream_t);

}  // namespace fastdet
