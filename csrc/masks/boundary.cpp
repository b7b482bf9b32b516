// The boundary of run-length encoded masks: what an erosion by a square takes away.
//
// A column is a line of bits, as high as the mask's box. Down a column each run loses d pixels at both ends. Across, a
// pixel stays where 2 d + 1 columns next to each other have it: for windows of one width that go over blocks as wide,
// this is the "and" from the window's first column to its block's end, and from the next block's begin to the window's
// last column. So each column costs three passes over its bits, whatever d is.
#include <algorithm>

#include "core/threads.h"
#include "masks/bit_rows.h"

namespace fastdet {
namespace {

// Pixels of masks for which a second thread pays.
constexpr int64_t kThreadPixels = int64_t(1) << 22;

struct Run {
    uint64_t start, stop;
};

// The runs of ones of a mask, column by column, as bits of the rows from `low` to `high`.
class Columns {
  public:
    Columns(const std::vector<Run>& runs, uint64_t height, uint64_t low, uint64_t shrink)
        : runs_(runs), height_(height), low_(low), shrink_(shrink) {}
    // Of a column that is no earlier than that of the last call; each run loses `shrink` pixels at both ends.
    void get(uint64_t column, uint64_t* bits, size_t words) {
        std::memset(bits, 0, words * sizeof(uint64_t));
        const uint64_t top = column * height_, end = top + height_;
        while (next_ < runs_.size() && runs_[next_].stop <= top) ++next_;
        for (; next_ < runs_.size() && runs_[next_].start < end; ++next_) {
            const Run& run = runs_[next_];
            const uint64_t start = std::max(run.start, top), stop = std::min(run.stop, end);
            if (stop - start > 2 * shrink_) fill_bits(bits, start - top - low_ + shrink_, stop - top - low_ - shrink_);
            if (run.stop > end) break;
        }
    }

  private:
    const std::vector<Run>& runs_;
    uint64_t height_, low_, shrink_;
    size_t next_ = 0;
};

// The turns of a mask, in order, as runs. Two at one place are none.
class Turns {
  public:
    explicit Turns(std::vector<uint32_t>& out) : out_(out) {}
    void put(uint64_t place) {
        if (place == last_ && !out_.empty()) {
            last_ -= out_.back();
            out_.pop_back();
        } else {
            out_.push_back(uint32_t(place - last_));
            last_ = place;
        }
    }
    void bits(const uint64_t* bits, size_t words, uint64_t top) {
        uint64_t before = 0;
        for (size_t w = 0; w < words; ++w) {
            uint64_t turn = bits[w] ^ (bits[w] << 1 | before);
            before = bits[w] >> 63;
            for (; turn; turn &= turn - 1) put(top + 64 * w + uint64_t(__builtin_ctzll(turn)));
        }
        if (before) put(top + 64 * words);
    }
    void end(uint64_t pixels) {
        if (last_ < pixels || out_.empty()) out_.push_back(uint32_t(pixels - last_));
    }

  private:
    std::vector<uint32_t>& out_;
    uint64_t last_ = 0;
};

struct Work {
    std::vector<Run> runs;
    std::vector<uint64_t> block, prefix, mask;
};

// The box of runs: columns from x1 to x2, rows from y1 to y2, ends not among them.
struct Box {
    uint64_t x1, x2, y1, y2;
};

Box box_of(const std::vector<Run>& runs, uint64_t height) {
    Box box{runs.front().start / height, (runs.back().stop - 1) / height + 1, height, 0};
    uint64_t top = 0;
    for (const Run& run : runs) {
        if (run.start - top >= height) top = run.start / height * height;
        if (run.stop - top > height) {  // over the border of a column
            box.y1 = 0, box.y2 = height;
            break;
        }
        box.y1 = std::min(box.y1, run.start - top), box.y2 = std::max(box.y2, run.stop - top);
    }
    return box;
}

void each_column(const Box& box, uint64_t height, uint64_t d, Work& work, Turns& turns) {
    const uint64_t window = 2 * d + 1;
    const size_t words = size_t((box.y2 - box.y1 + 63) / 64);
    Columns narrow(work.runs, height, box.y1, d), whole(work.runs, height, box.y1, 0);
    work.block.assign(size_t(window) * words, 0);
    work.prefix.resize(words);
    work.mask.resize(words);
    uint64_t* const mask = work.mask.data();
    uint64_t* const prefix = work.prefix.data();
    const auto put = [&](uint64_t column, const uint64_t* also) {  // the mask without prefix & also
        whole.get(column, mask, words);
        for (size_t w = 0; w < words; ++w) mask[w] &= ~(also ? prefix[w] & also[w] : 0);
        turns.bits(mask, words, column * height + box.y1);
    };
    for (uint64_t x = box.x1; x < box.x1 + d; ++x) put(x, nullptr);
    for (uint64_t x = box.x1; x < box.x2; ++x) {  // the last column of a window
        const uint64_t k = (x - box.x1) % window;
        uint64_t* const own = work.block.data() + size_t(k) * words;
        narrow.get(x, own, words);
        for (size_t w = 0; w < words; ++w) prefix[w] = k ? prefix[w] & own[w] : own[w];
        if (x - box.x1 >= 2 * d) put(x - d, k == 2 * d ? prefix : own + words);
        if (k < 2 * d) continue;
        for (uint64_t j = 2 * d; j-- > 0;) {  // from each column of the block to its end
            uint64_t* const here = work.block.data() + size_t(j) * words;
            for (size_t w = 0; w < words; ++w) here[w] &= here[words + w];
        }
    }
    for (uint64_t x = box.x2 - d; x < box.x2; ++x) put(x, nullptr);
}

void one_boundary(const uint32_t* run, const uint32_t* end, uint64_t height, uint64_t pixels, uint64_t d, Work& work,
                  std::vector<uint32_t>& out) {
    work.runs.clear();
    each_run(run, end, [&](uint64_t start, uint64_t stop) {
        start = std::min(start, pixels), stop = std::min(stop, pixels);
        if (start == stop) return;
        if (!work.runs.empty() && work.runs.back().stop == start) {
            work.runs.back().stop = stop;
        } else {
            work.runs.push_back({start, stop});
        }
    });
    Turns turns(out);
    if (!work.runs.empty()) {
        const Box box = box_of(work.runs, height);
        if (box.x2 - box.x1 > 2 * d && box.y2 - box.y1 > 2 * d) {
            each_column(box, height, d, work, turns);
        } else {  // nothing is left of it
            for (const Run& one : work.runs) turns.put(one.start), turns.put(one.stop);
        }
    }
    turns.end(pixels);
}

}  // namespace

void rle_boundary(const Runs& runs, const int64_t* sizes, const int64_t* widths, NewRuns& out) {
    const int64_t n = runs.size();
    std::vector<std::vector<uint32_t>> made(size_t(n) + 1);
    const auto some = [&](int64_t first, int64_t last) {
        Work work;
        for (int64_t i = first; i < last; ++i) {
            const uint64_t height = uint64_t(sizes[2 * i]);
            one_boundary(runs.begin(i), runs.end(i), height, height * uint64_t(sizes[2 * i + 1]), uint64_t(widths[i]),
                         work, made[size_t(i)]);
        }
    };
    int64_t pixels = 0;
    for (int64_t i = 0; i < n && pixels < kThreadPixels; ++i) pixels += sizes[2 * i] * sizes[2 * i + 1];
    if (pixels < kThreadPixels || get_num_threads() == 1) {
        some(0, n);
    } else {
        const int64_t step = n / (8 * get_num_threads()) + 1;
        parallel_for((n + step - 1) / step, [&](int64_t task) { some(task * step, std::min(task * step + step, n)); });
    }
    for (int64_t i = 0; i < n; ++i) {
        out.counts.insert(out.counts.end(), made[size_t(i)].begin(), made[size_t(i)].end());
        out.end_mask();
    }
}

}  // namespace fastdet
