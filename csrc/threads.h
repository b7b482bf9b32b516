// One small pool of threads for the whole process: started when first needed, safe after fork, idle otherwise.
#pragma once

#include <cstdint>

namespace fastdet {

int get_num_threads();
void set_num_threads(int n);  // n >= 1

// Calls run(context, task) for each task of [0, tasks), by up to get_num_threads() threads, this one among them.
// Runs them all here where that is 1, where there is one task, or where another thread is using the pool. `run`
// must not throw.
void parallel(int64_t tasks, void (*run)(void*, int64_t), void* context);

template <class F>
void parallel_for(int64_t tasks, const F& f) {
    parallel(tasks, [](void* c, int64_t task) { (*static_cast<const F*>(c))(task); }, const_cast<F*>(&f));
}

}  // namespace fastdet
