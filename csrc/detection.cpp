// Scoring detections. See detection.h.
#include "detection.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "memory.h"
#include "order.h"
#include "threads.h"

namespace fastdet {
namespace {

// pycocotools' bbIou: sides as they are given, a crowd's denominator is the detection's own area.
double overlap(const BoxWH& d, const BoxWH& g, bool crowd, double offset) {
    const double dw = d.w + offset, dh = d.h + offset, gw = g.w + offset, gh = g.h + offset;
    const double w = std::fmin(dw + d.x, gw + g.x) - std::fmax(d.x, g.x);
    if (!(w > 0)) return 0;
    const double h = std::fmin(dh + d.y, gh + g.y) - std::fmax(d.y, g.y);
    if (!(h > 0)) return 0;
    const double inter = w * h, area = dw * dh;
    return inter / (crowd ? area : area + gw * gh - inter);
}

// The work of one group; its buffers are kept for the next.
class Matcher {
  public:
    explicit Matcher(const MatchRule& rule) : rule_(rule), bytes_(packed_bytes(rule.T * rule.A)) {
        least_ = 1 - 1e-10;
        for (int64_t t = 0; t < rule.T; ++t) least_ = std::min(least_, rule.thresholds[t]);
    }

    int64_t run(const Detections& d, int64_t first, int64_t last, const Truths& g, int64_t g_first, int64_t g_last,
                int64_t* order, uint8_t* outcomes, int64_t* counted, int64_t* matched) {
        const int64_t T = rule_.T, A = rule_.A, boxes = g_last - g_first;
        ignored_.assign(size_t(A * boxes), 0);
        for (int64_t a = 0; a < A; ++a) {
            counted[a] = 0;
            for (int64_t j = 0; j < boxes; ++j) {
                const bool out = g.flags[g_first + j] || outside(g.area[g_first + j], a);
                ignored_[size_t(a * boxes + j)] = out;
                counted[a] += !out;
            }
        }
        for (int64_t i = first; i < last; ++i) order[i - first] = i;
        std::stable_sort(order, order + (last - first), [&](int64_t x, int64_t y) { return d.score[x] > d.score[y]; });
        int64_t kept = last - first;
        if (rule_.max_detections >= 0) kept = std::min(kept, rule_.max_detections);
        taken_.assign(size_t(T * A * boxes), 0);
        outcome_.resize(size_t(5 * bytes_));
        std::fill(outcome_.begin(), outcome_.end(), kFalse);
        for (int64_t i = 0; i < kept; ++i) {
            const int64_t row = order[i];
            near_.clear();
            int64_t best = -1;
            double best_iou = -1;
            for (int64_t j = 0; j < boxes; ++j) {
                const double iou = overlap(d.box[row], g.box[g_first + j], g.flags[g_first + j] & 1, rule_.offset);
                if (iou >= least_) near_.push_back({j, iou});
                if (iou > best_iou) best = j, best_iou = iou;
            }
            if (near_.empty() && !rule_.voc && !matched) {  // most detections
                std::memcpy(outcomes + i * bytes_, unmatched(d.area[row]), size_t(bytes_));
                continue;
            }
            for (int64_t a = 0; a < A; ++a) {
                const bool out = outside(d.area[row], a);
                for (int64_t t = 0; t < T; ++t) {
                    const int64_t at = t * A + a;
                    uint8_t& result = outcome_[size_t(at)];
                    int64_t match;
                    if (rule_.voc) {
                        match = best_iou > rule_.thresholds[t] ? best : -1;
                        result = match < 0 ? uint8_t(out ? kIgnored : kFalse) : voc(match, at, a, boxes);
                    } else {
                        match = near_.empty() ? -1 : coco(at, a, rule_.thresholds[t], boxes, g.flags + g_first);
                        result = match < 0                                  ? (out ? kIgnored : kFalse)
                                 : ignored_[size_t(a * boxes + match)] != 0 ? kIgnored
                                                                            : kTrue;
                    }
                    if (matched) matched[i * T * A + at] = match < 0 ? -1 : g_first + match;
                }
            }
            pack(outcomes + i * bytes_);
        }
        return kept;
    }

  private:
    struct Near {
        int64_t j;
        double iou;
    };

    bool outside(double area, int64_t a) const { return area < rule_.ranges[2 * a] || area > rule_.ranges[2 * a + 1]; }

    void pack(uint8_t* to) const {
        for (int64_t b = 0; b < bytes_; ++b) {
            const uint8_t* o = outcome_.data() + 5 * b;
            to[b] = uint8_t(o[0] + 3 * (o[1] + 3 * (o[2] + 3 * (o[3] + 3 * o[4]))));
        }
    }

    // The outcomes of a detection that no box is near: by the area ranges it is outside of. The last is remembered.
    const uint8_t* unmatched(double area) {
        const int64_t T = rule_.T, A = rule_.A;
        if (unmatched_.empty()) {
            unmatched_.resize(size_t(bytes_));
        } else if (area >= same_least_ && area <= same_most_) {
            return unmatched_.data();
        }
        same_least_ = -std::numeric_limits<double>::infinity();
        same_most_ = std::numeric_limits<double>::infinity();
        for (int64_t a = 0; a < A; ++a) {
            const double least = rule_.ranges[2 * a], most = rule_.ranges[2 * a + 1];
            const bool out = outside(area, a);
            for (int64_t t = 0; t < T; ++t) outcome_[size_t(t * A + a)] = out ? kIgnored : kFalse;
            // areas from same_least_ to same_most_ are on the same side of every bound
            if (area < least) {
                same_most_ = std::min(same_most_, std::nextafter(least, -1.0));
            } else {
                same_least_ = std::max(same_least_, least);
            }
            if (area > most) {
                same_least_ = std::max(same_least_, std::nextafter(most, std::numeric_limits<double>::infinity()));
            } else {
                same_most_ = std::min(same_most_, most);
            }
        }
        pack(unmatched_.data());
        return unmatched_.data();
    }

    // The free box of greatest IoU, the later of equals; one that counts comes before one that is ignored.
    int64_t coco(int64_t at, int64_t a, double threshold, int64_t boxes, const uint8_t* flags) {
        const uint8_t* ignored = ignored_.data() + a * boxes;
        uint8_t* taken = taken_.data() + at * boxes;
        int64_t match = -1;
        double least = std::min(threshold, 1 - 1e-10);
        for (int pass = 0; pass < 2 && match < 0; ++pass) {
            for (const Near& n : near_) {
                if (ignored[n.j] != pass || (taken[n.j] && !(flags[n.j] & 1)) || n.iou < least) continue;
                least = n.iou;
                match = n.j;
            }
        }
        if (match >= 0) taken[match] = 1;
        return match;
    }

    uint8_t voc(int64_t match, int64_t at, int64_t a, int64_t boxes) {
        if (ignored_[size_t(a * boxes + match)]) return kIgnored;
        uint8_t& taken = taken_[size_t(at * boxes + match)];
        const uint8_t result = taken ? kFalse : kTrue;
        taken = 1;
        return result;
    }

    const MatchRule& rule_;
    int64_t bytes_;
    double least_;
    double same_least_ = 0, same_most_ = 0;
    std::vector<uint8_t> ignored_, taken_, outcome_, unmatched_;
    std::vector<Near> near_;
};

// Five outcomes of a byte: which are true, as bits, and which count at all, as five counters of kLane bits.
constexpr int kLane = 12;
struct Decoded {
    uint64_t counts;
    uint32_t hit;
};
struct DecodeTable {
    Decoded of[243];
    DecodeTable() {
        for (int code = 0; code < 243; ++code) {
            of[code] = {0, 0};
            for (int i = 0, rest = code; i < 5; ++i, rest /= 3) {
                of[code].hit |= uint32_t(rest % 3 == kTrue) << i;
                of[code].counts |= uint64_t(rest % 3 != kIgnored) << kLane * i;
            }
        }
    }
};

// One class: its records by falling score, then for each outcome the points at which recall rises.
class Accumulator {
  public:
    Accumulator(const Records& records, int64_t T, int64_t A, const Curve& curve)
        : r_(records), T_(T), A_(A), curve_(curve), bytes_(packed_bytes(T * A)) {}

    void run(int64_t k) {
        const int64_t g_first = r_.of_class[k], g_last = r_.of_class[k + 1];
        const int64_t first = r_.start[g_first], n = r_.start[g_last] - first;
        npig_.assign(size_t(A_), 0);
        for (int64_t g = g_first; g < g_last; ++g) {
            for (int64_t a = 0; a < A_; ++a) npig_[size_t(a)] += r_.counted[g * A_ + a];
        }
        order_.resize(size_t(n));
        rank_.resize(size_t(n));
        order_by_score(r_.score + first, nullptr, n, order_.data());
        for (int64_t g = g_first; g < g_last; ++g) {
            for (int64_t i = r_.start[g]; i < r_.start[g + 1]; ++i) rank_[size_t(i - first)] = int32_t(i - r_.start[g]);
        }
        for (int64_t m = 0; m < curve_.M; ++m) one(k, m, first, n);
    }

  private:
    static int64_t lane(uint64_t lanes, int j) { return int64_t(lanes >> kLane * j & ((1 << kLane) - 1)); }

    void one(int64_t k, int64_t m, int64_t first, int64_t n) {
        static const DecodeTable decode;
        const int64_t most = curve_.max_detections[m];
        points_.resize(size_t(5 * bytes_));  // the last byte may have digits to spare, which nothing looks at
        for (auto& list : points_) list.clear();
        seen_.assign(size_t(5 * bytes_), 0);
        lanes_.assign(size_t(bytes_), 0);
        double top = 0;
        bool any = false;
        int64_t until_full = (1 << kLane) - 1;
        for (int64_t i = 0; i < n; ++i) {
            const int64_t row = order_[size_t(i)];
            if (rank_[size_t(row)] >= most) continue;
            const double score = r_.score[first + row];
            if (!any) top = score, any = true;
            const uint8_t* code = r_.outcomes + (first + row) * bytes_;
            for (int64_t b = 0; b < bytes_; ++b) {
                const Decoded now = decode.of[code[b]];
                const uint64_t lanes = lanes_[size_t(b)] += now.counts;
                for (uint32_t hit = now.hit; hit; hit &= hit - 1) {
                    const int j = __builtin_ctz(hit);
                    const int64_t seen = seen_[size_t(5 * b + j)] + lane(lanes, j);
                    points_[size_t(5 * b + j)].push_back({seen, score});
                }
            }
            if (--until_full) continue;
            until_full = (1 << kLane) - 1;
            for (int64_t o = 0; o < 5 * bytes_; ++o) seen_[size_t(o)] += lane(lanes_[size_t(o / 5)], int(o % 5));
            std::fill(lanes_.begin(), lanes_.end(), 0);
        }
        for (int64_t t = 0; t < T_; ++t) {
            for (int64_t a = 0; a < A_; ++a) {
                if (npig_[size_t(a)]) cell(k, m, t, a, any, top);
            }
        }
    }

    // Precision is highest just where a true positive comes in; the curve is its running maximum from the right.
    void cell(int64_t k, int64_t m, int64_t t, int64_t a, bool any, double top) {
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
        curve_.recall[((t * r_.classes + k) * A_ + a) * curve_.M + m] = any ? double(hits) / npig : 0;
        int64_t i = 0;
        for (int64_t r = 0; r < curve_.R; ++r) {
            const int64_t at = (((t * curve_.R + r) * r_.classes + k) * A_ + a) * curve_.M + m;
            while (i < hits && double(i + 1) / npig < curve_.recalls[r]) ++i;
            const bool start = curve_.recalls[r] <= 0;  // met before any detection
            curve_.precision[at] = start ? envelope_[0] : i < hits ? envelope_[size_t(i)] : 0;
            curve_.scores[at] = start ? top : i < hits ? points[size_t(i)].score : 0;
        }
    }

    struct Point {
        int64_t seen;  // counted detections up to this true positive
        double score;
    };

    const Records& r_;
    int64_t T_, A_;
    const Curve& curve_;
    int64_t bytes_;
    std::vector<int64_t> npig_, seen_;
    std::vector<uint64_t> lanes_;
    std::vector<int32_t> order_, rank_;
    std::vector<std::vector<Point>> points_;
    std::vector<double> envelope_;
};

}  // namespace

void match_groups(const Detections& d, const int64_t* d_start, const Truths& g, const int64_t* g_start, int64_t groups,
                  const MatchRule& rule, int64_t* order, int64_t* kept, uint8_t* outcomes, int64_t* counted,
                  int64_t* matched) {
    const int64_t bytes = packed_bytes(rule.T * rule.A), rows = d_start[groups];
    const int64_t parts = rows > 20000 ? std::min<int64_t>(groups, 8 * get_num_threads()) : 1;
    parallel_for(parts, [&](int64_t part) {
        Matcher matcher(rule);
        for (int64_t i = groups * part / parts; i < groups * (part + 1) / parts; ++i) {
            const int64_t first = d_start[i];
            kept[i] = matcher.run(d, first, d_start[i + 1], g, g_start[i], g_start[i + 1], order + first,
                                  outcomes + first * bytes, counted + i * rule.A,
                                  matched ? matched + first * rule.T * rule.A : nullptr);
        }
    });
}

void accumulate(const Records& records, int64_t T, int64_t A, const Curve& curve) {
    const int64_t cells = T * records.classes * A * curve.M;
    std::fill(curve.precision, curve.precision + cells * curve.R, -1.0);
    std::fill(curve.scores, curve.scores + cells * curve.R, -1.0);
    std::fill(curve.recall, curve.recall + cells, -1.0);
    parallel_for(records.classes, [&](int64_t k) { Accumulator(records, T, A, curve).run(k); });
}

int64_t group_rows(const int64_t* key, int64_t n, int64_t* order, int64_t* first) {
    int64_t most = 0;
    for (int64_t i = 0; i < n; ++i) {
        most = key[i] > most ? key[i] : most;
        order[i] = i;
    }
    constexpr int kBits = 11;
    constexpr uint64_t kSize = 1u << kBits;
    Buffer<int64_t> other(n);
    int64_t *from = order, *to = other.get();
    for (int shift = 0; shift < 63 && most >> shift; shift += kBits) {
        int64_t count[kSize] = {};
        for (int64_t i = 0; i < n; ++i) ++count[uint64_t(key[i]) >> shift & (kSize - 1)];
        int64_t sum = 0;
        for (int64_t& c : count) {
            const int64_t here = c;
            c = sum;
            sum += here;
        }
        for (int64_t i = 0; i < n; ++i) to[count[uint64_t(key[from[i]]) >> shift & (kSize - 1)]++] = from[i];
        std::swap(from, to);
    }
    if (from != order) std::copy(from, from + n, order);
    int64_t groups = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (i == 0 || key[order[i]] != key[order[i - 1]]) first[groups++] = i;
    }
    first[groups] = n;
    return groups;
}

}  // namespace fastdet
