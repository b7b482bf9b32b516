// Max-pooling: threads and scratch memory around the loops of max_pool2d_loops.cpp.
#include "pool/max_pool2d.h"

#include "core/memory.h"
#include "pool/parts.h"

namespace fastdet {

void max_pool2d(PoolJob job) {
    const MaxPool2dKernels& loops = max_pool2d_kernels();
    job.stream = streams(job.planes, job.rows * job.columns * job.inner * size_of(job.type));
    const int64_t bytes = loops.scratch(job);
    each_part(job.planes, job.rows, job.columns * job.inner * window_elements(job.window),
              [&](int64_t plane, int64_t first, int64_t last) {
                  Buffer<char> scratch(bytes);
                  loops.run(job, plane, first, last, scratch.get());
              });
}

}  // namespace fastdet
