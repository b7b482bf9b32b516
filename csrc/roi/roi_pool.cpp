// RoI max-pooling: threads and tables around the loops of roi_pool_loops.cpp; and its gradient.
#include "roi/roi_pool.h"

#include "roi/bins.h"
#include "roi/by_pixels.h"
#include "roi/plane_sums.h"

namespace fastdet {
namespace {

// RoI max-pooling for ByPixels.
template <class T>
struct PoolOp {
    struct State {
        std::vector<int64_t> y, x;  // begin and end of each bin
        int64_t first;
    };
    const RoiAlignJob& job;
    const Rois<T>& rois;
    void (*pool)(const PoolBins<T>&);

    PixelAxes<T> axes(int64_t k) const {
        return pixel_axes(rois.box(k), T(job.scale), true, job.bins_y, job.bins_x, job.height, job.width);
    }
    Part part(int64_t k) const {
        const PixelAxes<T> a = axes(k);
        return {{a.y.begin(0), a.y.end(job.bins_y - 1)}, {a.x.begin(0), a.x.end(job.bins_x - 1)}};
    }
    void prepare(State& state, int64_t k, int64_t top, int64_t left) const {
        const PixelAxes<T> a = axes(k);
        const auto edges = [](const PixelAxis<T>& axis, int64_t bins, int64_t offset, std::vector<int64_t>& to) {
            to.clear();
            for (int64_t b = 0; b < bins; ++b) to.push_back(axis.begin(b) - offset), to.push_back(axis.end(b) - offset);
        };
        edges(a.y, job.bins_y, top, state.y), edges(a.x, job.bins_x, left, state.x);
        state.first = top * job.width + left;
    }
    void bins(const State& state, const T* map, int64_t width, int64_t channels, int64_t top, int64_t bottom, T* out,
              int64_t* places) const {
        pool({map, width * channels, channels, channels, state.y.data(), state.x.data(), top, bottom, job.bins_x,
              state.first, job.width, out, places});
    }
};

}  // namespace

template <class S>
int64_t roi_pool(const RoiAlignJob& job, int64_t* places) {
    using T = Compute<S>;
    const Rois<T> rois(job.boxes, job.count, job.images, nullptr, 0);
    if (rois.bad() >= 0) return rois.bad();
    const PoolOp<T> op = {job, rois, roi_pool_kernels().by.template of<T>().pool};
    ByPixels<S, PoolOp<T>>(job, rois, op, places).run();
    return -1;
}

template <class S>
int64_t roi_pool_backward(const RoiAlignJob& job, const int64_t* places) {
    using T = Compute<S>;
    const Rois<T> rois(job.boxes, job.count, job.images, nullptr, 0);
    if (rois.bad() >= 0) return 2 * rois.bad();
    const int64_t size = job.height * job.width, bins = job.bins_y * job.bins_x,
                  count = job.count * job.channels * bins;
    for (int64_t i = 0; i < count; ++i) {
        if (places[i] < -1 || places[i] >= size) return 2 * i + 1;
    }
    const FeatureStrides at(job, job.channels);
    const S* from = static_cast<const S*>(job.from);
    sum_planes<S>(job, count, [&](int64_t image, int64_t c, T* plane) {
        for (int64_t i = rois.begin(image); i < rois.begin(image + 1); ++i) {
            const int64_t first = rois[i] * at.roi + c * at.channel;
            for (int64_t b = 0; b < bins; ++b) {
                const int64_t place = places[first + b * at.bin];  // another thread may change it
                if (place >= 0 && place < size) plane[place] += widen(from[first + b * at.bin]);
            }
        }
    });
    return -1;
}

#define FASTDET_ROI_POOL(S)                                     \
    template int64_t roi_pool<S>(const RoiAlignJob&, int64_t*); \
    template int64_t roi_pool_backward<S>(const RoiAlignJob&, const int64_t*);
FASTDET_ROI_POOL(float)
FASTDET_ROI_POOL(double)
FASTDET_ROI_POOL(Half)
FASTDET_ROI_POOL(BFloat16)
#undef FASTDET_ROI_POOL

}  // namespace fastdet
