// Confusion matrices: the loops. Compiled once per instruction set.
//
// Label maps are made of regions, so that along a row most pixels are what their left neighbour is, in the target and
// in the prediction. One vector comparison finds where they are not; a run of equal pixels is then one addition, and
// its labels are the only ones looked at. Blocks of 64 pixels with many changes are counted pixel by pixel, into
// several copies of the matrix in turn, since an addition to a cell waits for the one before it. Floor: both maps are
// read once.
#include "segmentation/confusion_matrix.h"

#include <type_traits>

#include "core/read_once.h"
#include "segmentation/argmax.h"
#include "simd/changes.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

constexpr int kChunk = 4096;  // pixels at a time; what is known of them stays in the first cache
constexpr int kDense = 20;    // changes in 64 pixels from which they are counted one by one

// Small loops over plain arrays: apart from each other they become vector instructions and keep their registers.
#define FASTDET_LOOP __attribute__((noinline)) static

// Bit b of word w: pixel 1 + 64 w + b is not what the pixel before it is. Joined: or it was so before.
template <bool Joined, class T>
FASTDET_LOOP void mark_changes(const T* x, int n, uint64_t* words) {
    const auto put = [&](int word, uint64_t bits) { words[word] = Joined ? words[word] | bits : bits; };
    int i = 1, word = 0;
    for (; i + 64 <= n; i += 64) put(word++, changes(x + i));
    if (i == n) return;
    if (n > 64) return put(word, changes(x + n - 64) >> (i - (n - 64)));
    uint64_t bits = 0;
    for (int k = i; k < n; ++k) bits |= uint64_t(x[k] != x[k - 1]) << (k - i);
    put(word, bits);
}

// The classes of n labels, a copy of the caller's; false where one is out of range. Wide holds labels and void's class.
template <class Wide, class T>
FASTDET_LOOP bool codes_in(const T* x, int n, const LabelMap& map, uint16_t* codes) {
    const Wide max_label = Wide(map.max_label), ignore = Wide(map.ignore), void_code = Wide(map.void_code);
    Wide bad = 0;
    for (int k = 0; k < n; ++k) {
        const Wide label = x[k];
        bad |= is_invalid(label, max_label, ignore);
        codes[k] = class_of(label, ignore, void_code);
    }
    return !bad;
}
template <class T>
bool codes_of(const T* x, int n, const LabelMap& map, uint16_t* codes) {
    return sizeof(T) == 1 && map.void_code > 255 ? codes_in<uint16_t>(x, n, map, codes) : codes_in<T>(x, n, map, codes);
}

// The classes of the pixels `at`.
template <class T>
FASTDET_LOOP bool codes_at(const T* x, const uint16_t* at, int n, const LabelMap& map, uint16_t* codes) {
    T labels[kChunk];
    for (int k = 0; k < n; ++k) labels[k] = x[at[k]];
    keep_copy(labels);
    return codes_of(labels, n, map, codes);
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

// Where runs of equal pixels start, and their end; spans of dense blocks, each of them one run.
struct Runs {
    uint16_t start[kChunk + 1];
    int count = 0;
    struct Span {
        uint16_t first, last;
    } dense[kChunk / 128 + 1];
    int spans = 0;
};

FASTDET_LOOP void find_runs(const uint64_t* words, int n, Runs& runs) {
    uint16_t* to = runs.start;
    *to++ = 0;
    uint64_t after_dense = 0;
    for (int i = 1, word = 0; i < n; i += 64, ++word) {
        uint64_t bits = words[word];
        if (__builtin_expect(__builtin_popcountll(bits) >= kDense && i + 64 <= n, 0)) {
            if (!after_dense) {
                *to++ = uint16_t(i);
                runs.dense[runs.spans++].first = uint16_t(i);
                after_dense = 1;
            }
            runs.dense[runs.spans - 1].last = uint16_t(i + 64);
            continue;
        }
        bits |= after_dense;
        after_dense = 0;
        for (; bits; bits &= bits - 1) *to++ = uint16_t(i + __builtin_ctzll(bits));
    }
    runs.count = int(to - runs.start);
    *to = uint16_t(n);
}

template <class Key>
FASTDET_LOOP void keys_of(const uint16_t* target, const uint16_t* prediction, int n, Key side, Key* keys) {
    for (int k = 0; k < n; ++k) keys[k] = Key(Key(target[k]) * side + prediction[k]);
}

template <class Key>
FASTDET_LOOP void add_runs(const Key* keys, const Runs& runs, const Counts& counts) {
    int64_t *cells = counts.cells, *other = cells + (counts.copies > 1 ? counts.copy_stride : 0);
    for (int k = 0; k < runs.count; ++k) {
        cells[keys[k]] += runs.start[k + 1] - runs.start[k];
        int64_t* const used = cells;
        cells = other, other = used;
    }
}

template <class Key>
FASTDET_LOOP void add_pixels(const Key* keys, int n, const Counts& counts) {  // n: of whole blocks
    const int64_t stride = counts.copies > 1 ? counts.copy_stride : 0;
    int64_t *const a = counts.cells, *const b = a + stride, *const c = b + stride, *const d = c + stride;
    for (int k = 0; k < n; k += 4) {
        ++a[keys[k]];
        ++b[keys[k + 1]];
        ++c[keys[k + 2]];
        ++d[keys[k + 3]];
    }
}

template <class Key>
bool count_chunk(const LabelMap& target, const LabelMap& prediction, int64_t first, int n, const Counts& counts) {
    uint64_t words[kChunk / 64];
    by_width(target, first, [&](auto* x) { mark_changes<false>(x, n, words); });
    by_width(prediction, first, [&](auto* x) { mark_changes<true>(x, n, words); });
    Runs runs;
    find_runs(words, n, runs);

    const Key side = Key(counts.side);
    uint16_t truth[kChunk], predicted[kChunk];
    Key keys[kChunk];
    const auto codes = [&](const LabelMap& map, uint16_t* to) {
        return by_width(map, first, [&](auto* x) { return codes_at(x, runs.start, runs.count, map, to); });
    };
    if (!codes(target, truth) || !codes(prediction, predicted)) return false;
    keys_of(truth, predicted, runs.count, side, keys);
    add_runs(keys, runs, counts);

    for (int s = 0; s < runs.spans; ++s) {
        const int at = runs.dense[s].first, length = runs.dense[s].last - at;
        const auto all = [&](const LabelMap& map, uint16_t* to) {
            return by_width(map, first + at, [&](auto* x) {
                std::remove_const_t<std::remove_pointer_t<decltype(x)>> labels[kChunk];
                read_once(x, length, labels);
                return codes_of(labels, length, map, to);
            });
        };
        if (!all(target, truth) || !all(prediction, predicted)) return false;
        keys_of(truth, predicted, length, side, keys);
        counts.cells[keys[0]] -= length;  // as a run
        add_pixels(keys, length, counts);
    }
    return true;
}

bool count(const LabelMap& target, const LabelMap& prediction, int64_t first, int64_t last, const Counts& counts) {
    for (; first < last; first += kChunk) {
        const int n = int(last - first < kChunk ? last - first : kChunk);
        if (!(counts.side < 256 ? count_chunk<uint16_t>(target, prediction, first, n, counts)
                                : count_chunk<uint32_t>(target, prediction, first, n, counts)))
            return false;
    }
    return true;
}

template <class S>
constexpr ArgmaxKernels<S> argmax_kernels = {argmax_taps_bytes<S>, argmax_prepare<S>, argmax_plain<S>,
                                             argmax_resampled<S>, argmax_finite<S>};

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(ConfusionKernels, confusion_matrix_kernels,
                {count, argmax_kernels<float>, argmax_kernels<double>, argmax_kernels<Half>, argmax_kernels<BFloat16>})

}  // namespace fastdet
