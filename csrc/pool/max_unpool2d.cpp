// Unpooling and the gradients: threads and scratch memory around the loops of max_unpool2d_loops.cpp.
#include "pool/max_unpool2d.h"

#include <atomic>

#include "core/memory.h"
#include "pool/parts.h"

namespace fastdet {

bool max_unpool2d(PlaceJob job) {
    const MaxUnpool2dKernels& loops = max_unpool2d_kernels();
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

bool max_unpool2d_backward(PlaceJob job) {
    const MaxUnpool2dKernels& loops = max_unpool2d_kernels();
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
