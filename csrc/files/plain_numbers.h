// Doubles from and to text, whatever LC_NUMERIC says: strtod and snprintf take a decimal comma where the locale has
// one.
#pragma once

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>

#if !defined(_MSC_VER)
#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#endif

namespace fastdet {

#if defined(_MSC_VER)
inline double strtod_of_c(const char* text) {
    static const _locale_t c = _create_locale(LC_ALL, "C");
    return _strtod_l(text, nullptr, c);
}
#else
// The locale "C" for this thread, while the object lives.
class PlainLocale {
  public:
    PlainLocale() : before_(uselocale(of_c())) {}
    ~PlainLocale() { uselocale(before_); }
    PlainLocale(const PlainLocale&) = delete;
    PlainLocale& operator=(const PlainLocale&) = delete;

  private:
    static locale_t of_c() {
        static const locale_t c = newlocale(LC_ALL_MASK, "C", nullptr);
        return c;
    }
    const locale_t before_;
};

inline double strtod_of_c(const char* text) {
    const PlainLocale plain;
    return std::strtod(text, nullptr);
}
#endif

// The double nearest to a number as JSON writes it: too large is infinite, too small is 0.
inline double read_double(const char* from, const char* to) {
#if defined(__cpp_lib_to_chars) || defined(_MSC_VER)
    double value = 0;
    if (std::from_chars(from, to, value).ec != std::errc::result_out_of_range) return value;
#endif
    return strtod_of_c(std::string(from, to).c_str());
}

// The shortest text that is read as the same double. Returns its length, at most room.
inline size_t print_double(double x, char* to, size_t room) {
#if defined(__cpp_lib_to_chars) || defined(_MSC_VER)
    return size_t(std::to_chars(to, to + room, x).ptr - to);
#else
    const PlainLocale plain;
    size_t n = 0;
    for (int digits = 15; digits <= 17; ++digits) {
        n = size_t(std::snprintf(to, room, "%.*g", digits, x));
        if (std::strtod(to, nullptr) == x) break;
    }
    return n;
#endif
}

}  // namespace fastdet
