// COCO's JSON. See coco_json.h.
#include "files/coco_json.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "files/places.h"

namespace fastdet {
namespace {

constexpr size_t kMaxOtherKeys = 20;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

enum Field : int {
    kId = 1,
    kImage = 2,
    kLabel = 4,
    kBox = 8,
    kArea = 16,
    kCrowd = 32,
    kScore = 64,
    kIgnore = 128,
    kFile = 256,
    kSegmentation = 512,
    kKeypoints = 1024,
    kVisible = 2048,
    kShapes = kSegmentation | kKeypoints | kVisible
};
constexpr int kFieldCount = 12;
constexpr const char* kFields[] = {"id",    "image_id", "category_id", "bbox",         "area",      "iscrowd",
                                   "score", "ignore",   "file_name",   "segmentation", "keypoints", "num_keypoints"};
constexpr const char* kWanted[] = {"an integer",
                                   "an integer",
                                   "an integer",
                                   "four numbers",
                                   "",
                                   "",
                                   "a number",
                                   "",
                                   "",
                                   "polygons or run lengths",
                                   "x, y and visibility of each point",
                                   ""};
constexpr const char* kImageWanted = "an integer or a string";  // of results, where strings may be ids

class Parser : private ShapeReader {
  public:
    Parser(const std::function<size_t(char*, size_t)>& read, int64_t size, CocoOptions options)
        : ShapeReader(read, options.max_text, options.max_runs),
          size_(size),
          results_(options.kind == CocoKind::kResults),
          names_only_(options.kind == CocoKind::kNames),
          string_ids_(results_ && options.string_ids),
          spans_(results_ && options.records),
          read_(options.read),
          max_images_(options.max_images) {
        reads_ = read_ == CocoRead::kMasks       ? kSegmentation
                 : read_ == CocoRead::kKeypoints ? kKeypoints | (results_ ? 0 : kVisible)
                 : read_ == CocoRead::kAll       ? kSegmentation | kKeypoints
                                                 : 0;
        if (read_ == CocoRead::kFirst) return;
        needs_ = kImage | kLabel | (results_ ? kScore : kId) | (read_ == CocoRead::kBoxes ? kBox : 0) |
                 (read_ == CocoRead::kAll ? 0 : reads_ & ~kVisible);  // kAny: nothing yet
        image_sizes_.set(options.sizes);
    }

    CocoContent run() {
        try {
            read();
        } catch (const FirstRead&) {
        }
        return std::move(content_);
    }

  private:
    struct FirstRead {};  // thrown: the first record is read

    void read() {
        const char first = text_.peek();
        if (first == '[' && results_) {
            section_ = "results";
            content_.sections = kAnnotations;
            content_.is_list = true;
            records([&] { annotation(); });
        } else if (first == '{') {
            sections();
        } else if (first == '[') {
            fail("expected an object with images, annotations and categories, got a list");
        } else {
            section_ = nullptr;
            syntax(results_ ? "a list of detections" : "an object with images, annotations and categories");
        }
        index_ = -1;
        section_ = nullptr;
        if (!text_.at_end()) syntax("the end of the file");
        finish();
    }

    void sections() {
        object([&] {
            index_ = -1;
            const int section = key_ == "annotations"  ? (names_only_ ? 0 : kAnnotations)
                                : results_             ? 0
                                : key_ == "images"     ? kImages
                                : key_ == "categories" ? kCategories
                                                       : 0;
            if (!section) {
                auto& others = content_.records.other_keys;
                if (spans_ && others.size() < kMaxOtherKeys) others.push_back(start_of(key_));
                return void(skip_value(0));
            }
            const std::string name = key_;
            section_ = name.c_str();
            if (content_.sections & section) fail("expected one list, got the key twice");
            content_.sections |= section;
            if (text_.peek() != '[') wrong("a list");
            if (section == kAnnotations) {
                records([&] { annotation(); });
            } else {
                auto& names = section == kImages ? content_.images : content_.categories;
                const char* called = section == kImages ? "file_name" : "name";
                records([&] { named(names, called); });
            }
            index_ = -1;
            section_ = nullptr;
        });
        if (results_ && !content_.sections) fail("expected a list of detections, got an object without annotations");
    }

    template <class F>
    void records(F&& record) {
        const int64_t start = content_.records.list_start = text_.at();
        text_.skip();
        index_ = 0;
        if (text_.peek() != ']') {
            for (;; ++index_) {
                if (text_.peek() != '{') wrong("an object");
                const int64_t from = text_.at();
                record();
                if (text_.at() - from > int64_t(max_text_)) too_long();
                if (index_ == 1000) reserve((text_.at() - start) / 1000);
                const char c = text_.peek();
                if (c == ']') break;
                if (c != ',') syntax("',' or ']'");
                text_.skip();
            }
        }
        text_.skip();
        content_.records.list_end = text_.at();
    }

    // Of a record: value() is called with the key in key_ and the text at the value.
    template <class F>
    void fields(F&& value) {
        in_record_ = true;
        object(value);
        in_record_ = false;
    }

    // From the bytes of the first records: vectors that double would hold up to three times what they need.
    void reserve(int64_t bytes) {
        auto& b = content_.boxes;
        if (b.image.size() < 1000 || bytes < 1) return;
        const size_t n = size_t(size_ / bytes + size_ / bytes / 8);
        b.id.reserve(results_ ? 0 : n), b.image.reserve(n), b.label.reserve(n), b.box.reserve(4 * n);
        b.area.reserve(results_ ? 0 : n), b.score.reserve(n), b.crowd.reserve(results_ ? 0 : n);
        reserve_shapes(b.image.size(), n);
        auto& r = content_.records;
        if (spans_) r.start.reserve(n), r.length.reserve(n), r.score.reserve(n);
    }

    void annotation() {
        auto& b = content_.boxes;
        const int64_t start = text_.at();
        int seen = 0;
        int64_t id = 0, image = 0, label = 0, score_at = 0, file = -1, visible = -1, count = -1;
        double box[4] = {kNaN, kNaN, kNaN, kNaN}, area = kNaN, score = kNaN;
        bool crowd = false, ignore = false, named = false;
        // results: what may decide for all is read of the first record
        const bool first = results_ && index_ == 0 && read_ != CocoRead::kBoxes && read_ != CocoRead::kFirst;
        const int reads = reads_ | (first ? kSegmentation : 0) | (first && read_ == CocoRead::kAny ? kKeypoints : 0);
        int held = 0;
        fields([&] {
            const int field = which();
            if (!field) return void(skip_value(0));
            if ((field & kShapes & ~reads) != 0) {
                held = skip_value(0) ? held & ~field : held | field;
                return;
            }
            if (seen & field) fail("expected once, got the key twice");
            seen |= field;
            if (results_ && (field & (kId | kArea | kCrowd | kIgnore))) return void(skip_value(0));
            switch (field) {
                case kId:
                    id = integer(kWanted[0]);
                    break;
                case kImage:
                    named = string_ids_ && text_.peek() == '"';
                    image = named ? image_places_(text_of_string(), &content_.image_names)
                                  : integer(string_ids_ ? kImageWanted : kWanted[1]);
                    break;
                case kLabel:
                    label = integer(kWanted[2]);
                    break;
                case kBox:
                    held |= read_box(box, !(needs_ & kBox)) ? kBox : 0;
                    break;
                case kSegmentation:
                    held |= segmentation(!(needs_ & kSegmentation)) ? kSegmentation : 0;
                    break;
                case kKeypoints:
                    held |= keypoints(!(needs_ & kKeypoints), results_, &visible) ? kKeypoints : 0;
                    break;
                case kVisible:
                    count = integer(kWanted[0]);
                    break;
                case kArea:
                    area = finite(0, "a number >= 0");
                    break;
                case kCrowd:
                    crowd = flag();
                    break;
                case kIgnore:
                    ignore = text_.peek() == 'n' ? (word(), false) : flag();
                    break;
                case kFile:
                    if (!string_ids_ || text_.peek() != '"') return void(skip_value(0));
                    if (!text_of_string().empty()) file = file_places_(string_, &content_.file_names);
                    break;
                default:
                    text_.peek();
                    score_at = text_.at() - start;
                    score = finite(-std::numeric_limits<double>::infinity(), "a number");
            }
        });
        for (int i = 0; i < 3; ++i) content_.held[i] += (held & kOfField[i]) != 0;
        if (read_ == CocoRead::kFirst) throw FirstRead();
        if (first) decide(held);
        require(needs_, seen);
        if (held & reads_ & kSegmentation && results_) {
            in_record_ = true;
            settle(image, named);
            in_record_ = false;
        }
        b.image.push_back(image);
        b.label.push_back(label);
        b.box.insert(b.box.end(), box, box + 4);
        b.score.push_back(score);
        if (named && b.named.empty()) b.named.resize(b.image.size() - 1);
        if (named || !b.named.empty()) b.named.push_back(named);
        if (file >= 0 && b.file.empty()) b.file.resize(b.image.size() - 1, -1);
        if (file >= 0 || !b.file.empty()) b.file.push_back(file);
        if (spans_) note(start, score_at);
        if (results_) return;
        if (ignore && b.ignore.empty()) b.ignore.resize(b.image.size() - 1);
        if (ignore || !b.ignore.empty()) b.ignore.push_back(ignore);
        b.id.push_back(id);
        b.area.push_back(area);
        b.crowd.push_back(uint8_t(crowd + (held & reads_ & kKeypoints && (count < 0 ? visible : count) == 0 ? 2 : 0)));
    }

    // By the fields of the first of the results, as pycocotools' loadRes: what all of them need, and have.
    void decide(int held) {
        content_.decided = held & kBox            ? CocoField::kBox
                           : held & kSegmentation ? CocoField::kSegmentation
                           : held & kKeypoints    ? CocoField::kKeypoints
                                                  : CocoField::kNone;
        if (content_.decided == CocoField::kNone) {
            if (read_ != CocoRead::kAll && read_ != CocoRead::kAny) return;  // the field that is needed is absent
            fail("expected bbox, segmentation or keypoints, got none of them");
        }
        const int needed = kOfField[int(content_.decided)];
        needs_ |= needed;
        reads_ |= needed & (kSegmentation | kKeypoints);
        if (!(reads_ & kSegmentation)) drop_masks();
        if (!(reads_ & kKeypoints)) shapes_.keypoints.clear(), shapes_.points = 0;
    }

    void finish() {
        const size_t n = content_.boxes.image.size();
        if (reads_ & kSegmentation && !results_) {
            section_ = "annotations";
            in_record_ = true;
            std::vector<ImageSizes::Size> sizes;
            const auto& images = content_.images;
            for (size_t i = 0; i < images.id.size(); ++i)
                sizes.push_back({images.id[i], images.width[i], images.height[i]});
            image_sizes_.set(std::move(sizes));
            settle_all([&](int64_t i) { return content_.boxes.image[size_t(index_ = i)]; });
        }
        content_.has_masks = reads_ & kSegmentation && masks() == n && (n || read_ == CocoRead::kMasks);
        content_.has_keypoints = reads_ & kKeypoints && shapes_.keypoints.size() == 3 * size_t(shapes_.points) * n &&
                                 (n ? shapes_.points > 0 : read_ == CocoRead::kKeypoints);
        content_.shapes = std::move(shapes_);
    }

    void require(int needed, int seen) {
        for (int i = 0; i < kFieldCount; ++i) {
            if (!((needed & ~seen) >> i & 1)) continue;
            key_ = kFields[i];
            in_record_ = true;
            const char* wanted = string_ids_ && 1 << i == kImage ? kImageWanted : kWanted[i];
            fail(std::string("expected ") + wanted + ", got no such field");
        }
    }

    const std::string& text_of_string() {
        string_.clear();
        string(&string_);
        return string_;
    }

    void note(int64_t start, int64_t score_at) {
        const int64_t length = text_.at() - start;
        if (length > std::min<int64_t>(int64_t(max_text_), std::numeric_limits<int32_t>::max())) too_long();
        content_.records.start.push_back(start);
        content_.records.length.push_back(int32_t(length));
        content_.records.score.push_back(int32_t(score_at));
    }

    int which() const {
        const size_t n = key_.size();  // lengths tell the fields apart, but for bbox and area
        const int i = n == 2    ? 0
                      : n == 8  ? 1
                      : n == 11 ? 2
                      : n == 4  ? (key_[0] == 'b' ? 3 : 4)
                      : n == 7  ? 5
                      : n == 5  ? 6
                      : n == 6  ? 7
                      : n == 9  ? (key_[0] == 'f' ? 8 : 10)
                      : n == 12 ? 9
                      : n == 13 ? 11
                                : -1;
        return i >= 0 && std::memcmp(key_.data(), kFields[i], n) == 0 ? 1 << i : 0;
    }

    void named(CocoNames& names, const char* called) {
        enum : int {
            kOwnId = 1,
            kCalled = 2,
            kParent = 4,
            kWidth = 8,
            kHeight = 16,
            kNegative = 32,
            kNotExhaustive = 64,
            kCrowding = 128,
            kFrequency = 256
        };
        int seen = 0;
        int64_t id = 0, width = 0, height = 0;
        double crowding = kNaN;
        uint8_t frequency = 0;
        const size_t n = names.id.size(), negative = content_.negative.size(), open = content_.not_exhaustive.size();
        if (n >= max_images_) {
            const std::string limit = std::to_string(max_images_), more = std::to_string(2 * max_images_);
            fail("expected at most " + limit + ", got more: FASTDET_LIMITS=images=" + more + " raises the limit");
        }
        const bool images = &names == &content_.images;
        fields([&] {
            const int field = key_ == "id"                            ? kOwnId
                              : key_ == called                        ? kCalled
                              : key_ == "supercategory"               ? kParent
                              : key_ == "width"                       ? kWidth
                              : key_ == "height"                      ? kHeight
                              : !images                               ? (key_ == "frequency" ? kFrequency : 0)
                              : key_ == "neg_category_ids"            ? kNegative
                              : key_ == "not_exhaustive_category_ids" ? kNotExhaustive
                              : key_ == "crowdIndex"                  ? kCrowding
                                                                      : 0;
            if (seen & field) fail("expected once, got the key twice");
            seen |= field;
            const char c = text_.peek();
            const bool number_next = is_digit(c) || c == '-';
            if (field == kOwnId) {
                id = integer("an integer");
            } else if ((field == kCalled || field == kParent) && c == '"') {
                string(field == kCalled ? &names.text : &names.parents);
            } else if ((field == kWidth || field == kHeight) && number_next) {
                (field == kWidth ? width : height) = size_of(number());
            } else if (field == kNegative || field == kNotExhaustive) {
                content_.federated = true;
                if (c == 'n') return word();
                categories(field == kNegative ? content_.negative : content_.not_exhaustive);
            } else if (field == kCrowding && number_next) {
                crowding = number().value;
                if (!std::isfinite(crowding)) crowding = kNaN;
            } else if (field == kFrequency && c == '"') {
                const std::string& word = text_of_string();
                frequency = word == "r" || word == "c" || word == "f" ? uint8_t(word[0]) : 0;
            } else {
                skip_value(0);
            }
        });
        if (!(seen & kOwnId)) {
            key_ = "id";
            in_record_ = true;
            fail("expected an integer, got no such field");
        }
        for (size_t i = negative; i < content_.negative.size(); i += 2) content_.negative[i] = id;
        for (size_t i = open; i < content_.not_exhaustive.size(); i += 2) content_.not_exhaustive[i] = id;
        if (crowding == crowding && names.crowding.empty()) names.crowding.resize(n, kNaN);
        if (crowding == crowding || !names.crowding.empty()) names.crowding.push_back(crowding);
        if (frequency && names.frequency.empty()) names.frequency.resize(n);
        if (frequency || !names.frequency.empty()) names.frequency.push_back(frequency);
        names.id.push_back(id);
        names.width.push_back(width);
        names.height.push_back(height);
        names.end.push_back(int64_t(names.text.size()));
        names.parents_end.push_back(int64_t(names.parents.size()));
    }

    // A list of ids of categories: to has pairs of an image, which is not known yet, and a category.
    void categories(std::vector<int64_t>& to) {
        constexpr const char* kListed = "a list of integers";
        if (text_.peek() != '[') wrong(kListed);
        text_.skip();
        for (char c = text_.peek() == ']' ? (text_.skip(), ']') : ','; c == ',';) {
            to.push_back(0);
            to.push_back(integer(kListed));
            c = text_.peek();
            if (c != ',' && c != ']') syntax("',' or ']'");
            text_.skip();
        }
    }

    // Pixels of a side: a whole number that a double holds, else 0.
    static int64_t size_of(const Number& x) {
        const bool fits = x.value >= 0 && x.value < 9007199254740992.0 && x.value == std::floor(x.value);
        return fits ? int64_t(x.value) : 0;
    }

    // optional: null and an empty list are no box; false is returned.
    bool read_box(double* box, bool optional) {
        if (optional && text_.peek() == 'n') return word(), false;
        if (text_.peek() != '[') wrong("four numbers");
        text_.skip();
        if (text_.peek() == ']') {
            if (optional) return text_.skip(), false;
            wrong_count(0, false);
        }
        for (int i = 0; i < 4; ++i) {
            box[i] = i < 2 ? finite(-std::numeric_limits<double>::infinity(), "four numbers")
                           : finite(0, i == 2 ? "a width >= 0" : "a height >= 0");
            const char c = text_.peek();
            if (c != (i < 3 ? ',' : ']')) {
                if (c == ',' || c == ']') wrong_count(i + 1, c == ',');
                syntax(i < 3 ? "','" : "']'");
            }
            text_.skip();
        }
        return true;
    }

    [[noreturn]] void wrong_count(int n, bool more) {
        fail("expected four numbers, got " + (more ? "more" : std::to_string(n) + (n == 1 ? " number" : " numbers")));
    }

    bool flag() {
        const char c = text_.peek();
        if (c == 't' || c == 'f') return word(), c == 't';
        if (c != '-' && !is_digit(c)) wrong("0 or 1");
        const Number x = number();
        if (x.value != 0 && x.value != 1) fail("expected 0 or 1, got " + shown(x));
        return x.value == 1;
    }

    std::string where() const override {
        std::string out;
        if (!section_) return out;
        out = section_;
        if (index_ >= 0) out += "[" + std::to_string(index_) + "]";
        if (in_record_ && index_ >= 0) out += "." + start_of(key_);
        return out + ": ";
    }

    int64_t size_;
    static constexpr int kOfField[] = {kBox, kSegmentation, kKeypoints};  // of CocoField

    bool results_, names_only_, string_ids_, spans_;
    const CocoRead read_;
    int reads_, needs_ = 0;  // fields: of kShapes, that are read; that every record must have
    size_t max_images_;
    CocoContent content_;
    Places image_places_, file_places_;  // of image_names and file_names
    std::string string_;
    const char* section_ = nullptr;
    int64_t index_ = -1;
    bool in_record_ = false;
};

}  // namespace

CocoContent read_coco(const std::function<size_t(char*, size_t)>& read, int64_t size, CocoOptions options) {
    return Parser(read, size, options).run();
}

}  // namespace fastdet
