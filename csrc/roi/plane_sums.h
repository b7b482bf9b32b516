// The gradient of maps of which each channel is summed up by itself: by several threads, each sum in one order.
#pragma once

#include "core/memory.h"
#include "roi/roi_align.h"
#include "roi/rois.h"

namespace fastdet {

// Where the values of pooled features lie: value (k, c, bin) at k * roi + c * channel + bin * bin_step.
struct FeatureStrides {
    int64_t roi, channel, bin;
    FeatureStrides(const RoiAlignJob& job, int64_t channels)
        : roi(channels * job.bins_y * job.bins_x),
          channel(job.channels_last ? 1 : job.bins_y * job.bins_x),
          bin(job.channels_last ? channels : 1) {}
};

// For each image and channel of job.to: zeros, then add(image, channel, plane), then the plane is given back.
template <class S, class F>
void sum_planes(const RoiAlignJob& job, int64_t work, const F& add) {
    using T = Compute<S>;
    const int64_t pixels = job.height * job.width, units = job.images * job.channels;
    in_pieces(units, units * pixels + work, [&](int64_t begin, int64_t end) {
        const bool own = std::is_same_v<S, T> && !job.channels_last;
        Buffer<T> scratch(own ? 0 : pixels);
        for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t image = unit / job.channels, c = unit % job.channels;
            S* to = static_cast<S*>(job.to) + image * job.channels * pixels + c * (job.channels_last ? 1 : pixels);
            T* plane = own ? reinterpret_cast<T*>(to) : scratch.get();
            for (int64_t i = 0; i < pixels; ++i) plane[i] = 0;
            add(image, c, plane);
            if (own) continue;
            const int64_t step = job.channels_last ? job.channels : 1;
            for (int64_t i = 0; i < pixels; ++i) to[i * step] = stored<S>(plane[i]);
        }
    });
}

}  // namespace fastdet
