// Scoring detections: precision over recall from the matches. See detection.h.
#include <algorithm>
#include <limits>
#include <vector>

#include "core/memory.h"
#include "core/order.h"
#include "core/threads.h"
#include "detection/detection.h"

namespace fastdet {
namespace {

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

}  // namespace

void accumulate(const Records& records, int64_t T, int64_t A, const Curve& curve) {
    parallel_for(records.classes, [&](int64_t k) { Accumulator(records, T, A, curve).run(k); });
}

}  // namespace fastdet
