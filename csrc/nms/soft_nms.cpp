// A whole call of soft_nms: check the input, group, put near boxes together, run each group, merge their selections.
#include "nms/soft_nms.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

#include "boxes/split_by_place.h"
#include "core/memory.h"
#include "core/work.h"
#include "nms/groups.h"
#include "nms/place.h"

namespace fastdet {
namespace {

template <class T>
struct Copy : Buffer<T> {
    Copy(const T* from, int64_t n) : Buffer<T>(n) {
        if (n) std::memcpy(this->get(), from, size_t(n) * sizeof(T));
    }
};

// Two bits of x and of y a step: the digit of the place on a Hilbert curve, and how the curve is turned within it.
struct HilbertSteps {
    uint8_t step[64];  // by turn, x and y: digit, and turn << 4
    constexpr HilbertSteps() : step() {
        for (uint32_t i = 0; i < 64; ++i) {
            uint32_t turn = i >> 4, digits = 0;  // turn: 1 x and y are swapped, 2 both run backwards
            for (int bit = 1; bit >= 0; --bit) {
                const uint32_t back = turn >> 1, a = (i >> 2 >> bit & 1) ^ back, b = (i >> bit & 1) ^ back;
                const uint32_t x = turn & 1 ? b : a, y = turn & 1 ? a : b;
                digits = digits << 2 | ((3 * x) ^ y);
                if (!y) turn ^= x << 1 | 1;
            }
            step[i] = uint8_t(digits | turn << 4);
        }
    }
};

// The place of a cell of 1024 x 1024 on a Hilbert curve: neighbours on the curve are neighbours, without the far jumps
// of Morton order, which put boxes that are far apart into one cluster.
uint32_t place_on_curve(uint32_t x, uint32_t y) {
    static constexpr HilbertSteps steps;
    uint32_t place = 0, step = 0;
    for (int bit = 8; bit >= 0; bit -= 2) {
        step = steps.step[(step & 0x30) | (x >> bit & 3) << 2 | (y >> bit & 3)];
        place = place << 4 | (step & 15);
    }
    return place;
}

// Width and height that differ by 16 or more, in steps of 16: strips of one direction are near only each other.
template <class T>
uint32_t shape_of(T w, T h) {
    if (w < 16 * h && h < 16 * w) return 0;
    uint32_t steps = 1;
    const T less = lesser(w, h);
    for (T more = greater(w, h) / 256; more >= less && steps < 7; more /= 16) ++steps;
    return w > h ? steps : 7 + steps;
}

// order[0 .. n), numbers of `boxes`, in a better order.
template <class T>
void split(const Box<T>* boxes, int32_t* order, int64_t n) {
    constexpr int B = Cluster<T>::lanes;
    if (n <= B) return;
    Buffer<Place> places(n);
    for (int64_t k = 0; k < n; ++k) {
        const Box<T>& b = boxes[order[k]];
        places[k] = place_of({double(b.x1), double(b.y1), double(b.x2), double(b.y2)}, 0x1p-64, order[k]);
    }
    split_by_place(places.get(), n, B);
    for (int64_t k = 0; k < n; ++k) order[k] = places[k].at;
}

// Numbers of boxes (n,), ordinary ones, by shape, size and place, so that neighbours in the order are near each other:
// octave of the larger side, then the corner's place on a curve. Strips of a shape, which are near along their thin
// side only, are split by rank instead. So are those that fall into one place, as near a box that is much larger than
// all others. Only speed depends on it.
template <class T>
void order_by_place(const Box<T>* boxes, int64_t n, int32_t* order) {
    if (!n) return;
    Buffer<uint64_t> items(2 * n);
    T low_x = boxes[0].x1, low_y = boxes[0].y1, high_x = low_x, high_y = low_y, widest = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Box<T>& b = boxes[i];
        low_x = lesser(low_x, b.x1), low_y = lesser(low_y, b.y1);
        high_x = greater(high_x, b.x1), high_y = greater(high_y, b.y1);
        widest = greater(widest, greater(b.x2 - b.x1, b.y2 - b.y1));
    }
    const auto scale = [](double span) { return span > 1e-300 ? 1023 / span : 0; };
    const double sx = scale(double(high_x) - double(low_x)), sy = scale(double(high_y) - double(low_y));
    const double largest = double(widest);
    for (int64_t i = 0; i < n; ++i) {
        const Box<T>& b = boxes[i];
        const T w = b.x2 - b.x1, h = b.y2 - b.y1;
        uint32_t octave = 0;
        for (double size = double(greater(w, h)); octave < 12 && size * 2 < largest; size *= 2) ++octave;
        const uint32_t key = shape_of(w, h) << 24 | octave << 20 |
                             place_on_curve(uint32_t((b.x1 - low_x) * sx), uint32_t((b.y1 - low_y) * sy));
        items[i] = uint64_t(key) << 32 | uint32_t(i);
    }
    const uint64_t* sorted = sort_high(items.get(), items.get() + n, n);
    for (int64_t i = 0; i < n; ++i) order[i] = int32_t(uint32_t(sorted[i]));
    constexpr int B = Cluster<T>::lanes;
    const auto key_at = [&](int64_t i) { return uint32_t(sorted[i] >> 32); };
    int64_t strips = n;
    while (strips > 0 && key_at(strips - 1) >> 24) {
        const uint32_t shape = key_at(strips - 1) >> 24;
        const int64_t end = strips;
        while (strips > 0 && key_at(strips - 1) >> 24 == shape) --strips;
        split(boxes, order + strips, end - strips);
    }
    for (int64_t i = B; i < strips; i += B) {  // a run of more than 2 B equal keys has two of them B apart
        const uint32_t key = key_at(i);
        if (key != key_at(i - B)) continue;
        int64_t first = i - B;
        while (first > 0 && key_at(first - 1) == key) --first;
        while (i < strips && key_at(i) == key) ++i;
        split(boxes, order + first, i - first);
    }
}

// A group's boxes in clusters, and the tree over them. Ordinary boxes by place, then those that overlap nothing, then,
// in clusters of their own, those whose areas may overflow.
template <class T>
class SoftGroup {
  public:
    static constexpr int B = Cluster<T>::lanes;

    SoftGroup(const Box<T>* boxes, const T* scores, const int32_t* among, int64_t n, const SoftOptions& options,
              bool large)
        : mine_(n), from_(n), order_(n), others_(n) {
        int64_t ordinary = 0, alone = 0, extremes = 0;
        for (int64_t i = 0; i < n; ++i) {
            const Box<T>& b = boxes[among[i]];
            // an infinite area overlaps by 0
            const bool meets = b.x2 > b.x1 && b.y2 > b.y1 && b.x1 >= -kHighest && b.y1 >= -kHighest &&
                               b.x2 <= kHighest && b.y2 <= kHighest;
            if (meets && !(large && is_large(b))) {
                mine_[ordinary] = b;
                from_[ordinary++] = int32_t(i);
            } else {
                others_[meets ? n - ++extremes : alone++] = int32_t(i);
            }
        }
        order_by_place(mine_.get(), ordinary, order_.get());
        for (int64_t k = 0; k < alone; ++k) {
            order_[ordinary + k] = int32_t(ordinary + k);
            from_[ordinary + k] = others_[k];
            mine_[ordinary + k] = empty_box<T>();
        }
        const int64_t near = ordinary + alone;
        for (int64_t k = 0; k < extremes; ++k) {
            order_[near + k] = int32_t(near + k);
            from_[near + k] = others_[n - 1 - k];
            mine_[near + k] = boxes[among[others_[n - 1 - k]]];
        }
        split(mine_.get(), order_.get() + near, extremes);
        fill(scores, among, near, n, options);
    }

    // Selected positions in `among` and their scores out.
    int64_t run(const SoftOptions& options, int32_t* selected, T* selected_score) {
        job_.gaussian = options.gaussian;
        job_.threshold = T(options.threshold), job_.sigma = T(options.sigma), job_.min_score = T(options.min_score);
        job_.limit = options.max_output;
        job_.selected = selected, job_.selected_score = selected_score;
        const int64_t found = soft_nms_kernels().of<T>().run(job_);
        count_pairs(job_.compared);
        return found;
    }

  private:
    static constexpr T kHighest = std::numeric_limits<T>::max();

    void fill(const T* scores, const int32_t* among, int64_t near, int64_t n, const SoftOptions& options) {
        const int64_t first_extreme = (near + B - 1) / B, clusters = first_extreme + (n - near + B - 1) / B;
        job_.clusters = clusters, job_.ordinary = first_extreme;
        int64_t padded = 0;
        job_.levels = 0;
        for (int64_t count = clusters;; count = (count + B - 1) / B) {
            SoftLevel<T>& level = job_.level[job_.levels++];
            level.count = count, level.padded = (count + B - 1) / B * B;
            padded += level.padded;
            if (count <= (count == clusters ? kFlat / B : B)) break;
        }
        memory_.emplace(clusters * int64_t(sizeof(Cluster<T>)) + padded * int64_t(8 * sizeof(T) + 4) + 8 * clusters);
        char* at = memory_->get();
        const auto take = [&](auto*& array, int64_t count) {
            array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
            at += count * int64_t(sizeof *array);
        };
        take(job_.cluster, clusters);
        for (int l = 0; l < job_.levels; ++l) {
            SoftLevel<T>& level = job_.level[l];
            for (T** array : {&level.left, &level.top, &level.right, &level.bottom, &level.wide, &level.high,
                              &level.share, &level.best})
                take(*array, level.padded);
            take(level.home, level.padded);
        }
        take(job_.near, 2 * clusters);

        // an IoU below which the weight is 1, rounded
        const double silent = options.gaussian ? std::sqrt(double(T(options.sigma)) * kSilent) : options.threshold;
        const Bound<T> bound = job_.bound = make_bound<T>(silent < 1 ? silent : 1, Measure::iou);
        constexpr T kMaxArea = 4 * Limits<T>::large * Limits<T>::large;  // of ordinary boxes: a smaller share is safe
        for (int64_t k = 0; k < clusters * B; ++k) {
            Cluster<T>& c = job_.cluster[k / B];
            const int slot = int(k % B);
            const int64_t extreme = k - first_extreme * B;
            const int64_t i = extreme < 0          ? (k < near ? order_[k] : -1)
                              : near + extreme < n ? order_[near + extreme]
                                                   : -1;
            const Box<T> b = i >= 0 ? mine_[i] : empty_box<T>();
            c.x1[slot] = b.x1, c.y1[slot] = b.y1, c.x2[slot] = b.x2, c.y2[slot] = b.y2;
            c.share[slot] = i >= 0 ? bound.share(lesser(area(b), kMaxArea)) : Limits<T>::large;
            c.score[slot] = i >= 0 ? scores[among[from_[i]]] : T(-1);
            c.index[slot] = i >= 0 ? from_[i] : 0;
        }
    }

    static constexpr int64_t kFlat = 1024;  // boxes whose clusters need no tree
    static constexpr double kSilent = sizeof(T) == 4 ? 0x1p-27 : 0x1p-56;
    Buffer<Box<T>> mine_;
    Buffer<int32_t> from_, order_, others_;
    std::optional<Buffer<char>> memory_;
    SoftJob<T> job_ = {};
};

// One group: the boxes among[0 .. n), rising. Selected positions in `among` and scores out.
template <class T>
int64_t soft_group(const Box<T>* boxes, const T* scores, const int32_t* among, int64_t n, const SoftOptions& options,
                   bool large, int32_t* selected, T* selected_score) {
    if (!n) return 0;
    return SoftGroup<T>(boxes, scores, among, n, options, large).run(options, selected, selected_score);
}

}  // namespace

template <class T>
int64_t soft_nms(const Box<T>* given_boxes, const T* given_scores, const int64_t* keys, int64_t n,
                 const SoftOptions& options, int64_t* keep, T* new_scores) {
    // Another thread may write into the arrays during the call: what is decided by a value must fit the same value
    // later. `group_by_key` copies the keys.
    const Copy<Box<T>> box_copy(given_boxes, n);
    const Copy<T> score_copy(given_scores, n);
    const Box<T>* boxes = box_copy.get();
    const T* scores = score_copy.get();
    const Input input = look(&boxes->x1, 4 * n);
    if (input == Input::nan) return -1 - 2 * (first_nan(&boxes->x1, 4 * n) / 4);
    const int64_t bad = first_nan(scores, n);
    if (bad >= 0) return -2 - 2 * bad;

    Buffer<int32_t> among(n), members(n), selected(n);
    Buffer<T> score(n);
    const T min_score = T(options.min_score);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
        among[count] = int32_t(i);
        count += scores[i] >= min_score;
    }
    const bool large = input == Input::large;
    if (!keys) {
        const int64_t found =
            soft_group(boxes, scores, among.get(), count, options, large, selected.get(), score.get());
        for (int64_t i = 0; i < found; ++i) {
            keep[i] = among[selected[i]];
            new_scores[i] = score[i];
        }
        return found;
    }
    std::vector<int32_t> segments;
    group_by_key(keys, among.get(), count, members.get(), segments);
    for (int64_t i = 0; i < count; ++i) members[i] = among[members[i]];  // indices now
    std::vector<int32_t> found(segments.size());
    run_groups(segments, [&](int64_t g) {
        const int32_t first = segments[size_t(g)];
        found[size_t(g)] = int32_t(soft_group(boxes, scores, members.get() + first, segments[size_t(g) + 1] - first,
                                              options, large, selected.get() + first, score.get() + first));
    });
    // The order of selection over all groups: always the best of what each group would take next.
    struct Head {
        T score;
        int64_t index;
        size_t group;
        int32_t at;
        bool operator<(const Head& other) const {
            return score != other.score ? score < other.score : index > other.index;
        }
    };
    std::vector<Head> heads;
    const auto head = [&](size_t g, int32_t at) {
        const int32_t i = segments[g] + at;
        heads.push_back({score[i], members[segments[g] + selected[i]], g, at});
    };
    for (size_t g = 0; g + 1 < segments.size(); ++g) {
        if (found[g]) head(g, 0);
    }
    std::make_heap(heads.begin(), heads.end());
    int64_t kept = 0;
    while (!heads.empty() && kept != options.max_output) {
        std::pop_heap(heads.begin(), heads.end());
        const Head best = heads.back();
        heads.pop_back();
        keep[kept] = best.index;
        new_scores[kept++] = best.score;
        if (best.at + 1 < found[best.group]) {
            head(best.group, best.at + 1);
            std::push_heap(heads.begin(), heads.end());
        }
    }
    return kept;
}

template int64_t soft_nms(const Box<float>*, const float*, const int64_t*, int64_t, const SoftOptions&, int64_t*,
                          float*);
template int64_t soft_nms(const Box<double>*, const double*, const int64_t*, int64_t, const SoftOptions&, int64_t*,
                          double*);

}  // namespace fastdet
