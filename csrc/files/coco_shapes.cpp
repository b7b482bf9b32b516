// Segmentations and keypoints of COCO's records. See coco_shapes.h.
#include "files/coco_shapes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "files/plain_numbers.h"

namespace fastdet {
namespace {

constexpr double kFarthest = 0x1p28;             // of a corner
constexpr int64_t kPixels = (int64_t(1) << 32);  // a mask has fewer
constexpr double kLowest = -std::numeric_limits<double>::infinity();

std::string written(double x) {
    char text[32];
    return std::string(text, print_double(x, text, sizeof text));
}

std::string product(int64_t height, int64_t width) { return std::to_string(height) + " x " + std::to_string(width); }

}  // namespace

void ImageSizes::set(std::vector<Size> sizes) {
    sizes_ = std::move(sizes);
    std::stable_sort(sizes_.begin(), sizes_.end(), [](const Size& a, const Size& b) { return a.id < b.id; });
}

const ImageSizes::Size* ImageSizes::find(int64_t id) const {
    if (last_ < sizes_.size() && sizes_[last_].id == id) return &sizes_[last_];
    const auto after =
        std::upper_bound(sizes_.begin(), sizes_.end(), id, [](int64_t x, const Size& size) { return x < size.id; });
    if (after == sizes_.begin() || (after - 1)->id != id) return nullptr;
    last_ = size_t(after - 1 - sizes_.begin());
    return &sizes_[last_];
}

bool ShapeReader::is_null(bool optional) { return optional && text_.peek() == 'n' ? (word(), true) : false; }

// ------------------------------------------------------------------------------------------------ segmentations
bool ShapeReader::segmentation(bool optional) {
    if (is_null(optional)) return false;
    const char c = text_.peek();
    if (c == '[') return polygons(optional);
    if (c != '{') wrong("polygons or run lengths");
    run_lengths();
    return true;
}

bool ShapeReader::polygons(bool optional) {
    text_.skip();
    if (text_.peek() == ']') {
        if (optional) return text_.skip(), false;
        fail("expected polygons or run lengths, got an empty list");
    }
    first_polygon_.push_back(int64_t(first_corner_.size()) - 1);
    for (bool more = true; more;) {
        if (text_.peek() != '[') wrong("polygons, lists of x1 y1 x2 y2 ...");
        text_.skip();
        const size_t before = corners_.size();
        for (char c = text_.peek() == ']' ? (text_.skip(), ']') : ','; c == ',';) {
            double x;
            if (!quick_number<true>(&x)) x = finite(kLowest, "numbers as corners of polygons");
            if (!(std::fabs(x) <= kFarthest)) fail("expected corners of polygons up to 2**28, got " + written(x));
            corners_.push_back(x);
            c = text_.peek();
            if (c != ',' && c != ']') syntax("',' or ']'");
            text_.skip();
        }
        const size_t count = corners_.size() - before;
        if (count < 6 || count % 2)
            fail("expected polygons of x1 y1 x2 y2 x3 y3 ..., got " + std::to_string(count) +
                 (count == 1 ? " number" : " numbers"));
        first_corner_.push_back(int64_t(corners_.size() / 2));
        const char c = text_.peek();
        if (c != ',' && c != ']') syntax("',' or ']'");
        text_.skip();
        more = c == ',';
    }
    shapes_.runs.end_mask();
    shapes_.sizes.insert(shapes_.sizes.end(), 2, 0);
    return true;
}

void ShapeReader::run_lengths() {
    enum : int { kSize = 1, kCounts = 2 };
    int seen = 0;
    const std::string of = key_ + ".";
    object([&] {
        const int field = key_ == "size" ? kSize : key_ == "counts" ? kCounts : 0;
        key_.insert(0, of);
        if (!field) return void(skip_value(1));
        if (seen & field) fail("expected once, got the key twice");
        seen |= field;
        field == kSize ? read_size() : read_counts();
    });
    for (const int field : {kSize, kCounts}) {
        if (seen & field) continue;
        key_ = of + (field == kSize ? "size" : "counts");
        fail(std::string("expected ") + (field == kSize ? "height and width" : "text or a list of integers") +
             ", got no such field");
    }
    shapes_.runs.end_mask();
    first_polygon_.push_back(-1);
    const auto& runs = shapes_.runs;
    int64_t sum = 0;
    for (size_t i = size_t(runs.offsets[runs.offsets.size() - 2]); i < runs.counts.size(); ++i) sum += runs.counts[i];
    const int64_t height = shapes_.sizes[shapes_.sizes.size() - 2], width = shapes_.sizes.back();
    if (sum != height * width) {
        key_ = of + "counts";
        fail("expected a sum of " + product(height, width) + " = " + std::to_string(height * width) + ", got " +
             std::to_string(sum));
    }
}

void ShapeReader::read_size() {
    if (text_.peek() != '[') wrong("height and width");
    text_.skip();
    int64_t sides[2] = {0, 0};
    size_t count = 0;
    for (char c = text_.peek() == ']' ? (text_.skip(), ']') : ','; c == ','; ++count) {
        const int64_t side = integer("height and width");
        if (side < 0 || side >= kPixels) fail("expected sides from 0 to 2**32 - 1, got " + std::to_string(side));
        if (count < 2) sides[count] = side;
        c = text_.peek();
        if (c != ',' && c != ']') syntax("',' or ']'");
        text_.skip();
    }
    if (count != 2)
        fail("expected height and width, got " + std::to_string(count) + (count == 1 ? " number" : " numbers"));
    if (sides[1] && sides[0] > (kPixels - 1) / sides[1])
        fail("expected fewer than 2**32 pixels, got " + product(sides[0], sides[1]));
    shapes_.sizes.insert(shapes_.sizes.end(), sides, sides + 2);
}

void ShapeReader::read_counts() {
    auto& counts = shapes_.runs.counts;
    const char c = text_.peek();
    if (c == '"') {
        const size_t before = counts.size();
        if (quick_text()) return;
        counts.resize(before);
        counts_.clear();
        string(&counts_);
        const std::string error = rle_from_string(counts_.data(), counts_.size(), counts);
        if (!error.empty()) fail(error);
        return;
    }
    if (c != '[') wrong("text or a list of integers");
    text_.skip();
    for (char d = text_.peek() == ']' ? (text_.skip(), ']') : ','; d == ',';) {
        const int64_t count = integer("integers");
        if (count < 0 || count >= kPixels) fail("expected counts in [0, 2**32), got " + std::to_string(count));
        counts.push_back(uint32_t(count));
        d = text_.peek();
        if (d != ',' && d != ']') syntax("',' or ']'");
        text_.skip();
    }
}

// As rle_from_string, straight from the buffer. False: the text has another escape than that of a backslash, an error,
// or does not end in the buffer; it is still to be read.
bool ShapeReader::quick_text() {
    auto& counts = shapes_.runs.counts;
    uint32_t some[512];
    size_t n = 0;
    const auto put = [&] { counts.insert(counts.end(), some, some + n), n = 0; };
    int64_t before[2] = {0, 0};  // the last count but one, and the last
    const char* p = text_.token() + 1;
    for (int64_t i = 0; *p != '"'; ++i) {
        int64_t x = 0;
        int shift = 0, bits = 32;
        while (bits & 32) {
            bits = int(static_cast<unsigned char>(*p)) - 48;
            if (bits < 0 || bits >= 64 || shift > 30) return false;  // a quote or the end of the buffer too
            if (*p == '\\' && *++p != '\\') return false;
            ++p;
            x |= int64_t(bits & 31) << shift;
            shift += 5;
        }
        if (bits & 16) x -= int64_t(1) << shift;
        if (i > 2) x += before[0];
        if (x < 0 || x > int64_t(UINT32_MAX)) return false;
        before[0] = before[1], before[1] = x;
        if (n == 512) put();
        some[n++] = uint32_t(x);
    }
    put();
    text_.move_to(p + 1);
    return true;
}

// -------------------------------------------------------------------------------------------------- sizes of images
void ShapeReader::settle(int64_t image, bool named) {
    check_size(masks() - 1, named ? nullptr : image_sizes_.find(image), named ? "with a name" : std::to_string(image));
    if (first_polygon_.back() < 0) return;
    auto& runs = shapes_.runs;
    runs.offsets.pop_back();
    rle_from_polygons(corners_.data(), first_corner_, {0, int64_t(first_corner_.size()) - 1}, &shapes_.sizes.end()[-2],
                      runs);
    first_polygon_.back() = -1;
    corners_.clear();
    first_corner_.resize(1);
}

void ShapeReader::unknown(int64_t image) {
    key_ = "image_id";
    fail("expected an image of the file, got " + std::to_string(image));
}

void ShapeReader::check_size(size_t mask, const ImageSizes::Size* found, const std::string& image) {
    key_ = "segmentation";
    const bool drawn = first_polygon_[mask] >= 0, sized = found && found->height > 0 && found->width > 0;
    int64_t* size = &shapes_.sizes[2 * mask];
    if (!drawn) {
        if (!sized || (size[0] == found->height && size[1] == found->width)) return;
        key_ = "segmentation.size";
        fail("expected the image's height and width, " + product(found->height, found->width) + ", got " +
             product(size[0], size[1]));
    }
    if (!sized) fail("expected run lengths, got polygons of image " + image + ", whose size is not known");
    if (found->height >= kPixels || found->width >= kPixels || found->height > (kPixels - 1) / found->width)
        fail("expected an image of fewer than 2**32 pixels, got " + product(found->height, found->width));
    size[0] = found->height, size[1] = found->width;
    const size_t first = size_t(first_polygon_[mask]);
    size_t last = mask + 1;  // the next mask with polygons
    while (last < first_polygon_.size() && first_polygon_[last] < 0) ++last;
    const size_t end = last < first_polygon_.size() ? size_t(first_polygon_[last]) : first_corner_.size() - 1;
    for (size_t k = first; k < end; ++k) {
        const int64_t from = first_corner_[k], to = first_corner_[k + 1];
        for (int64_t c = from; c < to; ++c) {
            const double across = corners_[size_t(2 * c)] - corners_[size_t(2 * (c + 1 < to ? c + 1 : from))];
            columns_ += 1 + std::min(found->width, int64_t(std::fabs(across)));
        }
    }
    if (columns_ > max_runs_)
        fail("expected at most " + std::to_string(max_runs_) +
             " runs of polygons, got more: FASTDET_LIMITS=runs=" + std::to_string(2 * max_runs_) + " raises the limit");
}

void ShapeReader::draw_all() {
    NewRuns& read = shapes_.runs;
    NewRuns all;
    all.counts.reserve(read.counts.size() + size_t(columns_) + masks());
    all.offsets.reserve(masks() + 1);
    std::vector<int64_t> parts;
    for (size_t i = 0; i < masks();) {
        if (first_polygon_[i] < 0) {
            all.counts.insert(all.counts.end(), read.counts.begin() + read.offsets[i],
                              read.counts.begin() + read.offsets[i + 1]);
            all.end_mask();
            ++i;
            continue;
        }
        const size_t begin = i;  // masks with polygons that follow one another
        while (i < masks() && first_polygon_[i] >= 0) ++i;
        parts.assign(first_polygon_.begin() + std::ptrdiff_t(begin), first_polygon_.begin() + std::ptrdiff_t(i));
        const auto next = std::find_if(first_polygon_.begin() + std::ptrdiff_t(i), first_polygon_.end(),
                                       [](int64_t first) { return first >= 0; });
        parts.push_back(next == first_polygon_.end() ? int64_t(first_corner_.size()) - 1 : *next);
        rle_from_polygons(corners_.data(), first_corner_, parts, &shapes_.sizes[2 * begin], all);
    }
    read = std::move(all);
    corners_ = std::vector<double>();
    first_polygon_.assign(masks(), -1);
    first_corner_.assign(1, 0);
}

void ShapeReader::reserve_shapes(size_t read, size_t all) {
    const auto grown = [&](size_t now) { return size_t(double(now) / double(read) * double(all)); };
    shapes_.keypoints.reserve(grown(shapes_.keypoints.size()));
    shapes_.runs.counts.reserve(grown(shapes_.runs.counts.size()));
    shapes_.runs.offsets.reserve(grown(shapes_.runs.offsets.size()));
    shapes_.sizes.reserve(grown(shapes_.sizes.size()));
    corners_.reserve(grown(corners_.size()));
    first_corner_.reserve(grown(first_corner_.size()));
    first_polygon_.reserve(grown(first_polygon_.size()));
}

void ShapeReader::drop_masks() {
    shapes_.sizes.clear();
    shapes_.runs = NewRuns();
    first_polygon_.clear();
    first_corner_.assign(1, 0);
    corners_.clear();
}

// ------------------------------------------------------------------------------------------------------- keypoints
bool ShapeReader::keypoints(bool optional, bool detected, int64_t* visible) {
    constexpr const char* kWanted = "x, y and visibility of each point";
    if (is_null(optional)) return false;
    if (text_.peek() != '[') wrong(kWanted);
    text_.skip();
    if (optional && text_.peek() == ']') return text_.skip(), false;
    auto& out = shapes_.keypoints;
    const size_t before = out.size();
    *visible = 0;
    for (char c = text_.peek() == ']' ? (text_.skip(), ']') : ','; c == ',';) {
        double x;
        if (!quick_number<true>(&x)) x = finite(kLowest, kWanted);
        if ((out.size() - before) % 3 == 2) {
            if (!detected && x != 0 && x != 1 && x != 2) fail("expected a visibility of 0, 1 or 2, got " + written(x));
            *visible += x > 0;
        }
        out.push_back(x);
        c = text_.peek();
        if (c != ',' && c != ']') syntax("',' or ']'");
        text_.skip();
    }
    const size_t count = out.size() - before;
    const std::string got = std::to_string(count) + (count == 1 ? " number" : " numbers");
    if (!count || count % 3) fail(std::string("expected ") + kWanted + ", got " + got);
    if (!shapes_.points) shapes_.points = int64_t(count / 3);
    if (count != size_t(3 * shapes_.points))
        fail("expected " + std::to_string(3 * shapes_.points) + " numbers, as other records have, got " + got);
    return true;
}

}  // namespace fastdet
