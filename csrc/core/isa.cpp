// Which instruction set runs: the widest that this processor has, or the one that FASTDET_ISA names.
#include "core/isa.h"

#include <atomic>
#include <cstring>

namespace fastdet {
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

#define FASTDET_ISA_NAME(isa, ...) #isa,
constexpr const char* kBuilt[] = {FASTDET_EACH_ISA(FASTDET_ISA_NAME, )};
#undef FASTDET_ISA_NAME
constexpr int kCount = int(sizeof kBuilt / sizeof *kBuilt);

struct Usable {
    int index[kCount];
    const char* names[kCount];
    int count = 0;
    Usable() {
        for (int i = 0; i < kCount; ++i) {
            if (!runs(kBuilt[i])) continue;
            names[count] = kBuilt[i];
            index[count++] = i;
        }
    }
};

const Usable& usable() {
    static const Usable it;
    return it;
}

std::atomic<int>& chosen() {
    static std::atomic<int> it{usable().index[usable().count - 1]};
    return it;
}

}  // namespace

int isa_index() { return chosen().load(std::memory_order_relaxed); }

const char* isa_name() { return kBuilt[isa_index()]; }

const char* const* isa_names(int* count) {
    *count = usable().count;
    return usable().names;
}

bool choose_isa(const char* name) {
    for (int i = 0; i < usable().count; ++i) {
        if (std::strcmp(usable().names[i], name)) continue;
        chosen().store(usable().index[i], std::memory_order_relaxed);
        return true;
    }
    return false;
}

}  // namespace fastdet
