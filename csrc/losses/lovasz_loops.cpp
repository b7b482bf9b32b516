// The Lovasz loss of a softmax: the loops over logits. Compiled once per instruction set.
//
// Errors of all classes come first, (classes, pixels), each class for itself, so that it can be sorted; in their place
// then stand the derivatives by the probabilities, of which the second loop makes the gradient. Floor: logits read
// twice, errors and derivatives written and read, gradient written.
#include "losses/softmax_pixel.h"
#include "losses/softmax_rows.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <class T>
T* errors_of(const SoftmaxJob<T>& job, const Tile<T>& tile, int64_t c) {
    return job.errors + job.error_at(tile.image, c) + tile.at;
}

template <class T>
void load_probabilities(Tile<T>& tile) {
    using V = Vec<T>;
    tile.load();
    tile.template exponentials<false>();
    tile.clear_uncounted(tile.weight);
    for (int64_t i = 0; i < tile.padded; i += V::lanes)
        (V::load(tile.weight + i) / V::load(tile.rest + i)).store(tile.factor + i);
}

template <class T>
void errors(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    Tile<T> tile(job, scratch);
    for (int64_t chunk = first; chunk < last; ++chunk) {
        tile.each_tile(chunk, [&] {
            load_probabilities(tile);
            for (int64_t c = 0; c < job.classes; ++c) {
                T* row = tile.rows + c * tile.stride;
                for (int64_t i = 0; i < tile.padded; i += V::lanes)
                    (V::load(row + i) * V::load(tile.factor + i)).store(row + i);
            }
            for (int64_t i = 0; i < tile.n; ++i) {
                if (tile.label[i] < job.classes) tile.own(i) = 1 - tile.own(i);
            }
            for (int64_t c = 0; c < job.classes; ++c)
                std::memcpy(errors_of(job, tile, c), tile.rows + c * tile.stride, size_t(tile.n) * sizeof(T));
            std::memcpy(job.classes_out + tile.image * job.pixels + tile.at, tile.label,
                        size_t(tile.n) * sizeof(int32_t));
        });
    }
}

template <class T>
void gradient(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    Tile<T> tile(job, scratch);
    T* slopes = scratch + job.scratch_of_logits();
    for (int64_t chunk = first; chunk < last; ++chunk) {
        tile.each_tile(chunk, [&] {
            load_probabilities(tile);
            for (int64_t c = 0; c < job.classes; ++c) {
                T* row = slopes + c * tile.stride;
                std::memcpy(row, errors_of(job, tile, c), size_t(tile.n) * sizeof(T));
                for (int64_t i = tile.n; i < tile.padded; ++i) row[i] = 0;
            }
            for (int64_t i = 0; i < tile.padded; i += V::lanes) {
                V sloped = V::set(0);
                for (int64_t c = 0; c < job.classes; ++c)
                    sloped = sloped + V::load(tile.rows + c * tile.stride + i) * V::load(slopes + c * tile.stride + i);
                (sloped * V::load(tile.factor + i)).store(tile.extra + i);
            }
            tile.write([&](int64_t c, int64_t i, V e) {
                return (e * V::load(tile.factor + i)) *
                       (V::load(slopes + c * tile.stride + i) - V::load(tile.extra + i));
            });
        });
    }
    if (job.stream) store_fence();
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(LovaszKernels, lovasz_kernels, {{errors<float>, gradient<float>}, {errors<double>, gradient<double>}})

}  // namespace fastdet
