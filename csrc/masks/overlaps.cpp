#include "masks/overlaps.h"

#include <algorithm>

#include "masks/count_bits.h"

namespace fastdet {
namespace {

constexpr int64_t kWordsARun = 8;                 // a mask of more words than this a run stays as runs
constexpr int64_t kMostWords = int64_t(1) << 24;  // 128 MB

int64_t words_of(const Extent& e) {
    return e.y2 > e.y1 ? ((int64_t(e.y2) + 63) / 64 - e.y1 / 64) * (int64_t(e.x2) - e.x1) : 0;
}

// Sorted runs of two masks.
template <class Run>
int64_t common_runs(const Run* a, const Run* a_end, const Run* b, const Run* b_end) {
    int64_t inter = 0;
    while (a != a_end && b != b_end) {
        const uint32_t start = std::max(a->start, b->start), stop = std::min(a->stop, b->stop);
        inter += stop > start ? stop - start : 0;
        a->stop < b->stop ? ++a : ++b;
    }
    return inter;
}

}  // namespace

MaskBits::MaskBits(const Runs& runs, int64_t height, int64_t width) {
    const int64_t n = runs.size();
    const uint64_t pixels = uint64_t(height) * uint64_t(width);
    extent_.reserve(size_t(n));
    area_.reserve(size_t(n));
    words_.reserve(size_t(n));
    first_.assign(1, 0);
    int64_t most = kMostWords, total = 0;
    for (int64_t i = 0; i < n; ++i) {
        // in order of the runs, which somebody may change meanwhile: each is read once
        uint64_t x1 = 0, y1 = uint64_t(height), x2 = 0, y2 = 0, top = 0, area = 0;
        bool any = false;
        each_run(runs.begin(i), runs.end(i), [&](uint64_t start, uint64_t stop) {
            start = std::min(start, pixels), stop = std::min(stop, pixels);
            if (start == stop) return;
            area += stop - start;
            if (start - top >= uint64_t(height)) x2 = start / uint64_t(height), top = x2 * uint64_t(height);
            if (!any) x1 = x2;
            any = true;
            if (stop - top > uint64_t(height)) {  // over the border of a column
                y1 = 0, y2 = uint64_t(height);
                x2 = (stop - 1) / uint64_t(height), top = x2 * uint64_t(height);
            } else {
                y1 = std::min(y1, start - top), y2 = std::max(y2, stop - top);
            }
            runs_.push_back({uint32_t(start), uint32_t(stop)});
        });
        extent_.push_back(any ? Extent{uint32_t(x1), uint32_t(y1), uint32_t(x2 + 1), uint32_t(y2)} : Extent{0, 0, 0, 0});
        area_.push_back(int64_t(area));
        first_.push_back(int64_t(runs_.size()));
        const int64_t words = words_of(extent_.back());
        const bool fits = words <= kWordsARun * (first_[size_t(i) + 1] - first_[size_t(i)]) && words <= most;
        words_.push_back(fits ? total : -1);
        if (fits) total += words, most -= words;
    }
    bits_.assign(size_t(total), 0);
    for (int64_t i = 0; i < n; ++i) {
        if (words_[size_t(i)] >= 0) fill(i, height);
    }
}

void MaskBits::fill(int64_t i, int64_t height) {
    const Extent& e = extent_[size_t(i)];
    const int64_t columns = int64_t(e.x2) - e.x1, strip = e.y1 / 64;
    uint64_t* const words = bits_.data() + words_[size_t(i)];
    int64_t x = e.x1, top = x * height;
    for (int64_t k = first_[size_t(i)]; k < first_[size_t(i) + 1]; ++k) {
        int64_t start = runs_[size_t(k)].start;
        const int64_t stop = runs_[size_t(k)].stop;
        if (start - top >= height) x = start / height, top = x * height;
        for (;;) {
            const int64_t low = start - top, high = std::min(stop - top, height);
            for (int64_t s = low / 64; s <= (high - 1) / 64; ++s) {
                const int64_t from = std::max<int64_t>(low - 64 * s, 0), to = std::min<int64_t>(high - 64 * s, 64);
                words[(s - strip) * columns + x - e.x1] |= (~uint64_t(0) >> (64 - (to - from))) << from;
            }
            if (stop - top <= height) break;
            ++x, top += height, start = top;
        }
    }
}

int64_t MaskBits::common(int64_t i, const MaskBits& other, int64_t k) const {
    const int64_t mine = words_[size_t(i)], its = other.words_[size_t(k)];
    if (mine < 0 || its < 0) {
        const Run *a = runs_.data(), *b = other.runs_.data();
        return common_runs(a + first_[size_t(i)], a + first_[size_t(i) + 1], b + other.first_[size_t(k)],
                           b + other.first_[size_t(k) + 1]);
    }
    const Extent &a = extent_[size_t(i)], &b = other.extent_[size_t(k)];
    const int64_t left = std::max(a.x1, b.x1), right = std::min(a.x2, b.x2);
    const int64_t first = std::max(a.y1 / 64, b.y1 / 64), last = std::min((a.y2 - 1) / 64, (b.y2 - 1) / 64);
    const int64_t wide_a = int64_t(a.x2) - a.x1, wide_b = int64_t(b.x2) - b.x1;
    const uint64_t* p = bits_.data() + mine + (first - a.y1 / 64) * wide_a + left - a.x1;
    const uint64_t* q = other.bits_.data() + its + (first - b.y1 / 64) * wide_b + left - b.x1;
    return count_loops().common(p, wide_a, q, wide_b, last - first + 1, right - left);
}

}  // namespace fastdet
