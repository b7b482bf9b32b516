// One small pool of threads for the whole process: started when first needed, safe after fork, idle otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

namespace fastdet {

int get_num_threads();
void set_num_threads(int n);  // n >= 1

// Calls run(context, task) for each task of [0, tasks), by up to get_num_threads() threads, this one among them.
// Runs them all here where that is 1, where there is one task, or where another thread is using the pool. `run`
// must not throw.
void parallel(int64_t tasks, void (*run)(void*, int64_t), void* context);

// f(task) for each task, as above; f may run out of memory, which is then thrown here, after the last task.
template <class F>
void parallel_for(int64_t tasks, const F& f) {
    struct Guarded {
        const F& f;
        std::atomic<bool> out_of_memory{false};
    } guarded{f};
    const auto run = [](void* context, int64_t task) {
        Guarded& mine = *static_cast<Guarded*>(context);
        try {
            mine.f(task);
        } catch (const std::bad_alloc&) {
            mine.out_of_memory = true;
        }
    };
    parallel(tasks, run, &guarded);
    if (guarded.out_of_memory) throw std::bad_alloc();
}

}  // namespace fastdet
