// Matching detections to true boxes. See detection.h.
#include "detection/detection.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/order.h"
#include "core/threads.h"
#include "core/work.h"

namespace fastdet {
namespace {

// pycocotools' bbIou, of x y w h. With a crowd the denominator is the detection's own area.
double overlap(const BoxWH& d, const BoxWH& g, bool crowd, double offset) {
    const double dw = d.w + offset, dh = d.h + offset, gw = g.w + offset, gh = g.h + offset;
    const double w = std::min(dw + d.x, gw + g.x) - std::max(d.x, g.x);
    if (!(w > 0)) return 0;
    const double h = std::min(dh + d.y, gh + g.y) - std::max(d.y, g.y);
    if (!(h > 0)) return 0;
    const double inter = w * h, area = dw * dh;
    const double iou = inter / (crowd ? area : area + gw * gh - inter);
    return iou == iou ? iou : 0;  // NaN: areas that overflow
}

// A set of outcomes, t * A + a, as bits: words of 60, so that the five of a byte lie in one word.
constexpr int kWord = 60, kWordBytes = kWord / 5;

constexpr int64_t kBlock = 512;  // detections that are fetched together

// Five bits as digits of base 3.
constexpr uint8_t kDigits[32] = {0,  1,  3,  4,  9,  10, 12, 13, 27,  28,  30,  31,  36,  37,  39,  40,
                                 81, 82, 84, 85, 90, 91, 93, 94, 108, 109, 111, 112, 117, 118, 120, 121};

// The work of one group, all thresholds and area ranges at once: a detection takes a box in a set of outcomes. Its
// buffers are kept for the next group.
class Matcher {
  public:
    explicit Matcher(const MatchRule& rule)
        : rule_(rule),
          bytes_(packed_bytes(rule.T * rule.A)),
          words_((rule.T * rule.A + kWord - 1) / kWord),
          inside_(size_t(rule.A * words_)),
          reached_(size_t((rule.T + 1) * words_)),
          sets_(size_t(4 * words_)) {
        for (int64_t t = 0; t < rule.T; ++t) {
            thresholds_.push_back({rule.voc ? rule.thresholds[t] : std::min(rule.thresholds[t], 1 - 1e-10), t});
            for (int64_t a = 0; a < rule.A; ++a) set(&inside_[size_t(a * words_)], t * rule.A + a);
        }
        std::sort(thresholds_.begin(), thresholds_.end(),
                  [](const Scored& x, const Scored& y) { return x.score < y.score; });
        for (int64_t i = 0; i < rule.T; ++i) {
            uint64_t* set_of = &reached_[size_t((i + 1) * words_)];
            std::copy(set_of - words_, set_of, set_of);
            for (int64_t a = 0; a < rule.A; ++a) set(set_of, thresholds_[size_t(i)].row * rule.A + a);
        }
    }

    // Rows lie anywhere in memory: fetched a block at a time, they do not wait for each other.
    void fetch(const Detections& d, int64_t first, int64_t last) {
        detections_.resize(size_t(last - first));
        for (int64_t i = first; i < last; ++i) {
            const int64_t row = d.row[i];
            detections_[size_t(i - first)] = {d.box[row], d.area[row], d.score[row], row};
        }
    }

    // The group of the fetched detections first to last.
    int64_t run(int64_t first, int64_t last, const Truths& g, int64_t g_first, int64_t g_last, const double* overlaps,
                int64_t* order, uint8_t* outcomes, int64_t* counted, int64_t* matched) {
        const int64_t boxes = g_last - g_first, cells = rule_.T * rule_.A;
        ignored_.assign(size_t(boxes * words_), 0);
        taken_.assign(size_t(boxes * words_), 0);
        std::fill(counted, counted + rule_.A, 0);
        truth_.resize(size_t(boxes));
        for (int64_t j = 0; j < boxes; ++j) {
            const int64_t row = g.row[g_first + j];
            truth_[size_t(j)] = {g.box[row], row, (g.flags[row] & 1) != 0};
            for (int64_t a = 0; a < rule_.A; ++a) {
                const bool out = g.flags[row] || outside(g.area[row], a);
                if (out) add(&ignored_[size_t(j * words_)], &inside_[size_t(a * words_)]);
                counted[a] += !out;
            }
        }
        const Detection* of_group = detections_.data() + first;
        const int64_t kept = by_score(of_group, last - first);
        for (int64_t i = 0; i < last - first; ++i) order[i] = of_group[order_[size_t(i)].row].row;
        uint64_t *hit = sets_.data(), *ignored = hit + words_, *rest = ignored + words_, *out = rest + words_;
        for (int64_t i = 0; i < kept; ++i) {
            const int64_t place = order_[size_t(i)].row;
            const Detection& d = of_group[place];
            given_ = overlaps ? overlaps + place * boxes : nullptr;
            int64_t* to = matched ? matched + i * cells : nullptr;
            if (to) std::fill(to, to + cells, -1);
            std::fill(out, out + words_, 0);
            for (int64_t a = 0; a < rule_.A; ++a) {
                if (outside(d.area, a)) add(out, &inside_[size_t(a * words_)]);
            }
            std::fill(hit, hit + 2 * words_, 0);
            std::copy(&reached_[size_t(rule_.T * words_)], &reached_[size_t(rule_.T * words_)] + words_, rest);
            if (boxes) rule_.voc ? voc(d.box, hit, ignored, rest, to) : coco(d.box, hit, ignored, rest, to);
            for (int64_t w = 0; w < words_; ++w) ignored[w] |= rest[w] & out[w];
            pack(hit, ignored, outcomes + i * bytes_);
        }
        steps_ += kept * boxes;
        return kept;
    }

    int64_t steps() const { return steps_; }

  private:
    struct Scored {
        double score;
        int64_t row;
    };
    struct Detection {
        BoxWH box;
        double area, score;
        int64_t row;
    };
    struct Truth {
        BoxWH box;
        int64_t row;
        bool crowd;
    };
    struct Near {
        double iou;
        int64_t j;
        const uint64_t* meets;  // the outcomes whose threshold it meets
        // Equal IoU: the later box comes first.
        bool operator<(const Near& other) const { return iou == other.iou ? j < other.j : iou < other.iou; }
    };
    static constexpr size_t kFewNear = 16;  // as many are sorted at once, by insertion

    static void set(uint64_t* to, int64_t i) { to[i / kWord] |= uint64_t(1) << i % kWord; }
    void add(uint64_t* to, const uint64_t* more) const {
        for (int64_t w = 0; w < words_; ++w) to[w] |= more[w];
    }
    bool outside(double area, int64_t a) const { return area < rule_.ranges[2 * a] || area > rule_.ranges[2 * a + 1]; }

    // The outcomes whose threshold this IoU meets.
    const uint64_t* reached(double iou) const {
        int64_t n = rule_.T;
        while (n > 0 && !(rule_.voc ? iou > thresholds_[size_t(n - 1)].score : iou >= thresholds_[size_t(n - 1)].score))
            --n;
        return &reached_[size_t(n * words_)];
    }

    // order_ <- the group's detections by falling score; the number that count.
    int64_t by_score(const Detection* d, int64_t n) {
        order_.resize(size_t(n));
        for (int64_t i = 0; i < n; ++i) order_[size_t(i)] = {d[i].score, i};
        const auto before = [](const Scored& x, const Scored& y) { return x.score > y.score; };
        if (n > 32) {
            std::stable_sort(order_.begin(), order_.end(), before);
        } else {
            for (int64_t i = 1; i < n; ++i) {
                const Scored item = order_[size_t(i)];
                int64_t j = i;
                for (; j > 0 && before(item, order_[size_t(j - 1)]); --j) order_[size_t(j)] = order_[size_t(j - 1)];
                order_[size_t(j)] = item;
            }
        }
        return rule_.max_detections >= 0 ? std::min(n, rule_.max_detections) : n;
    }

    // The free box of the maximum IoU. Equal IoU: the later box. Boxes that count come before ignored ones.
    void coco(const BoxWH& box, uint64_t* hit, uint64_t* ignored, uint64_t* rest, int64_t* to) {
        near_.clear();
        sorted_ = 0;
        for (int64_t j = 0; j < int64_t(truth_.size()); ++j) {
            const Truth& g = truth_[size_t(j)];
            const double iou = given_ ? given_[j] : overlap(box, g.box, g.crowd, rule_.offset);
            if (!(iou >= thresholds_[0].score)) continue;
            const uint64_t* meets = reached(iou);
            if (is_of_use(j, meets)) near_.push_back({iou, j, meets});
        }
        if (near_.empty()) return;
        steps_ += int64_t(near_.size());
        near_.size() <= kFewNear ? sort_few() : std::make_heap(near_.begin(), near_.end());
        for (int pass = 0; pass < 2; ++pass) {
            for (size_t k = 0; k < near_.size(); ++k) {
                const Near& n = falling(k);
                const uint64_t* ignorable = &ignored_[size_t(n.j * words_)];
                uint64_t *taken = &taken_[size_t(n.j * words_)], left = 0;
                const bool crowd = truth_[size_t(n.j)].crowd;
                ++steps_;
                for (int64_t w = 0; w < words_; ++w) {
                    const uint64_t free = crowd ? ~uint64_t(0) : ~taken[w], wanted = rest[w] & n.meets[w];
                    const uint64_t takes = wanted & free & (pass ? ignorable[w] : ~ignorable[w]);
                    (pass ? ignored : hit)[w] |= takes;
                    taken[w] |= takes;
                    rest[w] &= ~takes;
                    left |= wanted;
                    if (to) name(to, w, takes, n.j);
                }
                if (!left) break;  // a lower IoU meets no other threshold
            }
        }
    }

    // Whether the box is free for any of the outcomes.
    bool is_of_use(int64_t j, const uint64_t* meets) const {
        const uint64_t* taken = &taken_[size_t(j * words_)];
        uint64_t open = 0;
        for (int64_t w = 0; w < words_; ++w) open |= meets[w] & ~taken[w];
        return open || truth_[size_t(j)].crowd;
    }

    void sort_few() {
        for (size_t i = 1; i < near_.size(); ++i) {
            const Near item = near_[i];
            size_t k = i;
            for (; k > 0 && item < near_[k - 1]; --k) near_[k] = near_[k - 1];
            near_[k] = item;
        }
        sorted_ = near_.size();
    }

    // The k-th by falling IoU. They rise in near_; all but the last sorted_ are a heap, of which often few are needed.
    const Near& falling(size_t k) {
        const size_t n = near_.size();
        for (; sorted_ <= k; ++sorted_) {
            std::pop_heap(near_.begin(), near_.end() - int64_t(sorted_));
            for (size_t level = n - sorted_; level > 1; level /= 2) ++steps_;
        }
        return near_[n - 1 - k];
    }

    // The box of the maximum IoU, free or taken. Equal IoU: the first box.
    void voc(const BoxWH& box, uint64_t* hit, uint64_t* ignored, uint64_t* rest, int64_t* to) {
        Near best{-1, 0, nullptr};
        for (int64_t j = 0; j < int64_t(truth_.size()); ++j) {
            const Truth& g = truth_[size_t(j)];
            const double iou = given_ ? given_[j] : overlap(box, g.box, g.crowd, rule_.offset);
            if (iou > best.iou) best = {iou, j, nullptr};
        }
        const uint64_t *meets = reached(best.iou), *ignorable = &ignored_[size_t(best.j * words_)];
        uint64_t* taken = &taken_[size_t(best.j * words_)];
        for (int64_t w = 0; w < words_; ++w) {
            const uint64_t takes = rest[w] & meets[w];
            ignored[w] |= takes & ignorable[w];
            hit[w] |= takes & ~ignorable[w] & ~taken[w];
            taken[w] |= takes & ~ignorable[w];
            rest[w] &= ~takes;
            if (to) name(to, w, takes, best.j);
        }
    }

    void name(int64_t* to, int64_t w, uint64_t takes, int64_t j) const {
        for (; takes; takes &= takes - 1) to[kWord * w + __builtin_ctzll(takes)] = truth_[size_t(j)].row;
    }

    void pack(const uint64_t* hit, const uint64_t* ignored, uint8_t* to) const {
        for (int64_t b = 0; b < bytes_; ++b) {
            const int64_t w = b / kWordBytes, shift = b % kWordBytes * 5;
            to[b] = uint8_t(kTrue * kDigits[hit[w] >> shift & 31] + kIgnored * kDigits[ignored[w] >> shift & 31]);
        }
    }

    const MatchRule& rule_;
    int64_t bytes_, words_;
    std::vector<uint64_t> inside_, reached_, sets_;  // of each range; of each number of thresholds met, in rising order
    std::vector<uint64_t> ignored_, taken_;          // of each box
    std::vector<Scored> thresholds_, order_;
    std::vector<Detection> detections_;
    std::vector<Truth> truth_;
    std::vector<Near> near_;
    const double* given_ = nullptr;  // the overlaps of a detection, where its boxes do not give them
    size_t sorted_ = 0;
    int64_t steps_ = 0;  // overlaps, and boxes that were looked at or sorted
};

}  // namespace

void match_groups(const Detections& d, const int64_t* d_start, const Truths& g, const int64_t* g_start, int64_t groups,
                  const MatchRule& rule, const double* overlaps, int64_t* order, int64_t* kept, uint8_t* outcomes,
                  int64_t* counted, int64_t* matched) {
    const int64_t bytes = packed_bytes(rule.T * rule.A), rows = d_start[groups];
    const int64_t parts = rows > 20000 ? std::min<int64_t>(groups, 8 * get_num_threads()) : 1;
    parallel_for(parts, [&](int64_t part) {
        Matcher matcher(rule);
        const int64_t begin = groups * part / parts, end = groups * (part + 1) / parts;
        const double* given = overlaps;
        for (int64_t i = 0; given && i < begin; ++i)
            given += (d_start[i + 1] - d_start[i]) * (g_start[i + 1] - g_start[i]);
        int64_t fetched = 0, until = 0;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t first = d_start[i], last = d_start[i + 1];
            if (last > until) {
                int64_t to = i + 1;
                while (to < end && d_start[to] - first < kBlock) ++to;
                fetched = first, until = d_start[to];
                matcher.fetch(d, fetched, until);
            }
            kept[i] = matcher.run(first - fetched, last - fetched, g, g_start[i], g_start[i + 1], given, order + first,
                                  outcomes + first * bytes, counted + i * rule.A,
                                  matched ? matched + first * rule.T * rule.A : nullptr);
            if (given) given += (last - first) * (g_start[i + 1] - g_start[i]);
        }
        count_pairs(matcher.steps());
    });
}

}  // namespace fastdet
