// Between pixels as bytes, 0 and 1, and as bits.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace fastdet {

struct PixelLoops {
    // n bytes as bits, 64 a word, zeros beyond. Returns all bits of the bytes, or-ed.
    uint64_t (*to_bits)(const uint8_t* pixels, int64_t n, uint64_t* bits);
    // Where n bytes differ from the one before, `before` (0 or 1) ahead of them: places (n,), from 0 on. Returns how
    // many. `all` gets all bits of the bytes, or-ed.
    int64_t (*turns)(const uint8_t* pixels, int64_t n, int before, uint32_t* places, uint64_t* all);
    // n <= 64 columns of a mask that is zeros, by rows. `turn`, a word a row: at which columns a row differs from the
    // one above, which is zeros for row `first`. The words are zeros afterwards. The next row of pixels is step on.
    void (*put_columns)(uint64_t* turn, int64_t first, int64_t height, int64_t n, uint8_t* pixels, int64_t step);
};
const PixelLoops& pixel_loops();

}  // namespace fastdet
