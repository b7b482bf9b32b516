#include "masks/overlaps.h"

#include <algorithm>

namespace fastdet {
namespace {

constexpr int kMostLayers = 6;
constexpr int64_t kWordsARun = 8;                 // a mask of more words than this a run stays as runs
constexpr int64_t kMostWords = int64_t(1) << 24;  // 128 MB

int64_t words_of(const Extent& e) {
    return e.y2 > e.y1 ? ((int64_t(e.y2) + 63) / 64 - e.y1 / 64) * (int64_t(e.x2) - e.x1) : 0;
}

}  // namespace

MaskParts::MaskParts(const Runs& runs, int64_t height, int64_t width) : height_(height) {
    const int64_t n = runs.size();
    const uint64_t pixels = uint64_t(height) * uint64_t(width), tall = uint64_t(height);
    extent_.reserve(size_t(n));
    area_.reserve(size_t(n));
    first_.reserve(size_t(n) + 1);
    first_.push_back(0);
    first_layer_.reserve(size_t(n) + 1);
    first_layer_.push_back(0);
    for (int64_t i = 0; i < n; ++i) {
        // in order of the runs, which somebody may change meanwhile: each is read once
        uint64_t x1 = 0, y1 = tall, x2 = 0, y2 = 0, top = 0, area = 0;
        bool any = false;
        each_run(runs.begin(i), runs.end(i), [&](uint64_t start, uint64_t stop) {
            start = std::min(start, pixels), stop = std::min(stop, pixels);
            if (start == stop) return;
            area += stop - start;
            if (start - top >= tall) x2 = start / tall, top = x2 * tall;
            if (!any) x1 = x2;
            any = true;
            if (stop - top > tall) {  // over the border of a column
                y1 = 0, y2 = tall;
                x2 = (stop - 1) / tall, top = x2 * tall;
            } else {
                y1 = std::min(y1, start - top), y2 = std::max(y2, stop - top);
            }
            runs_.push_back({uint32_t(start), uint32_t(stop)});
        });
        extent_.push_back(any ? Extent{uint32_t(x1), uint32_t(y1), uint32_t(x2 + 1), uint32_t(y2)}
                              : Extent{0, 0, 0, 0});
        area_.push_back(int64_t(area));
        first_.push_back(int64_t(runs_.size()));
        make_layers(i);
        has_layers_ &= !any || first_layer_[size_t(i) + 1] > first_layer_[size_t(i)];
    }
}

// f(column, first row, row after the last) for each run of a mask in each column.
template <class F>
void MaskParts::each_column_run(int64_t i, const F& f) const {
    int64_t x = extent_[size_t(i)].x1, top = x * height_;
    for (int64_t k = first_[size_t(i)]; k < first_[size_t(i) + 1]; ++k) {
        int64_t start = runs_[size_t(k)].start;
        const int64_t stop = runs_[size_t(k)].stop;
        if (start - top >= height_) x = start - top < 2 * height_ ? x + 1 : start / height_, top = x * height_;
        for (;;) {
            f(x, start - top, std::min(stop - top, height_));
            if (stop - top <= height_) break;
            ++x, top += height_, start = top;
        }
    }
}

void MaskParts::make_layers(int64_t i) {
    Layer found[kMostLayers];
    int count = 0, of_column = 0;
    int64_t column = -1;
    if (height_ <= INT16_MAX) {
        each_column_run(i, [&](int64_t x, int64_t, int64_t) {
            of_column = x == column ? of_column + 1 : 0;
            column = x;
            if (of_column >= kMostLayers) {
                count = kMostLayers + 1;
            } else if (of_column >= count) {
                found[count++] = {uint32_t(x), uint32_t(x + 1), 0};
            } else if (count <= kMostLayers) {
                found[of_column].x2 = uint32_t(x + 1);
            }
        });
    }
    if (count > 0 && count <= kMostLayers) {
        size_t place = rows_.size();
        for (int k = 0; k < count; ++k) {
            found[k].place = int64_t(place);
            place += 2 * (size_t(found[k].x2 - found[k].x1) + size_t(kPad));
            layers_.push_back(found[k]);
        }
        rows_.resize(place);
        column = -1;
        each_column_run(i, [&](int64_t x, int64_t start, int64_t stop) {
            of_column = x == column ? of_column + 1 : 0;
            column = x;
            const Layer& layer = found[of_column];
            int16_t* const to = rows_.data() + layer.place + (x - layer.x1);
            to[0] = int16_t(start);
            to[int64_t(layer.x2) - layer.x1 + kPad] = int16_t(stop);
        });
    }
    first_layer_.push_back(int64_t(layers_.size()));
}

int64_t MaskParts::cost(int64_t i) const {
    int64_t sum = 0;
    for (int64_t p = first_layer_[size_t(i)]; p < first_layer_[size_t(i) + 1]; ++p) {
        sum += (layers_[size_t(p)].x2 - layers_[size_t(p)].x1 + kPad) / 2;
    }
    if (sum) return sum;
    return words_[size_t(i)] < 0 ? first_[size_t(i) + 1] - first_[size_t(i)] : words_of(extent_[size_t(i)]);
}

void MaskParts::prepare(const MaskParts& rival) {
    if (has_layers_ && rival.has_layers_) {
        words_.assign(extent_.size(), -1);
        return;
    }
    int64_t total = 0;
    words_.clear();
    for (size_t i = 0; i < extent_.size(); ++i) {
        const int64_t words = words_of(extent_[i]);
        const bool fits = words <= kWordsARun * (first_[i + 1] - first_[i]) && total + words <= kMostWords;
        words_.push_back(fits ? total : -1);
        if (fits) total += words;
    }
    bits_.assign(size_t(total), 0);
    for (int64_t i = 0; i < size(); ++i) {
        if (words_[size_t(i)] >= 0) make_bits(i);
    }
}

void MaskParts::make_bits(int64_t i) {
    const Extent& e = extent_[size_t(i)];
    const int64_t columns = int64_t(e.x2) - e.x1, strip = e.y1 / 64;
    uint64_t* const words = bits_.data() + words_[size_t(i)];
    each_column_run(i, [&](int64_t x, int64_t low, int64_t high) {
        for (int64_t s = low / 64; s <= (high - 1) / 64; ++s) {
            const int64_t from = std::max<int64_t>(low - 64 * s, 0), to = std::min<int64_t>(high - 64 * s, 64);
            words[(s - strip) * columns + x - e.x1] |= (~uint64_t(0) >> (64 - (to - from))) << from;
        }
    });
}

int64_t MaskParts::common_bits(int64_t i, const MaskParts& other, int64_t k, const CountLoops& loops) const {
    const Extent &e = extent_[size_t(i)], &f = other.extent_[size_t(k)];
    if (!e.meets(f)) return 0;
    const int64_t mine = words_[size_t(i)], its = other.words_[size_t(k)];
    if (mine >= 0 && its >= 0) {
        const int64_t left = std::max(e.x1, f.x1), right = std::min(e.x2, f.x2);
        const int64_t first = std::max(e.y1, f.y1) / 64, last = (std::min(e.y2, f.y2) - 1) / 64;
        const int64_t wide = int64_t(e.x2) - e.x1, its_wide = int64_t(f.x2) - f.x1;
        const uint64_t* p = bits_.data() + mine + (first - e.y1 / 64) * wide + left - e.x1;
        const uint64_t* q = other.bits_.data() + its + (first - f.y1 / 64) * its_wide + left - f.x1;
        return loops.common(p, wide, q, its_wide, last - first + 1, right - left);
    }
    const Run *a = runs_.data() + first_[size_t(i)], *a_end = runs_.data() + first_[size_t(i) + 1];
    const Run* b = other.runs_.data() + other.first_[size_t(k)];
    const Run* const b_end = other.runs_.data() + other.first_[size_t(k) + 1];
    int64_t inter = 0;
    while (a != a_end && b != b_end) {
        const uint32_t start = std::max(a->start, b->start), stop = std::min(a->stop, b->stop);
        inter += stop > start ? stop - start : 0;
        a->stop < b->stop ? ++a : ++b;
    }
    return inter;
}

}  // namespace fastdet
