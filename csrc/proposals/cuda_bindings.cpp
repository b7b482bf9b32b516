// fastdet._cuda: region proposals.
#include <vector>

#include "proposals/cuda.h"
#include "python/cuda.h"

namespace fastdet {
namespace proposals_bindings {
namespace {

constexpr int64_t kMaxRows = int64_t(1) << 30;

void check_count(int64_t n) {
    if (n < 0 || n > kMaxRows) throw py::value_error("fastdet._cuda: invalid number of rows");
}

template <class T>
CoderJob<T> job_of(Pointer rows, Pointer anchors, int64_t per_anchor, const std::vector<double>& weights, double limit,
                   Pointer out) {
    if (weights.size() != 4 || per_anchor < 1) throw py::value_error("fastdet._cuda: invalid weights");
    CoderJob<T> job{at<const T>(rows), at<const T>(anchors), per_anchor, {}, at<T>(out)};
    for (size_t k = 0; k < 4; ++k) job.coding.weight[k] = T(weights[k]);
    job.coding.limit = T(limit);
    return job;
}

void encode(char dtype, Pointer boxes, Pointer anchors, int64_t n, const std::vector<double>& weights, Pointer out,
            Pointer wrong, int device, Pointer stream) {
    check_count(n);
    by_dtype(dtype, [&](auto t) {
        const auto job = job_of<decltype(t)>(boxes, anchors, 1, weights, 0, out);
        queue("encode_boxes", {n, 4}, device, stream,
              [&](cudaStream_t queued) { encode_boxes_cuda(job, n, at<int64_t>(wrong, 8), queued); });
    });
}

void decode(char dtype, Pointer deltas, Pointer anchors, int64_t n, int64_t per_anchor,
            const std::vector<double>& weights, double limit, Pointer out, Pointer wrong, int device, Pointer stream) {
    check_count(n);
    by_dtype(dtype, [&](auto t) {
        const auto job = job_of<decltype(t)>(deltas, anchors, per_anchor, weights, limit, out);
        queue("decode_boxes", {n, 4}, device, stream,
              [&](cudaStream_t queued) { decode_boxes_cuda(job, n, at<int64_t>(wrong, 8), queued); });
    });
}

void match(char dtype, Pointer iou, int64_t rows, int64_t columns, double high, double low, bool allow_low_quality,
           Pointer in_row, Pointer best, Pointer matches, Pointer wrong, int device, Pointer stream) {
    check_count(rows);
    check_count(columns);
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        queue("match_boxes", {rows, columns}, device, stream, [&](cudaStream_t queued) {
            match_boxes_cuda(at<const T>(iou, sizeof(T)), rows, columns, T(high), T(low), allow_low_quality,
                             at<uint64_t>(in_row, 8), at<int32_t>(best, 4), at<int64_t>(matches, 8),
                             at<int64_t>(wrong, 8), queued);
        });
    });
}

int64_t workspace(char dtype, int64_t places, int device) {
    check_count(places);
    int64_t bytes = 0;
    by_dtype(dtype, [&](auto t) {
        queue("generate_proposals", {places}, device, 0,
              [&](cudaStream_t) { bytes = propose_workspace<decltype(t)>(places); });
    });
    return bytes;
}

void propose(char dtype, const std::vector<Pointer>& scores, const std::vector<Pointer>& deltas,
             const std::vector<Pointer>& anchors, const std::vector<int64_t>& counts, int64_t images, Pointer sizes,
             int64_t pre_nms_top_n, double min_size, double score_threshold, double max_log_ratio, Pointer workspace,
             Pointer boxes, Pointer values, Pointer keys, Pointer wrong, int device, Pointer stream) {
    const size_t n = counts.size();
    if (!n || n > size_t(kMaxLevels) || scores.size() != n || deltas.size() != n || anchors.size() != n || images < 0)
        throw py::value_error("fastdet._cuda: invalid levels");
    by_dtype(dtype, [&](auto t) {
        using T = decltype(t);
        CudaLevels<T> levels = {};
        levels.levels = int(n);
        levels.images = images;
        for (size_t l = 0; l < n; ++l) {
            check_count(counts[l]);
            levels.scores[l] = at<const T>(scores[l], sizeof(T));
            levels.deltas[l] = at<const T>(deltas[l]);
            levels.anchors[l] = at<const Box<T>>(anchors[l]);
            levels.count[l] = counts[l];
            levels.first_place[l + 1] = levels.first_place[l] + images * counts[l];
            levels.first_anchor[l + 1] = levels.first_anchor[l] + counts[l];
            levels.first_row[l + 1] = levels.first_row[l] + (counts[l] < pre_nms_top_n ? counts[l] : pre_nms_top_n);
        }
        check_count(levels.first_place[n]);
        const CudaProposals<T> job{at<const double>(sizes, 8), T(min_size),          T(score_threshold),
                                   T(max_log_ratio),           at<Box<T>>(boxes),    at<T>(values, sizeof(T)),
                                   at<int64_t>(keys, 8),       at<int64_t>(wrong, 8)};
        queue("generate_proposals", {images, levels.first_anchor[n]}, device, stream,
              [&](cudaStream_t queued) { propose_cuda(levels, job, at<void>(workspace), queued); });
    });
}

const Bindings registered([](py::module_& m) {
    m.def("encode_boxes", encode);
    m.def("decode_boxes", decode);
    m.def("match_boxes", match);
    m.def("propose_workspace", workspace);
    m.def("propose", propose);
});

}  // namespace
}  // namespace proposals_bindings
}  // namespace fastdet
