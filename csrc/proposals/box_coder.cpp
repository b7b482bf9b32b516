// A whole call of the box coder: wrong rows, threads.
#include "proposals/box_coder.h"

#include "core/order.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kThreadRows = 1 << 14;  // below it a second thread is slower
constexpr int64_t kTask = 4096;           // rows

template <class T>
void by_tasks(const CoderJob<T>& job, int64_t n, void (*loop)(const CoderJob<T>&, int64_t, int64_t)) {
    if (n < kThreadRows) return loop(job, 0, n);
    parallel_for((n + kTask - 1) / kTask, [&](int64_t task) {
        const int64_t first = task * kTask;
        loop(job, first, first + kTask < n ? first + kTask : n);
    });
}

}  // namespace

template <class T>
int64_t encode_boxes(const CoderJob<T>& job, int64_t n) {
    bool right = true;
    const Box<T>* boxes = reinterpret_cast<const Box<T>*>(job.rows);
    const Box<T>* anchors = reinterpret_cast<const Box<T>*>(job.anchors);
    for (int64_t i = 0; i < n; ++i) right &= has_area(anchors[i]) & !is_nan(boxes[i]);
    for (int64_t i = 0; !right && i < n; ++i) {
        if (is_nan(boxes[i])) return 2 * i;
        if (!has_area(anchors[i])) return 2 * i + 1;
    }
    by_tasks(job, n, box_coder_kernels().of<T>().encode);
    return -1;
}

template <class T>
int64_t decode_boxes(const CoderJob<T>& job, int64_t n) {
    const int64_t in_deltas = first_nan(job.rows, 4 * n);
    if (in_deltas >= 0) return in_deltas / 4 * 2;
    const int64_t in_anchors = n ? first_nan(job.anchors, n / job.per_anchor * 4) : -1;
    if (in_anchors >= 0) return in_anchors / 4 * 2 + 1;
    by_tasks(job, n, box_coder_kernels().of<T>().decode);
    return -1;
}

template int64_t encode_boxes(const CoderJob<float>&, int64_t);
template int64_t encode_boxes(const CoderJob<double>&, int64_t);
template int64_t decode_boxes(const CoderJob<float>&, int64_t);
template int64_t decode_boxes(const CoderJob<double>&, int64_t);

}  // namespace fastdet
