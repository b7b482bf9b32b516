// A whole call of the matcher: threads, thresholds, matches of low quality.
#include "proposals/match_boxes.h"

#include <atomic>

#include "core/memory.h"
#include "core/order.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kThreadValues = 1 << 18;  // below it a second thread is slower
constexpr int64_t kTask = 2048;             // columns: their best stay in the first cache

template <class F>
void by_tasks(int64_t tasks, bool threads, const F& f) {
    if (threads) return parallel_for(tasks, f);
    for (int64_t task = 0; task < tasks; ++task) f(task);
}

}  // namespace

template <class T>
int64_t match_boxes(const T* iou, int64_t rows, int64_t columns, double high, double low, bool allow_low_quality,
                    int64_t* matches) {
    if (!rows || !columns) {
        for (int64_t j = 0; j < columns; ++j) matches[j] = kBelowLow;
        return -1;
    }
    const int64_t tasks = (columns + kTask - 1) / kTask;
    const bool threads = rows * columns >= kThreadValues;
    Buffer<T> most(columns), in_block(tasks * rows), in_row(rows);
    Buffer<int32_t> best(columns);
    const T upper = T(high), lower = T(low);
    std::atomic<bool> right{true};
    by_tasks(tasks, threads, [&](int64_t task) {
        const int64_t first = task * kTask, last = first + kTask < columns ? first + kTask : columns;
        if (!match_boxes_kernels().of<T>().best(iou, rows, columns, first, last, most.get() + first, best.get() + first,
                                                in_block.get() + task * rows))
            right = false;
        for (int64_t j = first; j < last; ++j)
            matches[j] = most[j] < lower ? kBelowLow : most[j] < upper ? kBetween : best[j];
    });
    if (!right) {
        const int64_t nan = first_nan(iou, rows * columns);
        if (nan >= 0) return nan;
    }
    if (!allow_low_quality) return -1;
    for (int64_t i = 0; i < rows; ++i) {
        in_row[i] = in_block[i];
        for (int64_t task = 1; task < tasks; ++task) {
            const T value = in_block[task * rows + i];
            if (value > in_row[i]) in_row[i] = value;
        }
    }
    by_tasks(tasks, threads, [&](int64_t task) {
        const int64_t first = task * kTask, last = first + kTask < columns ? first + kTask : columns;
        for (int64_t i = 0; i < rows; ++i) {
            const T top = in_row[i];
            if (in_block[task * rows + i] != top) continue;  // none of these columns has the row's highest
            for (int64_t j = first; j < last; ++j) {
                if (iou[i * columns + j] == top) matches[j] = best[j];
            }
        }
    });
    return -1;
}

template int64_t match_boxes(const float*, int64_t, int64_t, double, double, bool, int64_t*);
template int64_t match_boxes(const double*, int64_t, int64_t, double, double, bool, int64_t*);

}  // namespace fastdet
