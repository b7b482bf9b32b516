// Launches, blocks and memory.
#include "machine.h"

#include <cstdio>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "cuda_runtime.h"  // the emulator's

namespace ptx {

Running running;

namespace {

std::map<std::string, const Kernel*>& kernels() {
    static std::map<std::string, const Kernel*> all;
    return all;
}
std::vector<std::pair<Site*, size_t>>& sites() {
    static std::vector<std::pair<Site*, size_t>> all;
    return all;
}
std::map<std::string, uint64_t> reports, counts;
std::unordered_set<const Site*> executed;  // of what can be switched off, while it is noted
bool noting;
std::map<uint64_t, uint64_t> guards;  // zones around arrays that no kernel may touch: start -> end

alignas(256) unsigned char shared_memory[kSharedMost];
alignas(16) unsigned char elsewhere[16];  // where a shared access outside goes
unsigned votes[2];                        // of barriers that count, in turn
unsigned turn_of[1024];

bool overlaps_guard(uint64_t address, unsigned bytes) {
    auto next = guards.lower_bound(address + bytes);
    return next != guards.begin() && (--next)->second > address;
}

void begin_block(uint32_t threads) {
    ++running.block_serial;
    std::memset(shared_memory, 0xa5, running.shared_bytes);
    votes[0] = votes[1] = 0;
    std::memset(turn_of, 0, sizeof turn_of);
    races_new_block(threads);
    stores_new_block();
}

void copy_text(const std::map<std::string, uint64_t>& lines, char* to, uint64_t size) {
    std::string text;
    for (const auto& line : lines) text += std::to_string(line.second) + " " + line.first + "\n";
    std::snprintf(to, size, "%s", text.c_str());
}

}  // namespace

Registration::Registration(const Kernel* kernel, size_t kernel_count, Site* site, size_t site_count) {
    for (size_t i = 0; i < kernel_count; ++i) kernels()[kernel[i].name] = kernel + i;
    sites().push_back({site, site_count});
}

const Kernel* kernel_of(const char* name) {
    const auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : found->second;
}

void report(const char* what, const Site* site, const Site* other) {
    std::string line = std::string(what) + ": " + site->opcode + " at " + site->place;
    if (other) line += std::string(" and ") + other->opcode + " at " + other->place;
    ++reports[line + " in " + site->kernel];
}

void give_up(const char* what, const Site* site, uint64_t address) {
    std::fprintf(stderr, "ptx: %s: %s at %s in %s, address %#llx, block %u, thread %u\n", what, site->opcode,
                 site->place, site->kernel, static_cast<unsigned long long>(address), running.block, tid());
    std::abort();
}

void note_executed(const Site* site) {
    if (noting) executed.insert(site);
}

void count(const char* call) { ++counts[call]; }

uint32_t tid() { return emulator::thread.x; }
uint32_t ntid() { return emulator::block_size.x; }
Index ctaid() { return {emulator::block.x, emulator::block.y, emulator::block.z}; }
Index nctaid() { return {emulator::grid_size.x, emulator::grid_size.y, emulator::grid_size.z}; }

void give_way() {
    static unsigned calls;
    if (++calls % 4 == 0) emulator::give_way();
}
void give_way_always() {
    for (int k = 0; k < 8; ++k) emulator::give_way();
}

uint64_t touch_global(uint64_t address, unsigned bytes, Site* site) {
    if (address < 4096) give_up("access near address 0", site, address);
    if (address % bytes) report("misaligned access", site);
    if (!guards.empty() && overlaps_guard(address, bytes)) report("access outside an array", site);
    if (site->kind == Kind::atomic) {
        note_executed(site);
        emulator::give_way();
    } else if (site->strong || site->kind == Kind::write)
        give_way();
    races_global(address, bytes, site);
    if (sectors_on) sectors_note(address, bytes, site);
    return stores_held ? stores_place(address, bytes, site, tid(), races_epoch(tid())) : address;
}

uint64_t touch_shared(uint64_t address, unsigned bytes, Site* site) {
    const uint64_t offset = address - kSharedStart;
    if (offset >= running.shared_bytes || running.shared_bytes - offset < bytes) {
        report("access outside shared memory", site);
        return uint64_t(elsewhere);
    }
    if (address % bytes) report("misaligned access", site);
    if (site->kind == Kind::atomic) {
        note_executed(site);
        emulator::give_way();
    } else
        give_way();
    races_shared(uint32_t(offset), bytes, site);
    return uint64_t(shared_memory) + offset;
}

uint64_t touch_generic(uint64_t address, unsigned bytes, Site* site) {
    if (address - uint64_t(shared_memory) < kSharedMost) return touch_shared(generic_to_shared(address), bytes, site);
    return touch_global(address, bytes, site);
}

uint64_t parameter(const unsigned char* parameters, unsigned size, uint64_t address, unsigned bytes) {
    static const Site site{Kind::read, false, "ld.param", "a parameter"};
    if (address - uint64_t(parameters) > size || size - (address - uint64_t(parameters)) < bytes)
        give_up("access outside the parameters", &site, address);
    return address;
}

uint64_t shared_to_generic(uint64_t address) { return uint64_t(shared_memory) + (address - kSharedStart); }
uint64_t generic_to_shared(uint64_t address) { return address - uint64_t(shared_memory) + kSharedStart; }

void barrier(Site* site) {
    note_executed(site);
    if (site->off) return;
    emulator::sync_block();
    races_barrier_after();
}

int barrier_popc(bool value, Site* site) {
    const unsigned turn = turn_of[tid()]++ & 1;
    votes[turn] += value;
    barrier(site);
    const int sum = int(votes[turn]);
    barrier(site);
    votes[turn] = 0;
    return sum;
}

void fence(Site* site) {
    note_executed(site);
    if (site->off) return;
    races_fence(site->kind == Kind::fence);
    if (site->kind == Kind::fence) stores_fence(tid(), races_epoch(tid()));
    give_way();
}

void trap(Site* site) { give_up("trap", site, 0); }

int launch(const Kernel* kernel, Index grid, Index block, unsigned shared_bytes, unsigned shared_allowed,
           const unsigned char* parameters) {
    const uint64_t shared = uint64_t(kernel->shared_bytes) + shared_bytes;
    if (block.x > kernel->max_threads || shared > (shared_allowed > kSharedUnasked ? shared_allowed : kSharedUnasked))
        return cudaErrorInvalidConfiguration;
    running.kernel = kernel, running.shared_bytes = uint32_t(shared);
    ++running.launch;
    races_new_launch();
    uint64_t last = ~0ull;
    const auto run = [&] {
        const uint64_t here = (uint64_t(emulator::block.z) * grid.y + emulator::block.y) * grid.x + emulator::block.x;
        if (here != last) {
            last = here, running.block = uint32_t(here);
            begin_block(block.x);
        }
        kernel->run(parameters);
    };
    emulator::launch(dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z), run, 0);
    races_settle();
    stores_end_launch();
    if (sectors_on) sectors_end_launch();
    return emulator::last_error();
}

}  // namespace ptx

PTX_API void fastdet_ptx_reports(char* to, uint64_t size) {
    ptx::copy_text(ptx::reports, to, size);
    ptx::reports.clear();
}
PTX_API void fastdet_ptx_counts(char* to, uint64_t size) {
    ptx::copy_text(ptx::counts, to, size);
    ptx::counts.clear();
}
PTX_API void fastdet_ptx_guard(uint64_t start, uint64_t end) { ptx::guards[start] = end; }
PTX_API void fastdet_ptx_unguard(uint64_t start) { ptx::guards.erase(start); }
// Switches off, or on again, what stands at a line of the sources: barriers, fences and atomics. How many there are.
PTX_API int fastdet_ptx_switch(const char* place, int kind, int off) {
    int found = 0;
    for (const auto& part : ptx::sites()) {
        for (size_t i = 0; i < part.second; ++i) {
            ptx::Site& site = part.first[i];
            if (site.kind == ptx::Kind(kind) && !std::strcmp(site.place, place)) site.off = off, ++found;
        }
    }
    return found;
}
// A line "kind place" for each place that can be switched off.
PTX_API void fastdet_ptx_places(char* to, uint64_t size) {
    std::map<std::string, uint64_t> places;
    for (const auto& part : ptx::sites()) {
        for (size_t i = 0; i < part.second; ++i) {
            const ptx::Site& site = part.first[i];
            if (site.kind >= ptx::Kind::atomic && site.kind <= ptx::Kind::warp_barrier)
                ++places[std::to_string(int(site.kind)) + " " + site.place];
        }
    }
    ptx::copy_text(places, to, size);
}
// The same for those that ran since the last call, of which the first one begins to note them.
PTX_API void fastdet_ptx_executed(char* to, uint64_t size) {
    std::map<std::string, uint64_t> places;
    for (const ptx::Site* site : ptx::executed) ++places[std::to_string(int(site->kind)) + " " + site->place];
    ptx::copy_text(places, to, size);
    ptx::executed.clear();
    ptx::noting = true;
}
PTX_API int fastdet_ptx_launch(const char* name, unsigned grid, unsigned block, unsigned shared_bytes,
                               const unsigned char* parameters) {
    const ptx::Kernel* kernel = ptx::kernel_of(name);
    if (!kernel) return -1;
    return ptx::launch(kernel, {grid, 1, 1}, {block, 1, 1}, shared_bytes, ptx::kSharedMost, parameters);
}
