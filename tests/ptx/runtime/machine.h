// What the parts of the machine share: what runs, reports, and the checks that an access goes through.
#pragma once

#include "ptx.h"

namespace ptx {

constexpr uint32_t kSharedMost = 227 << 10;  // bytes of a block, as Hopper's
constexpr uint32_t kSharedUnasked = 48 << 10;

struct Running {
    const Kernel* kernel = nullptr;
    uint32_t launch = 0;        // counted from 1
    uint32_t block = 0;         // its number in the grid
    uint32_t block_serial = 0;  // counted over all launches
    uint32_t shared_bytes = 0;
};
extern Running running;

// One line a kind of report, with how often it came. `other` is the other side of a race.
void report(const char* what, const Site* site, const Site* other = nullptr);
[[noreturn]] void give_up(const char* what, const Site* site, uint64_t address);

// 0, or the error code of the launch.
int launch(const Kernel* kernel, Index grid, Index block, unsigned shared_bytes, unsigned shared_allowed,
           const unsigned char* parameters);
const Kernel* kernel_of(const char* name);
void note_executed(const Site* site);
void count(const char* call);  // a call of the runtime, a launch

// Happens-before: races.cpp. Of threads of one block, a block's barrier orders all, a warp's those of its mask; of
// several blocks a fence, an atomic or volatile access that is seen, and a fence. Exchanges of a warp order nothing.
void races_new_launch();
void races_new_block(uint32_t threads);
void races_shared(uint32_t offset, unsigned bytes, Site* site);
void races_global(uint64_t address, unsigned bytes, Site* site);
void races_settle();  // writes of two blocks that may have been of one value
void races_fence(bool device);
void races_barrier_after();
uint64_t races_warp_give();  // what a lane hands to the others of its mask, and what it takes of them
void races_warp_take(const Lanes& all);

// Weak memory: stores.cpp. A thread's epoch is the number of the block's barriers that it has passed.
extern bool stores_held;
uint32_t races_epoch(uint32_t thread);
void stores_new_block();
void stores_end_launch();
void stores_fence(uint32_t thread, uint32_t epoch);
uint64_t stores_place(uint64_t address, unsigned bytes, const Site* site, uint32_t thread, uint32_t epoch);

// Memory traffic: sectors.cpp.
extern bool sectors_on;
void sectors_note(uint64_t address, unsigned bytes, const Site* site);
void sectors_end_launch();

}  // namespace ptx

#define PTX_API extern "C" __attribute__((visibility("default")))
