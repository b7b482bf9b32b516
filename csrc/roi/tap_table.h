// The taps of RoIs as lists, made once a RoI and shared by its channels. For files of the host.
#pragma once

#include <algorithm>
#include <vector>

#include "roi/by_pixels.h"
#include "roi/roi_align.h"
#include "roi/taps.h"

namespace fastdet {

// Along one axis of one RoI. Its memory is reused from RoI to RoI.
template <class T>
class TapTable {
  public:
    // The pixels of each bin, `offset` subtracted from their numbers.
    void make(const RoiAxis<T>& axis, int64_t bins, int64_t size, int64_t offset = 0) {
        first_.clear(), place_.clear(), weight_.clear();
        first_.push_back(0);
        const bool down = axis.bin < 0;
        for (int64_t b = 0; b < bins; ++b) {
            begin_ = place_.size();
            int64_t i = 0, end = axis.finite() ? axis.grid : 0;
            if (end > kSearched) i = search(axis, b, down ? T(size) : T(-1), down), end = past(axis, b, i, size, down);
            for (Sample<T> s; i < end; ++i) {
                if (!sample_at(axis.at(b, i), size, &s)) continue;
                if (down) {
                    add(s.high - offset, s.second), add(s.low - offset, s.first);
                } else {
                    add(s.low - offset, s.first), add(s.high - offset, s.second);
                }
            }
            if (down) {
                std::reverse(place_.begin() + long(begin_), place_.end());
                std::reverse(weight_.begin() + long(begin_), weight_.end());
            }
            first_.push_back(int64_t(place_.size()));
        }
    }

    // `of` turned round: the bins of each pixel that is looked at, and those pixels. All bins must be in it.
    void turn(const TapTable& of, int64_t bins, int64_t size) {
        std::vector<int64_t>& next = first_;
        next.assign(size_t(size) + 1, 0);
        for (const int32_t place : of.place_) ++next[size_t(place) + 1];
        pixels_.clear();
        for (int64_t i = 0; i < size; ++i) {
            if (next[size_t(i) + 1]) pixels_.push_back(int32_t(i));
            next[size_t(i) + 1] += next[size_t(i)];
        }
        place_.resize(of.place_.size()), weight_.resize(of.place_.size());
        for (int64_t b = 0; b < bins; ++b) {
            for (int64_t k = of.first_[size_t(b)]; k < of.first_[size_t(b) + 1]; ++k) {
                const size_t to = size_t(next[size_t(of.place_[size_t(k)])]++);
                place_[to] = int32_t(b), weight_[to] = of.weight_[size_t(k)];
            }
        }
        starts_.assign(1, 0);  // of the pixels that are looked at; next[i] is now where those of pixel i end
        for (const int32_t pixel : pixels_) starts_.push_back(next[size_t(pixel)]);
        first_.swap(starts_);
    }

    TapList<T> list() const { return {first_.data(), place_.data(), weight_.data()}; }
    const std::vector<int32_t>& pixels() const { return pixels_; }  // of `turn`, ascending

  private:
    static constexpr int64_t kSearched = 16;  // samples of a bin from which those inside are searched for

    void add(int64_t place, T weight) {
        for (size_t back = 1; back <= 2 && place_.size() >= begin_ + back; ++back) {
            if (place_[place_.size() - back] == place) {
                weight_[weight_.size() - back] = weight_[weight_.size() - back] + weight;
                return;
            }
        }
        place_.push_back(int32_t(place)), weight_.push_back(weight);
    }

    // The first sample of a bin that is at `bound` or beyond it, in the samples' direction.
    static int64_t search(const RoiAxis<T>& axis, int64_t b, T bound, bool down) {
        int64_t low = 0, high = axis.grid;
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            const T at = axis.at(b, middle);
            if (down ? at > bound : at < bound) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }
    // The first sample from `from` on that is outside again.
    static int64_t past(const RoiAxis<T>& axis, int64_t b, int64_t from, int64_t size, bool down) {
        int64_t low = from, high = axis.grid;
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            const T at = axis.at(b, middle);
            if (down ? at >= T(-1) : at <= T(size)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    std::vector<int64_t> first_, starts_;
    std::vector<int32_t> place_, pixels_;
    std::vector<T> weight_;
    size_t begin_ = 0;
};

// Both axes of one RoI.
template <class T>
struct RoiTaps {
    TapTable<T> y, x;
    T count = 1;

    void make(const RoiAxes<T>& axes, int64_t bins_y, int64_t bins_x, int64_t height, int64_t width, int64_t top = 0,
              int64_t left = 0) {
        y.make(axes.y, bins_y, height, top), x.make(axes.x, bins_x, width, left);
        count = axes.count;
    }
};

}  // namespace fastdet
