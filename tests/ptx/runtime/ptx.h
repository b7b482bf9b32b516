// What translated PTX is written against: memory, what threads do together, and arithmetic (arithmetic.h).
//
// Threads of a block are the fibers of tests/cuda_emulator/emulator.cpp, so one runs at a time. "Device" pointers are
// host pointers. Shared addresses begin at kSharedStart; a generic address of shared memory is a host pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "arithmetic.h"

namespace ptx {

enum class Kind { none, read, write, atomic, fence, block_fence, barrier, warp_barrier, exchange };

// An instruction that the machine looks at.
struct Site {
    Kind kind = Kind::none;
    bool strong = false;  // volatile, relaxed or stronger: does not race with its like
    const char *opcode = "", *place = "", *kernel = "";
    bool off = false;  // a barrier or a fence that does nothing, an atomic that is none: see machine.h
};

struct Parameter {
    unsigned offset, bytes;
};
struct Kernel {
    const char* name;
    void (*run)(const unsigned char* parameters);
    const Parameter* parameters;
    int parameter_count;
    unsigned shared_bytes, max_threads;
};
struct Registration {
    Registration(const Kernel* kernels, size_t kernel_count, Site* sites, size_t site_count);
};

struct Index {
    uint32_t x, y, z;
};
uint32_t tid();
uint32_t ntid();
Index ctaid();
Index nctaid();
inline uint32_t lane() { return tid() & 31; }

constexpr uint32_t kSharedStart = 1024;

// The host's address of an access, which the machine has looked at.
uint64_t touch_global(uint64_t address, unsigned bytes, Site* site);
uint64_t touch_shared(uint64_t address, unsigned bytes, Site* site);
uint64_t touch_generic(uint64_t address, unsigned bytes, Site* site);
uint64_t parameter(const unsigned char* parameters, unsigned size, uint64_t address, unsigned bytes);
uint64_t shared_to_generic(uint64_t address);
uint64_t generic_to_shared(uint64_t address);

template <class T>
inline T at(uint64_t place) {
    T x;
    std::memcpy(&x, reinterpret_cast<const void*>(place), sizeof x);
    return x;
}
template <class T>
inline void put(uint64_t place, T x) {
    std::memcpy(reinterpret_cast<void*>(place), &x, sizeof x);
}

void give_way();  // another thread may run now
void give_way_always();
template <class T, class F>
inline T atomic(uint64_t place, const Site* site, F update) {
    const T old = at<T>(place);
    if (site->off) give_way_always();
    put<T>(place, update(old));
    return old;
}

void barrier(Site* site);
int barrier_popc(bool value, Site* site);
inline bool barrier_or(bool value, Site* site) { return barrier_popc(value, site) != 0; }
inline bool barrier_and(bool value, Site* site) { return barrier_popc(!value, site) == 0; }
void warp_barrier(uint32_t mask, Site* site);
void fence(Site* site);
void trap(Site* site);

uint32_t shuffle_bfly(uint32_t x, uint32_t lanes, uint32_t clamp, uint32_t mask, bool& in_range, Site* site);
uint32_t shuffle_up(uint32_t x, uint32_t lanes, uint32_t clamp, uint32_t mask, bool& in_range, Site* site);
uint32_t shuffle_down(uint32_t x, uint32_t lanes, uint32_t clamp, uint32_t mask, bool& in_range, Site* site);
uint32_t shuffle_idx(uint32_t x, uint32_t lane, uint32_t clamp, uint32_t mask, bool& in_range, Site* site);
uint32_t vote_ballot(bool x, uint32_t mask, Site* site);
inline bool vote_any(bool x, uint32_t mask, Site* site) { return vote_ballot(x, mask, site) != 0; }
inline bool vote_all(bool x, uint32_t mask, Site* site) { return vote_ballot(!x, mask, site) == 0; }
bool vote_uni(bool x, uint32_t mask, Site* site);
uint32_t match_any(uint64_t x, uint32_t mask, Site* site);
uint32_t match_all(uint64_t x, uint32_t mask, Site* site);
uint32_t active_mask();

struct Lanes {  // what the lanes of a mask gave
    uint32_t present;
    uint64_t values[32];
};
Lanes exchange(uint64_t value, uint32_t mask, Site* site);
template <class T, class F>
inline T reduce(T x, uint32_t mask, F rule, Site* site) {
    const Lanes all = exchange(uint32_t(x), mask, site);
    bool first = true;
    for (int k = 0; k < 32; ++k) {
        if (!(all.present >> k & 1)) continue;
        const T theirs = T(uint32_t(all.values[k]));
        x = first ? theirs : rule(x, theirs);
        first = false;
    }
    return x;
}

}  // namespace ptx
