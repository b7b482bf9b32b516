// Scratch memory: a small store for each thread. See memory.h.
#include "core/memory.h"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fastdet {
namespace {

constexpr size_t kLine = 64, kHuge = size_t(2) << 20;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kKeep = 0;  // the sanitizer then checks the ends of every buffer
#else
constexpr size_t kKeep = size_t(16) << 20;  // the maximum that a thread keeps: enough for some 200,000 boxes
#endif

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

void* from_system(size_t bytes) {
    const bool huge = bytes >= 2 * kHuge;
    void* p = std::aligned_alloc(huge ? kHuge : kLine, rounded(bytes, huge ? kHuge : kLine));
    if (!p) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (huge) madvise(p, rounded(bytes, kHuge), MADV_HUGEPAGE);  // may fail, which is harmless
#endif
    return p;
}

struct Store {
    char* base = nullptr;
    size_t size = 0, used = 0;
    size_t taken = 0;      // by all live buffers, in the store or not
    size_t max_taken = 0;  // that was ever taken at once
    ~Store() { std::free(base); }
};

thread_local Store store;

}  // namespace

void* take_memory(size_t bytes) {
    bytes = rounded(bytes, kLine);
    Store& s = store;
    if (!s.taken && s.max_taken > s.size &&
        s.max_taken <= kKeep) {  // nothing is in use: grow to what earlier calls needed
        std::free(s.base);
        s.base = nullptr;
        s.size = 0;
        const size_t size = rounded(s.max_taken, kHuge / 8);
        s.base = static_cast<char*>(from_system(size));
        s.size = size;
    }
    void* p;
    if (s.size - s.used >= bytes) {
        p = s.base + s.used;
        s.used += bytes;
    } else {
        p = from_system(bytes);
    }
    s.taken += bytes;
    if (s.taken > s.max_taken) s.max_taken = s.taken;
    return p;
}

void give_memory(void* p, size_t bytes) {
    bytes = rounded(bytes, kLine);
    Store& s = store;
    s.taken -= bytes;
    char* at = static_cast<char*>(p);
    if (s.base && at >= s.base && at < s.base + s.size) {
        if (at + bytes == s.base + s.used) s.used = size_t(at - s.base);  // else it waits for the store to be empty
    } else {
        std::free(p);
    }
    if (!s.taken) {
        s.used = 0;
        if (s.max_taken > kKeep) s.max_taken = 0;  // large calls do not decide what small ones keep
    }
}

}  // namespace fastdet
