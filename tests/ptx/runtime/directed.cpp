// Arithmetic in the rounding modes that C++ has no operator for.
#include <cfenv>

#include "arithmetic.h"

namespace ptx {
namespace {

class Mode {
  public:
    explicit Mode(int mode) : before_(std::fegetround()) { std::fesetround(mode); }
    ~Mode() { std::fesetround(before_); }

  private:
    int before_;
};

}  // namespace

// Volatile, so that nothing is computed before the mode is set, or after it is set back.
#define PTX_DIRECTED(T, mode, value)               \
    T add_##mode(T a, T b) {                       \
        const Mode set(value);                     \
        volatile T x = a, y = b;                   \
        volatile T z = x + y;                      \
        return z;                                  \
    }                                              \
    T sub_##mode(T a, T b) {                       \
        const Mode set(value);                     \
        volatile T x = a, y = b;                   \
        volatile T z = x - y;                      \
        return z;                                  \
    }                                              \
    T mul_##mode(T a, T b) {                       \
        const Mode set(value);                     \
        volatile T x = a, y = b;                   \
        volatile T z = x * y;                      \
        return z;                                  \
    }                                              \
    T div_##mode(T a, T b) {                       \
        const Mode set(value);                     \
        volatile T x = a, y = b;                   \
        volatile T z = x / y;                      \
        return z;                                  \
    }                                              \
    T fma_##mode(T a, T b, T c) {                  \
        const Mode set(value);                     \
        volatile T x = a, y = b, w = c;            \
        volatile T z = std::fma(T(x), T(y), T(w)); \
        return z;                                  \
    }                                              \
    T sqrt_##mode(T a) {                           \
        const Mode set(value);                     \
        volatile T x = a;                          \
        volatile T z = std::sqrt(T(x));            \
        return z;                                  \
    }
PTX_DIRECTED(float, rz, FE_TOWARDZERO)
PTX_DIRECTED(float, rm, FE_DOWNWARD)
PTX_DIRECTED(float, rp, FE_UPWARD)
PTX_DIRECTED(double, rz, FE_TOWARDZERO)
PTX_DIRECTED(double, rm, FE_DOWNWARD)
PTX_DIRECTED(double, rp, FE_UPWARD)

#define PTX_CONVERT(mode, value)    \
    template <class To, class From> \
    To convert_##mode(From from) {  \
        const Mode set(value);      \
        volatile From x = from;     \
        volatile To to = To(x);     \
        return to;                  \
    }
PTX_CONVERT(rz, FE_TOWARDZERO)
PTX_CONVERT(rm, FE_DOWNWARD)
PTX_CONVERT(rp, FE_UPWARD)

#define PTX_FROM(To, From)                  \
    template To convert_rz<To, From>(From); \
    template To convert_rm<To, From>(From); \
    template To convert_rp<To, From>(From);
#define PTX_FROM_INTEGERS(To) \
    PTX_FROM(To, int16_t)     \
    PTX_FROM(To, uint16_t)    \
    PTX_FROM(To, int32_t)     \
    PTX_FROM(To, uint32_t)    \
    PTX_FROM(To, int64_t)     \
    PTX_FROM(To, uint64_t)
PTX_FROM_INTEGERS(float)
PTX_FROM_INTEGERS(double)
PTX_FROM(float, double)

}  // namespace ptx
