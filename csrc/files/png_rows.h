// The rows of a PNG: what its filters predict, added back.
#pragma once

#include <cstdint>

namespace fastdet {

// raw: for each of `height` rows the number of its filter and `width` pixels of 3 bytes; out: the pixels.
// The first row with an unknown filter, or -1.
int64_t png_rows(const uint8_t* raw, int64_t height, int64_t width, uint8_t* out);

}  // namespace fastdet
