// COCO's JSON of boxes (data sets and results) into columns: one pass over a stream, no tree of values in between.
// What is not asked for is skipped, its syntax still checked. Memory: the columns and one buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace fastdet {

// What is wrong and where: "annotations[12].bbox: expected four numbers, got null".
struct CocoError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct CocoBoxes {
    std::vector<int64_t> id, image, label;
    std::vector<double> box, area, score;  // box: x y w h; area, score: NaN where absent
    std::vector<uint8_t> crowd;
};

// Images, or categories: what they are called ends at end[i] of text.
struct CocoNames {
    std::vector<int64_t> id, end, width, height;  // sizes: 0 where absent
    std::string text;
};

enum CocoSection : int { kAnnotations = 1, kImages = 2, kCategories = 4 };

struct CocoContent {
    CocoBoxes boxes;
    CocoNames images, categories;
    int sections = 0;  // which were there
};

// read(to, size): bytes written, 0 at the end. size: of the whole, to reserve memory by; 0: unknown.
// results: a list of detections, or the annotations of an object; every one must have a score.
CocoContent read_coco(const std::function<size_t(char*, size_t)>& read, int64_t size, bool results);

}  // namespace fastdet
