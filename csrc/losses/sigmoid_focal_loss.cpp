// The sigmoid focal loss: threads and scratch memory around the loops of sigmoid_focal_loss_loops.cpp.
#include "losses/sigmoid_focal_loss.h"

#include "core/memory.h"
#include "core/sums.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kThreadValues = 1 << 16;  // below it a second thread is slower

}  // namespace

double sigmoid_focal_loss(SigmoidFocalJob job, int64_t n, bool sum) {
    const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
    Buffer<double> sums(sum ? blocks : 0);
    if (sum) job.sums = sums.get();
    const auto run = sigmoid_focal_loss_kernels().run;
    if (n < kThreadValues || get_num_threads() == 1) {
        run(job, 0, n);
    } else {
        const int64_t step = kThreadValues / 4;
        parallel_for((n + step - 1) / step,
                     [&](int64_t task) { run(job, task * step, task * step + step < n ? task * step + step : n); });
    }
    return sum ? sum_of_sums(sums.get(), blocks) : 0;
}

}  // namespace fastdet
