// fastdet._cpp: confusion matrices.
#include "python/cpp.h"

#include "segmentation/arguments.h"
#include "segmentation/boundary_counts.h"
#include "segmentation/segment_pairs.h"

namespace fastdet {
namespace segmentation_bindings {
namespace {

using Matrix = py::array_t<int64_t>;

// numpy.zeros: pages of a large matrix are allocated when written; one too large raises MemoryError with its size.
Matrix zeros(int64_t side) {
    return py::module_::import("numpy").attr("zeros")(py::make_tuple(side, side), "int64").cast<Matrix>();
}

LabelMap labels_of(const py::array& x, int64_t classes, const py::object& ignore) {
    const char kind = x.dtype().kind();
    if (!is_plain(x) || (kind != 'i' && kind != 'u') || x.itemsize() > 8)
        throw py::type_error("fastdet._cpp: invalid labels");
    return map_of(x.data(), kind, int(x.itemsize()), classes, ignore);
}

py::object count(const py::array& target, const py::array& prediction, int64_t num_classes, const py::object& ignore) {
    const int64_t classes = class_count(num_classes), side = classes + !ignore.is_none(), n = target.size();
    if (prediction.size() != n) throw py::value_error("fastdet._cpp: invalid prediction");
    const LabelMap truth = labels_of(target, classes, ignore), predicted = labels_of(prediction, classes, ignore);
    Matrix out = zeros(side);
    int64_t* to = out.mutable_data();
    int64_t bad;
    {
        const WithoutGil release;
        bad = confusion_matrix(truth, predicted, n, side, to);
    }
    if (bad >= 0) return py::int_(bad);
    return std::move(out);
}

py::object count_logits(const py::array& target, const py::array& logits, const py::object& ignore, bool channels_last,
                        bool align_corners) {
    if (target.ndim() != 3 || logits.ndim() != 4 || !is_plain(logits) || target.shape(0) != logits.shape(0))
        throw py::value_error("fastdet._cpp: invalid target or logits");
    const int rows = channels_last ? 1 : 2;
    const int64_t classes = class_count(logits.shape(channels_last ? 3 : 1)), side = classes + !ignore.is_none();
    if (!target.size() != !logits.size()) throw py::value_error("fastdet._cpp: invalid sizes");
    const LabelMap truth = labels_of(target, classes, ignore), predicted = map_of(nullptr, 'u', 2, classes, ignore);
    Matrix out = zeros(side);
    int64_t* to = out.mutable_data();
    int64_t bad;
    const auto run = [&](auto s) {
        using S = decltype(s);
        const Scores<S> scores{static_cast<const S*>(logits.data()),
                               channels_last,
                               classes,
                               logits.shape(rows),
                               logits.shape(rows + 1),
                               target.shape(1),
                               target.shape(2),
                               align_corners,
                               nullptr,
                               0};
        const int64_t images = target.shape(0);
        const WithoutGil release;
        bad = confusion_matrix_from_logits(truth, predicted, scores, images, side, to);
    };
    const int number = logits.dtype().num();
    if (number == py::detail::npy_api::NPY_FLOAT_) {
        run(float());
    } else if (number == py::detail::npy_api::NPY_DOUBLE_) {
        run(double());
    } else if (is_half(logits)) {
        run(Half());
    } else if (is_bfloat16(logits)) {
        run(BFloat16());
    } else {
        throw py::type_error("fastdet._cpp: invalid logits");
    }
    if (bad >= 0) return py::int_(bad);
    return std::move(out);
}

IdMap ids_of(const py::array& x) {
    const bool colours = x.ndim() == 3 && x.shape(2) == 3 && x.itemsize() == 1;
    if (!is_plain(x) || x.dtype().kind() != 'u' || x.itemsize() > 4 || (x.ndim() != 2 && !colours))
        throw py::type_error("fastdet._cpp: invalid ids");
    return {static_cast<const uint8_t*>(x.data()), colours ? 3 : int(x.itemsize())};
}

py::array count_pairs_of(const py::array& target, const py::array& prediction) {
    const IdMap truth = ids_of(target), predicted = ids_of(prediction);
    const int64_t n = target.shape(0) * target.shape(1);
    if (prediction.shape(0) * prediction.shape(1) != n) throw py::value_error("fastdet._cpp: invalid prediction");
    std::vector<SegmentPair> pairs;
    {
        const WithoutGil release;
        pairs = segment_pairs(truth, predicted, n);
    }
    py::array_t<int64_t> out({int64_t(pairs.size()), int64_t(3)});
    int64_t* to = out.mutable_data();
    for (const SegmentPair& pair : pairs) {
        *to++ = int64_t(pair.key >> 32);
        *to++ = int64_t(pair.key & 0xffffffff);
        *to++ = pair.pixels;
    }
    return std::move(out);
}

py::array count_boundaries(const py::array& target, const py::array& prediction, int64_t num_classes, int64_t reach,
                           int64_t distance) {
    const int64_t classes = class_count(num_classes);
    for (const py::array* x : {&target, &prediction}) {
        if (!is_plain(*x) || x->dtype().kind() != 'u' || x->itemsize() != 2 || x->ndim() != 2)
            throw py::type_error("fastdet._cpp: invalid labels");
    }
    const int64_t height = target.shape(0), width = target.shape(1), most = int64_t(1) << 31;
    if (prediction.shape(0) != height || prediction.shape(1) != width || classes > 65534 || reach < 0 || distance < 1 ||
        distance > most || height > most || width > most)
        throw py::value_error("fastdet._cpp: invalid maps");
    Matrix out = py::module_::import("numpy")
                     .attr("zeros")(py::make_tuple(classes, int64_t(kBoundaryCounts)), "int64")
                     .cast<Matrix>();
    int64_t* to = out.mutable_data();
    const auto *truth = static_cast<const uint16_t*>(target.data()),
               *guess = static_cast<const uint16_t*>(prediction.data());
    const WithoutGil release;
    boundary_counts(truth, guess, height, width, classes, reach, distance, to);
    return std::move(out);
}

const Bindings registered([](py::module_& m) {
    m.def("boundary_counts", count_boundaries);
    m.def("segment_pairs", count_pairs_of);
    m.def("confusion_matrix", count);
    m.def("confusion_matrix_from_logits", count_logits);
});

}  // namespace
}  // namespace segmentation_bindings
}  // namespace fastdet
