// See boundary_counts.h.
//
// Boundary pixels are few. Each looks for one of the other map in its surroundings, the nearest places first, and most
// find one at once. A pixel is inside of its region where its run of equal labels goes on to both sides for `distance`
// pixels, in its row, and so do the runs of such pixels in its column: both are counted along the runs, so that the
// work does not grow with the distance.
#include "segmentation/boundary_counts.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace fastdet {
namespace {

constexpr uint16_t kNone = 65535;  // above any class, of which there are 65535 at most, and void
using Map = std::vector<uint16_t>;

struct Size {
    int64_t height, width;
};

// The labels where one of the four neighbours has another label, else kNone.
Map edges_of(const uint16_t* x, Size size, int64_t classes) {
    Map out(size_t(size.height * size.width), kNone);
    const auto mark = [&](int64_t i, int64_t k) {
        if (x[i] == x[k]) return;
        if (x[i] < classes) out[size_t(i)] = x[i];
        if (x[k] < classes) out[size_t(k)] = x[k];
    };
    for (int64_t y = 0, i = 0; y < size.height; ++y) {
        for (int64_t column = 0; column < size.width; ++column, ++i) {
            if (column) mark(i - 1, i);
            if (y) mark(i - size.width, i);
        }
    }
    return out;
}

struct Step {
    int64_t y, x;
};

// Places within reach, the nearest first.
std::vector<Step> steps_within(int64_t reach, Size size) {
    std::vector<Step> out;
    for (int64_t y = -size.height + 1; y < size.height; ++y) {
        if (y * y > reach) continue;
        for (int64_t x = -size.width + 1; x < size.width; ++x) {
            if (y * y + x * x <= reach) out.push_back({y, x});
        }
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const Step& a, const Step& b) { return a.y * a.y + a.x * a.x < b.y * b.y + b.x * b.x; });
    return out;
}

// Counts the boundary pixels of `own`, and those with one of `other` near.
void count_near(const Map& own, const Map& other, Size size, const std::vector<Step>& steps, int64_t* all,
                int64_t* near) {
    for (int64_t y = 0, i = 0; y < size.height; ++y) {
        for (int64_t x = 0; x < size.width; ++x, ++i) {
            const uint16_t label = own[size_t(i)];
            if (label == kNone) continue;
            ++all[label * kBoundaryCounts];
            for (const Step& step : steps) {
                const int64_t to_y = y + step.y, to_x = x + step.x;
                if (to_y < 0 || to_y >= size.height || to_x < 0 || to_x >= size.width) continue;
                if (other[size_t(to_y * size.width + to_x)] == label) {
                    ++near[label * kBoundaryCounts];
                    break;
                }
            }
        }
    }
}

// Marks with 1 the pixels of a row that have `distance` equal ones on both sides.
void inner_of_row(const uint16_t* x, int64_t n, int64_t distance, uint8_t* out) {
    for (int64_t start = 0; start < n;) {
        int64_t end = start + 1;
        while (end < n && x[end] == x[start]) ++end;
        for (int64_t i = start + distance; i < end - distance; ++i) out[i] = 1;
        start = end;
    }
}

// 1 for each pixel whose square of 2 distance + 1 pixels is of its label and inside of the image.
std::vector<uint8_t> inner_of(const uint16_t* x, Size size, int64_t distance) {
    std::vector<uint8_t> rows(size_t(size.height * size.width)), out(rows.size());
    for (int64_t y = 0; y < size.height; ++y) {
        inner_of_row(x + y * size.width, size.width, distance, rows.data() + y * size.width);
    }
    // Down the columns, row by row: how many pixels above, and with the pixel, are inner in their rows and alike.
    std::vector<int32_t> run(size_t(size.width), 0);
    const int64_t whole = 2 * distance + 1;
    for (int64_t y = 0; y < size.height; ++y) {
        for (int64_t column = 0; column < size.width; ++column) {
            const int64_t i = y * size.width + column;
            int32_t& length = run[size_t(column)];
            if (!rows[size_t(i)]) {
                length = 0;
            } else if (length && x[i] != x[i - size.width]) {
                length = 1;
            } else {
                ++length;
            }
            if (length >= whole) out[size_t(i - distance * size.width)] = 1;
        }
    }
    return out;
}

}  // namespace

void boundary_counts(const uint16_t* target, const uint16_t* prediction, int64_t height, int64_t width, int64_t classes,
                     int64_t reach, int64_t distance, int64_t* out) {
    const Size size{height, width};
    const int64_t pixels = height * width;
    Map truth(target, target + pixels), guess(prediction, prediction + pixels);
    for (int64_t i = 0; i < pixels; ++i) {  // copies, which no other thread changes
        if (truth[size_t(i)] >= classes) truth[size_t(i)] = uint16_t(classes);
        if (guess[size_t(i)] >= classes || truth[size_t(i)] == classes) guess[size_t(i)] = uint16_t(classes);
    }
    {
        const Map edges[2] = {edges_of(truth.data(), size, classes), edges_of(guess.data(), size, classes)};
        const std::vector<Step> steps = steps_within(reach, size);
        count_near(edges[0], edges[1], size, steps, out, out + 2);
        count_near(edges[1], edges[0], size, steps, out + 1, out + 3);
    }
    const std::vector<uint8_t> inner[2] = {inner_of(truth.data(), size, distance),
                                           inner_of(guess.data(), size, distance)};
    for (size_t i = 0; i < size_t(pixels); ++i) {
        const bool in_truth = truth[i] < classes && !inner[0][i], in_guess = guess[i] < classes && !inner[1][i];
        if (in_truth) ++out[truth[i] * kBoundaryCounts + 4];
        if (in_guess) ++out[guess[i] * kBoundaryCounts + 5];
        if (in_truth && in_guess && truth[i] == guess[i]) ++out[truth[i] * kBoundaryCounts + 6];
    }
}

}  // namespace fastdet
