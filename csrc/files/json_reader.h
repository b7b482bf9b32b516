// Read JSON from a stream, a value at a time. Values that are not needed are skipped, and their syntax is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "files/json_text.h"

namespace fastdet {

// An error with its place: "annotations[12].bbox: expected four numbers, got null".
struct JsonError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class JsonReader {
  protected:
    // max_text: the bytes of a string that is kept, at most.
    JsonReader(const std::function<size_t(char*, size_t)>& read, size_t max_text) : text_(read), max_text_(max_text) {}
    virtual ~JsonReader() = default;

    // The place of the value that is read, as errors name it: "annotations[12].bbox: ", or nothing.
    virtual std::string where() const = 0;

    [[noreturn]] void fail(const std::string& what);
    [[noreturn]] void wrong(const char* expected);   // a value of another type than expected
    [[noreturn]] void syntax(const char* expected);  // a syntax error
    [[noreturn]] void too_long();                    // more than max_text bytes

    // The text is at '{'. value() is called with the key in key_ and the text at the value.
    template <class F>
    void object(F&& value) {
        text_.skip();
        if (text_.peek() == '}') return text_.skip();
        for (;;) {
            if (text_.peek() != '"') syntax("a key");
            read_key();
            if (text_.peek() != ':') syntax("':'");
            text_.skip();
            value();
            const char c = text_.peek();
            if (c != ',' && c != '}') syntax("',' or '}'");
            text_.skip();
            if (c == '}') return;
        }
    }

    // The next number if it is an ordinary one, of up to 18 digits without an exponent, that lies in the buffer with
    // the character behind it. False: nothing but white space was read. Without kValue it is skipped.
    template <bool kValue>
    bool quick_number(double* to) {
        text_.peek();
        const char* p = text_.token();
        const bool negative = *p == '-';
        const char* const whole = p += negative;
        uint64_t digits = 0;
        for (; is_digit(*p); ++p) digits = kValue ? 10 * digits + uint64_t(*p - '0') : 0;
        std::ptrdiff_t count = p - whole, behind = 0;
        if (count == 0 || (*whole == '0' && count > 1)) return false;
        if (*p == '.') {
            const char* const point = ++p;
            for (; is_digit(*p); ++p) digits = kValue ? 10 * digits + uint64_t(*p - '0') : 0;
            behind = p - point;
            count += behind;
            if (behind == 0) return false;
        }
        if (count > 18 || digits >> 53 || *p == 'e' || *p == 'E') return false;
        if (kValue) {  // the digits and the power are exact: one rounding
            const double x = behind ? double(digits) / kPowers[behind] : double(digits);
            *to = negative ? -x : x;
        }
        text_.move_to(p);
        return true;
    }

    double finite(double min_value, const char* expected);
    int64_t integer(const char* expected);
    Number number();
    static std::string shown(const Number& x);             // for errors
    static std::string start_of(const std::string& text);  // likewise
    void word();                                           // true, false or null
    void string(std::string* to);                          // appended to *to; null: skipped; it must be UTF-8
    bool skip_value(int depth);                            // returns whether it is null or an empty list

    Text text_;
    std::string key_;
    const size_t max_text_;

  private:
    void read_key();
    void wide(char first, std::string* to);
    [[noreturn]] void not_utf8();
    void escape(char c, std::string* to);
    uint32_t hex4();
};

}  // namespace fastdet
