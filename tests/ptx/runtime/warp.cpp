// What the lanes of a warp do together.
#include "machine.h"

#include "cuda_runtime.h"  // the emulator's

namespace ptx {
namespace {

uint32_t id_of(const Site* site) {  // tells instructions apart
    const uint64_t address = uint64_t(site) / sizeof(Site);
    return uint32_t(address ^ address >> 32);
}

// Of values of 32 bits: the lanes of a mask must be at one instruction.
Lanes exchange_checked(uint32_t value, uint32_t mask, Site* site) {
    Lanes all = exchange(uint64_t(id_of(site)) << 32 | value, mask, site);
    for (int k = 0; k < 32; ++k) {
        if ((all.present >> k & 1) && all.values[k] >> 32 != id_of(site))
            report("lanes of one mask meet at different instructions", site);
        all.values[k] &= 0xffffffffu;
    }
    return all;
}

uint32_t shuffle(uint32_t x, int from, uint32_t mask, bool in_range, Site* site) {
    const Lanes all = exchange_checked(x, mask, site);
    if (!in_range) return x;
    if (!(all.present >> (from & 31) & 1)) {
        report("a shuffle takes from a lane that is not there", site);
        return 0xa5a5a5a5u;
    }
    return uint32_t(all.values[from & 31]);
}

struct Segment {  // `clamp` holds the end in bits 0-4 and which bits of a lane are fixed in bits 8-12
    int lane, fixed, end;
    explicit Segment(uint32_t clamp)
        : lane(emulator::lane()), fixed(int(clamp >> 8 & 31)), end((lane & fixed) | (int(clamp & 31) & ~fixed)) {}
};

}  // namespace

Lanes exchange(uint64_t value, uint32_t mask, Site* site) {
    if (!(mask >> emulator::lane() & 1)) give_up("a lane that is not in the mask of its exchange", site, mask);
    const uint64_t* values = emulator::exchange(mask, value);
    Lanes all;
    all.present = 0;
    for (int k = 0; k < 32; ++k) {
        all.values[k] = values[k];
        if ((mask >> k & 1) && values[k] != 0xa5a5a5a5a5a5a5a5u) all.present |= 1u << k;
    }
    return all;
}

uint32_t shuffle_idx(uint32_t x, uint32_t lane, uint32_t clamp, uint32_t mask, bool& in_range, Site* site) {
    const Segment s(clamp);
    const int from = (s.lane & s.fixed) | (int(lane & 31) & ~s.fixed);
    in_range = from <= s.end;
    return shuffle(x, from, mask, in_range, site);
}
uint32_t shuffle_bfly(uint32_t x, uint32_t lanes, uint32_t clamp, uint32_t mask, bool& in_range, Site* site) {
    const Segment s(clamp);
    const int from = s.lane ^ int(lanes & 31);
    in_range = from <= s.end;
    return shuffle(x, from, mask, in_range, site);
}
uint32_t shuffle_down(uint32_t x, uint32_t lanes, uint32_t clamp, uint32_t mask, bool& in_range, Site* site) {
    const Segment s(clamp);
    const int from = s.lane + int(lanes & 31);
    in_range = from <= s.end;
    return shuffle(x, from, mask, in_range, site);
}
uint32_t shuffle_up(uint32_t x, uint32_t lanes, uint32_t clamp, uint32_t mask, bool& in_range, Site* site) {
    const Segment s(clamp);
    const int from = s.lane - int(lanes & 31);
    in_range = from >= s.end;
    return shuffle(x, from, mask, in_range, site);
}

uint32_t vote_ballot(bool x, uint32_t mask, Site* site) {
    const Lanes all = exchange_checked(x, mask, site);
    uint32_t votes = 0;
    for (int k = 0; k < 32; ++k) votes |= uint32_t((all.present >> k & 1) && all.values[k]) << k;
    return votes;
}
bool vote_uni(bool x, uint32_t mask, Site* site) {
    const Lanes all = exchange_checked(x, mask, site);
    bool same = true;
    for (int k = 0; k < 32; ++k) same &= !(all.present >> k & 1) || all.values[k] == uint64_t(x);
    return same;
}

uint32_t match_any(uint64_t x, uint32_t mask, Site* site) {
    const Lanes all = exchange(x, mask, site);
    uint32_t same = 0;
    for (int k = 0; k < 32; ++k) same |= uint32_t((all.present >> k & 1) && all.values[k] == x) << k;
    return same;
}
uint32_t match_all(uint64_t x, uint32_t mask, Site* site) {
    const uint32_t same = match_any(x, mask, site);
    return same == mask ? mask : 0;
}

uint32_t active_mask() { return 0xffffffffu; }

void warp_barrier(uint32_t mask, Site* site) {
    note_executed(site);
    if (site->off) return;
    races_warp_take(exchange(races_warp_give(), mask, site));
}

}  // namespace ptx
