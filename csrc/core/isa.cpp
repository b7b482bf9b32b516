// Which instruction set runs: the widest this processor has, or the one that FASTDET_ISA names.
#include <atomic>
#include <cstring>

#include "core/kernels.h"

namespace fastdet {

// setup.py passes -DFASTDET_ISA_LIST="X(baseline) X(avx2) X(avx512)", slowest first.
#define FASTDET_DECLARE(isa)        \
    namespace isa {                 \
    extern const KernelTable table; \
    }
#define X FASTDET_DECLARE
FASTDET_ISA_LIST
#undef X
#undef FASTDET_DECLARE

namespace {

bool runs(const char* name) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (!std::strcmp(name, "avx512")) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    }
    if (!std::strcmp(name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
#endif
    return !std::strcmp(name, "baseline");
}

#define FASTDET_POINTER(isa) &isa::table,
#define X FASTDET_POINTER
const KernelTable* const kBuilt[] = {FASTDET_ISA_LIST};
#undef X
#undef FASTDET_POINTER
constexpr int kCount = int(sizeof kBuilt / sizeof *kBuilt);

struct Usable {
    const KernelTable* tables[kCount];
    const char* names[kCount];
    int count = 0;
    Usable() {
        for (const KernelTable* table : kBuilt) {
            if (!runs(table->name)) continue;
            names[count] = table->name;
            tables[count++] = table;
        }
    }
};

const Usable& usable() {
    static const Usable it;
    return it;
}

std::atomic<const KernelTable*>& chosen() {
    static std::atomic<const KernelTable*> it{usable().tables[usable().count - 1]};
    return it;
}

}  // namespace

const KernelTable& kernels() { return *chosen().load(std::memory_order_relaxed); }

const char* const* isa_names(int* count) {
    *count = usable().count;
    return usable().names;
}

bool choose_isa(const char* name) {
    for (int i = 0; i < usable().count; ++i) {
        if (std::strcmp(usable().names[i], name)) continue;
        chosen().store(usable().tables[i], std::memory_order_relaxed);
        return true;
    }
    return false;
}

}  // namespace fastdet
