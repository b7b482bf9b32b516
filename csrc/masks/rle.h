// Run-length encoded masks, as in COCO: column by column, runs of zeros and of ones in turn, zeros first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastdet {

// A batch of masks. Mask i has the runs from offsets[i] to offsets[i + 1], which do not fall.
struct Runs {
    const uint32_t* counts;
    std::vector<int64_t> offsets;  // (n + 1,)

    int64_t size() const { return int64_t(offsets.size()) - 1; }
    const uint32_t* begin(int64_t i) const { return counts + offsets[size_t(i)]; }
    const uint32_t* end(int64_t i) const { return counts + offsets[size_t(i) + 1]; }
};

// A batch that is being made.
struct NewRuns {
    std::vector<uint32_t> counts;
    std::vector<int64_t> offsets{0};

    void end_mask() { offsets.push_back(int64_t(counts.size())); }
};

// f(start, end) for each run of ones that is not empty, in order, in pixels of the mask.
template <class F>
void each_run(const uint32_t* run, const uint32_t* end, F&& f) {
    uint64_t at = 0;
    for (; end - run >= 2; run += 2) {
        const uint64_t start = at + run[0];
        at = start + run[1];
        if (at > start) f(start, at);
    }
}

// All functions throw std::bad_alloc.

// masks (n, height, width), bytes 0 and 1; columns: (n, width, height). False: a byte is above 1.
bool encode(const uint8_t* masks, int64_t n, int64_t height, int64_t width, bool columns, NewRuns& out);
// out: zeros. Runs beyond the last pixel are left out.
void decode(const Runs& runs, int64_t height, int64_t width, bool columns, uint8_t* out);

void rle_area(const Runs& runs, int64_t* out);                          // out (n,)
void rle_boxes(const Runs& runs, const int64_t* heights, double* out);  // heights (n,), out (n, 4)
// Appends the runs of the pixels that `least` masks or more have.
void rle_merge(const Runs& runs, int64_t least, std::vector<uint32_t>& out);
// crowd (m,); smaller: over the smaller area; out (n, m)
void mask_iou(const Runs& a, const Runs& b, int64_t height, int64_t width, const bool* crowd, bool smaller,
              double* out);

// The pixels of each mask that are at most widths[i] rows and columns from a pixel outside. sizes (n, 2): heights and
// widths; widths (n,): 1 or more, and not beyond the longer side
void rle_boundary(const Runs& runs, const int64_t* sizes, const int64_t* widths, NewRuns& out);

std::string rle_to_string(const uint32_t* run, const uint32_t* end);
// Appends the runs. What is wrong with the text, or "".
std::string rle_from_string(const char* text, size_t n, std::vector<uint32_t>& out);

// corners: x and y; polygon k has the corners from points[k] to points[k + 1], mask i the polygons from parts[i] to
// parts[i + 1]. Coordinates are at most 2^28.
void rle_from_polygons(const double* corners, const std::vector<int64_t>& points, const std::vector<int64_t>& parts,
                       int64_t height, int64_t width, NewRuns& out);
// sizes (masks, 2): height and width of each mask
void rle_from_polygons(const double* corners, const std::vector<int64_t>& points, const std::vector<int64_t>& parts,
                       const int64_t* sizes, NewRuns& out);

}  // namespace fastdet
