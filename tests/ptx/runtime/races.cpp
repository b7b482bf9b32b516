// Accesses that nothing orders: shared memory within a block, global memory within a launch. A cell for each byte.
//
// A thread's time is (epoch, clock): barriers of the block that it has passed, and of its warp since. What came before
// is told by the epoch, and in the same epoch, within a warp, by the clocks of other lanes that bar.warp.sync has
// handed on. Between blocks: what a block has written is known to another one that sees an atomic or volatile access to
// one address, with fences around both. Of readers of a global byte the last one is remembered, and all those of a
// shared byte.
#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "machine.h"

namespace ptx {
namespace {

struct Access {
    const Site* site = nullptr;
    uint32_t block, epoch, clock;
    uint16_t thread, fences;
    bool strong;
};

enum Readers : uint8_t { none, one, lanes, warps };  // `lanes`: of one warp, in a set of clocks

struct Cell {
    uint32_t serial = 0;  // of the block, or of the launch: what is older is no more
    Readers readers = none;
    bool written = false;
    uint32_t set = 0;
    Access write, read;
};

struct Thread {
    uint32_t epoch, clock;
    uint16_t fences;
    std::array<uint32_t, 32> seen;  // of each lane of the warp: its clocks up to here came before
    std::array<std::array<uint32_t, 32>, 8> given;
    uint32_t turn;
};
Thread threads[1024];
uint32_t thread_count;

// What is known of another block: its epochs before `epoch`, and of `thread` what came before its fence `fences`.
struct Known {
    uint32_t epoch = 0;
    uint16_t thread = 0, fences = 0;
};
typedef std::unordered_map<uint32_t, Known> Knowledge;  // by block
struct Learned {
    Knowledge pending, sure;  // before the fence and after it
};
std::unordered_map<uint32_t, Learned> learned;   // by thread of the block that runs
Knowledge of_block;                              // from the last barrier on
std::unordered_map<uint64_t, Knowledge> handed;  // by the address of an atomic

std::vector<Cell> shared_cells(kSharedMost);
std::vector<std::array<uint32_t, 32>> sets;
std::unordered_map<uint64_t, std::unique_ptr<std::array<Cell, 4096>>> pages;
uint64_t last_page = ~0ull;
std::array<Cell, 4096>* last_cells;

void learn(Knowledge& to, const Knowledge& from) {
    for (const auto& one : from) {
        Known& k = to[one.first];
        if (one.second.epoch > k.epoch || (one.second.epoch == k.epoch && one.second.fences > k.fences)) k = one.second;
    }
}

bool in_order(const Access& a, uint32_t me) {  // within the block
    const Thread& t = threads[me];
    if (a.epoch < t.epoch || a.thread == me) return true;
    return a.thread / 32u == me / 32 && a.clock < t.seen[a.thread % 32];
}

bool tells(const Knowledge& knowledge, const Access& a) {
    const auto found = knowledge.find(a.block);
    if (found == knowledge.end()) return false;
    const Known& k = found->second;
    return a.epoch < k.epoch || (a.thread == k.thread && a.fences < k.fences);
}

bool known(const Access& a, uint32_t me) {  // of another block
    if (tells(of_block, a)) return true;
    const auto mine = learned.find(me);
    return mine != learned.end() && tells(mine->second.sure, a);
}

bool ordered(const Access& a, uint32_t me) { return a.block == running.block ? in_order(a, me) : known(a, me); }

Access now(uint32_t me, const Site* site) {
    const Thread& t = threads[me];
    return {site, running.block, t.epoch, t.clock, uint16_t(me), t.fences, site->strong && !site->off};
}

// A write of two blocks: no fault where it writes what is there.
struct Pending {
    uint64_t address;
    unsigned bytes;
    unsigned char before[16];
    const Site *site, *other;
};
std::vector<Pending> pending;

void race(const char* space, bool writes, bool was_write, const Site* site, const Site* other) {
    static const char* const kNames[2][2] = {{"", "read after write"}, {"write after read", "write after write"}};
    const std::string text = std::string("unordered ") + space + " " + kNames[writes][was_write];
    report(text.c_str(), site, other);
}

bool reads_ordered(const Cell& c, uint32_t me) {
    if (c.readers == none) return true;
    if (c.readers == one) return ordered(c.read, me);
    if (c.read.epoch < threads[me].epoch) return true;
    if (c.readers == warps || c.read.thread / 32u != me / 32) return false;
    for (uint32_t k = 0; k < 32; ++k) {
        const uint32_t clock = sets[c.set][k];  // 1 + the clock
        if (clock && k != me % 32 && clock - 1 >= threads[me].seen[k]) return false;
    }
    return true;
}

void add_reader(Cell& c, const Access& a) {
    const bool over = c.readers == none || c.read.epoch < a.epoch || (c.readers == one && in_order(c.read, a.thread));
    if (over) {
        c.readers = one, c.read = a;
        return;
    }
    if (c.readers == warps) return;
    if (c.read.thread / 32 != a.thread / 32) {
        c.readers = warps;
        return;
    }
    if (c.readers == one) {
        c.readers = lanes, c.set = uint32_t(sets.size());
        sets.push_back({});
        sets[c.set][c.read.thread % 32] = c.read.clock + 1;
    }
    sets[c.set][a.thread % 32] = a.clock + 1;
    c.read = a;
}

Cell& global_cell(uint64_t address) {
    if (address >> 12 != last_page) {
        auto& page = pages[address >> 12];
        if (!page) page = std::make_unique<std::array<Cell, 4096>>();
        last_page = address >> 12, last_cells = page.get();
    }
    return (*last_cells)[address & 4095];
}

}  // namespace

void races_new_launch() {
    if (pages.size() > 256) pages.clear(), last_page = ~0ull;
    handed.clear();
}

void races_new_block(uint32_t count) {
    thread_count = count;
    for (uint32_t t = 0; t < count; ++t) {
        threads[t].epoch = threads[t].clock = threads[t].turn = 0, threads[t].fences = 0;
        threads[t].seen.fill(0);
    }
    sets.clear(), learned.clear(), of_block.clear();
}

void races_shared(uint32_t offset, unsigned bytes, Site* site) {
    races_settle();
    const uint32_t me = tid();
    const bool atomic = site->kind == Kind::atomic, writes = atomic || site->kind == Kind::write;
    const Access mine = now(me, site);
    for (unsigned i = 0; i < bytes; ++i) {
        Cell& c = shared_cells[offset + i];
        if (c.serial != running.block_serial) c = Cell(), c.serial = running.block_serial;
        if (c.written && !(mine.strong && c.write.strong) && !in_order(c.write, me))
            race("shared", writes, true, site, c.write.site);
        if (writes && !(mine.strong && c.read.strong) && !reads_ordered(c, me))
            race("shared", true, false, site, c.read.site);
        if (site->kind != Kind::write && !c.written) report("read of shared memory that nothing wrote", site);
        if (writes)
            c.write = mine, c.written = true;
        else
            add_reader(c, mine);
    }
}

void races_global(uint64_t address, unsigned bytes, Site* site) {
    races_settle();
    const uint32_t me = tid();
    const bool atomic = site->kind == Kind::atomic, writes = atomic || site->kind == Kind::write;
    const Access mine = now(me, site);
    const Site* overwritten = nullptr;
    for (unsigned i = 0; i < bytes; ++i) {
        Cell& c = global_cell(address + i);
        if (c.serial != running.launch) c = Cell(), c.serial = running.launch;
        if (c.written && !(mine.strong && c.write.strong) && !ordered(c.write, me)) {
            if (site->kind == Kind::write)
                overwritten = c.write.site;
            else
                race("global", writes, true, site, c.write.site);
        }
        if (writes && c.readers && !(mine.strong && c.read.strong) && !ordered(c.read, me))
            race("global", true, false, site, c.read.site);
        if (writes)
            c.write = mine, c.written = true;
        else
            c.read = mine, c.readers = one;
    }
    if (overwritten && !stores_held) {
        pending.push_back({address, bytes, {}, site, overwritten});
        std::memcpy(pending.back().before, reinterpret_cast<const void*>(address), bytes);
    }
    if (!mine.strong) return;
    // hands on what this thread knew at its last fence, and takes what others have handed on
    Knowledge& there = handed[address];
    learn(learned[me].pending, there);
    const Thread& t = threads[me];
    if (writes && t.fences) {
        learn(there, of_block);
        learn(there, learned[me].sure);
        learn(there, {{running.block, {t.epoch, uint16_t(me), t.fences}}});
    }
}

void races_settle() {
    for (const Pending& p : pending) {
        if (std::memcmp(p.before, reinterpret_cast<const void*>(p.address), p.bytes))
            race("global", true, true, p.site, p.other);
    }
    pending.clear();
}

void races_fence(bool device) {
    if (!device) return;
    const uint32_t me = tid();
    ++threads[me].fences;
    const auto mine = learned.find(me);
    if (mine != learned.end()) learn(mine->second.sure, mine->second.pending), mine->second.pending.clear();
}

uint32_t races_epoch(uint32_t thread) { return threads[thread].epoch; }

void races_barrier_after() {
    const uint32_t me = tid();
    Thread& t = threads[me];
    ++t.epoch;
    if (!learned.empty()) {  // the first one behind the barrier takes what all knew before it
        for (auto& one : learned) learn(of_block, one.second.sure), one.second.sure.clear();
    }
}

uint64_t races_warp_give() {
    Thread& t = threads[tid()];
    auto& given = t.given[t.turn++ % t.given.size()];
    given = t.seen;
    given[lane()] = ++t.clock;
    return uint64_t(&given);
}

void races_warp_take(const Lanes& all) {
    Thread& t = threads[tid()];
    for (uint32_t k = 0; k < 32; ++k) {
        if (!(all.present >> k & 1)) continue;
        const auto& theirs = *reinterpret_cast<const std::array<uint32_t, 32>*>(all.values[k]);
        for (uint32_t j = 0; j < 32; ++j) t.seen[j] = t.seen[j] > theirs[j] ? t.seen[j] : theirs[j];
    }
}

}  // namespace ptx
