// Masks of Mask R-CNN's head, pasted into an image. Row by row: two rows of a mask are expanded to the columns of the
// image and stay in the cache for all rows between them.
#include "masks/paste_masks.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "masks/resample.h"

namespace fastdet {
namespace {

// Pixels of boxes for which a second thread pays.
constexpr double kThreadPixels = 1 << 18;

// The pixels of an axis that are between values: the value before each, counted from a frame of zeros, and the weight of
// the next one.
struct Axis {
    int64_t first = 0, last = 0;
    std::vector<int32_t> before;
    std::vector<float> weight;

    void set(double low, double high, int64_t size, int64_t pixels) {
        before.clear(), weight.clear();
        first = last = 0;
        if (!(high > low)) return;
        const double step = double(size) / (high - low);
        // one pixel more on each side than those in question, which `at` decides
        const double reach = 0.5 / step + 2;
        const double begin = std::floor(low - reach), end = std::ceil(high + reach);
        first = begin > 0 ? (begin < double(pixels) ? int64_t(begin) : pixels) : 0;
        const int64_t stop = end < double(pixels) ? (end > 0 ? int64_t(end) : 0) : pixels;
        for (last = first; last < stop; ++last) {
            const double at = (double(last) + 0.5 - low) * step - 0.5;
            if (!(at > -1)) {
                if (before.empty()) {
                    first = last + 1;
                    continue;
                }
                break;
            }
            if (!(at < double(size))) break;
            const double floor = std::floor(at);
            before.push_back(int32_t(floor) + 1);
            weight.push_back(float(at - floor));
        }
        if (before.empty()) first = last = 0;
    }
    int64_t size() const { return last - first; }
};

struct Work {
    Axis x, y;
    std::vector<float> frame, top, bottom;
    std::vector<uint64_t> bits;
    RowTurns turns;
};

struct Job {
    const float* masks;
    const double* boxes;
    int64_t h, w, height, width;
    float threshold;
    MaskOut kind;
    uint8_t* out;
};

void paste(const Job& job, int64_t i, Work& work, std::vector<uint32_t>& runs) {
    const double* box = job.boxes + 4 * i;
    const bool empty = !(box[2] > box[0] && box[3] > box[1]);
    work.x.set(box[0], empty ? box[0] : box[2], job.w, job.width);
    work.y.set(box[1], empty ? box[1] : box[3], job.h, job.height);
    const int64_t columns = work.y.size() ? work.x.size() : 0, words = (columns + 63) / 64;
    if (job.kind == MaskOut::rle) work.turns.begin(work.x.first, columns);
    if (columns) {
        const MaskLoops& loops = mask_loops();
        work.frame.assign(size_t(job.w) + 2, 0);
        work.top.assign(size_t(64 * words), 0);
        work.bottom.assign(size_t(64 * words), 0);
        work.bits.resize(size_t(words));
        const auto expand = [&](int64_t row, std::vector<float>& to) {  // of the framed mask
            if (row == 0 || row > job.h) {
                std::fill(to.begin(), to.end(), 0.f);
                return;
            }
            std::memcpy(&work.frame[1], job.masks + (i * job.h + row - 1) * job.w, size_t(job.w) * sizeof(float));
            loops.expand(work.frame.data(), work.x.before.data(), work.x.weight.data(), columns, to.data());
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
            loops.row_bits(work.top.data(), work.bottom.data(), work.y.weight[size_t(y - work.y.first)], job.threshold,
                           false, words, work.bits.data());
            if (job.kind == MaskOut::rle) {
                work.turns.row(y, work.bits.data());
            } else if (job.kind == MaskOut::dense) {
                spread_bits(work.bits.data(), columns, job.out + (i * job.height + y) * job.width + work.x.first);
            } else {
                or_bits(work.bits.data(), columns, work.x.first,
                        job.out + (i * job.height + y) * ((job.width + 7) / 8));
            }
        }
    }
    if (job.kind == MaskOut::rle) work.turns.end(work.y.last, job.height, job.width, runs);
}

}  // namespace

void paste_masks(const float* masks, const double* boxes, int64_t n, int64_t h, int64_t w, int64_t height,
                 int64_t width, float threshold, MaskOut kind, uint8_t* out, NewRuns& made) {
    const Job job = {masks, boxes, h, w, height, width, threshold, kind, out};
    double pixels = 0;
    for (int64_t i = 0; i < n; ++i) {
        const double* b = boxes + 4 * i;
        const double across = std::fmin(b[2], double(width)) - std::fmax(b[0], 0);
        const double down = std::fmin(b[3], double(height)) - std::fmax(b[1], 0);
        if (across > 0 && down > 0) pixels += across * down;
    }
    std::vector<std::vector<uint32_t>> runs(kind == MaskOut::rle ? size_t(n) : 0);
    std::vector<uint32_t> none;
    const auto some = [&](int64_t first, int64_t last) {
        Work work;
        for (int64_t i = first; i < last; ++i) paste(job, i, work, runs.empty() ? none : runs[size_t(i)]);
    };
    if (pixels < kThreadPixels || get_num_threads() == 1) {
        some(0, n);
    } else {
        const int64_t step = n / (8 * get_num_threads()) + 1;
        parallel_for((n + step - 1) / step, [&](int64_t task) {
            some(task * step, task * step + step < n ? task * step + step : n);
        });
    }
    for (const std::vector<uint32_t>& mask : runs) {
        made.counts.insert(made.counts.end(), mask.begin(), mask.end());
        made.end_mask();
    }
}

}  // namespace fastdet
