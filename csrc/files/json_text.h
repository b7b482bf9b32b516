// The text of a JSON stream, a buffer at a time, and its numbers.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace fastdet {

inline constexpr size_t kBuffer = 1 << 18, kToken = 512;  // a number has fewer than kToken characters
inline constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A character of a string that stands for itself: no quote, no backslash, no control character, and ASCII.
inline bool is_plain(char c) { return uint8_t(c) - 32u < 96u && c != '"' && c != '\\'; }

// The text, a buffer at a time. A zero byte follows what is in the buffer.
class Text {
  public:
    explicit Text(const std::function<size_t(char*, size_t)>& read) : read_(read), buffer_(kBuffer + 1) {
        p_ = end_ = buffer_.data();
        refill();
        if (end_ - p_ >= 3 && std::memcmp(p_, "\xEF\xBB\xBF", 3) == 0) p_ += 3;
    }

    // The next character after white space, '\0' at the end of the text.
    char peek() {
        if (*p_ > ' ') return *p_;
        for (;;) {
            while (*p_ == ' ' || *p_ == '\n' || *p_ == '\t' || *p_ == '\r') ++p_;
            if (p_ < end_) return *p_;
            if (!refill()) return '\0';
        }
    }
    bool at_end() { return peek() == '\0' && p_ == end_; }
    int64_t at() const { return before_ + (p_ - buffer_.data()); }
    void skip() { ++p_; }

    // The whole of a number or a word lies in the buffer; returns where it starts.
    const char* token() {
        if (size_t(end_ - p_) < kToken) refill();
        return p_;
    }
    const char* end() const { return end_; }
    void move_to(const char* p) { p_ = const_cast<char*>(p); }

    // One more character of a string.
    char next() {
        if (p_ == end_ && !refill()) return '\0';
        return *p_++;
    }
    bool empty() { return p_ == end_ && !refill(); }

    bool buffered() const { return p_ < end_; }

    // The next plain characters that are in the buffer, appended to *to; null: skipped.
    void plain(std::string* to) {
        const char* from = p_;
        while (is_plain(*p_)) ++p_;
        if (to) to->append(from, size_t(p_ - from));
    }

  private:
    bool refill() {
        const size_t rest = size_t(end_ - p_);
        before_ += p_ - buffer_.data();
        std::memmove(buffer_.data(), p_, rest);
        p_ = buffer_.data();
        size_t more = 0;  // a stream may return fewer bytes than requested
        while (rest + more < kBuffer) {
            const size_t got = read_(p_ + rest + more, kBuffer - rest - more);
            if (got == 0) break;
            more += got;
        }
        end_ = p_ + rest + more;
        *end_ = '\0';
        return more > 0;
    }

    const std::function<size_t(char*, size_t)>& read_;
    std::vector<char> buffer_;
    char *p_, *end_;
    int64_t before_ = 0;
};

struct Number {
    double value;
    int64_t integer;
    bool is_integer;   // of 64 bits
    const char* text;  // as it is written; in the buffer until the next character is read
    size_t size;
};

}  // namespace fastdet
