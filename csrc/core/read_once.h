// The caller's arrays, which another thread may be writing to. For files that are compiled once per instruction set
// too.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastdet {

// What is decided by a value must fit the value that is used. Of an array a compiler may read it twice (an int64 to
// compare, its low half to keep; with AVX-512 a vector to compare and, by the mask, to load), and of a plain copy, too.

// `copy` is what memory holds from here on.
template <class T>
inline void keep_copy(T* copy) {
    __asm__ volatile("" : : "r"(copy) : "memory");
}

// n values, each read once.
template <class T>
inline void read_once(const T* from, int64_t n, T* to) {
    std::memcpy(to, from, size_t(n) * sizeof(T));
    keep_copy(to);
}

}  // namespace fastdet
