// AVX-512's masks as integers. For files that are compiled once per instruction set, inside namespace FASTDET_ISA.
//
// By an instruction of our own: GCC 12 may write the 8 or 16 bits of a mask to the stack and read 32 there, where the
// others are what was there before (seen with -O1 and -fsanitize=address: `kmovw %k5, -0xe210(%rbp)`, then
// `cmpl $0, -0xe210(%rbp)`).
#pragma once

#if defined(__AVX512F__) && defined(__AVX512DQ__)

#include <immintrin.h>

#include <cstdint>

namespace fastdet {
namespace FASTDET_ISA {

inline uint32_t bits_of(__mmask16 mask) {
    uint32_t bits;
    __asm__("kmovw %1, %0" : "=r"(bits) : "k"(mask));
    return bits;
}
inline uint32_t bits_of(__mmask8 mask) {
    uint32_t bits;
    __asm__("kmovb %1, %0" : "=r"(bits) : "k"(mask));
    return bits;
}

}  // namespace FASTDET_ISA
}  // namespace fastdet

#endif
