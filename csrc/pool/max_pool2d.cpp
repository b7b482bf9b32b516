// Max-pooling and unpooling: threads and scratch memory around the loops of pool.cpp.
#include "pool/max_pool2d.h"

#include <atomic>

#include "core/kernels.h"
#include "core/memory.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kStreamBytes = 8 << 20;     // outputs from which the caches are passed by
constexpr int64_t kStreamPlane = 8 << 10;     // and planes: their ends are written the ordinary way
constexpr int64_t kTaskElements = 128 << 10;  // about 50 us

int64_t size_of(PoolType type) {
    switch (type) {
        case PoolType::f64:
        case PoolType::i64:
            return 8;
        case PoolType::f32:
        case PoolType::u32:
        case PoolType::i32:
            return 4;
        case PoolType::u8:
            return 1;
        default:
            return 2;
    }
}

bool streams(int64_t planes, int64_t plane_bytes) {
    return planes * plane_bytes >= kStreamBytes && plane_bytes >= kStreamPlane;
}

// A measure of the work of one window.
int64_t window_elements(const PoolWindow& w) { return (w.sh < 16 ? w.sh : 16) * (w.sw < 16 ? w.sw : 16); }

// run(plane, first row, last row) over all rows of all planes, in tasks of at least kTaskElements.
template <class F>
void each_part(int64_t planes, int64_t rows, int64_t row_elements, const F& run) {
    const int64_t all = planes * rows;
    if (!all || !row_elements) return;
    int64_t step = kTaskElements / row_elements + 1;
    if (get_num_threads() == 1) step = all;
    parallel_for((all + step - 1) / step, [&](int64_t task) {
        const int64_t end = task * step + step < all ? task * step + step : all;
        for (int64_t at = task * step; at < end;) {
            const int64_t plane = at / rows, first = at - plane * rows;
            const int64_t last = end - plane * rows < rows ? end - plane * rows : rows;
            run(plane, first, last);
            at = plane * rows + last;
        }
    });
}

}  // namespace

void max_pool(PoolJob job) {
    const PoolKernels& loops = *kernels().pool;
    job.stream = streams(job.planes, job.rows * job.columns * job.inner * size_of(job.type));
    const int64_t bytes = loops.max_pool_scratch(job);
    each_part(job.planes, job.rows, job.columns * job.inner * window_elements(job.window),
              [&](int64_t plane, int64_t first, int64_t last) {
                  Buffer<char> scratch(bytes);
                  loops.max_pool(job, plane, first, last, scratch.get());
              });
}

bool pool_scatter(PlaceJob job) {
    const PoolKernels& loops = *kernels().pool;
    job.stream = streams(job.planes, job.height * job.width * job.inner * size_of(job.type));
    const int64_t bytes = loops.scatter_scratch(job);
    Buffer<std::atomic<bool>> again(job.planes);
    for (int64_t i = 0; i < job.planes; ++i) again[i].store(false, std::memory_order_relaxed);
    std::atomic<bool> any{false}, bad{false};
    each_part(job.planes, job.rows, job.columns * job.inner * window_elements(job.window),
              [&](int64_t plane, int64_t first, int64_t last) {
                  Buffer<char> scratch(bytes);
                  if (!loops.scatter(job, plane, first, last, scratch.get())) again[plane] = any = true;
              });
    if (!any) return true;
    const int64_t plane_bytes = loops.scatter_plane_scratch(job);
    parallel_for(job.planes, [&](int64_t plane) {
        if (!again[plane]) return;
        Buffer<char> scratch(plane_bytes);
        if (!loops.scatter_plane(job, plane, scratch.get())) bad = true;
    });
    return !bad;
}

bool pool_gather(PlaceJob job) {
    const PoolKernels& loops = *kernels().pool;
    job.stream = streams(job.planes, job.rows * job.columns * job.inner * size_of(job.type));
    const int64_t bytes = loops.gather_scratch(job);
    std::atomic<bool> bad{false};
    each_part(job.planes, job.rows, job.columns * job.inner * 2, [&](int64_t plane, int64_t first, int64_t last) {
        Buffer<char> scratch(bytes);
        if (!loops.gather(job, plane, first, last, scratch.get())) bad = true;
    });
    return !bad;
}

}  // namespace fastdet
