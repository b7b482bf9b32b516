// Confusion matrices of two label maps.
//
// Labels are coherent, along a row and from row to row. A warp goes down the image in a column of chunks, 16 bytes a
// lane of the map with the wider labels (16 pixels of uint8); a lane finds where its pixels change by comparing all of
// them with their left neighbours, and only there looks at labels and adds to a count: see tally.h. The next two
// chunks are on their way meanwhile. A copy of the matrix is kept by each warp up to 27 classes, by each block of 512
// threads up to about 240 (GPUs of 227 KB of shared memory; 120 where there are 64), and is added up in L2 beyond.
// Floor: both maps are read once, 8 x 1024 x 2048 pixels of uint8 34 MB, 8 us at 4.3 TB/s, of int64 268 MB, 62 us;
// operations: about 8 a pixel of uint8 in regions of 60 pixels (5 us on 132 SMs), 20 in noise. Aim: 15 and 80 us.
// Limit: 2^31 images.
#include "core/floats.h"
#include "segmentation/tally.h"

namespace fastdet {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / kWarp;
constexpr int64_t kMaxOfBlock = int64_t(1) << 31;  // pixels: what 32 bits count, with room

__global__ void __launch_bounds__(256) clear_kernel(int64_t* cells, int64_t count, Notes* notes, int64_t* fault) {
    const int64_t step = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = thread_index(); i < count; i += step) cells[i] = 0;
    if (thread_index()) return;
    *notes = {~0ull, 0};
    if (fault) *fault = 0;
}

// A register's worth of a label, and V neighbouring ones of a map.
template <class T>
struct Label {
    using Type = uint32_t;
};
template <>
struct Label<uint64_t> {
    using Type = uint64_t;
};

template <class T, int V>
struct Labels {
    static constexpr int bytes = V * int(sizeof(T)), words = bytes < 4 ? 1 : bytes / 4;
    uint32_t w[words] = {};

    __device__ void load(const void* labels, int64_t group) {
        const char* p = static_cast<const char*>(labels) + group * bytes;
        if constexpr (bytes == 16) {
            const uint4 v = *reinterpret_cast<const uint4*>(p);
            w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
        } else if constexpr (bytes == 8) {
            const uint2 v = *reinterpret_cast<const uint2*>(p);
            w[0] = v.x, w[1] = v.y;
        } else if constexpr (bytes == 4) {
            w[0] = *reinterpret_cast<const uint32_t*>(p);
        } else {
            w[0] = *reinterpret_cast<const uint16_t*>(p);
        }
    }
    __device__ typename Label<T>::Type operator[](int k) const {
        if constexpr (sizeof(T) == 8) {
            return uint64_t(word(2 * k + 1)) << 32 | word(2 * k);
        } else {
            constexpr int of_word = 4 / int(sizeof(T)), bits = 8 * int(sizeof(T));
            return word(k / of_word) >> k % of_word * bits & uint32_t((uint64_t(1) << bits) - 1);
        }
    }

  private:
    __device__ uint32_t word(int i) const {  // an index known at compile time keeps the words in registers
        uint32_t x = w[0];
#pragma unroll
        for (int k = 1; k < words; ++k) x = i == k ? w[k] : x;
        return x;
    }
};

// Bit k: label k of x or of y is not what the one before it is; `before` come before the first.
template <class A, class B, int V>
__device__ inline uint32_t changes(const Labels<A, V>& x, const Labels<B, V>& y, typename Label<A>::Type before_x,
                                   typename Label<B>::Type before_y) {
    uint32_t bits = 0;
#pragma unroll
    for (int k = 0; k < V; ++k) {
        bits |= uint32_t(x[k] != before_x || y[k] != before_y) << k;
        before_x = x[k], before_y = y[k];
    }
    return bits;
}
template <int V>  // four at once
__device__ inline uint32_t changes(const Labels<uint8_t, V>& x, const Labels<uint8_t, V>& y, uint32_t before_x,
                                   uint32_t before_y) {
    before_x <<= 24, before_y <<= 24;
    uint32_t bits = 0;
#pragma unroll
    for (int k = 0; k < V / 4; ++k) {
        const uint32_t other = (x.w[k] ^ (x.w[k] << 8 | before_x >> 24)) | (y.w[k] ^ (y.w[k] << 8 | before_y >> 24));
        const uint32_t high = (((other & 0x7f7f7f7f) + 0x7f7f7f7f) | other) & 0x80808080;  // of bytes that are not 0
        bits |= (high >> 7) * 0x10204080 >> 28 << 4 * k;                                   // gathered
        before_x = x.w[k], before_y = y.w[k];
    }
    return bits;
}

// How a warp goes through an image, in chunks of 32 groups of pixels, of which `across` make about a row: it takes
// `down` of a column. And what a class of the maps a and b adds to the place in the matrix; `swapped`: a is the
// prediction.
struct Way {
    int64_t across, down;
    uint32_t of_a, of_b;
    bool swapped;
};

// a: the map with the wider labels, or either.
template <class A, class B>
__global__ void __launch_bounds__(kThreads, 2)
    count_kernel(LabelMap a, LabelMap b, int64_t pixels, Way way, Matrices m) {
    constexpr int V = 16 / int(sizeof(A));
    using X = Labels<A, V>;
    using Y = Labels<B, V>;
    using LabelA = typename Label<A>::Type;
    using LabelB = typename Label<B>::Type;
    FASTDET_SHARED_REST(uint32_t, memory);
    const Tally tally(m, memory);
    const auto key_of = [&](LabelA x, LabelB y, int64_t at) {
        return noted_class(x, a, m.notes, way.swapped, at) * way.of_a +
               noted_class(y, b, m.notes, !way.swapped, at) * way.of_b;
    };
    const int64_t warp = tally.block() * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    // whole groups of the maps, whose pixels lie at multiples of V; those before and after them are few
    const int64_t first = tally.image() * pixels, last = first + pixels;
    const int64_t begin = (first + V - 1) / V, end = last / V, step = way.across * kWarp;
    if (warp == 0) {
        const int64_t whole = lesser<int64_t>(begin * V, last), rest = end * V > whole ? end * V : whole;
        const int64_t at = first + lane < whole ? first + lane : rest + lane - (whole - first);
        if (at < last) {
            const LabelA of_x = static_cast<const A*>(a.labels)[at];
            const LabelB of_y = static_cast<const B*>(b.labels)[at];
            tally.add(key_of(of_x, of_y, at), 1);
        }
    }
    int64_t group = begin + (warp / way.across * way.down * way.across + warp % way.across) * kWarp + lane;
    int left = group < end ? int(lesser<int64_t>(way.down, (end - group + step - 1) / step)) : 0;

    Run<LabelA, LabelB> run;
    X x, next_x;
    Y y, next_y;
    const auto load = [&](int64_t from, X& to_x, Y& to_y) { to_x.load(a.labels, from), to_y.load(b.labels, from); };
    if (left > 0) load(group, x, y);
    if (left > 1) load(group + step, next_x, next_y);
    for (; left > 0; --left, group += step) {
        X after_x;
        Y after_y;
        if (left > 2) load(group + 2 * step, after_x, after_y);
        uint32_t turns = changes(x, y, run.a, run.b) | uint32_t(run.count == 0);
        int from = 0;
        while (turns) {
            const int k = __ffs(turns) - 1;
            turns &= turns - 1;
            run.count += k - from;
            from = k;
            run.turn(tally, x[k], y[k], key_of(x[k], y[k], group * V + k));
        }
        run.count += V - from;
        x = next_x, y = next_y;
        next_x = after_x, next_y = after_y;
    }
    run.end(tally);
    tally.finish();
}

template <class A, class B>
void count(const LabelMap& a, const LabelMap& b, bool swapped, int64_t images, int64_t pixels, int64_t width,
           const MatrixJob& job, cudaStream_t stream) {
    constexpr int64_t of_chunk = 16 / int(sizeof(A)) * kWarp;
    const int64_t chunks = blocks_for(pixels, of_chunk), min_blocks = blocks_for(pixels, kMaxOfBlock);
    Matrices m = matrices_of(job, pixels, kWarps, device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
    m.per_image = blocks_of(count_kernel<A, B>, kThreads, m, images, blocks_for(chunks, kWarps));
    if (m.per_image < min_blocks) m.per_image = unsigned(min_blocks);
    const int64_t warps = int64_t(m.per_image) * kWarps;
    const uint32_t side = uint32_t(job.side);
    Way way{(width + of_chunk / 2) / of_chunk, 0, swapped ? 1 : side, swapped ? side : 1, swapped};
    if (way.across < 1 || way.across > warps) way.across = 1;
    way.down = blocks_for(blocks_for(chunks, way.across), warps / way.across);
    FASTDET_LAUNCH_SHARED((count_kernel<A, B>), grid_of(m, images), kThreads, shared_bytes(m), stream, a, b, pixels,
                          way, m);
}

template <class F>
void by_bytes(int bytes, F&& f) {
    switch (bytes) {
        case 1:
            return f(uint8_t());
        case 2:
            return f(uint16_t());
        case 4:
            return f(uint32_t());
        default:
            return f(uint64_t());
    }
}

}  // namespace

int64_t confusion_workspace() { return sizeof(Notes); }

void clear_matrices(const MatrixJob& job, int64_t images, cudaStream_t stream) {
    const int64_t cells = (job.each ? images : 1) * job.side * job.side;
    FASTDET_LAUNCH((clear_kernel), unsigned(lesser<int64_t>(blocks_for(cells + 1, 256), 4096)), 256, stream, job.cells,
                   cells, static_cast<Notes*>(job.workspace), job.clears ? job.fault : nullptr);
}

void confusion_matrix_cuda(const LabelMap& target, const LabelMap& prediction, int64_t images, int64_t pixels,
                           int64_t width, const MatrixJob& job, cudaStream_t stream) {
    clear_matrices(job, images, stream);
    if (!images || !pixels) return;
    const bool swapped = prediction.bytes > target.bytes;
    const LabelMap &a = swapped ? prediction : target, &b = swapped ? target : prediction;
    by_bytes(a.bytes, [&](auto wide) {
        by_bytes(b.bytes, [&](auto narrow) {
            using A = decltype(wide);
            using B = decltype(narrow);
            if constexpr (sizeof(A) >= sizeof(B)) count<A, B>(a, b, swapped, images, pixels, width, job, stream);
        });
    });
}

}  // namespace fastdet
