// fastdet._cpp: run-length encoded masks.
#include <algorithm>
#include <string>

#include "masks/arguments.h"
#include "masks/nms.h"
#include "masks/paste_masks.h"
#include "masks/rle.h"
#include "python/cpp.h"

namespace fastdet {
namespace masks_bindings {
namespace {

template <class T, class U>
py::array array_of(const std::vector<U>& x) {
    return py::array_t<T>(py::ssize_t(x.size()), x.data());
}

py::tuple tuple_of(const NewRuns& made) {
    return py::make_tuple(array_of<uint32_t>(made.counts), array_of<int64_t>(made.offsets));
}

// The sides of masks, which have at most 2^32 - 1 pixels.
void check_sides(int64_t height, int64_t width) {
    const int64_t most = int64_t(1) << 32;
    if (height < 0 || width < 0 || height >= most || width >= most || (width && height > (most - 1) / width))
        throw py::value_error("fastdet._cpp: invalid size");
}

py::object encode_any(const py::array& masks) {
    if (masks.ndim() != 3 || masks.itemsize() != 1 || masks.dtype().kind() != 'u')
        throw py::type_error("fastdet._cpp: invalid array");
    const int64_t n = masks.shape(0), height = masks.shape(1), width = masks.shape(2);
    check_sides(height, width);
    const bool rows = is_plain(masks);
    // a transposed view of rows of columns
    const bool columns = (n < 2 || masks.strides(0) == height * width) && (height < 2 || masks.strides(1) == 1) &&
                         (width < 2 || masks.strides(2) == height);
    if (!rows && !columns) throw py::type_error("fastdet._cpp: invalid array");
    const auto* from = static_cast<const uint8_t*>(masks.data());
    NewRuns made;
    bool binary;
    {
        const WithoutGil release;
        binary = encode(from, n, height, width, columns, made);
    }
    if (!binary) return py::none();
    return tuple_of(made);
}

void decode_any(const py::array& counts, const py::array& offsets, py::array& out, bool columns) {
    const Runs runs = runs_of(counts, offsets);
    if (out.ndim() != 3 || out.itemsize() != 1 || !is_plain(out) || out.shape(0) != runs.size())
        throw py::type_error("fastdet._cpp: invalid out");
    const int64_t height = out.shape(columns ? 2 : 1), width = out.shape(columns ? 1 : 2);
    check_sides(height, width);
    auto* to = static_cast<uint8_t*>(out.mutable_data());
    const WithoutGil release;
    decode(runs, height, width, columns, to);
}

py::array area_any(const py::array& counts, const py::array& offsets) {
    const Runs runs = runs_of(counts, offsets);
    py::array_t<int64_t> out(runs.size());
    int64_t* to = out.mutable_data();
    const WithoutGil release;
    rle_area(runs, to);
    return std::move(out);
}

py::array boxes_any(const py::array& counts, const py::array& offsets, const py::array& sizes) {
    const Runs runs = runs_of(counts, offsets);
    const std::vector<int64_t> heights = heights_of(sizes, runs.size());
    py::array_t<double> out({runs.size(), int64_t(4)});
    double* to = out.mutable_data();
    const WithoutGil release;
    rle_boxes(runs, heights.data(), to);
    return std::move(out);
}

py::array merge_any(const py::array& counts, const py::array& offsets, int64_t least) {
    const Runs runs = runs_of(counts, offsets);
    std::vector<uint32_t> merged;
    {
        const WithoutGil release;
        rle_merge(runs, least, merged);
    }
    return array_of<uint32_t>(merged);
}

py::tuple boundary_any(const py::array& counts, const py::array& offsets, const py::array& sizes,
                       const py::array& widths) {
    const Runs runs = runs_of(counts, offsets);
    const int64_t n = runs.size();
    if (sizes.ndim() != 2 || sizes.shape(0) != n || sizes.shape(1) != 2 || widths.ndim() != 1 || widths.shape(0) != n)
        throw py::type_error("fastdet._cpp: invalid sizes");
    const int64_t *sides = data<int64_t>(sizes), *distance = data<int64_t>(widths);
    const std::vector<int64_t> own(sides, sides + 2 * n);
    std::vector<int64_t> d(distance, distance + n);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t height = own[size_t(2 * i)], width = own[size_t(2 * i) + 1];
        check_sides(height, width);
        d[size_t(i)] = std::min(std::max<int64_t>(d[size_t(i)], 1), std::max<int64_t>({height, width, 1}));
    }
    NewRuns made;
    {
        const WithoutGil release;
        rle_boundary(runs, own.data(), d.data(), made);
    }
    return tuple_of(made);
}

py::array iou_any(const py::array& counts1, const py::array& offsets1, const py::array& counts2,
                  const py::array& offsets2, const py::array& sizes1, const py::array& sizes2, const py::array& crowd,
                  const std::string& metric) {
    const Runs a = runs_of(counts1, offsets1), b = runs_of(counts2, offsets2);
    const bool* flags = data<bool>(crowd);
    if (crowd.ndim() != 1 || crowd.shape(0) != b.size() || sizes1.ndim() != 2 || sizes1.shape(0) != a.size() ||
        sizes1.shape(1) != 2 || sizes2.ndim() != 2 || sizes2.shape(0) != b.size() || sizes2.shape(1) != 2)
        throw py::type_error("fastdet._cpp: invalid array");
    const int64_t *x = data<int64_t>(sizes1), *y = data<int64_t>(sizes2);
    std::vector<int64_t> sides(x, x + 2 * a.size());  // a copy: it decides addresses
    sides.insert(sides.end(), y, y + 2 * b.size());
    py::array_t<double> out({a.size(), b.size()});
    double* to = out.mutable_data();
    if (a.size() && b.size()) {
        const int64_t height = sides[0], width = sides[1];
        check_sides(height, width);
        for (size_t i = 0; i < sides.size(); i += 2) {
            if (sides[i] != height || sides[i + 1] != width) throw py::value_error("fastdet._cpp: sizes that differ");
        }
        const WithoutGil release;
        mask_iou(a, b, height, width, flags, metric == "ios", to);
    }
    return std::move(out);
}

// What both kinds of suppression take.
struct Scored {
    MaskParts masks;
    std::vector<int64_t> order, keys;

    static Scored of(const py::array& counts, const py::array& offsets, const py::array& sizes, const py::array& order,
                     const py::array& keys) {
        const Runs runs = runs_of(counts, offsets);
        const int64_t n = runs.size();
        if (sizes.ndim() != 2 || sizes.shape(0) != n || sizes.shape(1) != 2 || order.ndim() != 1)
            throw py::type_error("fastdet._cpp: invalid array");
        const int64_t *sides = data<int64_t>(sizes), *from = flat<int64_t>(order), *key = flat<int64_t>(keys, n);
        const int64_t height = n ? sides[0] : 0, width = n ? sides[1] : 0;
        check_sides(height, width);
        const std::vector<int64_t> own(from, from + order.shape(0)), of_masks(key, key + n);
        for (const int64_t i : own) {
            if (i < 0 || i >= n) throw py::value_error("fastdet._cpp: invalid order");
        }
        const WithoutGil release;
        Scored all{MaskParts(runs, height, width), own, of_masks};
        all.masks.prepare(all.masks);
        return all;
    }
};

py::array nms_any(const py::array& counts, const py::array& offsets, const py::array& sizes, const py::array& order,
                  const py::array& keys, double threshold, int64_t most_kept, bool smaller) {
    const Scored all = Scored::of(counts, offsets, sizes, order, keys);
    std::vector<int64_t> keep;
    {
        const WithoutGil release;
        mask_nms(all.masks, all.order, all.keys, threshold, most_kept, smaller, keep);
    }
    return array_of<int64_t>(keep);
}

py::array matrix_any(const py::array& counts, const py::array& offsets, const py::array& sizes, const py::array& order,
                     const py::array& keys, bool linear) {
    const Scored all = Scored::of(counts, offsets, sizes, order, keys);
    py::array_t<double> out(py::ssize_t(all.order.size()));
    double* to = out.mutable_data();
    const WithoutGil release;
    matrix_nms(all.masks, all.order, all.keys, linear, to);
    return std::move(out);
}

py::list to_strings(const py::array& counts, const py::array& offsets) {
    const Runs runs = runs_of(counts, offsets);
    py::list out(runs.size());
    for (int64_t i = 0; i < runs.size(); ++i) out[size_t(i)] = py::bytes(rle_to_string(runs.begin(i), runs.end(i)));
    return out;
}

py::tuple from_strings(const py::list& texts) {
    NewRuns made;
    for (size_t i = 0; i < texts.size(); ++i) {
        const py::object item = texts[i];
        if (!py::isinstance<py::bytes>(item)) throw py::type_error("fastdet._cpp: texts must be bytes");
        const std::string_view text = py::reinterpret_borrow<py::bytes>(item);
        const std::string wrong = rle_from_string(text.data(), text.size(), made.counts);
        if (!wrong.empty()) return py::make_tuple(wrong, i);
        made.end_mask();
    }
    return tuple_of(made);
}

py::tuple from_polygons(const py::array& corners, const py::array& points, const py::array& parts, int64_t height,
                        int64_t width) {
    if (corners.ndim() != 2 || corners.shape(1) != 2) throw py::type_error("fastdet._cpp: invalid array");
    const double* xy = data<double>(corners);
    const std::vector<int64_t> starts = rising(points, corners.shape(0));
    const std::vector<int64_t> masks = rising(parts, int64_t(starts.size()) - 1);
    check_sides(height, width);
    const std::vector<double> own(xy, xy + 2 * corners.shape(0));
    for (const double x : own) {
        if (!(x >= -0x1p28 && x <= 0x1p28)) throw py::value_error("fastdet._cpp: invalid corner");
    }
    NewRuns made;
    {
        const WithoutGil release;
        rle_from_polygons(own.data(), starts, masks, height, width, made);
    }
    return tuple_of(made);
}

// A copy of boxes (n, 4): they decide addresses.
std::vector<double> corners_of(const py::array& boxes, int64_t n) {
    if (boxes.ndim() != 2 || boxes.shape(0) != n || boxes.shape(1) != 4)
        throw py::type_error("fastdet._cpp: invalid boxes");
    const double* from = data<double>(boxes);
    std::vector<double> corners(from, from + 4 * n);
    for (const double x : corners) {
        if (!(x - x == 0)) throw py::value_error("fastdet._cpp: invalid boxes");
    }
    return corners;
}

// f(image): draws n masks of h x w values each.
template <class F>
py::object drawn(int64_t n, int64_t h, int64_t w, int64_t height, int64_t width, const std::string& out, F&& f) {
    check_sides(height, width);
    constexpr int64_t most = INT32_MAX - 2;
    if (h < 1 || w < 1 || h >= most || w >= most) throw py::value_error("fastdet._cpp: invalid masks");
    const MaskOut kind = out == "rle" ? MaskOut::rle : out == "bits" ? MaskOut::bits : MaskOut::dense;
    NewRuns made;
    const int64_t masks = kind == MaskOut::rle ? 0 : n, row = kind == MaskOut::bits ? (width + 7) / 8 : width;
    py::array_t<uint8_t> dense(std::vector<int64_t>{masks, height, row});
    uint8_t* to = dense.mutable_data();
    {
        const WithoutGil release;
        std::memset(to, 0, size_t(masks * height * row));
        f(MaskImage{height, width, kind, to, made});
    }
    if (kind == MaskOut::rle) return tuple_of(made);
    return std::move(dense);
}

py::object paste_any(const py::array& masks, const py::array& boxes, int64_t height, int64_t width, float threshold,
                     const std::string& out) {
    if (masks.ndim() != 3 || !(threshold > 0)) throw py::type_error("fastdet._cpp: invalid masks");
    const float* values = data<float>(masks);
    const int64_t n = masks.shape(0), h = masks.shape(1), w = masks.shape(2);
    const std::vector<double> corners = corners_of(boxes, n);
    return drawn(n, h, w, height, width, out,
                 [&](const MaskImage& image) { paste_masks(values, corners.data(), n, h, w, threshold, image); });
}

py::object process_any(const py::array& prototypes, const py::array& coefficients, const py::array& boxes,
                       int64_t height, int64_t width, const std::string& out) {
    if (prototypes.ndim() != 3 || coefficients.ndim() != 2 || coefficients.shape(1) != prototypes.shape(0) ||
        prototypes.shape(0) < 1)
        throw py::type_error("fastdet._cpp: invalid prototypes");
    const float *planes = data<float>(prototypes), *weights = data<float>(coefficients);
    const int64_t n = coefficients.shape(0), k = prototypes.shape(0), h = prototypes.shape(1), w = prototypes.shape(2);
    const std::vector<double> corners = corners_of(boxes, n);
    return drawn(n, h, w, height, width, out,
                 [&](const MaskImage& image) { process_mask(planes, weights, corners.data(), n, k, h, w, image); });
}

const Bindings registered([](py::module_& m) {
    m.def("encode", encode_any);
    m.def("decode", decode_any);
    m.def("rle_area", area_any);
    m.def("rle_boxes", boxes_any);
    m.def("rle_merge", merge_any);
    m.def("rle_boundary", boundary_any);
    m.def("mask_iou", iou_any);
    m.def("mask_nms", nms_any);
    m.def("matrix_nms", matrix_any);
    m.def("rle_to_strings", to_strings);
    m.def("rle_from_strings", from_strings);
    m.def("rle_from_polygons", from_polygons);
    m.def("paste_masks", paste_any);
    m.def("process_mask", process_any);
});

}  // namespace
}  // namespace masks_bindings
}  // namespace fastdet
