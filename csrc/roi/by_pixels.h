// The forward pass of RoI ops that compute on maps whose channels are neighbours: what is computed where, and threads.
//
// Planes, and halves, are brought to that form first: the part of an image that its RoIs look at, or, where few of them
// look at little, the part of each RoI. That is done for a block of channels at a time, so that the part stays in the
// cache while the RoIs go by.
#pragma once

#include <algorithm>
#include <vector>

#include "core/memory.h"
#include "roi/roi_align.h"
#include "roi/rois.h"
#include "roi/taps.h"

namespace fastdet {

// A part of an image: rows and columns of the map.
struct Part {
    Range rows = {0, 0}, columns = {0, 0};
    int64_t pixels() const { return rows.size() * columns.size(); }
};

constexpr int64_t kCachedBytes = int64_t(1) << 20;  // of a map's part that is computed on at once
constexpr int64_t kMinChannels = 64;                // of a block
constexpr int64_t kPieceBytes = 1 << 15;            // of results that are given back at once

// Op: `Part part(k)`, the pixels among which are all that RoI k looks at; `State`, what a thread keeps of a RoI;
// `prepare(state, k, top, left)`, of a map of which the first pixel is (top, left); `bins(state, map, width, channels,
// top, bottom, out, out_pixel, places)`, which computes rows of bins [top, bottom).
template <class S, class Op>
class ByPixels {
    using T = Compute<S>;

  public:
    // places: null, or where the op writes an index for each value, in the order of the result
    ByPixels(const RoiAlignJob& job, const Rois<T>& rois, const Op& op, int64_t* places = nullptr)
        : job_(job), rois_(rois), op_(op), places_(places), parts_(size_t(job.count)) {}

    void run() {
        if (!job_.channels || !rois_.size()) return;
        if (std::is_same_v<S, T> && last()) {
            direct();
            return;
        }
        for (int64_t i = 0; i < rois_.size(); ++i) parts_[size_t(rois_[i])] = op_.part(rois_[i]);
        for (int64_t image = 0; image < job_.images; ++image) {
            if (rois_.begin(image) < rois_.begin(image + 1)) image_by_blocks(image);
        }
    }

  private:
    bool last() const { return job_.channels_last || job_.channels == 1; }  // one channel: both are one order
    int64_t bins() const { return job_.bins_y * job_.bins_x; }

    // The map is computed on, and the result written, as they are.
    void direct() {
        const T* map = static_cast<const T*>(job_.from);
        T* out = static_cast<T*>(job_.to);
        const int64_t image = job_.height * job_.width * job_.channels, values = bins() * job_.channels;
        in_pieces(rois_.size(), rois_.size() * values, [&](int64_t begin, int64_t end) {
            typename Op::State state;
            for (int64_t i = begin; i < end; ++i) {
                const int64_t k = rois_[i];
                op_.prepare(state, k, 0, 0);
                op_.bins(state, map + rois_.image(k) * image, job_.width, job_.channels, 0, job_.bins_y,
                         out + k * values, places_ ? places_ + k * values : nullptr);
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
        typename Op::State state;
        Buffer<T> own(map ? 0 : largest * channels);
        const int64_t rows = std::max<int64_t>(1, kPieceBytes / int64_t(sizeof(T)) / channels / job_.bins_x);
        const int64_t values = std::min(rows, job_.bins_y) * job_.bins_x * channels;
        Buffer<T> made(values);
        Buffer<int64_t> places(places_ ? values : 0);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t k = rois_[i];
            const Part& part = map ? all : parts_[size_t(k)];
            if (!map && part.pixels()) take(rois_.image(k), c, channels, part, own.get());
            op_.prepare(state, k, part.rows.begin, part.columns.begin);
            for (int64_t top = 0; top < job_.bins_y; top += rows) {
                const int64_t bottom = std::min(top + rows, job_.bins_y);
                op_.bins(state, map ? map : own.get(), part.columns.size(), channels, top, bottom, made.get(),
                         places_ ? places.get() : nullptr);
                give(made.get(), k, top, bottom, c, channels);
                if (places_) give_places(places.get(), k, top, bottom, c, channels);
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

    void give_places(const int64_t* made, int64_t k, int64_t top, int64_t bottom, int64_t c, int64_t channels) const {
        int64_t* to = places_ + k * bins() * job_.channels;
        const int64_t n = (bottom - top) * job_.bins_x, first = top * job_.bins_x;
        const int64_t bin = last() ? job_.channels : 1, channel = last() ? 1 : bins();
        for (int64_t j = 0; j < channels; ++j) {
            for (int64_t i = 0; i < n; ++i) to[(first + i) * bin + (c + j) * channel] = made[i * channels + j];
        }
    }

    const RoiAlignJob& job_;
    const Rois<T>& rois_;
    const Op& op_;
    int64_t* places_;
    std::vector<Part> parts_;
};

}  // namespace fastdet
