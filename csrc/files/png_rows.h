// The rows of a PNG: what its filters predict, added back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastdet {

// raw: for each of `height` rows the number of its filter and `width` pixels of 3 bytes; out: the pixels.
// The first row with an unknown filter, or -1.
int64_t png_rows(const uint8_t* raw, int64_t height, int64_t width, uint8_t* out);

// Unpacks a zlib stream of such rows. `raw`: room for height * (3 width + 1) bytes. 0 where all is well, -1, -2, -3 for
// Inflated's kShort, kLong and kDamaged, else 1 + the first row with an unknown filter.
int64_t png_pixels(const uint8_t* packed, size_t n, int64_t height, int64_t width, uint8_t* raw, uint8_t* out);

}  // namespace fastdet
