// The choice of an instruction set, and how an op makes its choice at the foot of its own file of loops.
//
// setup.py compiles each `*_loops.cpp` once per instruction set, with -DFASTDET_ISA=name: everything in it is in the
// namespace of that name. FASTDET_KERNELS at its foot makes one table of function pointers per copy. The first copy
// also gets -DFASTDET_EACH_ISA(X,...)=X(baseline,__VA_ARGS__)X(avx2,__VA_ARGS__)..., slowest first, and defines the
// function that chooses between the tables, by one index that is read at each call: choose_isa works at any time.
//
// The tables are constants. A dynamic initialiser would run when the module is loaded, with instructions that the
// processor may lack. For the same reason headers that loops reach hold no STL and no inline functions outside the
// copy's namespace: the linker keeps any one copy of such a function. tests/core/test_build.py checks this.
#pragma once

#include "core/macros.h"

namespace fastdet {

int isa_index();                           // of the copy in use
const char* isa_name();                    // its name
const char* const* isa_names(int* count);  // what this build and this machine have, slowest first
bool choose_isa(const char* name);         // false: not available

// The loops of an op for float and for double.
template <template <class> class Loops>
struct ByFloat {
    Loops<float> single;
    Loops<double> twice;

    template <class T>
    FASTDET_MEMBER const Loops<T>& of() const {
        if constexpr (sizeof(T) == sizeof(double)) {
            return twice;
        } else {
            return single;
        }
    }
};

}  // namespace fastdet

// FASTDET_KERNELS(Type, name, {...}) in namespace fastdet: const Type& name(), the table of the copy in use. The braces
// see what FASTDET_ISA's namespace holds.
#define FASTDET_KERNELS(Type, name, ...)       \
    namespace FASTDET_ISA {                    \
    extern const Type name##_table;            \
    constexpr Type name##_table = __VA_ARGS__; \
    }                                          \
    FASTDET_CHOICE(Type, name)

#if defined(FASTDET_EACH_ISA)
#define FASTDET_CHOICE(Type, name)                                                                     \
    FASTDET_EACH_ISA(FASTDET_DECLARE_TABLE, Type, name)                                                \
    const Type& name() {                                                                               \
        static constexpr const Type* tables[] = {FASTDET_EACH_ISA(FASTDET_TABLE_ADDRESS, Type, name)}; \
        return *tables[isa_index()];                                                                   \
    }
#define FASTDET_DECLARE_TABLE(isa, Type, name) \
    namespace isa {                            \
    extern const Type name##_table;            \
    }
#define FASTDET_TABLE_ADDRESS(isa, Type, name) &isa::name##_table,
#else
#define FASTDET_CHOICE(Type, name)
#endif
