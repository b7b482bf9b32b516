// The pool of threads. See threads.h.
#include "core/threads.h"

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fastdet {
namespace {

constexpr int kMaxThreads = 1024;

// CPUs that the cgroup's quota allows, rounded up; 0 without a quota.
int quota_cpus() {
    double quota = 0, period = 0;
    if (std::FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {      // version 2
        if (std::fscanf(f, "%lf %lf", &quota, &period) != 2) quota = 0;  // "max 100000"
        std::fclose(f);
    } else {  // version 1
        const char* names[2] = {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"};
        double* values[2] = {&quota, &period};
        for (int i = 0; i < 2; ++i) {
            std::FILE* g = std::fopen(names[i], "r");
            if (!g) return 0;
            if (std::fscanf(g, "%lf", values[i]) != 1) *values[i] = 0;
            std::fclose(g);
        }
    }
    return quota > 0 && period > 0 ? int((quota + period - 1) / period) : 0;
}

int default_threads() {
    int n = int(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t mine;
    if (!sched_getaffinity(0, sizeof mine, &mine)) n = CPU_COUNT(&mine);
#endif
    const int quota = quota_cpus();
    if (quota && quota < n) n = quota;
    return n < 1 ? 1 : n > kMaxThreads ? kMaxThreads : n;
}

thread_local bool inside = false;  // in a task of the pool: nested calls run on the same thread

// Never destroyed: its threads may outlive every static object.
struct Pool {
    std::mutex use;  // held by the thread whose tasks are running
    std::mutex lock;
    std::condition_variable wake, done;
    int workers = 0;  // started
    uint64_t round = 0;
    int joined = 0;  // workers inside this round
    int seats = 0;   // workers that may still join it
    int64_t tasks = 0;
    void (*run)(void*, int64_t) = nullptr;
    void* context = nullptr;
    std::atomic<int64_t> next{0};

    void work() {
        inside = true;
        for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) run(context, task);
        inside = false;
    }

    void loop() {
        std::unique_lock<std::mutex> hold(lock);
        for (uint64_t seen = 0;;) {
            wake.wait(hold, [&] { return round != seen; });
            seen = round;
            if (!seats) continue;
            --seats;
            ++joined;
            hold.unlock();
            work();
            hold.lock();
            if (!--joined) done.notify_one();
        }
    }

    void call(int64_t count, int threads, void (*f)(void*, int64_t), void* c) {
        {
            std::lock_guard<std::mutex> hold(lock);
            while (workers < threads - 1) {
                try {
                    std::thread([this] { loop(); }).detach();
                } catch (const std::system_error&) {
                    break;  // no more threads available: fewer do the same work
                }
                ++workers;
            }
            tasks = count;
            run = f;
            context = c;
            next.store(0, std::memory_order_relaxed);
            seats = threads - 1 < workers ? threads - 1 : workers;
            ++round;
        }
        wake.notify_all();
        work();
        std::unique_lock<std::mutex> hold(lock);
        seats = 0;  // workers that have not joined yet stay out
        done.wait(hold, [&] { return !joined; });
    }
};

std::atomic<Pool*> pool{nullptr};
std::atomic<int> wanted{0};  // 0: not decided yet

#if defined(__unix__) || defined(__APPLE__)
// A forked child has none of the parent's threads, and its locks may be held by threads that are not there: it
// leaves the parent's pool alone and starts with one thread, as a data loader's worker wants.
void in_child() {
    if (!pool.load(std::memory_order_relaxed)) return;
    pool.store(nullptr, std::memory_order_relaxed);
    wanted.store(1, std::memory_order_relaxed);
}
#endif

Pool& the_pool() {
    Pool* p = pool.load(std::memory_order_acquire);
    if (p) return *p;
#if defined(__unix__) || defined(__APPLE__)
    static const int registered = pthread_atfork(nullptr, nullptr, in_child);
    (void)registered;
#endif
    Pool* fresh = new Pool;
    if (pool.compare_exchange_strong(p, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
    return *p;
}

}  // namespace

int get_num_threads() {
    int n = wanted.load(std::memory_order_relaxed);
    if (!n) {
        n = default_threads();
        int none = 0;
        if (!wanted.compare_exchange_strong(none, n)) n = none;
    }
    return n;
}

void set_num_threads(int n) { wanted.store(n < 1 ? 1 : n > kMaxThreads ? kMaxThreads : n, std::memory_order_relaxed); }

void parallel(int64_t tasks, void (*run)(void*, int64_t), void* context) {
    int threads = get_num_threads();
    if (threads > tasks) threads = int(tasks);
    if (threads > 1 && !inside) {
        Pool& p = the_pool();
        std::unique_lock<std::mutex> mine(p.use, std::try_to_lock);
        if (mine.owns_lock()) {
            p.call(tasks, threads, run, context);
            return;
        }
    }
    for (int64_t task = 0; task < tasks; ++task) run(context, task);
}

}  // namespace fastdet
