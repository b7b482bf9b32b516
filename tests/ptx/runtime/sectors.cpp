// Of each warp's access to global memory: how many sectors of 32 bytes it touches, against how many it asks for.
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "machine.h"

namespace ptx {

bool sectors_on;

namespace {

struct Asked {
    uint64_t bytes = 0;
    std::vector<uint64_t> sectors;
};
struct Sums {
    uint64_t bytes = 0, sectors = 0;
};
// Lanes meet at an instruction that each of them has come to as often.
std::map<const Site*, std::unordered_map<uint64_t, Asked>> asked;
std::unordered_map<uint64_t, uint32_t> times;
std::map<std::string, Sums> sums;  // "kernel read|write place"

}  // namespace

void sectors_note(uint64_t address, unsigned bytes, const Site* site) {
    const uint64_t thread = uint64_t(running.block) * ntid() + tid();
    const uint64_t key = (uint64_t(site) << 24) ^ thread * 0x9e3779b97f4a7c15u;
    const uint32_t time = times[key]++;
    Asked& one = asked[site][thread / 32 << 24 | time];
    one.bytes += bytes;
    for (uint64_t s = address / 32; s <= (address + bytes - 1) / 32; ++s) {
        if (std::find(one.sectors.begin(), one.sectors.end(), s) == one.sectors.end()) one.sectors.push_back(s);
    }
}

void sectors_end_launch() {
    for (const auto& at : asked) {
        const char* way = at.first->kind == Kind::read ? "read" : at.first->kind == Kind::write ? "write" : "atomic";
        Sums& sum = sums[std::string(at.first->kernel) + " " + way + " " + at.first->place];
        for (const auto& one : at.second) sum.bytes += one.second.bytes, sum.sectors += one.second.sectors.size();
    }
    asked.clear(), times.clear();
}

}  // namespace ptx

PTX_API void fastdet_ptx_sectors_on(int on) { ptx::sectors_on = on; }
// A line "bytes sectors kernel way place" for each line of the sources that asks for global memory.
PTX_API void fastdet_ptx_sectors(char* to, uint64_t size) {
    std::string text;
    for (const auto& one : ptx::sums) {
        text += std::to_string(one.second.bytes) + " " + std::to_string(one.second.sectors) + " " + one.first + "\n";
    }
    std::snprintf(to, size, "%s", text.c_str());
    ptx::sums.clear();
}
