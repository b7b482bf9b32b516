// Overlap measures: threads, columns of boxes and the plain rule for extreme boxes, around the loops of
// box_iou_loops.cpp.
#include "boxes/box_iou.h"

#include <cmath>

#include "core/memory.h"
#include "core/threads.h"

namespace fastdet {
namespace {

// Pairs below which a second thread is slower, by measurement.
constexpr int64_t kThreadPairs = 1 << 19;
// Bytes from which stores bypass the caches: a larger output would not stay in them.
constexpr int64_t kStreamBytes = 8 << 20;

template <class T>
bool ordinary(const Box<T>* boxes, int64_t n) {
    const T* x = &boxes->x1;
    bool extreme = false;
    for (int64_t i = 0; i < 4 * n; ++i) extreme |= !(std::fabs(x[i]) <= Limits<T>::large);
    return !extreme;
}

}  // namespace

template <class T>
void box_iou(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, Measure kind, bool aligned, const bool* crowd,
             double eps, T* out) {
    if (!n || !m) return;
    const bool plain = ordinary(a, n) && ordinary(b, m);
    const BoxIouLoops<T>& loops = box_iou_kernels().of<T>();
    if (aligned) {
        if (!plain) {
            for (int64_t i = 0; i < n; ++i) out[i] = measure(a[i], b[i], kind, crowd && crowd[i], eps);
            return;
        }
        Buffer<T> flags(crowd ? n : 0);
        for (int64_t i = 0; crowd && i < n; ++i) flags[i] = crowd[i];
        loops.aligned(a, b, crowd ? flags.get() : nullptr, n, kind, T(eps), out);
        return;
    }

    // columns, padded by boxes that overlap nothing
    const int64_t stride = (m + 15) / 16 * 16 + 16;  // a row that is streamed may begin within a vector
    const bool angles = kind == Measure::ciou;
    Buffer<T> columns(plain ? stride * (5 + angles + (crowd != nullptr)) : 0);
    Buffer<T> areas(plain ? n * (1 + angles) : 0);
    IouJob<T> job = {};
    if (plain) {
        T* c = columns.get();
        T *x1 = c, *y1 = c + stride, *x2 = c + 2 * stride, *y2 = c + 3 * stride, *its_area = c + 4 * stride;
        T *its_angle = c + 5 * stride, *flags = c + (5 + angles) * stride;
        const Box<T> none = empty_box<T>();
        for (int64_t j = 0; j < stride; ++j) {
            const Box<T> box = j < m ? b[j] : none;
            x1[j] = box.x1, y1[j] = box.y1, x2[j] = box.x2, y2[j] = box.y2, its_area[j] = area(box);
            if (angles) its_angle[j] = angle(box);
            if (crowd) flags[j] = j < m && crowd[j];
        }
        for (int64_t i = 0; i < n; ++i) {
            areas[i] = area(a[i]);
            if (angles) areas[n + i] = angle(a[i]);
        }
        job = {a,
               areas.get(),
               angles ? areas.get() + n : nullptr,
               {x1, y1, x2, y2, its_area, angles ? its_angle : nullptr, crowd ? flags : nullptr},
               m,
               out,
               kind,
               T(eps),
               n * m * int64_t(sizeof(T)) >= kStreamBytes};
    }
    const auto rows = [&](int64_t first, int64_t last) {
        if (plain) return loops.rows(job, first, last);
        for (int64_t i = first; i < last; ++i) {
            for (int64_t j = 0; j < m; ++j) out[i * m + j] = measure(a[i], b[j], kind, crowd && crowd[j], eps);
        }
    };
    if (n * m < kThreadPairs || get_num_threads() == 1) return rows(0, n);
    const int64_t step = kThreadPairs / 4 / m + 1;
    parallel_for((n + step - 1) / step,
                 [&](int64_t task) { rows(task * step, task * step + step < n ? task * step + step : n); });
}

template void box_iou(const Box<float>*, int64_t, const Box<float>*, int64_t, Measure, bool, const bool*, double,
                      float*);
template void box_iou(const Box<double>*, int64_t, const Box<double>*, int64_t, Measure, bool, const bool*, double,
                      double*);

}  // namespace fastdet
