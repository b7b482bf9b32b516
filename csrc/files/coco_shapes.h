// Segmentations and keypoints of COCO's records.
#pragma once

#include <cstdint>
#include <vector>

#include "files/json_reader.h"
#include "masks/rle.h"

namespace fastdet {

struct CocoShapes {
    std::vector<int64_t> sizes;     // (masks, 2) height and width of each mask
    NewRuns runs;                   // of each mask
    std::vector<double> keypoints;  // (records, points, 3)
    int64_t points = 0;             // of a record
};

// Sizes of images by id. Of an id that comes twice the last one counts.
class ImageSizes {
  public:
    struct Size {
        int64_t id, width, height;
    };
    void set(std::vector<Size> sizes);
    const Size* find(int64_t id) const;  // null: the id is unknown

  private:
    std::vector<Size> sizes_;
    mutable size_t last_ = 0;  // records of an image often follow one another
};

class ShapeReader : protected JsonReader {
  protected:
    ShapeReader(const std::function<size_t(char*, size_t)>& read, size_t max_text, int64_t max_runs)
        : JsonReader(read, max_text), max_runs_(max_runs) {}

    // Each reads the value that comes next, and adds one mask, or the points of one record. `optional`: null and an
    // empty list are no value; false is returned.
    bool segmentation(bool optional);
    bool keypoints(bool optional, bool detected, int64_t* visible);  // visible: how many of the points are
    // The size of the last mask is compared with that of its image, if it is known; or polygons are drawn. A mask's
    // image may have a name instead of an id.
    void settle(int64_t image, bool named);
    // Likewise of all masks: image(i) is that of mask i, and must be known.
    template <class F>
    void settle_all(F&& image) {
        const size_t n = first_polygon_.size();
        for (size_t i = 0; i < n; ++i) {
            const int64_t id = image(int64_t(i));
            const ImageSizes::Size* found = image_sizes_.find(id);
            if (!found) unknown(id);
            check_size(i, found, std::to_string(id));
        }
        draw_all();
    }
    void drop_masks();
    // Room for `all` records, of which `read` are read.
    void reserve_shapes(size_t read, size_t all);
    size_t masks() const { return first_polygon_.size(); }

    ImageSizes image_sizes_;
    CocoShapes shapes_;

  private:
    bool is_null(bool optional);
    bool polygons(bool optional);
    void run_lengths();
    void read_size();
    void read_counts();
    bool quick_text();
    [[noreturn]] void unknown(int64_t image);
    void check_size(size_t mask, const ImageSizes::Size* found, const std::string& image);
    void draw_all();

    const int64_t max_runs_;
    int64_t columns_ = 0;  // that edges of polygons pass: a polygon has no more runs
    // Mask i has the polygons from first_polygon_[i] on, -1 for run lengths; polygon k has the corners from
    // first_corner_[k] on.
    std::vector<int64_t> first_polygon_, first_corner_{0};
    std::vector<double> corners_;
    std::string counts_;
};

}  // namespace fastdet
