// What the host entries of RoI ops share: the boxes of a call, checked and sorted by image.
#pragma once

#include <cstring>
#include <vector>

#include "core/memory.h"
#include "core/threads.h"
#include "roi/taps.h"

namespace fastdet {

// The boxes of a call. They are copied: a caller's other thread may change the array meanwhile.
template <class T>
class Rois {
  public:
    Rois(const void* boxes, int64_t count, int64_t images, const int64_t* levels, int64_t level)
        : boxes_(5 * count), start_(size_t(images) + 1) {
        if (count) std::memcpy(boxes_.get(), boxes, sizeof(T) * size_t(5 * count));
        for (int64_t k = 0; k < count; ++k) {
            if (!is_good_box(box(k), images)) {
                bad_ = k;
                return;
            }
        }
        std::vector<char> chosen(size_t(count), 1);
        for (int64_t k = 0; levels && k < count; ++k) chosen[size_t(k)] = levels[k] == level;
        for (int64_t k = 0; k < count; ++k) start_[size_t(image(k)) + 1] += chosen[size_t(k)];
        for (int64_t i = 0; i < images; ++i) start_[size_t(i) + 1] += start_[size_t(i)];
        order_.resize(size_t(start_.back()));
        std::vector<int64_t> next(start_.begin(), start_.end() - 1);
        for (int64_t k = 0; k < count; ++k) {
            if (chosen[size_t(k)]) order_[size_t(next[size_t(image(k))]++)] = k;
        }
    }

    int64_t bad() const { return bad_; }  // the first one that is refused; -1: none
    const T* box(int64_t k) const { return boxes_.get() + 5 * k; }
    int64_t image(int64_t k) const { return int64_t(*box(k)); }
    // Those of the level, by image and then as in the call: of image i at [begin(i), begin(i + 1)).
    int64_t begin(int64_t image) const { return start_[size_t(image)]; }
    int64_t size() const { return int64_t(order_.size()); }
    int64_t operator[](int64_t i) const { return order_[size_t(i)]; }

  private:
    Buffer<T> boxes_;
    std::vector<int64_t> start_, order_;
    int64_t bad_ = -1;
};

// f(begin, end) for pieces of [0, n), by several threads where the whole is worth it. `work`: values computed.
template <class F>
void in_pieces(int64_t n, int64_t work, const F& f) {
    constexpr int64_t kThreaded = 1 << 15;
    const int64_t wanted = work < kThreaded || get_num_threads() == 1 ? 1 : 4 * int64_t(get_num_threads());
    const int64_t tasks = n < wanted ? n : wanted;
    parallel_for(tasks, [&](int64_t task) {
        const auto from = [&](int64_t i) { return n / tasks * i + (n % tasks < i ? n % tasks : i); };
        f(from(task), from(task + 1));
    });
}

}  // namespace fastdet
