// The fibers behind cuda_runtime.h.
#include "cuda_runtime.h"

#include <pthread.h>
#include <ucontext.h>

#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");
#endif

namespace emulator {

uint3 thread, block;
dim3 block_size, grid_size;

namespace {

constexpr size_t kStack = 256 << 10;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "cuda_emulator: %s (thread %u of block %u, %u, %u)\n", what, thread.x, block.x, block.y,
                 block.z);
    std::abort();
}

uint64_t random_state = 1;
uint32_t draw(size_t below) {  // xorshift64*
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return uint32_t((random_state * 0x2545f4914f6cdd1du >> 32) % below);
}
template <class T>
void shuffle(std::vector<T>& x) {
    for (size_t i = x.size(); i > 1; --i) std::swap(x[i - 1], x[draw(i)]);
}

struct Context {
#if defined(__x86_64__)
    void* top = nullptr;
#else
    ucontext_t machine;
#endif
    std::vector<char> stack;
    const void* bottom = nullptr;
    size_t size = 0;
};

// swapcontext is a system call each time; where it can be, the registers that a call preserves change by hand.
void switch_to(Context& from, Context& to) {
#if defined(__x86_64__)
    emulator_switch(&from.top, to.top);
#else
    swapcontext(&from.machine, &to.machine);
#endif
}

void prepare(Context& c, void (*run)()) {
    c.bottom = c.stack.data(), c.size = c.stack.size();
#if defined(__x86_64__)
    const uintptr_t end = reinterpret_cast<uintptr_t>(c.stack.data() + c.stack.size()) / 16 * 16;
    void** top = reinterpret_cast<void**>(end) - 8;  // six registers, where to begin, where it would return to
    std::memset(static_cast<void*>(top), 0, 8 * sizeof *top);
    top[6] = reinterpret_cast<void*>(run);
    c.top = top;
#else
    getcontext(&c.machine);
    c.machine.uc_stack.ss_sp = c.stack.data();
    c.machine.uc_stack.ss_size = c.stack.size();
    c.machine.uc_link = nullptr;
    makecontext(&c.machine, run, 0);
#endif
}

// From one stack to another; the sanitizer wants to be told.
void change(Context& from, Context& to) {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, to.bottom, to.size);
    switch_to(from, to);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    switch_to(from, to);
#endif
}

struct Thread {
    int fiber = -1;
    uint64_t seen[32];
};

struct Exchange {  // that some lanes of a warp wait for
    uint32_t mask, come;
    uint64_t values[32];
};

struct Warp {
    uint32_t alive;
    std::vector<int> ready;
    std::vector<Exchange> open;
};

Context home;
std::vector<std::unique_ptr<Context>> fibers;
std::vector<int> idle;     // fibers without a thread
int ready_count;           // fibers whose thread may run: each warp has its own
bool by_rank;              // run the ready ones of the first warp in `ranking` that has any, so that others lag behind
std::vector<int> ranking;  // of the warps
std::vector<int> unstarted;  // threads, in the order in which they will start
std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<int> at_barrier;  // fibers
std::vector<int> thread_of;   // fiber -> thread
int alive, current;           // threads that have not returned; the running fiber
const std::function<void()>* body;
std::map<const void*, std::vector<char>> shared_memory;
size_t rest_bytes;
cudaError_t pending_error = cudaSuccess, next_error = cudaSuccess;

int running() { return thread_of[size_t(current)]; }

void wait() {  // until somebody puts this fiber among the ready ones and it is drawn
    const int mine = current;
    change(*fibers[size_t(mine)], home);
    current = mine;
    thread = {unsigned(running()), 0, 0};
}

void make_ready(int fiber) {
    warps[size_t(thread_of[size_t(fiber)]) / 32].ready.push_back(fiber);
    ++ready_count;
}

int take_ready() {
    const size_t first = draw(ranking.size());
    for (size_t k = 0;; ++k) {
        const size_t at = by_rank ? k : (first + k) % ranking.size();
        std::vector<int>& fibers_of = warps[size_t(ranking[at])].ready;
        if (fibers_of.empty()) continue;
        std::swap(fibers_of[draw(fibers_of.size())], fibers_of.back());
        const int fiber = fibers_of.back();
        fibers_of.pop_back();
        --ready_count;
        return fiber;
    }
}

void open_barrier() {
    if (!alive || int(at_barrier.size()) != alive) return;
    for (const int fiber : at_barrier) make_ready(fiber);
    at_barrier.clear();
    by_rank = draw(2);
    shuffle(ranking);
}

// Closes the exchanges of a warp for which every lane has come that still can.
void settle(int warp) {
    Warp& w = warps[size_t(warp)];
    for (size_t k = 0; k < w.open.size();) {
        Exchange& e = w.open[k];
        if (e.come != (e.mask & w.alive)) {
            ++k;
            continue;
        }
        for (int lane = 0; lane < 32; ++lane) {
            if (!(e.come >> lane & 1)) continue;
            Thread& t = threads[size_t(warp * 32 + lane)];
            std::memcpy(t.seen, e.values, sizeof t.seen);
            make_ready(t.fiber);
        }
        w.open.erase(w.open.begin() + std::ptrdiff_t(k));
    }
}

void run_fiber() {  // takes threads that have not begun, one after the other
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    for (;;) {
        while (!unstarted.empty()) {
            const int mine = unstarted.back();
            unstarted.pop_back();
            thread_of[size_t(current)] = mine;
            threads[size_t(mine)].fiber = current;
            thread = {unsigned(mine), 0, 0};
            (*body)();
            --alive;
            warps[size_t(mine) / 32].alive &= ~(1u << mine % 32);
            settle(mine / 32);
            open_barrier();
        }
        idle.push_back(current);
        const int fiber = current;
        change(*fibers[size_t(fiber)], home);
    }
}

int new_fiber() {
    if (!idle.empty()) {
        const int fiber = idle.back();
        idle.pop_back();
        return fiber;
    }
    fibers.push_back(std::make_unique<Context>());
    Context& c = *fibers.back();
    c.stack.resize(kStack);
    prepare(c, run_fiber);
    thread_of.push_back(-1);
    return int(fibers.size()) - 1;
}

void run_block(int count) {
    shared_memory.clear();
    const int warp_count = (count + 31) / 32;
    threads.assign(size_t(count), Thread());
    warps.assign(size_t(warp_count), Warp());
    std::vector<int> order;
    for (int w = 0; w < warp_count; ++w) {
        const int lanes = count - w * 32 < 32 ? count - w * 32 : 32;
        warps[size_t(w)].alive = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
        order.push_back(w);
    }
    shuffle(order);
    ranking = order;
    by_rank = draw(2);
    unstarted.clear();
    for (const int w : order) {
        std::vector<int> lanes;
        for (int t = w * 32; t < count && t < w * 32 + 32; ++t) lanes.push_back(t);
        shuffle(lanes);
        unstarted.insert(unstarted.end(), lanes.begin(), lanes.end());
    }
    alive = count;
    while (alive) {
        if (!unstarted.empty() && (!ready_count || draw(2))) {
            current = new_fiber();
        } else if (ready_count) {
            current = take_ready();
        } else {
            fail("every thread waits: a barrier or a warp's exchange that not all of its threads reach");
        }
        change(home, *fibers[size_t(current)]);
    }
}

}  // namespace

int lane() { return int(thread.x % 32); }

void sync_block() {
    at_barrier.push_back(current);
    open_barrier();
    wait();
}

void give_way() {
    if (draw(8)) return;
    make_ready(current);
    wait();
}

const uint64_t* exchange(uint32_t mask, uint64_t value) {
    const int mine = running(), warp = mine / 32, lane = mine % 32;
    if (!(mask >> lane & 1)) fail("a thread is not in the mask of its own exchange");
    Warp& w = warps[size_t(warp)];
    Exchange* with = nullptr;
    for (Exchange& e : w.open) {
        if (e.mask == mask && !(e.come >> lane & 1)) with = &e;
    }
    if (!with) {
        w.open.push_back({mask, 0, {}});
        with = &w.open.back();
        for (uint64_t& x : with->values) x = 0xa5a5a5a5a5a5a5a5u;
    }
    with->come |= 1u << lane;
    with->values[lane] = value;
    settle(warp);
    wait();
    return threads[size_t(mine)].seen;
}

void* shared(const void* site, size_t bytes) {
    std::vector<char>& memory = shared_memory[site];
    if (memory.empty()) memory.assign(bytes, char(0xa5));
    return memory.data();
}

void* shared_rest() { return shared(&rest_bytes, rest_bytes); }

Host host;

void launch(dim3 grid, dim3 size, const std::function<void()>& kernel, size_t shared_bytes) {
    host.mode_of_last_launch = host.capture_mode;
    if (host.skips) return;
    if (next_error) {
        pending_error = next_error, next_error = cudaSuccess;
        return;
    }
    if (!grid.x || !grid.y || !grid.z || !size.x || size.y != 1 || size.z != 1 || size.x > 1024 || grid.x >= 1u << 31 ||
        grid.y > 65535 || grid.z > 65535 || shared_bytes > size_t(kShared)) {
        pending_error = cudaErrorInvalidConfiguration;
        return;
    }
    if (size.x % 32) fail("a block is not whole warps");
#if defined(__SANITIZE_ADDRESS__)
    if (!home.bottom) {  // the stack of the calling thread, found by asking
        pthread_attr_t attributes;
        void* low;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &low, &home.size);
        pthread_attr_destroy(&attributes);
        home.bottom = low;
    }
#endif
    body = &kernel, grid_size = grid, block_size = size, rest_bytes = shared_bytes;
    std::vector<uint64_t> order(size_t(grid.x) * grid.y * grid.z);
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    shuffle(order);
    for (const uint64_t i : order) {
        block = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
        run_block(int(size.x));
    }
    shared_memory.clear();
}

cudaError_t last_error() {
    const cudaError_t code = pending_error;
    pending_error = cudaSuccess;
    return code;
}

int primary_context_state(int device, unsigned* flags, int* active) {
    *flags = 0;
    *active = host.contexts >> device & 1;
    return 0;
}

}  // namespace emulator

// Sets the device of this thread and the devices with a context, as bits.
extern "C" __attribute__((visibility("default"))) void fastdet_emulator_set_host(int device, unsigned contexts) {
    emulator::host = {device, cudaStreamCaptureModeGlobal, cudaStreamCaptureModeGlobal, contexts, emulator::host.skips};
}
extern "C" __attribute__((visibility("default"))) void fastdet_emulator_skip(int skips) {
    emulator::host.skips = skips;
}
// The device, the devices with a context, the mode of captures now and in the last launch.
extern "C" __attribute__((visibility("default"))) void fastdet_emulator_host(int* values) {
    values[0] = emulator::host.device;
    values[1] = int(emulator::host.contexts);
    values[2] = emulator::host.capture_mode;
    values[3] = emulator::host.mode_of_last_launch;
}
extern "C" __attribute__((visibility("default"))) void fastdet_emulator_seed(uint64_t seed) {
    emulator::random_state = seed * 2 + 1;
}
extern "C" __attribute__((visibility("default"))) void fastdet_emulator_fail_next(int code) {
    emulator::next_error = cudaError_t(code);
}
