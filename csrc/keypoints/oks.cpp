// Object keypoint similarity. See oks.h.
#include "keypoints/oks.h"

#include <algorithm>
#include <limits>

#include "core/pairs.h"
#include "core/threads.h"
#include "core/work.h"
#include "keypoints/oks_loops.h"

namespace fastdet {
namespace {

// The sum in NumPy's order: eight accumulators, and halves of more than 128 terms.
double pairwise_sum(const double* x, int64_t n) {
    if (n < 8) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += x[i];
        return sum;
    }
    if (n > 128) {
        const int64_t half = n / 2 - n / 2 % 8;
        return pairwise_sum(x, half) + pairwise_sum(x + half, n - half);
    }
    double r[8];
    for (int k = 0; k < 8; ++k) r[k] = x[k];
    int64_t i = 8;
    for (; i + 8 <= n; i += 8) {
        for (int k = 0; k < 8; ++k) r[k] += x[i + k];
    }
    double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; ++i) sum += x[i];
    return sum;
}

// Rows of numbers, one for each keypoint, padded.
struct Planar {
    std::vector<double> x, y;
    void resize(int64_t n) { x.resize(size_t(n)), y.resize(size_t(n)); }
    void set(const double* points, int64_t K, int64_t at) {
        for (int64_t k = 0; k < K; ++k) x[size_t(at + k)] = points[3 * k], y[size_t(at + k)] = points[3 * k + 1];
    }
};

// A true object, and which keypoints count: the visible ones, or all where none is.
struct Truth {
    Planar points;
    std::vector<int64_t> counts;
    OksTruth terms;

    void set(const double* point, const double* box, double area, int64_t K) {
        counts.clear();
        points.set(point, K, 0);
        for (int64_t k = 0; k < K; ++k) {
            if (point[3 * k + 2] > 0) counts.push_back(k);
        }
        terms.x = points.x.data(), terms.y = points.y.data();
        terms.by_box = counts.empty();
        for (int64_t k = 0; terms.by_box && k < K; ++k) counts.push_back(k);
        terms.x0 = box[0] - box[2], terms.x1 = box[0] + box[2] * 2;
        terms.y0 = box[1] - box[3], terms.y1 = box[1] + box[3] * 2;
        terms.scale = area + std::numeric_limits<double>::epsilon();
    }
    // The mean of the terms that count, which are moved to the front.
    double mean(double* of) const {
        const size_t n = counts.size();
        for (size_t i = 0; i < n; ++i) of[i] = of[counts[i]];
        return pairwise_sum(of, int64_t(n)) / double(n);
    }
};

constexpr int64_t kThreadPairs = 5000;  // from which a second thread pays

}  // namespace

void oks_of_groups(const KeypointGroups& d, const KeypointGroups& g, const KeypointTruth& truth, double* out) {
    const int64_t groups = int64_t(d.start.size()) - 1;
    const std::vector<int64_t> first = pair_starts(d.start, g.start);
    const int64_t parts = first.back() > kThreadPairs ? std::min<int64_t>(groups, 8 * get_num_threads()) : 1;
    const int64_t padded = (truth.K + kOksStep - 1) / kOksStep * kOksStep;
    std::vector<double> variances(size_t(padded), 1);
    std::copy(truth.variances, truth.variances + truth.K, variances.begin());
    const OksLoops& loops = oks_loops();
    parallel_for(parts, [&](int64_t part) {
        Truth one;
        one.points.resize(padded);
        one.terms.variance = variances.data();
        Planar of_group;
        std::vector<double> terms(size_t(padded), 0);
        for (size_t i = size_t(groups * part / parts), end = size_t(groups * (part + 1) / parts); i < end; ++i) {
            const int64_t rows = d.start[i + 1] - d.start[i], columns = g.start[i + 1] - g.start[i];
            if (!rows || !columns) continue;
            of_group.resize(rows * padded);
            for (int64_t x = 0; x < rows; ++x)
                of_group.set(d.points + d.row[size_t(d.start[i] + x)] * truth.K * 3, truth.K, x * padded);
            for (int64_t y = 0; y < columns; ++y) {
                const int64_t row = g.row[size_t(g.start[i] + y)];
                one.set(g.points + row * truth.K * 3, truth.boxes + 4 * row, truth.areas[row], truth.K);
                for (int64_t x = 0; x < rows; ++x) {
                    loops.terms(&of_group.x[size_t(x * padded)], &of_group.y[size_t(x * padded)], one.terms, padded,
                                terms.data());
                    out[first[i] + x * columns + y] = one.mean(terms.data());
                }
            }
        }
    });
    count_pairs(first.back());
}

}  // namespace fastdet
