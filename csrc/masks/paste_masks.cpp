// Masks of a network's heads at the size of the image. Row by row: two rows of values are expanded to the columns of
// the image and stay in the cache for all rows between them; a row of pixels is compared as bits.
#include "masks/paste_masks.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "masks/place.h"
#include "masks/resample.h"

namespace fastdet {
namespace {

// Pixels of boxes for which a second thread pays.
constexpr double kThreadPixels = 1 << 18;

// Some pixels of an axis, from `first` to `last`: the value before each, and the weight of the next one.
struct Axis {
    int64_t first = 0, last = 0;
    std::vector<int32_t> before;
    std::vector<float> weight;

    int64_t size() const { return last - first; }
    void clear() { before.clear(), weight.clear(), first = last = 0; }
    // shift: where value 0 stands
    void add(double at, int64_t size, int32_t shift) {
        const MaskPlace place = place_of(at, double(size));
        before.push_back(int32_t(place.before) + shift);
        weight.push_back(place.weight);
    }

    // The pixels between low and high, and those that are within a value of them: values are counted from a frame of
    // zeros.
    void paste(double low, double high, int64_t size, int64_t pixels) {
        clear();
        if (!(high > low)) return;
        const double step = double(size) / (high - low);
        const double reach = 0.5 / step + 2;  // a pixel more on each side than those in question
        const double begin = std::floor(low - reach), end = std::ceil(high + reach);
        first = begin > 0 ? (begin < double(pixels) ? int64_t(begin) : pixels) : 0;
        const int64_t stop = end < double(pixels) ? (end > 0 ? int64_t(end) : 0) : pixels;
        for (last = first; last < stop; ++last) {
            const double at = pasted_at(double(last), low, step);
            if (at > -1 && at < double(size)) {
                add(at, size, 1);
            } else if (before.empty()) {
                first = last + 1;
            } else {
                break;
            }
        }
        if (before.empty()) first = last = 0;
    }

    // The pixels from low to high, high not among them, of an axis that has `size` values over all.
    void crop(double low, double high, int64_t size, int64_t pixels) {
        clear();
        const double begin = std::ceil(low), end = std::ceil(high);
        first = begin > 0 ? (begin < double(pixels) ? int64_t(begin) : pixels) : 0;
        last = end < double(pixels) ? (end > 0 ? int64_t(end) : 0) : pixels;
        if (last <= first) return clear();
        const double step = double(size) / double(pixels);
        for (int64_t x = first; x < last; ++x) add(clamped_at(double(x), step, double(size)), size, 0);
    }
};

struct Work {
    Axis x, y;
    std::vector<float> values, top, bottom;
    std::vector<uint64_t> bits;
    RowTurns turns;
};

// Mask i of the pixels of work.x and work.y. values(row) makes the values of a row, of which work.x.before counts.
template <class Values>
void draw(const MaskImage& image, int64_t i, float level, bool strict, Work& work, std::vector<uint32_t>& runs,
          const Values& values) {
    const int64_t columns = work.y.size() ? work.x.size() : 0, words = (columns + 63) / 64;
    if (image.kind == MaskOut::rle) work.turns.begin(work.x.first, columns);
    if (columns) {
        const MaskLoops& loops = mask_loops();
        work.top.assign(size_t(64 * words), 0);
        work.bottom.assign(size_t(64 * words), 0);
        work.bits.resize(size_t(words));
        const uint64_t rest = columns % 64 ? (uint64_t(1) << columns % 64) - 1 : ~uint64_t(0);
        const auto expand = [&](int64_t row, std::vector<float>& to) {
            loops.expand(values(row), work.x.before.data(), work.x.weight.data(), columns, to.data());
        };
        int64_t have = -2;
        for (int64_t y = work.y.first; y < work.y.last; ++y) {
            const int64_t row = work.y.before[size_t(y - work.y.first)];
            if (row == have + 1) {
                work.top.swap(work.bottom);
                expand(row + 1, work.bottom);
            } else if (row != have) {
                expand(row, work.top);
                expand(row + 1, work.bottom);
            }
            have = row;
            loops.row_bits(work.top.data(), work.bottom.data(), work.y.weight[size_t(y - work.y.first)], level, strict,
                           words, work.bits.data());
            work.bits.back() &= rest;
            const int64_t line = i * image.height + y;
            if (image.kind == MaskOut::rle) {
                work.turns.row(y, work.bits.data());
            } else if (image.kind == MaskOut::dense) {
                spread_bits(work.bits.data(), columns, image.out + line * image.width + work.x.first);
            } else {
                or_bits(work.bits.data(), columns, work.x.first, image.out + line * ((image.width + 7) / 8));
            }
        }
    }
    if (image.kind == MaskOut::rle) work.turns.end(work.y.last, image.height, image.width, runs);
}

// one(i, work, runs) for each mask, by several threads where the boxes are large.
template <class One>
void each_mask(const double* boxes, int64_t n, const MaskImage& image, const One& one) {
    double pixels = 0;
    for (int64_t i = 0; i < n; ++i) {
        const double* b = boxes + 4 * i;
        const double across = std::fmin(b[2], double(image.width)) - std::fmax(b[0], 0);
        const double down = std::fmin(b[3], double(image.height)) - std::fmax(b[1], 0);
        if (across > 0 && down > 0) pixels += across * down;
    }
    std::vector<std::vector<uint32_t>> runs(image.kind == MaskOut::rle ? size_t(n) : 0);
    const auto some = [&](int64_t first, int64_t last) {
        Work work;
        std::vector<uint32_t> none;
        for (int64_t i = first; i < last; ++i) one(i, work, runs.empty() ? none : runs[size_t(i)]);
    };
    if (pixels < kThreadPixels || get_num_threads() == 1) {
        some(0, n);
    } else {
        const int64_t step = n / (8 * get_num_threads()) + 1;
        parallel_for((n + step - 1) / step,
                     [&](int64_t task) { some(task * step, task * step + step < n ? task * step + step : n); });
    }
    for (const std::vector<uint32_t>& mask : runs) {
        image.made.counts.insert(image.made.counts.end(), mask.begin(), mask.end());
        image.made.end_mask();
    }
}

}  // namespace

void paste_masks(const float* masks, const double* boxes, int64_t n, int64_t h, int64_t w, float threshold,
                 const MaskImage& image) {
    each_mask(boxes, n, image, [&](int64_t i, Work& work, std::vector<uint32_t>& runs) {
        const double* box = boxes + 4 * i;
        work.x.paste(box[0], box[2], w, image.width);
        work.y.paste(box[1], box[3], h, image.height);
        work.values.assign(size_t(w) + 2, 0);
        draw(image, i, threshold, false, work, runs, [&](int64_t row) {  // of the framed mask
            float* inner = work.values.data() + 1;
            if (row == 0 || row > h) {
                std::fill(inner, inner + w, 0.f);
            } else {
                std::memcpy(inner, masks + (i * h + row - 1) * w, size_t(w) * sizeof(float));
            }
            return work.values.data();
        });
    });
}

void process_mask(const float* prototypes, const float* coefficients, const double* boxes, int64_t n, int64_t k,
                  int64_t h, int64_t w, const MaskImage& image) {
    const MaskLoops& loops = mask_loops();
    each_mask(boxes, n, image, [&](int64_t i, Work& work, std::vector<uint32_t>& runs) {
        const double* box = boxes + 4 * i;
        work.x.crop(box[0], box[2], w, image.width);
        work.y.crop(box[1], box[3], h, image.height);
        work.values.assign(size_t(w) + 1, 0);
        const int64_t low = work.x.size() ? work.x.before.front() : 0;
        const int64_t high = work.x.size() ? std::min<int64_t>(work.x.before.back() + 2, w) : 0;
        draw(image, i, 0, true, work, runs, [&](int64_t row) {
            const float* from = prototypes + std::min(row, h - 1) * w + low;
            loops.combine(from, h * w, coefficients + i * k, k, high - low, work.values.data() + low);
            work.values[size_t(high)] = work.values[size_t(high - 1)];  // beyond the last value: the same
            return work.values.data();
        });
    });
}

}  // namespace fastdet
