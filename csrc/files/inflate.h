// Unpacks a zlib stream (RFC 1950, 1951) of a known size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastdet {

enum class Inflated {
    kWhole,
    kShort,    // it ends before `size` bytes
    kLong,     // it holds more
    kDamaged,  // invalid or truncated data, or a wrong checksum
};

// out: room for `size` bytes. Reads and writes nothing else, whatever the stream holds; bytes behind it are ignored.
Inflated inflate(const uint8_t* in, size_t n, uint8_t* out, size_t size);

}  // namespace fastdet
