// See pair_turns.h. Compiled once per instruction set.
#include "segmentation/pair_turns.h"

#include "simd/changes.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <class T>
void widen_from(const uint8_t* ids, int n, uint32_t* out) {
    for (int i = 0; i < n; ++i) {
        T id;
        __builtin_memcpy(&id, ids + sizeof(T) * unsigned(i), sizeof(T));
        out[i] = id;
    }
}

void widen(const IdMap& map, int64_t first, int n, uint32_t* out) {
    const uint8_t* ids = map.ids + first * map.bytes;
    switch (map.bytes) {
        case 1:
            return widen_from<uint8_t>(ids, n, out);
        case 2:
            return widen_from<uint16_t>(ids, n, out);
        case 4:
            return widen_from<uint32_t>(ids, n, out);
        default:
            for (int i = 0; i < n; ++i) {
                const uint8_t* p = ids + 3 * i;
                out[i] = p[0] | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16;
            }
    }
}

int turns(const uint32_t* a, const uint32_t* b, int n, uint16_t* at) {
    uint16_t* to = at;
    for (int i = 0; i < n; i += 64) {
        uint64_t bits = changes(a + i) | changes(b + i);
        if (n - i < 64) bits &= (uint64_t(1) << (n - i)) - 1;
        for (; bits; bits &= bits - 1) *to++ = uint16_t(i + __builtin_ctzll(bits));
    }
    return int(to - at);
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(PairLoops, pair_loops, {widen, turns})

}  // namespace fastdet
