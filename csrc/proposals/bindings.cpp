// fastdet._cpp: region proposals.
#include "boxes/arrays.h"
#include "proposals/generate_proposals.h"
#include "proposals/match_boxes.h"
#include "proposals/sample_balanced.h"

namespace fastdet {
namespace proposals_bindings {
namespace {

template <class T>
BoxCoding<T> coding_of(const py::tuple& weights, double limit) {
    if (weights.size() != 4) throw py::value_error("fastdet._cpp: invalid weights");
    BoxCoding<T> coding;
    for (size_t k = 0; k < 4; ++k) coding.weight[k] = T(weights[k].cast<double>());
    coding.limit = T(limit);
    return coding;
}

// fn(job, n) on rows (n, 4) and anchors (n / per_anchor, 4): results, or the code of a wrong row.
py::object code_boxes(const py::array& rows, const py::array& anchors, const py::tuple& weights, double limit,
                      bool encode) {
    const int64_t n = rows_of(rows), owners = rows_of(anchors);
    if (owners ? n % owners != 0 : n != 0) throw py::value_error("fastdet._cpp: invalid anchors");
    return by_dtype(rows, [&](auto t) -> py::object {
        using T = decltype(t);
        py::array_t<T> out({n, int64_t(4)});
        const CoderJob<T> job{data<T>(rows), data<T>(anchors), owners && n ? n / owners : 1,
                              coding_of<T>(weights, limit), out.mutable_data()};
        int64_t wrong;
        {
            const WithoutGil release;
            wrong = encode ? encode_boxes(job, n) : decode_boxes(job, n);
        }
        if (wrong >= 0) return py::int_(wrong);
        return out;
    });
}

py::object encode(const py::array& boxes, const py::array& anchors, const py::tuple& weights) {
    if (rows_of(boxes) != rows_of(anchors)) throw py::value_error("fastdet._cpp: invalid anchors");
    return code_boxes(boxes, anchors, weights, 0, true);
}

py::object decode(const py::array& deltas, const py::array& anchors, const py::tuple& weights, double max_log_ratio) {
    return code_boxes(deltas, anchors, weights, max_log_ratio, false);
}

py::object match(const py::array& iou, double high, double low, bool allow_low_quality) {
    if (iou.ndim() != 2) throw py::value_error("fastdet._cpp: invalid iou");
    const int64_t rows = iou.shape(0), columns = iou.shape(1);
    return by_dtype(iou, [&](auto t) -> py::object {
        using T = decltype(t);
        const T* x = data<T>(iou);
        py::array_t<int64_t> matches(columns);
        int64_t* out = matches.mutable_data();
        int64_t nan;
        {
            const WithoutGil release;
            nan = match_boxes(x, rows, columns, high, low, allow_low_quality, out);
        }
        if (nan >= 0) return py::int_(nan);
        return matches;
    });
}

py::tuple sample(const py::array& labels, int64_t count, int64_t max_positive, uint64_t seed) {
    const int64_t* x = data<int64_t>(labels);
    const int64_t n = labels.size();
    if (count < 0 || max_positive < 0 || max_positive > count) throw py::value_error("fastdet._cpp: invalid count");
    Sample found;
    {
        const WithoutGil release;
        found = sample_balanced(x, n, count, max_positive, seed);
    }
    return py::make_tuple(copy(found.positive.data(), int64_t(found.positive.size())),
                          copy(found.negative.data(), int64_t(found.negative.size())));
}

template <class T>
std::vector<ProposalLevel<T>> levels_of(const py::list& scores, const py::list& deltas, const py::list& anchors,
                                        int64_t images) {
    std::vector<ProposalLevel<T>> levels;
    for (size_t l = 0; l < scores.size(); ++l) {
        const py::array s = as_array(scores[l]), d = as_array(deltas[l]), a = as_array(anchors[l]);
        if (s.ndim() != 2 || s.shape(0) != images || d.size() != 4 * s.size() || rows_of(a) != s.shape(1) ||
            s.shape(1) > kMaxBoxes)
            throw py::value_error("fastdet._cpp: invalid levels");
        levels.push_back({data<T>(s), data<T>(d), boxes_of<T>(a), s.shape(1)});
    }
    return levels;
}

py::object generate(const py::list& scores, const py::list& deltas, const py::list& anchors,
                    const py::array& image_sizes, int64_t pre_nms_top_n, int64_t post_nms_top_n, double iou_threshold,
                    double min_size, double score_threshold) {
    if (!scores.size() || scores.size() != deltas.size() || scores.size() != anchors.size() || pre_nms_top_n < 0 ||
        post_nms_top_n < 0 || post_nms_top_n > kMaxBoxes)
        throw py::value_error("fastdet._cpp: invalid levels");
    const py::array first = as_array(scores[0]);
    const int64_t images = first.ndim() ? first.shape(0) : 0;
    if (image_sizes.size() != 2 * images) throw py::value_error("fastdet._cpp: invalid image_sizes");
    const double* sizes = data<double>(image_sizes);
    return by_dtype(first, [&](auto t) -> py::object {
        using T = decltype(t);
        const std::vector<ProposalLevel<T>> levels = levels_of<T>(scores, deltas, anchors, images);
        py::array_t<T> boxes({images, post_nms_top_n, int64_t(4)}), values({images, post_nms_top_n});
        py::array_t<int64_t> counts(images);
        const ProposalJob<T> job{levels.data(),
                                 int64_t(levels.size()),
                                 images,
                                 sizes,
                                 pre_nms_top_n,
                                 post_nms_top_n,
                                 iou_threshold,
                                 min_size,
                                 score_threshold,
                                 4.135166556742356,  // log(1000 / 16)
                                 reinterpret_cast<Box<T>*>(boxes.mutable_data()),
                                 values.mutable_data(),
                                 counts.mutable_data()};
        int64_t nan;
        {
            const WithoutGil release;
            nan = generate_proposals(job);
        }
        if (nan >= 0) return py::int_(nan);
        return py::make_tuple(boxes, values, counts);
    });
}

const Bindings registered([](py::module_& m) {
    m.def("encode_boxes", encode);
    m.def("decode_boxes", decode);
    m.def("match_boxes", match);
    m.def("sample_balanced", sample);
    m.def("generate_proposals", generate);
});

}  // namespace
}  // namespace proposals_bindings
}  // namespace fastdet
