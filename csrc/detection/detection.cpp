// Scoring detections. See detection.h.
#include "detection/detection.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/memory.h"
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
    int64_t run(int64_t first, int64_t last, const Truths& g, int64_t g_first, int64_t g_last, int64_t* order,
                uint8_t* outcomes, int64_t* counted, int64_t* matched) {
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
            const Detection& d = of_group[order_[size_t(i)].row];
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
            const double iou = overlap(box, g.box, g.crowd, rule_.offset);
            if (iou < thresholds_[0].score) continue;
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
            const double iou = overlap(box, g.box, g.crowd, rule_.offset);
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
    size_t sorted_ = 0;
    int64_t steps_ = 0;  // overlaps, and boxes that were looked at or sorted
};

// Five outcomes of a byte: which are true, as bits, and which count at all, as five counters of kLane bits.
constexpr int kLane = 12;
struct Decoded {
    uint64_t counts[256] = {};  // of any byte: another thread may change them
    uint8_t hit[256] = {};
    Decoded() {
        for (int code = 0; code < 243; ++code) {
            for (int i = 0, rest = code; i < 5; ++i, rest /= 3) {
                hit[code] = uint8_t(hit[code] | (rest % 3 == kTrue) << i);
                counts[code] |= uint64_t(rest % 3 != kIgnored) << kLane * i;
            }
        }
    }
};
const Decoded& decoded() {
    static const Decoded table;
    return table;
}

// One class: its records by falling score, then for each outcome the points at which recall rises.
class Accumulator {
  public:
    Accumulator(const Records& records, int64_t T, int64_t A, const Curve& curve)
        : r_(records), T_(T), A_(A), curve_(curve), bytes_(packed_bytes(T * A)) {}

    void run(int64_t k) {
        const int64_t g_first = r_.of_class[k], g_last = r_.of_class[k + 1], M = curve_.M;
        npig_.assign(size_t(A_), 0);
        for (int64_t g = g_first; g < g_last; ++g) {
            for (int64_t a = 0; a < A_; ++a) npig_[size_t(a)] += r_.counted[g * A_ + a];
        }
        precision_.assign(size_t(T_ * curve_.R * A_ * M), -1);
        scores_.assign(size_t(T_ * curve_.R * A_ * M), -1);
        recall_.assign(size_t(T_ * A_ * M), -1);
        needed();
        if (std::any_of(npig_.begin(), npig_.end(), [](int64_t n) { return n > 0; })) {
            const int64_t longest = sort(g_first, g_last);
            for (int64_t m = 0; m < M; ++m) {
                const bool same = m && std::min(curve_.max_detections[m - 1], curve_.max_detections[m]) >= longest;
                same ? repeat(m) : one(m);
            }
        }
        for (int64_t row = 0; row < T_ * curve_.R; ++row) {
            const int64_t from = row * A_ * M, to = (row * r_.classes + k) * A_ * M;
            std::copy_n(precision_.data() + from, A_ * M, curve_.precision + to);
            std::copy_n(scores_.data() + from, A_ * M, curve_.scores + to);
        }
        for (int64_t t = 0; t < T_; ++t) {
            std::copy_n(recall_.data() + t * A_ * M, A_ * M, curve_.recall + (t * r_.classes + k) * A_ * M);
        }
    }

  private:
    static int64_t lane(uint64_t lanes, int j) { return int64_t(lanes >> kLane * j & ((1 << kLane) - 1)); }

    // The records of the class by falling score, ties by image; returns the maximum number of one image.
    int64_t sort(int64_t g_first, int64_t g_last) {
        const int64_t first = r_.start[g_first], n = r_.start[g_last] - first;
        Buffer<int32_t> order(n), rank(n);
        Buffer<double> score(n);  // a sort of numbers that another thread changes would leave the array
        std::copy_n(r_.score + first, n, score.get());
        order_by_score(score.get(), nullptr, n, order.get());
        int64_t longest = 0;
        for (int64_t g = g_first; g < g_last; ++g) {
            longest = std::max(longest, r_.start[g + 1] - r_.start[g]);
            for (int64_t i = r_.start[g]; i < r_.start[g + 1]; ++i) rank[i - first] = int32_t(i - r_.start[g]);
        }
        sorted_.resize(size_t(n));
        codes_.resize(size_t(n * bytes_));
        for (int64_t i = 0; i < n; ++i) {
            const int64_t row = order[i];
            const uint8_t* code = r_.outcomes + (first + row) * bytes_;
            uint8_t hit = 0;
            for (int64_t b = 0; b < bytes_; ++b) {
                codes_[size_t(i * bytes_ + b)] = code[b];
                hit |= decoded().hit[code[b]];
            }
            sorted_[size_t(i)] = {score[row], rank[row], hit != 0};
        }
        return longest;
    }

    // How many true positives reach each recall.
    void needed() {
        needed_.resize(size_t(A_ * curve_.R));
        for (int64_t a = 0; a < A_; ++a) {
            const double npig = double(npig_[size_t(a)]);
            int64_t hits = 1;
            for (int64_t r = 0; npig > 0 && r < curve_.R; ++r) {
                hits = std::max(hits, int64_t(std::min(std::max(curve_.recalls[r], 0.0), 1.0) * npig) - 1);
                while (double(hits) <= npig && double(hits) / npig < curve_.recalls[r]) ++hits;
                needed_[size_t(a * curve_.R + r)] = hits;
            }
        }
    }

    // The same as for the limit before.
    void repeat(int64_t m) {
        for (auto* values : {&precision_, &scores_, &recall_}) {
            for (size_t i = size_t(m); i < values->size(); i += size_t(curve_.M)) (*values)[i] = (*values)[i - 1];
        }
    }

    void one(int64_t m) {
        const int64_t max_detections = curve_.max_detections[m], bytes = bytes_;
        const uint64_t* counts = decoded().counts;
        points_.resize(size_t(5 * bytes_));  // the last byte may have unused digits
        for (auto& list : points_) list.clear();
        seen_.assign(size_t(5 * bytes_), 0);
        lanes_.assign(size_t(bytes_), 0);
        uint64_t* lanes = lanes_.data();
        double top = 0;
        bool any = false;
        int64_t until_full = (1 << kLane) - 1;
        for (size_t i = 0; i < sorted_.size(); ++i) {
            if (sorted_[i].rank >= max_detections) continue;
            const double score = sorted_[i].score;
            if (!any) top = score, any = true;
            const uint8_t* code = &codes_[i * size_t(bytes)];
            for (int64_t b = 0; b < bytes; ++b) lanes[b] += counts[code[b]];
            for (int64_t b = 0; sorted_[i].hit && b < bytes; ++b) {
                for (uint32_t hit = decoded().hit[code[b]]; hit; hit &= hit - 1) {
                    const int j = __builtin_ctz(hit);
                    const int64_t seen = seen_[size_t(5 * b + j)] + lane(lanes[b], j);
                    points_[size_t(5 * b + j)].push_back({seen, score});
                }
            }
            if (--until_full) continue;
            until_full = (1 << kLane) - 1;
            for (int64_t o = 0; o < 5 * bytes; ++o) seen_[size_t(o)] += lane(lanes[o / 5], int(o % 5));
            std::fill(lanes, lanes + bytes, 0);
        }
        for (int64_t t = 0; t < T_; ++t) {
            for (int64_t a = 0; a < A_; ++a) {
                if (npig_[size_t(a)]) cell(m, t, a, any, top);
            }
        }
    }

    // Precision has its local maxima at true positives. The curve is the running maximum from the right.
    void cell(int64_t m, int64_t t, int64_t a, bool any, double top) {
        const auto& points = points_[size_t(t * A_ + a)];
        const double npig = double(npig_[size_t(a)]);
        const int64_t hits = int64_t(points.size());
        envelope_.resize(size_t(hits) + 1);
        envelope_[size_t(hits)] = 0;
        for (int64_t i = hits - 1; i >= 0; --i) {
            const double tp = double(i + 1), fp = double(points[size_t(i)].seen - (i + 1));
            const double precision = tp / (fp + tp + std::numeric_limits<double>::epsilon());
            envelope_[size_t(i)] = i + 1 < hits ? std::max(precision, envelope_[size_t(i) + 1]) : precision;
        }
        recall_[size_t((t * A_ + a) * curve_.M + m)] = any ? double(hits) / npig : 0;
        for (int64_t r = 0; r < curve_.R; ++r) {
            const int64_t i = needed_[size_t(a * curve_.R + r)] - 1;
            const size_t at = size_t(((t * curve_.R + r) * A_ + a) * curve_.M + m);
            const bool start = curve_.recalls[r] <= 0;  // met before any detection
            precision_[at] = start ? envelope_[0] : i < hits ? envelope_[size_t(i)] : 0;
            scores_[at] = start ? top : i < hits ? points[size_t(i)].score : 0;
        }
    }

    struct Point {
        int64_t seen;  // counted detections up to this true positive
        double score;
    };
    struct Sorted {
        double score;
        int32_t rank;  // in its image
        bool hit;      // whether any outcome is true
    };

    const Records& r_;
    int64_t T_, A_;
    const Curve& curve_;
    int64_t bytes_;
    std::vector<int64_t> npig_, seen_, needed_;
    std::vector<uint64_t> lanes_;
    std::vector<Sorted> sorted_;
    std::vector<uint8_t> codes_;
    std::vector<std::vector<Point>> points_;
    std::vector<double> envelope_, precision_, scores_, recall_;  // of the class: (T, R, A, M), (T, A, M)
};

// order <- rows by rising key, stable.
void sort_by_key(const int64_t* key, int64_t n, int64_t* order) {
    if (!n) return;
    uint64_t max_key = uint64_t(n);
    for (int64_t i = 0; i < n; ++i) max_key = std::max(max_key, uint64_t(key[i]));
    if (max_key >> 32) {
        for (int64_t i = 0; i < n; ++i) order[i] = i;
        std::stable_sort(order, order + n, [&](int64_t x, int64_t y) { return key[x] < key[y]; });
        return;
    }
    Buffer<uint64_t> items(2 * n);
    for (int64_t i = 0; i < n; ++i) items[i] = uint64_t(key[i]) << 32 | uint64_t(i);
    const uint64_t* sorted = sort_high(items.get(), items.get() + n, n);
    for (int64_t i = 0; i < n; ++i) order[i] = int64_t(uint32_t(sorted[i]));
}

}  // namespace

void match_groups(const Detections& d, const int64_t* d_start, const Truths& g, const int64_t* g_start, int64_t groups,
                  const MatchRule& rule, int64_t* order, int64_t* kept, uint8_t* outcomes, int64_t* counted,
                  int64_t* matched) {
    const int64_t bytes = packed_bytes(rule.T * rule.A), rows = d_start[groups];
    const int64_t parts = rows > 20000 ? std::min<int64_t>(groups, 8 * get_num_threads()) : 1;
    parallel_for(parts, [&](int64_t part) {
        Matcher matcher(rule);
        const int64_t end = groups * (part + 1) / parts;
        int64_t fetched = 0, until = 0;
        for (int64_t i = groups * part / parts; i < end; ++i) {
            const int64_t first = d_start[i], last = d_start[i + 1];
            if (last > until) {
                int64_t to = i + 1;
                while (to < end && d_start[to] - first < kBlock) ++to;
                fetched = first, until = d_start[to];
                matcher.fetch(d, fetched, until);
            }
            kept[i] = matcher.run(first - fetched, last - fetched, g, g_start[i], g_start[i + 1], order + first,
                                  outcomes + first * bytes, counted + i * rule.A,
                                  matched ? matched + first * rule.T * rule.A : nullptr);
        }
        count_pairs(matcher.steps());
    });
}

void accumulate(const Records& records, int64_t T, int64_t A, const Curve& curve) {
    parallel_for(records.classes, [&](int64_t k) { Accumulator(records, T, A, curve).run(k); });
}

int64_t group_rows(const int64_t* d_key, int64_t n, const int64_t* g_key, int64_t m, int64_t* group, int64_t* d_row,
                   int64_t* d_start, int64_t* g_row, int64_t* g_start) {
    sort_by_key(d_key, n, d_row);
    sort_by_key(g_key, m, g_row);
    int64_t groups = 0, i = 0, j = 0;
    while (i < n || j < m) {
        const bool of_truth = i == n || (j < m && g_key[g_row[j]] < d_key[d_row[i]]);
        const int64_t key = of_truth ? g_key[g_row[j]] : d_key[d_row[i]];
        group[groups] = key;
        d_start[groups] = i;
        g_start[groups++] = j;
        while (i < n && d_key[d_row[i]] == key) ++i;
        while (j < m && g_key[g_row[j]] == key) ++j;
    }
    d_start[groups] = n;
    g_start[groups] = m;
    return groups;
}

}  // namespace fastdet
