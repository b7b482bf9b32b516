// The meaning of PTX's arithmetic where C++'s own differs: rounding, saturation, NaN, shifts, bits, conversions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ptx {

template <class To, class From>
inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// Rounded to zero (rz), down (rm), up (rp): directed.cpp. fma_rn is the C library's.
#define PTX_DIRECTED(T, mode)    \
    T add_##mode(T a, T b);      \
    T sub_##mode(T a, T b);      \
    T mul_##mode(T a, T b);      \
    T div_##mode(T a, T b);      \
    T fma_##mode(T a, T b, T c); \
    T sqrt_##mode(T a);
PTX_DIRECTED(float, rz)
PTX_DIRECTED(float, rm)
PTX_DIRECTED(float, rp)
PTX_DIRECTED(double, rz)
PTX_DIRECTED(double, rm)
PTX_DIRECTED(double, rp)
#undef PTX_DIRECTED
template <class To, class From>
To convert_rz(From x);
template <class To, class From>
To convert_rm(From x);
template <class To, class From>
To convert_rp(From x);

template <class T>
inline T fma_rn(T a, T b, T c) {
    return std::fma(a, b, c);
}
template <class T>
inline T div_rn(T a, T b) {
    return a / b;
}
template <class T>
inline T sqrt_rn(T a) {
    return std::sqrt(a);
}

inline float saturated(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // NaN and -0 give 0
inline int32_t clamped_to_int(int64_t x) { return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : int32_t(x); }
inline int32_t add_saturated(int32_t a, int32_t b) { return clamped_to_int(int64_t(a) + b); }
inline int32_t sub_saturated(int32_t a, int32_t b) { return clamped_to_int(int64_t(a) - b); }

template <class T>
inline T quotient(T a, T b) {  // by 0: all bits set
    if (b == 0) return T(-1);
    if (std::is_signed<T>::value && b == T(-1)) return T(0 - std::make_unsigned_t<T>(a));
    return T(a / b);
}
template <class T>
inline T remainder(T a, T b) {
    if (b == 0) return a;
    if (std::is_signed<T>::value && b == T(-1)) return 0;
    return T(a % b);
}

inline bool either_nan(float a, float b) { return (a != a) | (b != b); }
inline bool either_nan(double a, double b) { return (a != a) | (b != b); }

// One NaN: the other. Two: NaN. -0 is below +0.
inline float nan_like(float) { return bits<float>(0x7fffffffu); }
inline double nan_like(double) { return bits<double>(uint64_t(0x7fffffffffffffff)); }
template <class T>
inline T min_of(T a, T b) {
    if constexpr (std::is_floating_point<T>::value) {
        if (a != a) return b != b ? nan_like(b) : b;
        if (b != b) return a;
        if (a == b) return std::signbit(a) ? a : b;
    }
    return a < b ? a : b;
}
template <class T>
inline T max_of(T a, T b) {
    if constexpr (std::is_floating_point<T>::value) {
        if (a != a) return b != b ? nan_like(b) : b;
        if (b != b) return a;
        if (a == b) return std::signbit(a) ? b : a;
    }
    return a > b ? a : b;
}
template <class T>
inline T nan_min_of(T a, T b) {
    return a != a || b != b ? nan_like(a) : min_of<T>(a, b);
}
template <class T>
inline T nan_max_of(T a, T b) {
    return a != a || b != b ? nan_like(a) : max_of<T>(a, b);
}

inline float abs_of(float x) { return std::fabs(x); }
inline double abs_of(double x) { return std::fabs(x); }
template <class T>
inline T abs_of(T x) {
    return x < 0 ? T(0 - std::make_unsigned_t<T>(x)) : x;
}
inline float neg_of(float x) { return -x; }
inline double neg_of(double x) { return -x; }
template <class T>
inline T neg_of(T x) {
    return T(0 - std::make_unsigned_t<T>(x));
}

template <class T>
inline T shl_of(T x, uint32_t count) {
    return count >= 8 * sizeof(T) ? T(0) : T(x << count);
}
template <class T>
inline T shr_of(T x, uint32_t count) {  // arithmetic where T is signed
    if (count >= 8 * sizeof(T)) return x < 0 ? T(-1) : T(0);
    return T(x >> count);
}
inline uint32_t wrap_count(uint32_t count) { return count & 31; }
inline uint32_t clamp_count(uint32_t count) { return count < 32 ? count : 32; }
inline uint32_t funnel_l(uint32_t low, uint32_t high, uint32_t count) {
    const uint64_t both = uint64_t(high) << 32 | low;
    return uint32_t(both << count >> 32);
}
inline uint32_t funnel_r(uint32_t low, uint32_t high, uint32_t count) {
    const uint64_t both = uint64_t(high) << 32 | low;
    return uint32_t(both >> count);
}

inline uint32_t high_product(uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); }
inline int32_t high_product(int32_t a, int32_t b) { return int32_t(int64_t(a) * b >> 32); }
inline uint16_t high_product(uint16_t a, uint16_t b) { return uint16_t(uint32_t(a) * b >> 16); }
inline int16_t high_product(int16_t a, int16_t b) { return int16_t(int32_t(a) * b >> 16); }
inline uint64_t high_product(uint64_t a, uint64_t b) { return uint64_t((unsigned __int128)(a)*b >> 64); }
inline int64_t high_product(int64_t a, int64_t b) { return int64_t((__int128)(a)*b >> 64); }

inline uint32_t popc_of(uint32_t x) { return uint32_t(__builtin_popcount(x)); }
inline uint32_t popc_of(uint64_t x) { return uint32_t(__builtin_popcountll(x)); }
inline uint32_t clz_of(uint32_t x) { return x ? uint32_t(__builtin_clz(x)) : 32; }
inline uint32_t clz_of(uint64_t x) { return x ? uint32_t(__builtin_clzll(x)) : 64; }
template <class T>
inline T brev_of(T x) {
    T reversed = 0;
    for (unsigned k = 0; k < 8 * sizeof(T); ++k) reversed = T(reversed << 1 | (x >> k & 1));
    return reversed;
}
// The highest bit that differs from the sign, or how far it is from the top; all bits set where there is none.
inline uint32_t bfind_of(uint64_t x, bool shift, uint32_t width) {
    if (!x) return ~0u;
    const uint32_t highest = 63 - uint32_t(__builtin_clzll(x));
    return shift ? width - 1 - highest : highest;
}
inline uint32_t bfind_of(uint32_t x, bool shift) { return bfind_of(x, shift, 32); }
inline uint32_t bfind_of(uint64_t x, bool shift) { return bfind_of(x, shift, 64); }
inline uint32_t bfind_of(int32_t x, bool shift) { return bfind_of(uint32_t(x < 0 ? ~x : x), shift, 32); }
inline uint32_t bfind_of(int64_t x, bool shift) { return bfind_of(uint64_t(x < 0 ? ~x : x), shift, 64); }

template <class T>
inline T low_bits(uint32_t count) {
    return count >= 8 * sizeof(T) ? T(-1) : T((T(1) << count) - 1);
}
template <class T>
inline T bfe_of(T x, uint32_t position, uint32_t length) {
    typedef std::make_unsigned_t<T> U;
    const uint32_t width = 8 * sizeof(T);
    position &= 255, length &= 255;
    if (!length) return 0;
    const uint32_t last = position + length - 1 < width - 1 ? position + length - 1 : width - 1;
    const U mask = low_bits<U>(length);
    U field = position < width ? U(U(x) >> position) & mask : 0;
    const bool sign = std::is_signed<T>::value && (U(x) >> last & 1);
    const uint32_t taken = position < width ? (width - position < length ? width - position : length) : 0;
    if (sign) field |= U(~low_bits<U>(taken));
    return T(field);
}
template <class T>
inline T bfi_of(T field, T x, uint32_t position, uint32_t length) {
    position &= 255, length &= 255;
    if (!length || position >= 8 * sizeof(T)) return x;
    const T mask = T(low_bits<T>(length) << position);
    return T((x & ~mask) | (T(field << position) & mask));
}
inline uint32_t bmsk_clamp_of(uint32_t position, uint32_t length) {
    return position >= 32 ? 0 : low_bits<uint32_t>(length) << position;
}
inline uint32_t bmsk_wrap_of(uint32_t position, uint32_t length) {
    return low_bits<uint32_t>(length & 31) << (position & 31);
}
inline uint32_t prmt_of(uint32_t low, uint32_t high, uint32_t selector) {
    const uint64_t bytes = uint64_t(high) << 32 | low;
    uint32_t result = 0;
    for (int k = 0; k < 4; ++k) {
        const uint32_t which = selector >> 4 * k & 15;
        uint32_t byte = uint32_t(bytes >> 8 * (which & 7)) & 255;
        if (which & 8) byte = byte & 128 ? 255 : 0;  // the sign alone
        result |= byte << 8 * k;
    }
    return result;
}
inline uint32_t lop3_of(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t result = 0;
    for (uint32_t k = 0; k < 8; ++k) {
        if (table >> k & 1) result |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    }
    return result;
}

template <class T>
inline T rni(T x) {
    return std::nearbyint(x);
}
template <class T>
inline T rzi(T x) {
    return std::trunc(x);
}
template <class T>
inline T rmi(T x) {
    return std::floor(x);
}
template <class T>
inline T rpi(T x) {
    return std::ceil(x);
}
// Saturates. NaN gives 0, but 64-bit integers the lowest (signed) or 2^63 (unsigned), as the GPU does.
template <class To, class From>
inline To to_integer(From whole) {
    if (whole != whole) return sizeof(To) == 8 ? To(uint64_t(1) << 63) : To(0);
    constexpr int kBits = 8 * sizeof(To) - (std::is_signed<To>::value ? 1 : 0);
    const From top = std::ldexp(From(1), kBits);
    const To highest = std::is_signed<To>::value ? To(low_bits<std::make_unsigned_t<To>>(kBits)) : To(-1);
    if (whole >= top) return highest;
    if (std::is_signed<To>::value ? whole < -top : whole < 0) return std::is_signed<To>::value ? To(~highest) : To(0);
    return To(whole);
}
template <class To, class From>
inline To clamped(From x) {
    const __int128 lowest = std::is_signed<To>::value ? -(__int128(1) << (8 * sizeof(To) - 1)) : 0;
    const __int128 highest = (__int128(1) << (8 * sizeof(To) - (std::is_signed<To>::value ? 1 : 0))) - 1;
    return x < lowest ? To(lowest) : x > highest ? To(highest) : To(x);
}

// Half and bfloat16 by their 16 bits. Rounded to nearest, ties to even; NaN gives 0x7fff.
template <class T>
inline uint16_t to_half(T x) {
    return x != x ? uint16_t(0x7fff) : bits<uint16_t>(_Float16(x));
}
inline float from_half(uint16_t x) { return float(bits<_Float16>(x)); }
inline uint16_t to_bfloat16(float x) {
    const uint32_t all = bits<uint32_t>(x);
    return x != x ? uint16_t(0x7fff) : uint16_t((all + 0x7fff + (all >> 16 & 1)) >> 16);
}
inline float from_bfloat16(uint16_t x) { return bits<float>(uint32_t(x) << 16); }

}  // namespace ptx
