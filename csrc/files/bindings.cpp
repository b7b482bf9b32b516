// fastdet._cpp: reading COCO's JSON.
#include "python/cpp.h"

#include <utility>
#include <vector>

#include "files/coco_json.h"

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

// file.readinto() is called for each buffer. What is wrong with the text is returned as a string.
py::object read(const py::object& file, int64_t size, bool results) {
    const py::object readinto = file.attr("readinto");
    const auto more = [&](char* to, size_t room) {
        py::gil_scoped_acquire acquire;
        const auto got = readinto(py::memoryview::from_memory(to, py::ssize_t(room))).cast<int64_t>();
        if (got < 0 || size_t(got) > room) throw py::value_error("fastdet._cpp: invalid file");
        return size_t(got);
    };
    CocoContent content;
    try {
        py::gil_scoped_release release;
        content = read_coco(more, size, results);
    } catch (const CocoError& error) {
        return py::bytes(error.what()).attr("decode")("utf-8", "replace");
    }
    auto& b = content.boxes;
    const auto n = py::ssize_t(b.image.size());
    return py::make_tuple(hand_over(std::move(b.id)), hand_over(std::move(b.image)), hand_over(std::move(b.label)),
                          hand_over(std::move(b.box), {n, 4}), hand_over(std::move(b.area)),
                          hand_over(std::move(b.score)), hand_over(std::move(b.crowd)),
                          names(std::move(content.images)), names(std::move(content.categories)), content.sections);
}

const Bindings registered([](py::module_& m) { m.def("read_coco", read); });

}  // namespace
}  // namespace files_bindings
}  // namespace fastdet
