// Read COCO's JSON (data sets and results) into columns, in one pass over a stream, without a tree of values.
// Fields that are not needed are skipped, and their syntax is checked. Memory: the columns and one buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "files/coco_shapes.h"
#include "files/json_reader.h"

namespace fastdet {

struct CocoBoxes {
    std::vector<int64_t> id, image, label;
    std::vector<double> box, area, score;  // box: x y w h; NaN where absent
    std::vector<uint8_t> crowd;            // 1: a crowd; 2: to be ignored, since it has no visible keypoint
    std::vector<uint8_t> ignore;           // data sets only: the key "ignore"; empty where no record has it set
    std::vector<uint8_t> named;  // results only: 1 where image is a place in image_names; empty where there is none
    std::vector<int64_t> file;   // results only: the place in file_names, -1 for none; empty where there is none
};

// Where the records of results lie in the text, in bytes.
struct CocoRecords {
    std::vector<int64_t> start;
    std::vector<int32_t> length, score;    // score: from the start of the record to its score
    int64_t list_start = 0, list_end = 0;  // the list, with its brackets
    std::vector<std::string> other_keys;   // of the object around the list
};

// Images or categories. Name i ends at end[i] of text, its supercategory at parents_end[i] of parents.
struct CocoNames {
    std::vector<int64_t> id, end, width, height, parents_end;  // sizes: 0 where absent
    std::string text, parents;
    std::vector<uint8_t> frequency;  // categories, of LVIS: 'r', 'c' or 'f', 0 where absent; empty where all are
    std::vector<double> crowding;    // images, of CrowdPose: crowdIndex, NaN where absent; empty where all are
};

// The fields of results that say what an object is. `all` counts the records that have one: a value other than null and
// an empty list.
enum class CocoField : int { kNone = -1, kBox = 0, kSegmentation = 1, kKeypoints = 2 };

enum CocoSection : int { kAnnotations = 1, kImages = 2, kCategories = 4 };

struct CocoContent {
    CocoBoxes boxes;
    CocoShapes shapes;
    bool has_masks = false, has_keypoints = false;  // every record has one in shapes
    int64_t held[3] = {0, 0, 0};                    // how many records have each CocoField
    CocoField decided = CocoField::kNone;           // results: the field of the first record that decides for all
    CocoRecords records;
    CocoNames images, categories;
    std::vector<std::string> image_names;  // of results whose image ids are strings; distinct
    std::vector<std::string> file_names;   // of results that have them; distinct
    int sections = 0;                      // bits of the sections that the file has
    bool federated = false;                // images have LVIS's lists of categories, as pairs of image and category:
    std::vector<int64_t> negative, not_exhaustive;
    bool is_list = false;  // results that are a list, not the annotations of an object
};

enum class CocoKind {
    kDataSet,  // images, categories, annotations
    kResults,  // a list of detections, or the annotations of an object; every one must have a score
    kNames,    // images and categories of an object, whatever its annotations are
};

enum class CocoRead {
    kBoxes,      // bbox, which every record must have
    kMasks,      // segmentation, which every record must have
    kKeypoints,  // likewise keypoints
    kAll,        // of results: what the records have
    kAny,        // bbox where a record has one; of results what the first record decides by, which all must have
    kFirst,      // only which fields the first record of results has; nothing of the text behind it is read
};

struct CocoOptions {
    CocoKind kind = CocoKind::kDataSet;
    CocoRead read = CocoRead::kBoxes;
    bool string_ids = false;  // image ids of results may be strings, and their file names are read
    bool records = false;     // note where each record of results lies
    // Limits: bytes of a record, a key or a name; images or categories. Files of a few bytes each may come in millions.
    size_t max_text = size_t(1) << 22, max_images = 10000000;
    int64_t max_runs = 1 << 28;           // of all masks that are drawn from polygons
    std::vector<ImageSizes::Size> sizes;  // results: of the data set's images, as far as they are known
};

// read(to, size): bytes written, 0 at the end. size: of the whole, to reserve memory by; 0: unknown.
// Throws JsonError for invalid text.
CocoContent read_coco(const std::function<size_t(char*, size_t)>& read, int64_t size, CocoOptions options);

// Records as lines with ",\n" between: the bytes text[start[i]:start[i] + length[i]], with scores[i] in the place of
// the score where scores is not null. std::out_of_range where a record is not in the text (n bytes).
std::string join_records(const char* text, size_t n, const int64_t* start, const int32_t* length, const int32_t* score,
                         const double* scores, size_t count);

// New records, as lines in the same form. ids: image ids as JSON; record i is of ids[image[i]]. box: x y w h.
std::string encode_records(const std::vector<std::string>& ids, const int64_t* image, const int64_t* label,
                           const double* box, const double* scores, size_t count);

}  // namespace fastdet
