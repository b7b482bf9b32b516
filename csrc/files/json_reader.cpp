// JSON, a value at a time. See json_reader.h.
#include "files/json_reader.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "files/plain_numbers.h"

namespace fastdet {

namespace {
constexpr int kMaxDepth = 500;
}

// The usual case: short, without escapes, and wholly in the buffer.
void JsonReader::read_key() {
    const char* const from = text_.token() + 1;
    const char* p = from;
    while (is_plain(*p)) ++p;
    if (*p == '"') {
        if (size_t(p - from) > max_text_) too_long();
        key_.assign(from, size_t(p - from));
        return text_.move_to(p + 1);
    }
    key_.clear();
    string(&key_);
}

// A number as it is written; of a long one the start, and its length.
std::string JsonReader::shown(const Number& x) {
    if (x.size <= 40) return std::string(x.text, x.size);
    return std::string(x.text, 20) + "... (" + std::to_string(x.size) + " characters)";
}

double JsonReader::finite(double min_value, const char* expected) {
    const char c = text_.peek();
    const char* const start = text_.token();
    double plain;
    if (quick_number<true>(&plain)) {
        if (plain >= min_value) return plain;
        text_.move_to(start);
    }
    if (c != '-' && !is_digit(c)) wrong(expected);
    const Number x = number();
    if (std::isfinite(x.value) && x.value >= min_value) return x.value;
    fail(std::string("expected ") + expected + ", got " +
         (std::isfinite(x.value) ? shown(x)
          : x.value < 0          ? "-inf"
                                 : "inf"));
}

int64_t JsonReader::integer(const char* expected) {
    const char c = text_.peek();
    if (c != '-' && !is_digit(c)) wrong(expected);
    const Number x = number();
    if (x.is_integer) return x.integer;
    if (x.value == std::floor(x.value) && std::fabs(x.value) < 9e15) return int64_t(x.value);
    fail(std::string("expected ") + expected + ", got " + shown(x));
}

// The text is at a digit or a minus.
Number JsonReader::number() {
    const char* const from = text_.token();
    const char* p = from;
    const bool negative = *p == '-';
    p += negative;
    uint64_t digits = 0;
    int count = 0, exponent = 0;
    const char* const whole = p;
    for (; is_digit(*p); ++p) {
        digits = count < 19 ? 10 * digits + uint64_t(*p - '0') : digits;
        count += count || *p != '0';
    }
    if (p == whole || (*whole == '0' && p - whole > 1)) syntax("a number");
    bool is_integer = true;
    if (*p == '.') {
        is_integer = false;
        const char* const point = ++p;
        for (; is_digit(*p); ++p) {
            digits = count < 19 ? 10 * digits + uint64_t(*p - '0') : digits;
            count += count || *p != '0';
        }
        if (p == point) syntax("a number");
        exponent = -int(p - point);
    }
    if (*p == 'e' || *p == 'E') {
        is_integer = false;
        ++p;
        const bool down = *p == '-';
        p += *p == '-' || *p == '+';
        if (!is_digit(*p)) syntax("a number");
        int e = 0;
        for (; is_digit(*p); ++p) e = e < 100000 ? 10 * e + (*p - '0') : e;
        exponent += down ? -e : e;
    }
    if (size_t(p - from) >= kToken - 1) syntax("a number of fewer than 500 characters");
    const uint64_t max_digits = (uint64_t(1) << 63) - (negative ? 0 : 1);
    Number out{0, 0, is_integer && count <= 19 && digits <= max_digits, from, size_t(p - from)};
    if (count <= 19 && digits < uint64_t(1) << 53 && exponent >= -22 && exponent <= 22) {
        const double d = double(digits);  // exact, as is the power: one rounding
        out.value = exponent < 0 ? d / kPowers[-exponent] : d * kPowers[exponent];
        if (negative) out.value = -out.value;
    } else {
        out.value = read_double(from, p);
    }
    out.integer = out.is_integer ? int64_t(negative ? 0 - digits : digits) : 0;
    text_.move_to(p);
    return out;
}

void JsonReader::word() {
    const char* p = text_.token();
    for (const char* known : {"true", "false", "null"}) {
        const size_t n = std::strlen(known);
        if (std::strncmp(p, known, n) == 0) return text_.move_to(p + n);
    }
    wrong("a value");
}

// The text is at the quote.
void JsonReader::string(std::string* to) {
    const size_t before = to ? to->size() : 0;
    text_.skip();
    for (;;) {
        text_.plain(to);
        if (to && to->size() - before > max_text_) too_long();
        if (!text_.buffered()) {
            if (text_.empty()) syntax("the end of a string");
            continue;
        }
        const char c = text_.next();
        if (c == '"') return;
        if (c == '\\') {
            escape(text_.next(), to);
        } else if (uint8_t(c) < 0x80) {
            fail("expected a string, got one with a control character");
        } else {
            wide(c, to);
        }
    }
}

// A character of two to four bytes in UTF-8, of which the first is read.
void JsonReader::wide(char first, std::string* to) {
    const auto lead = uint8_t(first);
    const int more = lead >= 0xC2 && lead < 0xE0   ? 1
                     : lead >= 0xE0 && lead < 0xF0 ? 2
                     : lead >= 0xF0 && lead < 0xF5 ? 3
                                                   : 0;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;   // below: written with too many bytes
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;  // above: half of a surrogate pair; no character
    char bytes[4] = {first};
    for (int i = 1; i <= more; ++i, low = 0x80, high = 0xBF) {
        bytes[i] = text_.next();
        if (uint8_t(bytes[i]) < low || uint8_t(bytes[i]) > high) not_utf8();
    }
    if (!more) not_utf8();
    if (to) to->append(bytes, size_t(more) + 1);
}

void JsonReader::not_utf8() { fail("expected UTF-8 text, got other bytes before byte " + std::to_string(text_.at())); }

void JsonReader::too_long() {
    const std::string limit = std::to_string(max_text_), more = std::to_string(2 * max_text_);
    fail("expected at most " + limit + " bytes, got more: FASTDET_LIMITS=text=" + more + " raises the limit");
}

// The start of a text, at most 40 characters.
std::string JsonReader::start_of(const std::string& text) {
    size_t n = 0;
    for (int characters = 0; n < text.size(); ++n)
        if ((uint8_t(text[n]) & 0xC0) != 0x80 && ++characters > 40) break;
    return text.substr(0, n);
}

void JsonReader::escape(char c, std::string* to) {
    static constexpr char kShort[] = "\"\\/bfnrt", kMeant[] = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        uint32_t code = hex4();
        if (code >> 10 == 0x36) {  // the first half of a pair
            uint32_t low = 0;
            if (text_.next() != '\\' || text_.next() != 'u' || (low = hex4()) >> 10 != 0x37)
                fail("expected a string, got half of a surrogate pair");
            code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
        } else if (code >> 10 == 0x37) {
            fail("expected a string, got half of a surrogate pair");
        }
        if (!to) return;
        if (code < 0x80) {
            to->push_back(char(code));
        } else if (code < 0x800) {
            to->push_back(char(0xC0 | code >> 6));
            to->push_back(char(0x80 | (code & 63)));
        } else if (code < 0x10000) {
            to->push_back(char(0xE0 | code >> 12));
            to->push_back(char(0x80 | (code >> 6 & 63)));
            to->push_back(char(0x80 | (code & 63)));
        } else {
            to->push_back(char(0xF0 | code >> 18));
            to->push_back(char(0x80 | (code >> 12 & 63)));
            to->push_back(char(0x80 | (code >> 6 & 63)));
            to->push_back(char(0x80 | (code & 63)));
        }
        return;
    }
    const char* found = c ? std::strchr(kShort, c) : nullptr;
    if (!found) fail("expected a string, got one with a wrong escape");
    if (to) to->push_back(kMeant[found - kShort]);
}

uint32_t JsonReader::hex4() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
        const char c = text_.next(), low = char(c | 32);
        if (!is_digit(c) && !(low >= 'a' && low <= 'f')) fail("expected a string, got one with a wrong escape");
        code = code * 16 + uint32_t(is_digit(c) ? c - '0' : low - 'a' + 10);
    }
    return code;
}

bool JsonReader::skip_value(int depth) {
    if (depth > kMaxDepth) fail("nested deeper than " + std::to_string(kMaxDepth));
    const char c = text_.peek();
    if (c == '"') return string(nullptr), false;
    if (c == '-' || is_digit(c)) {
        if (!quick_number<false>(nullptr)) number();
        return false;
    }
    if (c != '[' && c != '{') return word(), c == 'n';
    const char close = c == '[' ? ']' : '}';
    text_.skip();
    if (text_.peek() == close) return text_.skip(), c == '[';
    for (;;) {
        if (c == '{') {
            if (text_.peek() != '"') syntax("a key");
            string(nullptr);
            if (text_.peek() != ':') syntax("':'");
            text_.skip();
        }
        skip_value(depth + 1);
        const char next = text_.peek();
        if (next != ',' && next != close) syntax(c == '[' ? "',' or ']'" : "',' or '}'");
        text_.skip();
        if (next == close) return false;
    }
}

// Throws: the value has another type than expected.
void JsonReader::wrong(const char* expected) {
    const char c = text_.peek();
    if (c == '\0') syntax(expected);
    const char* p = text_.token();
    const char* q = p + 1;
    const bool quoted = c == '"', nested = c == '[' || c == '{';
    while (q < text_.end() && q - p < 40 && *q != '\n' && (quoted ? *q != '"' : nested || !std::strchr(",]} ", *q)))
        ++q;
    std::string found(p, q);
    if (quoted && q < text_.end() && *q == '"') found += '"';
    if (nested) found = c == '[' ? "a list" : "an object";
    for (char& x : found) x = uint8_t(x) < 32 || uint8_t(x) > 126 ? '?' : x;
    fail(std::string("expected ") + expected + ", got " + found);
}

void JsonReader::syntax(const char* expected) {
    std::string found = "the end of the file";
    if (!text_.empty()) {
        const char c = *text_.token();
        found =
            uint8_t(c) < 32 || uint8_t(c) > 126 ? "byte " + std::to_string(uint8_t(c)) : "'" + std::string(1, c) + "'";
    }
    fail("not JSON at byte " + std::to_string(text_.at()) + ": expected " + expected + ", got " + found);
}

void JsonReader::fail(const std::string& what) { throw JsonError(where() + what); }

}  // namespace fastdet
