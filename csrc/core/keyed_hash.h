// A hash of strings that strangers choose.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>

namespace fastdet {

// A polynomial in a number drawn once a process, modulo 2^61 - 1, with 7 bytes a coefficient: two strings of up to n
// bytes have one hash with a probability of n / 2^61 at most, whoever chose them. `std::hash` has no such number, so
// that a file can hold any number of names of one hash.
struct KeyedHash {
    size_t operator()(const std::string& text) const {
        static const uint64_t point = drawn();
        uint64_t hash = text.size();
        for (size_t at = 0; at < text.size(); at += 7) {
            uint64_t word = 0;
            std::memcpy(&word, text.data() + at, text.size() - at < 7 ? text.size() - at : 7);
            hash = reduced(static_cast<unsigned __int128>(hash) * point + word);
        }
        return size_t(reduced(static_cast<unsigned __int128>(hash) * point));
    }

  private:
    static constexpr uint64_t kPrime = (uint64_t(1) << 61) - 1;

    static uint64_t reduced(unsigned __int128 x) {  // of x below 2^122
        const uint64_t sum = (uint64_t(x) & kPrime) + uint64_t(x >> 61);
        return sum >= kPrime ? sum - kPrime : sum;
    }
    static uint64_t drawn() {
        std::random_device device;
        const uint64_t high = device(), low = device();
        return (high << 32 | (low & 0xffffffff)) % (kPrime - 1) + 1;
    }
};

}  // namespace fastdet
