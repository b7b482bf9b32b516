// Losses of aligned boxes: threads and scratch memory around the loops of box_losses_loops.cpp.
#include "losses/box_losses.h"

#include "core/memory.h"
#include "core/sums.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kThreadPairs = 1 << 15;  // below it a second thread is slower

void loops(const BoxLossJob<float>& job, int64_t first, int64_t last) { box_losses_kernels().f(job, first, last); }
void loops(const BoxLossJob<double>& job, int64_t first, int64_t last) { box_losses_kernels().d(job, first, last); }

}  // namespace

template <class T>
double box_losses(BoxLossJob<T> job, int64_t n, bool sum) {
    const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
    Buffer<double> sums(sum ? blocks : 0);
    if (sum) job.sums = sums.get();
    if (n < kThreadPairs || get_num_threads() == 1) {
        loops(job, 0, n);
    } else {
        const int64_t step = kThreadPairs / 4;
        parallel_for((n + step - 1) / step,
                     [&](int64_t task) { loops(job, task * step, task * step + step < n ? task * step + step : n); });
    }
    return sum ? sum_of_sums(sums.get(), blocks) : 0;
}

template double box_losses(BoxLossJob<float>, int64_t, bool);
template double box_losses(BoxLossJob<double>, int64_t, bool);

}  // namespace fastdet
