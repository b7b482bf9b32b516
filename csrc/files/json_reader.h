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
    bool short_number(double* out);
    void read_key();
    void wide(char first, std::string* to);
    [[noreturn]] void not_utf8();
    void escape(char c, std::string* to);
    uint32_t hex4();
};

}  // namespace fastdet
