// RoIAlign: what is computed where, and the threads around the loops of roi_align_loops.cpp and pixels_loops.cpp.
//
// The loops take maps whose channels are neighbours. Planes, and halves, are brought to that form first: the part of
// an image that its RoIs look at, or, where few of them look at little, the part of each RoI. That is done for a block
// of channels at a time, so that the part stays in the cache while the RoIs go by.
#include "roi/roi_align.h"

#include "roi/rois.h"
#include "roi/tap_table.h"

namespace fastdet {
namespace {

constexpr int64_t kCachedBytes = int64_t(1) << 20;  // of a map's part that is computed on at once
constexpr int64_t kMinChannels = 64;                // of a block
constexpr int64_t kPieceBytes = 1 << 15;            // of results that are given back at once

// A part of an image: rows and columns of the map.
struct Part {
    Range rows = {0, 0}, columns = {0, 0};
    int64_t pixels() const { return rows.size() * columns.size(); }
};

template <class S>
class Align {
    using T = Compute<S>;

  public:
    explicit Align(const RoiAlignJob& job)
        : job_(job), rois_(job.boxes, job.count, job.images, job.levels, job.level), parts_(size_t(job.count)) {}

    int64_t run() {
        if (rois_.bad() >= 0) return rois_.bad();
        if (!job_.channels || !rois_.size()) return -1;
        if (std::is_same_v<S, T> && last()) {
            direct();
            return -1;
        }
        for (int64_t i = 0; i < rois_.size(); ++i) parts_[size_t(rois_[i])] = part_of(rois_[i]);
        for (int64_t image = 0; image < job_.images; ++image) {
            if (rois_.begin(image) < rois_.begin(image + 1)) image_by_blocks(image);
        }
        return -1;
    }

  private:
    bool last() const { return job_.channels_last || job_.channels == 1; }  // one channel: both are one order
    int64_t bins() const { return job_.bins_y * job_.bins_x; }
    int64_t work(int64_t rois) const { return rois * bins() * job_.channels; }
    RoiAxes<T> axes(int64_t k) const {
        return roi_axes(rois_.box(k), T(job_.scale), job_.ratio, job_.aligned, !job_.aligned, job_.bins_y, job_.bins_x);
    }
    Part part_of(int64_t k) const {
        const RoiAxes<T> a = axes(k);
        return {reach_of(a.y, job_.bins_y, job_.height), reach_of(a.x, job_.bins_x, job_.width)};
    }
    // The bins of a RoI, from a map of `channels` neighbouring values whose first pixel is that of `taps`.
    AlignBins<T> bins_of(const RoiTaps<T>& taps, const T* map, int64_t width, int64_t channels) const {
        return {map, width * channels, channels,    channels,   taps.y.list(), taps.x.list(),
                0,   job_.bins_y,      job_.bins_x, taps.count, nullptr,       channels};
    }

    // The map is computed on, and the result written, as they are.
    void direct() {
        const T* map = static_cast<const T*>(job_.from);
        T* out = static_cast<T*>(job_.to);
        const int64_t image = job_.height * job_.width * job_.channels;
        const auto align = roi_align_kernels().by.template of<T>().align;
        in_pieces(rois_.size(), work(rois_.size()), [&](int64_t begin, int64_t end) {
            RoiTaps<T> taps;
            for (int64_t i = begin; i < end; ++i) {
                const int64_t k = rois_[i];
                taps.make(axes(k), job_.bins_y, job_.bins_x, job_.height, job_.width);
                AlignBins<T> each = bins_of(taps, map + rois_.image(k) * image, job_.width, job_.channels);
                each.out = out + k * bins() * job_.channels;
                align(each);
            }
        });
    }

    void image_by_blocks(int64_t image) {
        const int64_t begin = rois_.begin(image), end = rois_.begin(image + 1);
        Part all;
        int64_t pixels = 0, largest = 0;
        for (int64_t i = begin; i < end; ++i) {
            const Part& part = parts_[size_t(rois_[i])];
            if (!part.pixels()) continue;
            all.rows.add(part.rows), all.columns.add(part.columns);
            pixels += part.pixels(), largest = std::max(largest, part.pixels());
        }
        const bool shared = pixels >= all.pixels();
        const int64_t bytes = std::max<int64_t>(1, shared ? all.pixels() : largest) * int64_t(sizeof(T));
        const int64_t block = std::min(job_.channels, std::max(kMinChannels, kCachedBytes / bytes / 16 * 16));
        Buffer<T> map(shared ? all.pixels() * block : 0);
        for (int64_t c = 0; c < job_.channels; c += block) {
            const int64_t channels = std::min(block, job_.channels - c);
            if (shared) {
                in_pieces(all.rows.size(), all.pixels() * channels, [&](int64_t top, int64_t bottom) {
                    const Range rows = {all.rows.begin + top, all.rows.begin + bottom};
                    take(image, c, channels, {rows, all.columns}, map.get() + top * all.columns.size() * channels);
                });
            }
            in_pieces(end - begin, (end - begin) * bins() * channels, [&](int64_t first, int64_t past) {
                some_rois(begin + first, begin + past, c, channels, shared ? map.get() : nullptr, all, largest);
            });
        }
    }

    // The RoIs [begin, end) of an image, channels [c, c + channels). map: the part `all`; null: each takes its own.
    void some_rois(int64_t begin, int64_t end, int64_t c, int64_t channels, const T* map, const Part& all,
                   int64_t largest) {
        RoiTaps<T> taps;
        Buffer<T> own(map ? 0 : largest * channels);
        const int64_t rows = std::max<int64_t>(1, kPieceBytes / int64_t(sizeof(T)) / channels / job_.bins_x);
        Buffer<T> made(std::min(rows, job_.bins_y) * job_.bins_x * channels);
        const auto align = roi_align_kernels().by.template of<T>().align;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t k = rois_[i];
            const Part& part = map ? all : parts_[size_t(k)];
            if (!map && part.pixels()) take(rois_.image(k), c, channels, part, own.get());
            taps.make(axes(k), job_.bins_y, job_.bins_x, job_.height, job_.width, part.rows.begin, part.columns.begin);
            AlignBins<T> each = bins_of(taps, map ? map : own.get(), part.columns.size(), channels);
            each.out = made.get();
            for (each.top = 0; each.top < job_.bins_y; each.top = each.bottom) {
                each.bottom = std::min(each.top + rows, job_.bins_y);
                align(each);
                give(made.get(), k, each.top, each.bottom, c, channels);
            }
        }
    }

    void take(int64_t image, int64_t c, int64_t channels, const Part& part, T* to) const {
        const S* from = static_cast<const S*>(job_.from);
        const int64_t plane = job_.height * job_.width, width = part.columns.size();
        const PixelLoops<S>& loops = pixel_kernels().template of<S>();
        for (int64_t y = part.rows.begin; y < part.rows.end; ++y, to += width * channels) {
            const int64_t pixel = y * job_.width + part.columns.begin;
            if (last()) {
                loops.take_rows(from + (image * plane + pixel) * job_.channels + c, job_.channels, channels, width, to,
                                channels);
            } else {
                loops.take_planes(from + (image * job_.channels + c) * plane + pixel, plane, channels, width, to,
                                  channels);
            }
        }
    }

    void give(const T* made, int64_t k, int64_t top, int64_t bottom, int64_t c, int64_t channels) const {
        S* to = static_cast<S*>(job_.to) + k * bins() * job_.channels;
        const int64_t n = (bottom - top) * job_.bins_x, first = top * job_.bins_x;
        const PixelLoops<S>& loops = pixel_kernels().template of<S>();
        if (last()) {
            loops.give_rows(made, channels, channels, n, to + first * job_.channels + c, job_.channels);
        } else {
            loops.give_planes(made, channels, channels, n, to + c * bins() + first, bins());
        }
    }

    const RoiAlignJob& job_;
    const Rois<T> rois_;
    std::vector<Part> parts_;
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
            taps.make(roi_axes(rois_.box(k), T(job_.scale), job_.ratio, job_.aligned, !job_.aligned, job_.bins_y,
                               job_.bins_x),
                      job_.bins_y, job_.bins_x, job_.height, job_.width);
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
    return Align<S>(job).run();
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
