// Overlap of rotated boxes: directions, columns, threads, and the plain rule for extreme boxes, around the loops.
#include "rotated/box_iou_rotated.h"

#include <vector>

#include "core/memory.h"
#include "core/threads.h"
#include "rotated/columns.h"

namespace fastdet {
namespace {

// Pairs below which a second thread is slower, by measurement.
constexpr int64_t kThreadPairs = 1 << 18;

void fill_row(const RotatedIouJob& job, int64_t i, int32_t* near, float* out) {
    rotated_loops().single(job, i, near, out);
}
void fill_row(const RotatedIouJob& job, int64_t i, int32_t* near, double* out) {
    rotated_loops().twice(job, i, near, out);
}

}  // namespace

template <class T>
void box_iou_rotated(const T* a, int64_t n, const T* b, int64_t m, Angles angles, RotatedMeasure kind, bool aligned,
                     T* out) {
    if (!n || !m) return;
    if (aligned) {
        for (int64_t i = 0; i < n; ++i)
            out[i] = T(rotated_measure(rect_of(a + 5 * i, angles), rect_of(b + 5 * i, angles), kind));
        return;
    }
    const int64_t stride = m + kRotatedPad;
    Buffer<Rect> rows(n);
    Buffer<double> columns(kRotatedColumns * stride);
    const RotatedIouJob job{rows.get(), columns_in(columns.get(), stride), m, kind};
    std::vector<int64_t> extreme;  // columns that the loops leave out
    std::vector<Rect> extreme_box;
    for (int64_t i = 0; i < n; ++i) rows[i] = rect_of(a + 5 * i, angles);
    for (int64_t j = 0; j < stride; ++j) {
        const Rect r = j < m ? rect_of(b + 5 * j, angles) : Rect{0, 0, 0, 0, 1, 0};
        put_column(job.b, j, r);
        if (is_valid(r) && !is_ordinary(r)) extreme.push_back(j), extreme_box.push_back(r);
    }
    const auto run = [&](int64_t first, int64_t last) {
        Buffer<int32_t> near(stride);
        for (int64_t i = first; i < last; ++i) {
            T* row = out + i * m;
            fill_row(job, i, near.get(), row);
            if (!is_valid(rows[i])) continue;
            if (!is_ordinary(rows[i])) {
                for (int64_t j = 0; j < m; ++j) row[j] = T(rotated_measure(rows[i], rect_of(b + 5 * j, angles), kind));
                continue;
            }
            for (size_t k = 0; k < extreme.size(); ++k)
                row[extreme[k]] = T(rotated_measure(rows[i], extreme_box[k], kind));
        }
    };
    if (n * m < kThreadPairs || get_num_threads() == 1) return run(0, n);
    const int64_t step = kThreadPairs / 4 / m + 1;
    parallel_for((n + step - 1) / step,
                 [&](int64_t task) { run(task * step, task * step + step < n ? task * step + step : n); });
}

template void box_iou_rotated(const float*, int64_t, const float*, int64_t, Angles, RotatedMeasure, bool, float*);
template void box_iou_rotated(const double*, int64_t, const double*, int64_t, Angles, RotatedMeasure, bool, double*);

}  // namespace fastdet
