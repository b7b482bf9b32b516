// Confusion matrices: the loops. Compiled once per instruction set.
//
// Label maps are made of regions, so that along a row most pixels are what their left neighbour is, in the target and
// in the prediction. One vector comparison finds where they are not; a run of equal pixels is then one addition, and
// its labels are the only ones looked at. Blocks of 64 pixels with many changes are counted pixel by pixel, into
// several copies of the matrix in turn, since an addition to a cell waits for the one before it. Floor: both maps are
// read once.
#include "confusion.h"

#include "argmax.h"
#include "changes.h"
#include "loops.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int kChunk = 4096;  // pixels at a time; what is known of them stays in the first cache
constexpr int kDense = 20;    // changes in 64 pixels from which they are counted one by one

// Bit b of word w: pixel 1 + 64 w + b is not what the pixel before it is. Joined: or it was so before.
template <bool Joined, class T>
void mark_changes(const T* x, int n, uint64_t* words) {
    const auto put = [&](int word, uint64_t bits) { words[word] = Joined ? words[word] | bits : bits; };
    int i = 1, word = 0;
    for (; i + 64 <= n; i += 64) put(word++, changes(x + i));
    if (i == n) return;
    if (n > 64) return put(word, changes(x + n - 64) >> (i - (n - 64)));
    uint64_t bits = 0;
    for (int k = i; k < n; ++k) bits |= uint64_t(x[k] != x[k - 1]) << (k - i);
    put(word, bits);
}

template <class T>
uint16_t code_of(T label, T most, T ignore, uint16_t void_code, unsigned& bad) {
    bad |= unsigned(label > most) & unsigned(label != ignore);
    return label == ignore ? void_code : uint16_t(label);
}

// The classes of the pixels `at`; false where one is out of range.
template <class T>
bool codes_at(const T* x, const LabelMap& map, const uint16_t* at, int n, uint16_t* codes) {
    const T most = T(map.most), ignore = T(map.ignore);
    unsigned bad = 0;
    for (int k = 0; k < n; ++k) codes[k] = code_of(x[at[k]], most, ignore, map.void_code, bad);
    return !bad;
}

// The classes of 64 pixels.
template <class T>
bool codes_of(const T* x, const LabelMap& map, uint16_t* codes) {
    const T most = T(map.most), ignore = T(map.ignore);
    unsigned bad = 0;
    for (int k = 0; k < 64; ++k) codes[k] = code_of(x[k], most, ignore, map.void_code, bad);
    return !bad;
}

template <class F>
auto by_width(const LabelMap& map, int64_t first, F&& f) {
    switch (map.bytes) {
        case 1:
            return f(static_cast<const uint8_t*>(map.labels) + first);
        case 2:
            return f(static_cast<const uint16_t*>(map.labels) + first);
        case 4:
            return f(static_cast<const uint32_t*>(map.labels) + first);
        default:
            return f(static_cast<const uint64_t*>(map.labels) + first);
    }
}

template <int Copies>
void count_keys(const uint32_t* keys, const Counts& counts) {
    int64_t* const cells = counts.cells;
    const int64_t stride = Copies > 1 ? counts.copy_stride : 0;
    for (int k = 0; k < 64; k += 4) {
        ++cells[keys[k]];
        ++cells[keys[k + 1] + stride];
        ++cells[keys[k + 2] + 2 * stride];
        ++cells[keys[k + 3] + 3 * stride];
    }
}

bool count_chunk(const LabelMap& target, const LabelMap& prediction, int64_t first, int n, const Counts& counts) {
    uint64_t words[kChunk / 64];
    by_width(target, first, [&](auto* x) { mark_changes<false>(x, n, words); });
    by_width(prediction, first, [&](auto* x) { mark_changes<true>(x, n, words); });

    // A dense block is a run too, which is taken back below.
    uint16_t start[kChunk + 4], dense[kChunk / 64];
    int runs = 1, blocks = 0;
    uint64_t forced = 0;
    start[0] = 0;
    for (int i = 1, word = 0; i < n; i += 64, ++word) {
        uint64_t bits = words[word] | forced;
        forced = 0;
        if (!bits) continue;
        const int changed = __builtin_popcountll(bits);
        if (changed >= kDense && i + 64 <= n) {
            start[runs++] = dense[blocks++] = uint16_t(i);
            forced = 1;
            continue;
        }
        uint16_t* to = start + runs;
        runs += changed;
        for (int k = 0; k < changed; k += 4) {  // four whether there are or not: the same way each time is fast
            for (int m = 0; m < 4; ++m) {
                *to++ = uint16_t(i + __builtin_ctzll(bits | uint64_t(1) << 63));
                bits &= bits - 1;
            }
        }
    }
    start[runs] = uint16_t(n);

    uint16_t of_target[kChunk], of_prediction[kChunk];
    const bool good =
        by_width(target, first, [&](auto* x) { return codes_at(x, target, start, runs, of_target); }) &
        by_width(prediction, first, [&](auto* x) { return codes_at(x, prediction, start, runs, of_prediction); });
    if (!good) return false;
    const uint32_t side = uint32_t(counts.side);
    for (int k = 0; k < runs; ++k) {
        int64_t* const cells = counts.cells + (k & (counts.copies - 1)) * counts.copy_stride;
        cells[of_target[k] * side + of_prediction[k]] += start[k + 1] - start[k];
    }

    for (int b = 0; b < blocks; ++b) {
        const int64_t at = first + dense[b];
        const bool fit = by_width(target, at, [&](auto* x) { return codes_of(x, target, of_target); }) &
                         by_width(prediction, at, [&](auto* x) { return codes_of(x, prediction, of_prediction); });
        if (!fit) return false;
        uint32_t keys[64];
        for (int k = 0; k < 64; ++k) keys[k] = of_target[k] * side + of_prediction[k];
        counts.cells[keys[0]] -= 64;
        counts.copies > 1 ? count_keys<4>(keys, counts) : count_keys<1>(keys, counts);
    }
    return true;
}

bool count(const LabelMap& target, const LabelMap& prediction, int64_t first, int64_t last, const Counts& counts) {
    for (; first < last; first += kChunk) {
        const int n = int(last - first < kChunk ? last - first : kChunk);
        if (!count_chunk(target, prediction, first, n, counts)) return false;
    }
    return true;
}

template <class S>
constexpr ArgmaxKernels<S> argmax_kernels = {argmax_taps_bytes<S>, argmax_prepare<S>, argmax_plain<S>,
                                             argmax_resampled<S>, argmax_finite<S>};

}  // namespace

const ConfusionKernels confusion_kernels = {count, argmax_kernels<float>, argmax_kernels<double>, argmax_kernels<Half>,
                                            argmax_kernels<BFloat16>};

}  // namespace FASTDET_ISA
}  // namespace fastdet
