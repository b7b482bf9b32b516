// COCO's text of a mask. From the fourth count on, the difference to the count two before; five bits a character, the
// lowest first, the sign in the last one; 32 where more follow; plus 48.
#include "masks/rle.h"

namespace fastdet {

std::string rle_to_string(const uint32_t* run, const uint32_t* end) {
    std::string text;
    text.reserve(size_t(end - run) * 2);
    for (int64_t i = 0; i < end - run; ++i) {
        int64_t x = int64_t(run[i]) - (i > 2 ? int64_t(run[i - 2]) : 0);
        for (bool more = true; more;) {
            const int bits = int(x & 31);
            x >>= 5;
            more = bits & 16 ? x != -1 : x != 0;
            text.push_back(char(bits + 32 * more + 48));
        }
    }
    return text;
}

std::string rle_from_string(const char* text, size_t n, std::vector<uint32_t>& out) {
    const size_t first = out.size();
    for (size_t at = 0; at < n;) {
        int64_t x = 0;
        int shift = 0, bits = 32;
        while (bits & 32) {
            if (at == n) return "the text ends within a number";
            bits = int(static_cast<unsigned char>(text[at])) - 48;
            if (bits < 0 || bits >= 64) {
                return "expected characters from '0' to 'o', got byte " + std::to_string(bits + 48) + " at " +
                       std::to_string(at);
            }
            if (shift > 30) return "expected numbers of 32 bits, got a longer one at " + std::to_string(at);
            x |= int64_t(bits & 31) << shift;
            shift += 5, ++at;
        }
        if (bits & 16) x -= int64_t(1) << shift;
        if (out.size() - first > 2) x += out[out.size() - 2];
        if (x < 0 || x > int64_t(UINT32_MAX)) return "expected runs in [0, 2**32), got " + std::to_string(x);
        out.push_back(uint32_t(x));
    }
    return "";
}

}  // namespace fastdet
