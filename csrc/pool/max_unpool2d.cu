// Unpooling and the gradients of both.
//
// Scattering is done as a gather, which writes each place of the image once: a place looks at the windows that it lies
// in, row by row, and takes (or adds up) the values whose index is this place. Compact indices cannot point out of
// their window. A flat one that does is seen by the first place of its window, and its plane is done again afterwards,
// as the CPU does it: a warp goes over the pooled values in order. The host does not wait for this: the kernel that
// repeats planes is always launched, and reads a flag per plane. 2 x 2 windows side by side in planes of whole pieces
// of 16 bytes, the usual ones: a thread loads half a piece of values, with their indices, and stores two pieces.
// Gathering: a thread a value, 4 rows at a time.
//
// Floor: the bytes; 8 x 64 x 512^2 in half precision, 2 x 2, either way: 67 + 34 MB read with compact indices and 268
// MB written (86 us at 4.3 TB/s), 67 + 268 and 268 MB with flat ones (140 us); three launches more, some 5 us.
// Operations: some 20 an output of 2 x 2 windows; elsewhere some 50 an output and 20 a window that it lies in (3 x 3,
// every second: 400 us for as many, three times the bytes; several outputs a thread would be next). Doing a plane
// again: some 100 cycles for 32 pooled values, one warp a plane. Limit: images and windows of 2^30 each way.
#include <type_traits>

#include "core/half.h"
#include "cuda/rows.h"
#include "pool/cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxRows = 16;
constexpr int kAbreast = 4;                         // values that a thread gathers at once
constexpr int64_t kAgainBytes = int64_t(32) << 20;  // of sums of halves, for planes done again at the same time
constexpr int64_t kAgainBlocks = 4096;

// The type in which a place is computed: values that are moved, or sums (of halves: float32).
template <class S, bool kAdd>
using Put = typename std::conditional<kAdd && sizeof(S) == 2, float, S>::type;

template <bool kAdd, class S, class A>
__device__ inline void put(A& to, S x) {
    if constexpr (kAdd) {
        to = to + widen(x);
    } else {
        to = x;
    }
}
template <class S>
__device__ inline S kept(S x) {
    return x;
}
template <class S>
__device__ inline S kept(float x) {
    return narrow<S>(x);
}

// The faults of a call, in the workspace. All bytes are 0 at first.
struct Found {
    unsigned long long* outside;  // the complement of the first position of an index outside the image
    uint8_t* again;               // (planes,) whether an index lies in the image, but out of its window
};

// Position `at` of a pooled value in memory as one in (N, C, rows, columns).
__device__ inline void tell(const PlaceJob& job, const Found& found, int64_t at) {
    const int64_t size = job.rows * job.columns, plane = at / (size * job.inner);
    const int64_t rest = at - plane * size * job.inner, place = rest / job.inner, channel = rest - place * job.inner;
    atomicMax(found.outside, ~static_cast<unsigned long long>((plane * job.inner + channel) * size + place));
}

// Whether an index is one of the places of the window from (top, left) on that lie in the image: flat or compact.
__device__ inline bool is_of(const PlaceJob& job, int top, int left, int64_t index) {
    const int below = top + int(job.window.kh), beside = left + int(job.window.kw), H = int(job.height);
    const int y1 = below < H ? below : H, x0 = left > 0 ? left : 0,
              x1 = beside < int(job.width) ? beside : int(job.width);
    bool found = false;
    for (int y = top > 0 ? top : 0; y < y1; ++y) {
        found |= uint64_t(index) - uint64_t(y * job.width + x0) < uint64_t(x1 - x0);
    }
    return found;
}
__device__ inline bool is_of(const PlaceJob& job, int top, int left, uint8_t code) {
    uint32_t ky, kx;
    if (!window_place(code, job.window, &ky, &kx)) return false;
    const int y = top + int(ky), x = left + int(kx);
    return y >= 0 && y < int(job.height) && x >= 0 && x < int(job.width);
}

// Notes that the index of the pooled value `at` lies outside its window.
template <class I>
__device__ inline void misplaced(const PlaceJob& job, const Found& found, int64_t plane, int64_t at, I index) {
    if (sizeof(I) > 1 && uint64_t(index) < uint64_t(job.height * job.width)) {
        found.again[plane] = 1;  // others may write the same
    } else {
        tell(job, found, at);
    }
}

// N channels of a place. Rows of the image, by N values.
template <class S, class I, int N, bool kAdd>
__global__ void __launch_bounds__(kThreads, 2)
    place_kernel(const PlaceJob job, const Rows rows, const Divider by_sh, const Divider by_sw, const Found found) {
    using A = Put<S, kAdd>;
    int64_t row, end, chunk;
    if (!my_rows(rows, &row, &end, &chunk)) return;
    const PoolWindow& w = job.window;
    const int64_t C = job.inner, channel = chunk * N % C;
    const int x = int(chunk * N / C), H = int(job.height), sh = int(w.sh), sw = int(w.sw);
    // of the windows that a place lies in, the first ends after it, and the last begins at or before it
    const auto first_at = [](int at, const Divider& by, int64_t kernel) {
        return at < kernel ? 0 : int(by(uint32_t(at - kernel))) + 1;
    };
    const auto last_at = [](int at, const Divider& by, int64_t count) {
        const int i = int(by(uint32_t(at)));
        return i < count ? i : int(count) - 1;
    };
    const int at_x = x + int(w.pw), c0 = first_at(at_x, by_sw, w.kw), c1 = last_at(at_x, by_sw, job.columns);
    int64_t plane = row / H;
    int y = int(row - plane * H);
    for (; row < end; ++row) {
        A sum[N];
#pragma unroll
        for (int j = 0; j < N; ++j) sum[j] = A(job.fill);
        const int at_y = y + int(w.ph), r0 = first_at(at_y, by_sh, w.kh), r1 = last_at(at_y, by_sh, job.rows);
        int top = r0 * sh - int(w.ph);
        for (int r = r0; r <= r1; ++r, top += sh) {
            int64_t at = ((plane * job.rows + r) * job.columns + c0) * C + channel;
            int left = c0 * sw - int(w.pw);
            for (int c = c0; c <= c1; ++c, left += sw, at += C) {
                const Pack<I, N> indices = load_pack<N>(static_cast<const I*>(job.indices) + at);
                const Pack<S, N> values = load_pack<N>(static_cast<const S*>(job.x) + at);
                // the values whose index is this place
                const int64_t here = sizeof(I) > 1 ? y * job.width + x : (y - top) * int(w.kw) + (x - left);
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    if (indices.v[j] == here) put<kAdd>(sum[j], values.v[j]);
                }
                if (y != (top > 0 ? top : 0) || x != (left > 0 ? left : 0)) continue;
#pragma unroll
                for (int j = 0; j < N; ++j) {  // the first place of the window
                    if (!is_of(job, top, left, indices.v[j])) misplaced(job, found, plane, at + j, indices.v[j]);
                }
            }
        }
        Pack<S, N> made;
#pragma unroll
        for (int j = 0; j < N; ++j) made.v[j] = kept<S>(sum[j]);
        store_pack(static_cast<S*>(job.out) + row * job.width * C + chunk * N, made);
        if (++y == H) y = 0, ++plane;
    }
}

// 2 x 2 windows side by side in planes, N of a row at once. Rows of pooled values, by N.
template <class S, class I, bool kAdd>
__global__ void __launch_bounds__(kThreads) two_places_kernel(const PlaceJob job, const Rows rows, const Found found) {
    using A = Put<S, kAdd>;
    constexpr int V = 16 / int(sizeof(S)), N = V / 2;
    int64_t row, end, chunk;
    if (!my_rows(rows, &row, &end, &chunk)) return;
    const int64_t W = job.width;
    const uint64_t down = sizeof(I) > 1 ? uint64_t(W) : 2;
    const S blank = kept<S>(A(job.fill));
    int64_t plane = row / job.rows;
    int r = int(row - plane * job.rows);
    for (; row < end; ++row) {
        const int64_t at = row * job.columns + chunk * N;
        const Pack<I, N> indices = load_pack<N>(static_cast<const I*>(job.indices) + at);
        const Pack<S, N> values = load_pack<N>(static_cast<const S*>(job.x) + at);
        Pack<S, V> upper, lower;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const int64_t origin = sizeof(I) > 1 ? int64_t(2 * r) * W + chunk * V + 2 * j : 0;
            const uint64_t from = uint64_t(indices.v[j]) - uint64_t(origin);  // 0, 1, down or down + 1
            A value = A{};
            put<kAdd>(value, values.v[j]);
            const S there = kept<S>(value);
            upper.v[2 * j] = from == 0 ? there : blank;
            upper.v[2 * j + 1] = from == 1 ? there : blank;
            lower.v[2 * j] = from == down ? there : blank;
            lower.v[2 * j + 1] = from == down + 1 ? there : blank;
            if (from > 1 && from - down > 1) misplaced(job, found, plane, at + j, indices.v[j]);
        }
        S* to = static_cast<S*>(job.out) + (plane * job.height + 2 * r) * W + chunk * V;
        store_pack(to, upper);
        store_pack(to + W, lower);
        if (++r == int(job.rows)) {
            to += 2 * W;
            Pack<S, V> blanks;
#pragma unroll
            for (int j = 0; j < V; ++j) blanks.v[j] = blank;
            for (int y = 2 * r; y < int(job.height); ++y, to += W) store_pack(to, blanks);
            r = 0, ++plane;
        }
    }
}

// Planes with a flat index out of its window, from the beginning: a block a plane, its first warp in the order of the
// pooled values. sums: room for one plane a block, of halves that are added.
template <class S, bool kAdd>
__global__ void __launch_bounds__(kThreads, 2) again_kernel(const PlaceJob job, const Found found, float* sums) {
    using A = Put<S, kAdd>;
    const int64_t C = job.inner, size = job.height * job.width * C, count = job.rows * job.columns * C;
    for (int64_t plane = blockIdx.x; plane < job.planes; plane += gridDim.x) {
        if (!found.again[plane]) continue;
        S* const out = static_cast<S*>(job.out) + plane * size;
        A* sum;
        if constexpr (std::is_same<S, A>::value) {
            sum = out;
        } else {
            sum = sums + int64_t(blockIdx.x) * size;
        }
        for (int64_t i = threadIdx.x; i < size; i += kThreads) sum[i] = A(job.fill);
        __syncthreads();
        const int lane = int(threadIdx.x);
        for (int64_t base = 0; lane < kWarp && base < count; base += kWarp) {
            const int64_t i = base + lane, at = plane * count + i;
            uint64_t to = ~uint64_t(lane);  // no place: unlike any other lane's
            S value = S{};
            if (i < count) {
                const int64_t place = static_cast<const int64_t*>(job.indices)[at];
                value = static_cast<const S*>(job.x)[at];
                if (uint64_t(place) < uint64_t(job.height * job.width)) {
                    to = uint64_t(place * C + i % C);
                } else {
                    tell(job, found, at);
                }
            }
            const bool has = to < uint64_t(size);
            // values of one place are added one after the other
            const int before = __popc(__match_any_sync(kAllLanes, to) & ((1u << lane) - 1));
            for (int turn = 0; __any_sync(kAllLanes, has && before >= turn); ++turn) {
                if (has && before == turn) put<kAdd>(sum[to], value);
                __syncwarp();
            }
        }
        if constexpr (!std::is_same<S, A>::value) {
            __syncthreads();
            for (int64_t i = threadIdx.x; i < size; i += kThreads) out[i] = kept<S>(sum[i]);
            __syncthreads();
        }
    }
}

// Notes the first pooled value whose index lies outside the image; `known`: one such value, or -1.
__global__ void __launch_bounds__(kWarp) tell_kernel(const Found found, int64_t known, int64_t* fault) {
    const unsigned long long seen = *found.outside, other = known < 0 ? 0 : ~static_cast<unsigned long long>(known);
    const unsigned long long first = seen > other ? seen : other;
    if (threadIdx.x == 0 && first) *fault = int64_t(~first) + 1;
}

// Rows of pooled values.
template <class S, class I>
__global__ void __launch_bounds__(kThreads) gather_kernel(const PlaceJob job, const Rows rows, const Found found) {
    int64_t row, end, chunk;
    if (!my_rows(rows, &row, &end, &chunk)) return;
    const int64_t C = job.inner, column = chunk / C, channel = chunk - column * C, across = job.columns * C;
    const S* const x = static_cast<const S*>(job.x);
    int64_t plane = row / job.rows;
    int r = int(row - plane * job.rows);
    for (; row < end; row += kAbreast) {
        I index[kAbreast];
        S value[kAbreast];
#pragma unroll
        for (int i = 0; i < kAbreast; ++i) {
            if (row + i < end) index[i] = static_cast<const I*>(job.indices)[(row + i) * across + chunk];
        }
#pragma unroll
        for (int i = 0; i < kAbreast; ++i) {
            if (row + i >= end) break;
            int64_t place = int64_t(index[i]);
            bool fits = uint64_t(place) < uint64_t(job.height * job.width);
            if (sizeof(I) == 1) {
                const PoolWindow& w = job.window;
                uint32_t ky, kx;
                fits = window_place(uint32_t(index[i]), w, &ky, &kx);
                const int64_t y = r * w.sh - w.ph + ky, at = column * w.sw - w.pw + kx;
                fits = fits && uint64_t(y) < uint64_t(job.height) && uint64_t(at) < uint64_t(job.width);
                place = y * job.width + at;
            }
            value[i] = fits ? x[(plane * job.height * job.width + place) * C + channel] : S{};
            if (!fits) tell(job, found, (row + i) * across + chunk);
            if (++r == int(job.rows)) r = 0, ++plane;
        }
#pragma unroll
        for (int i = 0; i < kAbreast; ++i) {
            if (row + i < end) static_cast<S*>(job.out)[(row + i) * across + chunk] = value[i];
        }
    }
}

int64_t plane_values(const PlaceJob& job) { return job.height * job.width * job.inner; }

// Blocks of `again_kernel`.
int64_t again_blocks(const PlaceJob& job) {
    int64_t max_planes = kAgainBlocks;
    if (job.add && (job.type == PoolType::f16 || job.type == PoolType::bf16)) {
        max_planes = kAgainBytes / (plane_values(job) * int64_t(sizeof(float)));
        max_planes = max_planes < 1 ? 1 : max_planes;
    }
    return job.planes < max_planes ? job.planes : max_planes;
}

struct Workspace {
    Found found;
    int64_t zeros;  // bytes of it
    float* sums;

    Workspace(Parts& parts, const PlaceJob& job) {
        found.outside = parts.take<unsigned long long>(1);
        found.again = parts.take<uint8_t>(job.compact ? 0 : job.planes);
        zeros = parts.bytes();
        const bool halves = job.add && (job.type == PoolType::f16 || job.type == PoolType::bf16);
        sums = parts.take<float>(halves && !job.compact ? again_blocks(job) * plane_values(job) : 0);
    }
};

template <class S, class I, bool kAdd>
void scatter(const PlaceJob& job, const Workspace& workspace, int64_t* fault, cudaStream_t stream) {
    constexpr int V = 16 / int(sizeof(S));
    const PoolWindow& w = job.window;
    const Found& found = workspace.found;
    // Windows that begin beyond the image have no place that looks at them.
    const bool below = (job.rows - 1) * w.sh - w.ph >= job.height,
               beside = (job.columns - 1) * w.sw - w.pw >= job.width;
    int64_t known = -1;  // compact: outside
    if (job.compact && (below || beside)) {
        const int64_t r = (job.height + w.ph + w.sh - 1) / w.sh, c = (job.width + w.pw + w.sw - 1) / w.sw;
        known = beside ? c : r * job.columns;
    } else if (below || beside) {
        check_cuda(cudaMemsetAsync(found.again, 1, size_t(job.planes), stream));
    }
    const Divider by_sh(uint32_t(w.sh)), by_sw = Divider(uint32_t(w.sw));
    const auto blocks = [](const Rows& rows) { return unsigned(blocks_for(rows.threads(), kThreads)); };
    const int64_t across = job.width * job.inner;
    if (job.inner == 1 && has_twos(w) && job.width == 2 * job.columns && job.width % V == 0 &&
        job.height >= 2 * job.rows) {
        const Rows rows(job.planes * job.rows, job.width / V, kMaxRows);
        FASTDET_LAUNCH((two_places_kernel<S, I, kAdd>), blocks(rows), kThreads, stream, job, rows, found);
    } else if (job.inner % V == 0) {
        const Rows rows(job.planes * job.height, across / V, kMaxRows);
        FASTDET_LAUNCH((place_kernel<S, I, V, kAdd>), blocks(rows), kThreads, stream, job, rows, by_sh, by_sw, found);
    } else {
        const Rows rows(job.planes * job.height, across, kMaxRows);
        FASTDET_LAUNCH((place_kernel<S, I, 1, kAdd>), blocks(rows), kThreads, stream, job, rows, by_sh, by_sw, found);
    }
    if (!job.compact) {
        FASTDET_LAUNCH((again_kernel<S, kAdd>), unsigned(again_blocks(job)), kThreads, stream, job, found,
                       workspace.sums);
    }
    FASTDET_LAUNCH((tell_kernel), 1, kWarp, stream, found, known, fault);
}

template <class S, class I>
void gather(const PlaceJob& job, const Workspace& workspace, int64_t* fault, cudaStream_t stream) {
    const Rows rows(job.planes * job.rows, job.columns * job.inner, kMaxRows);
    FASTDET_LAUNCH((gather_kernel<S, I>), unsigned(blocks_for(rows.threads(), kThreads)), kThreads, stream, job, rows,
                   workspace.found);
    FASTDET_LAUNCH((tell_kernel), 1, kWarp, stream, workspace.found, int64_t(-1), fault);
}

// f(S()) for values that are only moved: those of one size are all alike.
template <class F>
void by_size(PoolType type, F&& f) {
    switch (type) {
        case PoolType::u8:
            return f(uint8_t());
        case PoolType::u16:
            return f(uint16_t());
        case PoolType::u32:
            return f(uint32_t());
        default:
            return f(int64_t());
    }
}

template <class F>
void by_sum(PoolType type, F&& f) {
    switch (type) {
        case PoolType::f64:
            return f(double());
        case PoolType::f16:
            return f(Half());
        case PoolType::bf16:
            return f(BFloat16());
        default:
            return f(float());
    }
}

}  // namespace

int64_t pool_places_workspace(const PlaceJob& job) {
    Parts parts;
    const Workspace workspace(parts, job);
    return parts.bytes();
}

void max_unpool2d_cuda(const PlaceJob& job, void* memory, int64_t* fault, cudaStream_t stream) {
    if (!job.planes || !job.inner) return;
    Parts parts(memory);
    const Workspace workspace(parts, job);
    check_cuda(cudaMemsetAsync(memory, 0, size_t(workspace.zeros), stream));
    const auto with = [&](auto s, auto add) {
        using S = decltype(s);
        constexpr bool kAdd = decltype(add)::value;
        if (job.compact) return scatter<S, uint8_t, kAdd>(job, workspace, fault, stream);
        scatter<S, int64_t, kAdd>(job, workspace, fault, stream);
    };
    if (job.add) return by_sum(job.type, [&](auto s) { with(s, std::true_type()); });
    by_size(job.type, [&](auto s) { with(s, std::false_type()); });
}

void max_unpool2d_backward_cuda(const PlaceJob& job, void* memory, int64_t* fault, cudaStream_t stream) {
    if (!job.planes || !job.inner) return;
    Parts parts(memory);
    const Workspace workspace(parts, job);
    check_cuda(cudaMemsetAsync(memory, 0, size_t(workspace.zeros), stream));
    by_size(job.type, [&](auto s) {
        using S = decltype(s);
        if (job.compact) return gather<S, uint8_t>(job, workspace, fault, stream);
        gather<S, int64_t>(job, workspace, fault, stream);
    });
}

}  // namespace fastdet
