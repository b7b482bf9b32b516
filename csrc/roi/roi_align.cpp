// RoIAlign: threads and tables around the loops of roi_align_loops.cpp and pixels_loops.cpp.
#include "roi/roi_align.h"

#include "roi/by_pixels.h"
#include "roi/rois.h"
#include "roi/tap_table.h"

namespace fastdet {
namespace {

template <class T>
RoiAxes<T> axes_of(const RoiAlignJob& job, const T* box) {
    return roi_axes(box, T(job.scale), job.ratio, job.aligned, !job.aligned, job.bins_y, job.bins_x);
}

// RoIAlign for ByPixels.
template <class T>
struct AlignOp {
    using State = RoiTaps<T>;
    const RoiAlignJob& job;
    const Rois<T>& rois;
    void (*align)(const AlignBins<T>&);

    Part part(int64_t k) const {
        const RoiAxes<T> axes = axes_of(job, rois.box(k));
        return {reach_of(axes.y, job.bins_y, job.height), reach_of(axes.x, job.bins_x, job.width)};
    }
    void prepare(State& taps, int64_t k, int64_t top, int64_t left) const {
        taps.make(axes_of(job, rois.box(k)), job.bins_y, job.bins_x, job.height, job.width, top, left);
    }
    void bins(const State& taps, const T* map, int64_t width, int64_t channels, int64_t top, int64_t bottom, T* out,
              int64_t*) const {
        align({map, width * channels, channels, channels, taps.y.list(), taps.x.list(), top, bottom, job.bins_x,
               taps.count, out, channels});
    }
};

template <class S>
class Spread {
    using T = Compute<S>;

  public:
    explicit Spread(const RoiAlignJob& job)
        : job_(job), rois_(job.boxes, job.count, job.images, job.levels, job.level) {}

    int64_t run() {
        if (rois_.bad() >= 0) return rois_.bad();
        if (!job_.channels || !job_.images) return -1;
        const int64_t pixels = job_.height * job_.width;
        const int64_t threads = get_num_threads();
        int64_t block =
            std::min(job_.channels, std::max(kMinChannels, kCachedBytes / int64_t(sizeof(T)) / pixels / 16 * 16));
        if (job_.channels / block * job_.images < threads)
            block = std::min(block, std::max<int64_t>(16, job_.channels / threads / 16 * 16));
        const int64_t blocks = (job_.channels + block - 1) / block, units = job_.images * blocks;
        in_pieces(units, units * pixels * block, [&](int64_t begin, int64_t end) {
            Buffer<T> sums(pixels * block);
            for (int64_t unit = begin; unit < end; ++unit) {
                const int64_t c = unit % blocks * block;
                image_block(unit / blocks, c, std::min(block, job_.channels - c), sums.get());
            }
        });
        return -1;
    }

  private:
    bool last() const { return job_.channels_last || job_.channels == 1; }

    // Channels [c, c + channels) of the gradient of an image.
    void image_block(int64_t image, int64_t c, int64_t channels, T* sums) const {
        const int64_t pixels = job_.height * job_.width, bins = job_.bins_y * job_.bins_x;
        for (int64_t i = 0; i < pixels * channels; ++i) sums[i] = 0;
        RoiTaps<T> taps, turned;
        Buffer<T> grad(bins * channels);
        std::vector<T> wide;
        const PixelLoops<S>& loops = pixel_kernels().template of<S>();
        const auto spread = roi_align_kernels().by.template of<T>().spread;
        for (int64_t i = rois_.begin(image); i < rois_.begin(image + 1); ++i) {
            const int64_t k = rois_[i];
            taps.make(axes_of(job_, rois_.box(k)), job_.bins_y, job_.bins_x, job_.height, job_.width);
            turned.y.turn(taps.y, job_.bins_y, job_.height), turned.x.turn(taps.x, job_.bins_x, job_.width);
            const std::vector<int32_t>&rows = turned.y.pixels(), &columns = turned.x.pixels();
            if (rows.empty() || columns.empty()) continue;
            const S* from = static_cast<const S*>(job_.from) + k * bins * job_.channels;
            if (last()) {
                loops.take_rows(from + c, job_.channels, channels, bins, grad.get(), channels);
            } else {
                loops.take_planes(from + c * bins, bins, channels, bins, grad.get(), channels);
            }
            wide.resize(std::max(wide.size(), size_t(job_.bins_y) * columns.size() * size_t(channels)));
            spread({grad.get(), taps.count, channels, job_.bins_y, job_.bins_x, turned.y.list(), turned.x.list(),
                    rows.data(), columns.data(), int64_t(rows.size()), int64_t(columns.size()), wide.data(), sums,
                    job_.width * channels, channels});
        }
        S* to = static_cast<S*>(job_.to) + image * pixels * job_.channels;
        if (last()) {
            loops.give_rows(sums, channels, channels, pixels, to + c, job_.channels);
        } else {
            loops.give_planes(sums, channels, channels, pixels, to + c * pixels, pixels);
        }
    }

    const RoiAlignJob& job_;
    const Rois<T> rois_;
};

}  // namespace

template <class S>
int64_t roi_align(const RoiAlignJob& job) {
    using T = Compute<S>;
    const Rois<T> rois(job.boxes, job.count, job.images, job.levels, job.level);
    if (rois.bad() >= 0) return rois.bad();
    const AlignOp<T> op = {job, rois, roi_align_kernels().by.template of<T>().align};
    ByPixels<S, AlignOp<T>>(job, rois, op).run();
    return -1;
}
template <class S>
int64_t roi_align_backward(const RoiAlignJob& job) {
    return Spread<S>(job).run();
}

#define FASTDET_ROI_ALIGN(S)                           \
    template int64_t roi_align<S>(const RoiAlignJob&); \
    template int64_t roi_align_backward<S>(const RoiAlignJob&);
FASTDET_ROI_ALIGN(float)
FASTDET_ROI_ALIGN(double)
FASTDET_ROI_ALIGN(Half)
FASTDET_ROI_ALIGN(BFloat16)
#undef FASTDET_ROI_ALIGN

}  // namespace fastdet
