// Weak memory: plain stores to global memory that other blocks see as late as they may, where a test asks for it.
//
// They stay with their block until a thread's fence hands on those that came before it, or until the end of the launch.
// The block itself sees them at once. Loads are never early.
#include <memory>
#include <unordered_map>
#include <vector>

#include "machine.h"

namespace ptx {

bool stores_held;

namespace {

struct Line {  // of 16 bytes
    unsigned char bytes[16];
    bool held[16] = {};
    uint16_t thread[16];
    uint32_t epoch[16];
};
typedef std::unordered_map<uint64_t, Line> Lines;  // by address / 16
std::vector<std::unique_ptr<Lines>> of_blocks;     // the last one's is that of the block that runs
unsigned char seen[16];

void hand_on(uint64_t number, Line& line, unsigned i) {
    *reinterpret_cast<unsigned char*>(number * 16 + i) = line.bytes[i];
    line.held[i] = false;
}

}  // namespace

void stores_new_block() {
    if (stores_held) of_blocks.push_back(std::make_unique<Lines>());
}

void stores_end_launch() {
    for (const auto& lines : of_blocks) {
        for (auto& one : *lines) {
            for (unsigned i = 0; i < 16; ++i) {
                if (one.second.held[i]) hand_on(one.first, one.second, i);
            }
        }
    }
    of_blocks.clear();
}

void stores_fence(uint32_t thread, uint32_t epoch) {
    if (!stores_held) return;
    for (auto& one : *of_blocks.back()) {
        Line& line = one.second;
        for (unsigned i = 0; i < 16; ++i) {
            if (line.held[i] && (line.thread[i] == thread || line.epoch[i] < epoch)) hand_on(one.first, line, i);
        }
    }
}

uint64_t stores_place(uint64_t address, unsigned bytes, const Site* site, uint32_t thread, uint32_t epoch) {
    const uint64_t number = address / 16;
    const unsigned first = unsigned(address % 16);
    if (!stores_held || first + bytes > 16) return address;
    Lines& lines = *of_blocks.back();
    const bool plain = !site->strong || site->off;
    if (plain && site->kind == Kind::write) {
        Line& line = lines[number];
        for (unsigned i = first; i < first + bytes; ++i)
            line.held[i] = true, line.thread[i] = uint16_t(thread), line.epoch[i] = epoch;
        return uint64_t(line.bytes + first);
    }
    const auto found = lines.find(number);
    if (found == lines.end()) return address;
    Line& line = found->second;
    if (!plain || site->kind == Kind::atomic) {  // acts on memory: a block's own stores to the place come before
        for (unsigned i = first; i < first + bytes; ++i) {
            if (line.held[i]) hand_on(number, line, i);
        }
        return address;
    }
    std::memcpy(seen, reinterpret_cast<const void*>(address), bytes);
    for (unsigned i = 0; i < bytes; ++i) {
        if (line.held[first + i]) seen[i] = line.bytes[first + i];
    }
    return uint64_t(seen);
}

}  // namespace ptx

// Holds stores back, or no more. Writes of several blocks to one place are not reported while it does.
PTX_API void fastdet_ptx_hold_stores(int on) { ptx::stores_held = on; }
