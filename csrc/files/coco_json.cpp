// COCO's JSON. See coco_json.h.
#include "files/coco_json.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "files/json_text.h"

namespace fastdet {
namespace {

constexpr int kMaxDepth = 500;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

enum Field : int { kId = 1, kImage = 2, kLabel = 4, kBox = 8, kArea = 16, kCrowd = 32, kScore = 64 };
constexpr const char* kFields[] = {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "score"};
constexpr const char* kWanted[] = {"an integer", "an integer", "an integer", "four numbers", "", "", "a number"};

class Parser {
  public:
    Parser(const std::function<size_t(char*, size_t)>& read, int64_t size, bool results)
        : text_(read), size_(size), results_(results) {}

    CocoContent run() {
        const char first = text_.peek();
        if (first == '[' && results_) {
            section_ = "results";
            content_.sections = kAnnotations;
            records([&] { annotation(); });
        } else if (first == '{') {
            sections();
        } else if (first == '[') {
            fail("expected an object with images, annotations and categories, got a list");
        } else {
            section_ = nullptr;
            syntax(results_ ? "a list of detections" : "an object with images, annotations and categories");
        }
        index_ = -1;
        section_ = nullptr;
        if (!text_.at_end()) syntax("the end of the file");
        return std::move(content_);
    }

  private:
    void sections() {
        object([&] {
            index_ = -1;
            const int section = key_ == "annotations"  ? kAnnotations
                                : results_             ? 0
                                : key_ == "images"     ? kImages
                                : key_ == "categories" ? kCategories
                                                       : 0;
            if (!section) return skip_value(0);
            const std::string name = key_;
            section_ = name.c_str();
            if (content_.sections & section) fail("expected one list, got the key twice");
            content_.sections |= section;
            if (text_.peek() != '[') wrong("a list");
            if (section == kAnnotations) {
                records([&] { annotation(); });
            } else {
                auto& names = section == kImages ? content_.images : content_.categories;
                const char* called = section == kImages ? "file_name" : "name";
                records([&] { named(names, called); });
            }
            index_ = -1;
            section_ = nullptr;
        });
        if (results_ && !content_.sections) fail("expected a list of detections, got an object without annotations");
    }

    template <class F>
    void records(F&& record) {
        const int64_t start = text_.at();
        text_.skip();
        index_ = 0;
        if (text_.peek() == ']') return text_.skip();
        for (;; ++index_) {
            if (text_.peek() != '{') wrong("an object");
            record();
            if (index_ == 1000) reserve((text_.at() - start) / 1000);
            const char c = text_.peek();
            if (c == ']') break;
            if (c != ',') syntax("',' or ']'");
            text_.skip();
        }
        text_.skip();
    }

    // From the bytes of the first records: vectors that double would hold up to three times what they need.
    void reserve(int64_t bytes) {
        auto& b = content_.boxes;
        if (b.image.size() < 1000 || bytes < 1) return;
        const size_t n = size_t(size_ / bytes + size_ / bytes / 8);
        b.id.reserve(results_ ? 0 : n), b.image.reserve(n), b.label.reserve(n), b.box.reserve(4 * n);
        b.area.reserve(results_ ? 0 : n), b.score.reserve(n), b.crowd.reserve(results_ ? 0 : n);
    }

    void annotation() {
        auto& b = content_.boxes;
        int seen = 0;
        int64_t id = 0, image = 0, label = 0;
        double box[4], area = kNaN, score = kNaN;
        bool crowd = false;
        object([&] {
            const int field = which();
            if (!field) return skip_value(0);
            if (seen & field) fail("expected once, got the key twice");
            seen |= field;
            switch (field) {
                case kId:
                    id = results_ ? (skip_value(0), 0) : integer();
                    break;
                case kImage:
                    image = integer();
                    break;
                case kLabel:
                    label = integer();
                    break;
                case kBox:
                    read_box(box);
                    break;
                case kArea:
                    area = results_ ? (skip_value(0), 0) : finite(0, "a number >= 0");
                    break;
                case kCrowd:
                    crowd = results_ ? (skip_value(0), false) : flag();
                    break;
                default:
                    score = finite(-std::numeric_limits<double>::infinity(), "a number");
            }
        });
        const int needed = kImage | kLabel | kBox | (results_ ? kScore : kId);
        for (int i = 0; i < 7; ++i) {
            if ((needed & ~seen) >> i & 1) {
                key_ = kFields[i];
                in_record_ = true;
                fail(std::string("expected ") + kWanted[i] + ", got no such field");
            }
        }
        b.image.push_back(image);
        b.label.push_back(label);
        b.box.insert(b.box.end(), box, box + 4);
        b.score.push_back(score);
        if (results_) return;
        b.id.push_back(id);
        b.area.push_back(area);
        b.crowd.push_back(crowd);
    }

    int which() const {
        const size_t n = key_.size();  // lengths tell the fields apart, but for bbox and area
        const int i = n == 2    ? 0
                      : n == 8  ? 1
                      : n == 11 ? 2
                      : n == 4  ? (key_[0] == 'b' ? 3 : 4)
                      : n == 7  ? 5
                      : n == 5  ? 6
                                : -1;
        return i >= 0 && std::memcmp(key_.data(), kFields[i], n) == 0 ? 1 << i : 0;
    }

    void named(CocoNames& names, const char* called) {
        bool has_id = false, has_name = false;
        int64_t id = 0, width = 0, height = 0;
        object([&] {
            if (key_ == "id") {
                if (has_id) fail("expected once, got the key twice");
                has_id = true;
                id = integer();
            } else if (key_ == called && !has_name && text_.peek() == '"') {
                has_name = true;
                string(&names.text);
            } else if (key_ == "width" && (is_digit(text_.peek()) || text_.peek() == '-')) {
                width = int64_t(std::fmin(std::fmax(number().value, 0.0), 9e15));
            } else if (key_ == "height" && (is_digit(text_.peek()) || text_.peek() == '-')) {
                height = int64_t(std::fmin(std::fmax(number().value, 0.0), 9e15));
            } else {
                skip_value(0);
            }
        });
        if (!has_id) {
            key_ = "id";
            in_record_ = true;
            fail("expected an integer, got no such field");
        }
        names.id.push_back(id);
        names.width.push_back(width);
        names.height.push_back(height);
        names.end.push_back(int64_t(names.text.size()));
    }

    // value() is called with the key in key_ and the text at the value.
    template <class F>
    void object(F&& value) {
        const bool outer = in_record_;
        in_record_ = section_ != nullptr;
        text_.skip();
        if (text_.peek() == '}') {
            text_.skip();
        } else {
            for (;;) {
                if (text_.peek() != '"') syntax("a key");
                read_key();
                if (text_.peek() != ':') syntax("':'");
                text_.skip();
                value();
                const char c = text_.peek();
                if (c != ',' && c != '}') syntax("',' or '}'");
                text_.skip();
                if (c == '}') break;
            }
        }
        in_record_ = outer;
    }

    // Nearly always short, plain, and as a whole in the buffer.
    void read_key() {
        const char* const from = text_.token() + 1;
        const char* p = from;
        while (uint8_t(*p) >= 32 && *p != '"' && *p != '\\') ++p;
        if (*p == '"') {
            key_.assign(from, size_t(p - from));
            return text_.move_to(p + 1);
        }
        key_.clear();
        string(&key_);
    }

    void read_box(double* box) {
        if (text_.peek() != '[') wrong("four numbers");
        text_.skip();
        for (int i = 0; i < 4; ++i) {
            box[i] = i < 2 ? finite(-std::numeric_limits<double>::infinity(), "four numbers")
                           : finite(0, i == 2 ? "a width >= 0" : "a height >= 0");
            const char c = text_.peek();
            if (c != (i < 3 ? ',' : ']')) {
                if (c == ',' || c == ']') wrong_count(i + 1, c == ',');
                syntax(i < 3 ? "','" : "']'");
            }
            text_.skip();
        }
    }

    [[noreturn]] void wrong_count(int n, bool more) {
        fail("expected four numbers, got " + (more ? std::string("more") : std::to_string(n)));
    }

    double finite(double min_value, const char* expected) {
        const char c = text_.peek();
        if (c != '-' && !is_digit(c)) wrong(expected);
        const double value = number().value;
        if (std::isfinite(value) && value >= min_value) return value;
        char found[32];
        std::snprintf(found, sizeof found, "%.6g", value);
        fail(std::string("expected ") + expected + ", got " + found);
    }

    int64_t integer() {
        const char c = text_.peek();
        if (c != '-' && !is_digit(c)) wrong("an integer");
        const Number x = number();
        if (x.is_integer) return x.integer;
        if (x.value == std::floor(x.value) && std::fabs(x.value) < 9e15) return int64_t(x.value);
        char found[32];
        std::snprintf(found, sizeof found, "%.17g", x.value);
        fail(std::string("expected an integer") + (std::fabs(x.value) >= 9e15 ? " of 64 bits" : "") + ", got " + found);
    }

    bool flag() {
        const char c = text_.peek();
        if (c == 't' || c == 'f') return word(), c == 't';
        if (c != '0' && c != '1') wrong("0 or 1");
        const double value = number().value;
        if (value != 0 && value != 1) fail("expected 0 or 1, got " + std::to_string(value));
        return value == 1;
    }

    // The text is at a digit or a minus.
    Number number() {
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
        Number out{0, 0, is_integer && count <= 18};
        if (count <= 19 && digits < uint64_t(1) << 53 && exponent >= -22 && exponent <= 22) {
            const double d = double(digits);  // exact, as is the power: one rounding
            out.value = exponent < 0 ? d / kPowers[-exponent] : d * kPowers[exponent];
            if (negative) out.value = -out.value;
        } else {
            out.value = slow_double(from, p);
        }
        out.integer = out.is_integer ? (negative ? -int64_t(digits) : int64_t(digits)) : 0;
        text_.move_to(p);
        return out;
    }

    void word() {
        const char* p = text_.token();
        for (const char* known : {"true", "false", "null"}) {
            const size_t n = std::strlen(known);
            if (std::strncmp(p, known, n) == 0) return text_.move_to(p + n);
        }
        wrong("a value");
    }

    // The text is at the quote.
    void string(std::string* to) {
        text_.skip();
        for (;;) {
            text_.plain(to);
            if (text_.empty()) syntax("the end of a string");
            const char c = text_.next();
            if (c == '"') return;
            if (c != '\\') fail("expected a string, got one with a control character");
            escape(text_.next(), to);
        }
    }

    void escape(char c, std::string* to) {
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

    uint32_t hex4() {
        uint32_t code = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = text_.next(), low = char(c | 32);
            if (!is_digit(c) && !(low >= 'a' && low <= 'f')) fail("expected a string, got one with a wrong escape");
            code = code * 16 + uint32_t(is_digit(c) ? c - '0' : low - 'a' + 10);
        }
        return code;
    }

    void skip_value(int depth) {
        if (depth > kMaxDepth) fail("nested deeper than " + std::to_string(kMaxDepth));
        const char c = text_.peek();
        if (c == '"') return string(nullptr);
        if (c == '-' || is_digit(c)) return void(number());
        if (c != '[' && c != '{') return word();
        const char close = c == '[' ? ']' : '}';
        text_.skip();
        if (text_.peek() == close) return text_.skip();
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
            if (next == close) return;
        }
    }

    std::string where() const {
        std::string out;
        if (!section_) return out;
        out = section_;
        if (index_ >= 0) out += "[" + std::to_string(index_) + "]";
        if (in_record_ && index_ >= 0) out += "." + key_.substr(0, 40);
        return out + ": ";
    }

    [[noreturn]] void fail(const std::string& what) { throw CocoError(where() + what); }

    // What is there is not a value of the wanted kind.
    [[noreturn]] void wrong(const char* expected) {
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

    [[noreturn]] void syntax(const char* expected) {
        std::string found = "the end of the file";
        if (!text_.empty()) {
            const char c = *text_.token();
            found = uint8_t(c) < 32 || uint8_t(c) > 126 ? "byte " + std::to_string(uint8_t(c))
                                                        : "'" + std::string(1, c) + "'";
        }
        throw CocoError(where() + "not JSON at byte " + std::to_string(text_.at()) + ": expected " + expected +
                        ", got " + found);
    }

    Text text_;
    int64_t size_;
    bool results_;
    CocoContent content_;
    const char* section_ = nullptr;
    int64_t index_ = -1;
    bool in_record_ = false;
    std::string key_;
};

}  // namespace

CocoContent read_coco(const std::function<size_t(char*, size_t)>& read, int64_t size, bool results) {
    return Parser(read, size, results).run();
}

}  // namespace fastdet
