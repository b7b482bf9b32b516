// Records of results as text: copied byte by byte from their file, or written anew. See coco_json.h.
#include <cstring>
#include <stdexcept>

#include "files/coco_json.h"
#include "files/plain_numbers.h"

namespace fastdet {
namespace {

constexpr size_t kNumber = 40;  // characters of a double, at most

// The shortest text that is read as the same double; it has a point or an exponent.
size_t print(double x, char* to) {
    size_t n = print_double(x, to, kNumber - 2);
    if (!std::memchr(to, '.', n) && !std::memchr(to, 'e', n)) to[n++] = '.', to[n++] = '0';
    return n;
}

bool in_number(char c) { return is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'; }

}  // namespace

std::string join_records(const char* text, size_t n, const int64_t* start, const int32_t* length, const int32_t* score,
                         const double* scores, size_t count) {
    std::string out;
    size_t total = 0;
    for (size_t i = 0; i < count; ++i) total += size_t(length[i] > 0 ? length[i] : 0) + 2 + (scores ? kNumber : 0);
    out.reserve(total < n + 2 * count * kNumber ? total : n + 2 * count * kNumber);
    char number[kNumber];
    for (size_t i = 0; i < count; ++i) {
        // read once: another thread may change them
        const int64_t at = start[i], size = length[i], score_at = score[i];
        const bool inside =
            at >= 0 && size > 1 && size_t(at) <= n && size_t(size) <= n - size_t(at) && score_at > 0 && score_at < size;
        if (!inside || text[at] != '{' || text[at + size - 1] != '}')
            throw std::out_of_range("join_records: records must be those that were read");
        const char *from = text + at, *end = from + size;
        if (i) out += ",\n";
        if (scores) {
            const char* old = from + score_at;
            out.append(from, size_t(old - from));
            out.append(number, print(scores[i], number));
            while (old < end && in_number(*old)) ++old;
            from = old;
        }
        out.append(from, size_t(end - from));
    }
    return out;
}

std::string encode_records(const std::vector<std::string>& ids, const int64_t* image, const int64_t* label,
                           const double* box, const double* scores, size_t count) {
    std::string out;
    out.reserve(count * 120);
    char number[kNumber];
    for (size_t i = 0; i < count; ++i) {
        out += i ? ",\n{\"image_id\":" : "{\"image_id\":";
        out += ids.at(size_t(image[i]));
        out += ",\"category_id\":";
        out += std::to_string(label[i]);
        for (int side = 0; side < 4; ++side) {
            out += side ? "," : ",\"bbox\":[";
            out.append(number, print(box[4 * i + side], number));
        }
        out += "],\"score\":";
        out.append(number, print(scores[i], number));
        out += '}';
    }
    return out;
}

}  // namespace fastdet
