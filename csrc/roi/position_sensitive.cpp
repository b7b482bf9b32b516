// RoI pooling in which each bin has channels of its own: bin (p, q) of channel c is computed from channel
// (c * bins_y + p) * bins_x + q of the map. A channel of the map is looked at by one bin of each RoI, so there is
// nothing to share but the geometry; values are read where they are.
#include <vector>

#include "roi/bins.h"
#include "roi/plane_sums.h"
#include "roi/roi_pool.h"
#include "roi/tap_table.h"

namespace fastdet {
namespace {

// Where the values of a map lie.
struct MapStrides {
    int64_t image, channel, row, pixel;
    explicit MapStrides(const RoiAlignJob& job)
        : image(job.channels * job.height * job.width),
          channel(job.channels_last ? 1 : job.height * job.width),
          row(job.channels_last ? job.width * job.channels : job.width),
          pixel(job.channels_last ? job.channels : 1) {}
};

// The rows and columns [begin, end) of each bin of a RoI.
template <class T>
struct Edges {
    std::vector<int64_t> y, x;
    void make(const PixelAxes<T>& axes, int64_t bins_y, int64_t bins_x) {
        y.clear(), x.clear();
        for (int64_t b = 0; b < bins_y; ++b) y.push_back(axes.y.begin(b)), y.push_back(axes.y.end(b));
        for (int64_t b = 0; b < bins_x; ++b) x.push_back(axes.x.begin(b)), x.push_back(axes.x.end(b));
    }
};

template <class T>
void prepare(const RoiAlignJob& job, const T* box, RoiTaps<T>& to) {
    to.make(roi_axes(box, T(job.scale), job.ratio, true, false, job.bins_y, job.bins_x), job.bins_y, job.bins_x,
            job.height, job.width);
}
template <class T>
void prepare(const RoiAlignJob& job, const T* box, Edges<T>& to) {
    to.make(pixel_axes(box, T(job.scale), false, job.bins_y, job.bins_x, job.height, job.width), job.bins_y,
            job.bins_x);
}

// The mean of samples: bin (p, q) of a channel of the map that begins at x.
template <class S, class T>
T mean_of(const RoiTaps<T>& taps, const S* x, const MapStrides& at, int64_t p, int64_t q) {
    const TapList<T> rows = taps.y.list(), columns = taps.x.list();
    const int64_t x0 = columns.first[q], x1 = columns.first[q + 1];
    T total = 0;
    for (int64_t i = rows.first[p]; x0 < x1 && i < rows.first[p + 1]; ++i) {
        const S* row = x + rows.place[i] * at.row;
        T line = columns.weight[x0] * widen(row[columns.place[x0] * at.pixel]);
        for (int64_t j = x0 + 1; j < x1; ++j) line = line + columns.weight[j] * widen(row[columns.place[j] * at.pixel]);
        total = i == rows.first[p] ? rows.weight[i] * line : total + rows.weight[i] * line;
    }
    return total / taps.count;
}
// The mean of pixels.
template <class S, class T>
T mean_of(const Edges<T>& edges, const S* x, const MapStrides& at, int64_t p, int64_t q) {
    T total = 0;
    const int64_t y0 = edges.y[size_t(2 * p)], y1 = edges.y[size_t(2 * p + 1)], x0 = edges.x[size_t(2 * q)],
                  x1 = edges.x[size_t(2 * q + 1)];
    if (y0 >= y1 || x0 >= x1) return total;
    for (int64_t y = y0; y < y1; ++y) {
        for (int64_t s = x0; s < x1; ++s) {
            const T value = widen(x[y * at.row + s * at.pixel]);
            total = y == y0 && s == x0 ? value : total + value;
        }
    }
    return total / T((y1 - y0) * (x1 - x0));
}

// Add the gradient g of bin (p, q) to that of its channel, (height, width).
template <class T>
void add_to(const RoiTaps<T>& taps, T g, int64_t p, int64_t q, int64_t width, T* plane) {
    const TapList<T> rows = taps.y.list(), columns = taps.x.list();
    const T each = g / taps.count;
    for (int64_t i = rows.first[p]; i < rows.first[p + 1]; ++i) {
        T* row = plane + rows.place[i] * width;
        for (int64_t j = columns.first[q]; j < columns.first[q + 1]; ++j) {
            T* to = row + columns.place[j];
            *to = *to + rows.weight[i] * (columns.weight[j] * each);
        }
    }
}
template <class T>
void add_to(const Edges<T>& edges, T g, int64_t p, int64_t q, int64_t width, T* plane) {
    const int64_t y0 = edges.y[size_t(2 * p)], y1 = edges.y[size_t(2 * p + 1)], x0 = edges.x[size_t(2 * q)],
                  x1 = edges.x[size_t(2 * q + 1)];
    if (y0 >= y1 || x0 >= x1) return;
    const T share = g / T((y1 - y0) * (x1 - x0));
    for (int64_t y = y0; y < y1; ++y) {
        for (int64_t s = x0; s < x1; ++s) plane[y * width + s] = plane[y * width + s] + share;
    }
}

// Bins: RoiTaps or Edges.
template <class S, class Bins>
int64_t forward(const RoiAlignJob& job) {
    using T = Compute<S>;
    const Rois<T> rois(job.boxes, job.count, job.images, nullptr, 0);
    if (rois.bad() >= 0) return rois.bad();
    const int64_t bins = job.bins_y * job.bins_x, channels = job.channels / bins;
    const MapStrides at(job);
    const FeatureStrides to(job, channels);
    in_pieces(rois.size(), rois.size() * job.channels * 8, [&](int64_t begin, int64_t end) {
        Bins each;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t k = rois[i];
            prepare(job, rois.box(k), each);
            const S* image = static_cast<const S*>(job.from) + rois.image(k) * at.image;
            S* out = static_cast<S*>(job.to) + k * to.roi;
            for (int64_t c = 0; c < channels; ++c) {
                for (int64_t b = 0; b < bins; ++b) {
                    const T made =
                        mean_of(each, image + (c * bins + b) * at.channel, at, b / job.bins_x, b % job.bins_x);
                    out[c * to.channel + b * to.bin] = stored<S>(made);
                }
            }
        }
    });
    return -1;
}

template <class S, class Bins>
int64_t backward(const RoiAlignJob& job) {
    using T = Compute<S>;
    const Rois<T> rois(job.boxes, job.count, job.images, nullptr, 0);
    if (rois.bad() >= 0) return rois.bad();
    const int64_t bins = job.bins_y * job.bins_x;
    const FeatureStrides from(job, job.channels / bins);
    std::vector<Bins> all(size_t(rois.size()));
    for (size_t i = 0; i < all.size(); ++i) prepare(job, rois.box(rois[int64_t(i)]), all[i]);
    sum_planes<S>(job, rois.size() * job.channels * 16, [&](int64_t image, int64_t channel, T* plane) {
        const int64_t c = channel / bins, b = channel % bins;
        for (int64_t i = rois.begin(image); i < rois.begin(image + 1); ++i) {
            const S g = static_cast<const S*>(job.from)[rois[i] * from.roi + c * from.channel + b * from.bin];
            add_to(all[size_t(i)], T(widen(g)), b / job.bins_x, b % job.bins_x, job.width, plane);
        }
    });
    return -1;
}

}  // namespace

template <class S>
int64_t ps_roi_align(const RoiAlignJob& job) {
    return forward<S, RoiTaps<Compute<S>>>(job);
}
template <class S>
int64_t ps_roi_align_backward(const RoiAlignJob& job) {
    return backward<S, RoiTaps<Compute<S>>>(job);
}
template <class S>
int64_t ps_roi_pool(const RoiAlignJob& job) {
    return forward<S, Edges<Compute<S>>>(job);
}
template <class S>
int64_t ps_roi_pool_backward(const RoiAlignJob& job) {
    return backward<S, Edges<Compute<S>>>(job);
}

#define FASTDET_POSITION_SENSITIVE(S)                              \
    template int64_t ps_roi_align<S>(const RoiAlignJob&);          \
    template int64_t ps_roi_align_backward<S>(const RoiAlignJob&); \
    template int64_t ps_roi_pool<S>(const RoiAlignJob&);           \
    template int64_t ps_roi_pool_backward<S>(const RoiAlignJob&);
FASTDET_POSITION_SENSITIVE(float)
FASTDET_POSITION_SENSITIVE(double)
FASTDET_POSITION_SENSITIVE(Half)
FASTDET_POSITION_SENSITIVE(BFloat16)
#undef FASTDET_POSITION_SENSITIVE

}  // namespace fastdet
