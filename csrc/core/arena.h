// Scratch memory, piece by piece. For files that are compiled once per instruction set too.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace fastdet {

// Takes pieces of a block of memory, each at a multiple of 64 bytes. Without a block it only counts what they take.
struct Arena {
    uintptr_t base;
    int64_t used = 0;
    FASTDET_MEMBER explicit Arena(void* block) : base(reinterpret_cast<uintptr_t>(block)) {}
    template <class T>
    FASTDET_MEMBER T* take(int64_t n) {
        T* p = reinterpret_cast<T*>(base + uintptr_t(used));
        used += (n * int64_t(sizeof(T)) + 63) / 64 * 64;
        return p;
    }
};

}  // namespace fastdet
