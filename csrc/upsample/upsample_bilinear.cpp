// Bilinear resampling: threads and scratch memory around the loops of upsample_bilinear_loops.cpp and
// upsample_bilinear_backward_loops.cpp.
#include "upsample/upsample_bilinear.h"

#include "core/memory.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kTileBytes = 8 << 10;       // of a row: two of them, their table and a row of x fit the first cache
constexpr int64_t kThreadedValues = 1 << 17;  // read and written: some 50 us
constexpr int64_t kStreamBytes = int64_t(4) << 20;  // larger than what the second cache holds
constexpr int64_t kMinRows = 8;                     // of a band: a cut costs two rows made twice

int64_t divided(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// Columns in tiles of some `columns`, all alike, and of whole vectors where there is more than one.
void cut(UpsampleJob& job, int64_t width, int64_t height, int64_t columns, int64_t values) {
    columns = columns < 1 ? 1 : columns;
    job.tile = divided(width, divided(width, columns));
    if (job.tile >= 16 && job.tile < width) job.tile = divided(job.tile, 16) * 16;
    job.tiles = divided(width, job.tile);
    const int64_t units = job.tiles * job.planes;
    const int64_t wanted = values < kThreadedValues || get_num_threads() == 1 ? 1 : 4 * int64_t(get_num_threads());
    job.rows = units >= wanted ? height : divided(height, divided(wanted, units));
    job.rows = job.rows < kMinRows ? kMinRows : job.rows;
    job.bands = divided(height, job.rows);
}

template <class Loop>
void run(const UpsampleJob& job, int64_t values, int64_t scratch_bytes, Loop loop) {
    const int64_t units = job.tiles * job.planes * job.bands;
    const int64_t wanted = values < kThreadedValues || get_num_threads() == 1 ? 1 : 4 * int64_t(get_num_threads());
    const int64_t tasks = units < wanted ? units : wanted;
    parallel_for(tasks, [&](int64_t task) {
        Buffer<char> scratch(scratch_bytes);
        const auto from = [&](int64_t i) { return units / tasks * i + (units % tasks < i ? units % tasks : i); };
        loop(job, from(task), from(task + 1), scratch.get());
    });
}

int64_t bytes_of(Pixel pixel) {
    return pixel == Pixel::f64 ? 8 : pixel == Pixel::f32 ? 4 : pixel == Pixel::u8 || pixel == Pixel::i8 ? 1 : 2;
}

}  // namespace

void upsample_bilinear(UpsampleJob job, Pixel pixel) {
    if (!job.planes || !job.channels) return;
    const int64_t values = job.planes * job.out_h * job.out_w * job.channels;
    const int64_t computed = pixel == Pixel::f64 ? 8 : 4;
    cut(job, job.out_w, job.out_h, kTileBytes / computed / job.channels, values);
    job.stream = values * bytes_of(pixel) >= kStreamBytes;
    const UpsampleBilinearKernels& loops = upsample_bilinear_kernels();
    run(job, values, loops.scratch[int(pixel)](job), loops.run[int(pixel)]);
}

void upsample_bilinear_backward(UpsampleJob job, Pixel pixel) {
    if (!job.planes || !job.channels) return;
    const int64_t values = job.planes * job.out_h * job.out_w * job.channels;
    const int64_t computed = pixel == Pixel::f64 ? 8 : 4;
    // a tile reads kTileBytes of a row, and writes no more
    const int64_t per_column = job.out_w > job.in_w ? divided(job.out_w, job.in_w) : 1;
    cut(job, job.in_w, job.in_h, kTileBytes / computed / job.channels / per_column, values);
    const UpsampleBilinearBackwardKernels& loops = upsample_bilinear_backward_kernels();
    run(job, values, loops.scratch[int(pixel)](job), loops.run[int(pixel)]);
}

}  // namespace fastdet
