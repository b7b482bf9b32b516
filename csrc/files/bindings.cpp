// fastdet._cpp: reading COCO's JSON, and copying records of it.
#include "python/cpp.h"

#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "files/coco_json.h"
#include "files/png_rows.h"

namespace fastdet {
namespace files_bindings {
namespace {

// The vector's own memory as an array.
template <class T>
py::array_t<T> hand_over(std::vector<T>&& from, std::vector<py::ssize_t> shape) {
    auto* kept = new std::vector<T>(std::move(from));
    py::capsule owner(kept, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return py::array_t<T>(std::move(shape), kept->data(), owner);
}
template <class T>
py::array_t<T> hand_over(std::vector<T>&& from) {
    const auto n = py::ssize_t(from.size());
    return hand_over(std::move(from), {n});
}

py::tuple names(CocoNames&& from) {
    return py::make_tuple(hand_over(std::move(from.id)), py::bytes(from.text), hand_over(std::move(from.end)),
                          hand_over(std::move(from.width)), hand_over(std::move(from.height)));
}

py::bytes bytes(const std::string& x) { return py::bytes(x); }

py::list listed(const std::vector<std::string>& from) {
    py::list out;
    for (const std::string& x : from) out.append(bytes(x).attr("decode")("utf-8", "replace"));
    return out;
}

// Reads up to `room` bytes; how many. The file may keep the view that it is given: so it is of Python's memory, the
// buffer's, which lives as long as a view.
size_t read_some(const py::object& readinto, py::object& buffer, char* to, size_t room) {
    const auto size = py::ssize_t(room);
    if (!buffer || PyByteArray_GET_SIZE(buffer.ptr()) < size)
        buffer = owned(PyByteArray_FromStringAndSize(nullptr, size));
    const py::object view = owned(PyMemoryView_FromObject(buffer.ptr()));
    const py::object part = owned(PySequence_GetSlice(view.ptr(), 0, size));
    const py::object count = owned(run_python([&] { return PyObject_CallOneArg(readinto.ptr(), part.ptr()); }));
    const auto got = count.cast<int64_t>();
    if (got < 0 || size_t(got) > room) throw py::value_error("fastdet._cpp: invalid file");
    std::memcpy(to, PyByteArray_AS_STRING(buffer.ptr()), size_t(got));
    return size_t(got);
}

// Columns by name. file.readinto() is called for each buffer. An error in the text is returned as a string.
// kind: "data set", "results" or "names", as CocoKind has them.
// iou_type: "bbox", "segm", "keypoints", "auto", "any" or "first", as CocoRead has them. ids (images,), sizes (images,
// 2), width and height: of the images of results. max_text, max_images, max_runs: see CocoOptions.
py::object read(const py::object& file, int64_t size, const std::string& kind, bool string_ids, bool records,
                const std::string& iou_type, const py::array& ids, const py::array& sizes, size_t max_text,
                size_t max_images, int64_t max_runs) {
    CocoOptions options{kind == "results" ? CocoKind::kResults
                        : kind == "names" ? CocoKind::kNames
                                          : CocoKind::kDataSet,
                        iou_type == "segm"        ? CocoRead::kMasks
                        : iou_type == "keypoints" ? CocoRead::kKeypoints
                        : iou_type == "auto"      ? CocoRead::kAll
                        : iou_type == "any"       ? CocoRead::kAny
                        : iou_type == "first"     ? CocoRead::kFirst
                                                  : CocoRead::kBoxes,
                        string_ids,
                        records,
                        max_text,
                        max_images,
                        max_runs,
                        {}};
    if (ids.ndim() != 1 || sizes.ndim() != 2 || sizes.shape(0) != ids.shape(0) || sizes.shape(1) != 2)
        throw py::type_error("fastdet._cpp: invalid sizes");
    const int64_t *id = data<int64_t>(ids), *side = data<int64_t>(sizes);
    for (int64_t i = 0; i < ids.shape(0); ++i) options.sizes.push_back({id[i], side[2 * i], side[2 * i + 1]});
    const py::object readinto = file.attr("readinto");
    py::object buffer;
    CocoContent content;
    try {
        WithoutGil release;
        const auto more = [&](char* to, size_t room) {
            return release.with_gil([&] { return read_some(readinto, buffer, to, room); });
        };
        content = read_coco(more, size, options);
    } catch (const JsonError& error) {
        return bytes(error.what()).attr("decode")("utf-8", "replace");
    }
    auto& b = content.boxes;
    auto& r = content.records;
    auto& shapes = content.shapes;
    const auto n = py::ssize_t(b.image.size());
    py::dict out;
    out["ids"] = hand_over(std::move(b.id));
    out["image"] = hand_over(std::move(b.image));
    out["named"] = hand_over(std::move(b.named));
    out["image_names"] = listed(content.image_names);
    out["file"] = hand_over(std::move(b.file));
    out["file_names"] = listed(content.file_names);
    out["ignore"] = hand_over(std::move(b.ignore));
    out["federated"] = py::none();
    if (content.federated) {
        const auto negative = py::ssize_t(content.negative.size() / 2);
        const auto open = py::ssize_t(content.not_exhaustive.size() / 2);
        out["federated"] = py::make_tuple(hand_over(std::move(content.negative), {negative, 2}),
                                          hand_over(std::move(content.not_exhaustive), {open, 2}));
    }
    out["frequency"] = py::bytes(reinterpret_cast<const char*>(content.categories.frequency.data()),
                                 content.categories.frequency.size());
    out["crowding"] = hand_over(std::move(content.images.crowding));
    out["held"] = py::make_tuple(content.held[0], content.held[1], content.held[2]);
    out["decided"] = int(content.decided);
    out["masks"] = py::none();
    if (content.has_masks)
        out["masks"] =
            py::make_tuple(hand_over(std::move(shapes.sizes), {n, 2}), hand_over(std::move(shapes.runs.counts)),
                           hand_over(std::move(shapes.runs.offsets)));
    out["keypoints"] = py::none();
    if (content.has_keypoints)
        out["keypoints"] = hand_over(std::move(shapes.keypoints), {n, py::ssize_t(shapes.points), 3});
    out["label"] = hand_over(std::move(b.label));
    out["boxes"] = hand_over(std::move(b.box), {n, 4});
    out["areas"] = hand_over(std::move(b.area));
    out["scores"] = hand_over(std::move(b.score));
    out["crowd"] = hand_over(std::move(b.crowd));
    out["parents"] =
        py::make_tuple(py::bytes(content.categories.parents), hand_over(std::move(content.categories.parents_end)));
    out["images"] = names(std::move(content.images));
    out["categories"] = names(std::move(content.categories));
    out["sections"] = content.sections;
    out["section"] = content.is_list ? "results" : "annotations";
    out["start"] = hand_over(std::move(r.start));
    out["length"] = hand_over(std::move(r.length));
    out["score_at"] = hand_over(std::move(r.score));
    out["bounds"] = py::make_tuple(r.list_start, r.list_end);
    out["other_keys"] = listed(r.other_keys);
    return out;
}

template <class T>
using Flat = py::array_t<T, py::array::c_style>;

void check_plain(const std::vector<py::array>& arrays) {
    for (const py::array& x : arrays) {
        if (!is_plain(x)) throw py::type_error("fastdet._cpp: invalid array");
    }
}

py::bytes join(const py::bytes& text, const Flat<int64_t>& start, const Flat<int32_t>& length,
               const Flat<int32_t>& score, const py::object& scores) {
    const auto n = start.size();
    const auto given = scores.is_none() ? Flat<double>() : scores.cast<Flat<double>>();
    check_plain({start, length, score, given});
    if (length.size() != n || score.size() != n || (!scores.is_none() && given.size() != n))
        throw py::value_error("fastdet._cpp: join_records: one of each for each record");
    const std::string_view whole = text;
    return bytes(join_records(whole.data(), whole.size(), start.data(), length.data(), score.data(),
                              scores.is_none() ? nullptr : given.data(), size_t(n)));
}

py::bytes encode(const py::list& ids, const Flat<int64_t>& image, const Flat<int64_t>& label, const Flat<double>& boxes,
                 const Flat<double>& scores) {
    const auto n = image.size();
    check_plain({image, label, boxes, scores});
    if (label.size() != n || boxes.size() != 4 * n || scores.size() != n)
        throw py::value_error("fastdet._cpp: encode_records: one of each for each record");
    std::vector<std::string> texts;
    for (const auto& id : ids) texts.push_back(py::bytes(py::reinterpret_borrow<py::object>(id)));
    return bytes(encode_records(texts, image.data(), label.data(), boxes.data(), scores.data(), size_t(n)));
}

// The colours (height, width, 3), or an integer: see png_pixels.
py::object pixels_of(const py::bytes& packed, int64_t height, int64_t width) {
    const std::string_view text = packed;
    constexpr int64_t kMost = int64_t(1) << 31;
    if (height < 1 || width < 1 || height > kMost || width > kMost || width > (int64_t(1) << 40) / height)
        throw py::value_error("fastdet._cpp: invalid size");
    py::array_t<uint8_t> out({height, width, int64_t(3)});
    uint8_t* to = out.mutable_data();
    const auto* from = reinterpret_cast<const uint8_t*>(text.data());
    int64_t wrong;
    {
        const WithoutGil release;
        const Buffer<uint8_t> raw(height * (3 * width + 1));
        wrong = png_pixels(from, text.size(), height, width, raw.get(), to);
    }
    if (wrong) return py::int_(wrong);
    return std::move(out);
}

const Bindings registered([](py::module_& m) {
    m.def("png_pixels", pixels_of);
    m.def("read_coco", read);
    m.def("join_records", join);
    m.def("encode_records", encode);
});

}  // namespace
}  // namespace files_bindings
}  // namespace fastdet
