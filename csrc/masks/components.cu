// Connected components. A pixel is joined to its equal neighbours on the left and above, in a forest that every thread
// changes at once: a root takes a smaller one by atomicMin, and what it had before goes on being joined. So the root of
// a component is its first pixel, whatever the order of the threads. Roots, compacted, are the components in raster
// order. Areas come from the ends of runs, not from every pixel: the sum of x + 1 at right ends less that of x at left
// ones. Bytes: the labels are read about three times, a parent of 4 bytes is written and read twice, the map is
// written.
#include <type_traits>

#include "cuda/compact.h"
#include "cuda/launch.h"
#include "masks/components_cuda.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;
constexpr int32_t kBackground = -1;

struct Workspace {
    int32_t *parent, *rank, *counters;
    uint8_t* flags;
    int64_t bytes;

    Workspace(int64_t pixels, void* memory) {
        Parts parts(memory);
        parent = parts.take<int32_t>(pixels);
        rank = parts.take<int32_t>(pixels);
        counters = parts.take<int32_t>(kCompactScratch);
        flags = parts.take<uint8_t>(pixels);
        bytes = parts.bytes();
    }
};

// Of a pixel: its place in its map of `size` pixels, and where the map starts.
struct Place {
    int64_t start;
    int32_t at, x, y;
};
__device__ inline Place place_of(int64_t i, int64_t size, int64_t width) {
    Place p;
    p.start = i / size * size;
    p.at = int32_t(i - p.start);
    p.y = int32_t(p.at / width);
    p.x = int32_t(p.at - p.y * width);
    return p;
}

__device__ inline int32_t root_of(const volatile int32_t* parent, int32_t i) {
    for (int32_t next = parent[i]; next != i; next = parent[i]) i = next;
    return i;
}

__device__ inline void join(int32_t* parent, int32_t a, int32_t b) {
    for (;;) {
        a = root_of(parent, a), b = root_of(parent, b);
        if (a == b) return;
        if (a > b) {
            const int32_t t = a;
            a = b, b = t;
        }
        const int32_t before = atomicMin(&parent[b], a);
        if (before == b) return;
        b = before;  // another thread was first: its root is joined as well
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    start_kernel(const T* labels, int64_t pixels, int64_t size, int32_t* parent) {
    const int64_t i = thread_index();
    if (i < pixels) parent[i] = labels[i] ? int32_t(i % size) : kBackground;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    join_kernel(const T* labels, int64_t pixels, int64_t size, int64_t width, bool eight, int32_t* parent) {
    const int64_t i = thread_index();
    if (i >= pixels) return;
    const T label = labels[i];
    if (!label) return;
    const Place p = place_of(i, size, width);
    int32_t* const mine = parent + p.start;
    const int32_t w = int32_t(width);
    if (p.x && labels[i - 1] == label) join(mine, p.at, p.at - 1);
    if (!p.y) return;
    if (labels[i - width] == label) {
        join(mine, p.at, p.at - w);  // the corners above are its neighbours in their row
    } else if (eight) {
        if (p.x && labels[i - width - 1] == label) join(mine, p.at, p.at - w - 1);
        if (p.x + 1 < w && labels[i - width + 1] == label) join(mine, p.at, p.at - w + 1);
    }
}

__global__ void __launch_bounds__(kThreads) root_kernel(int64_t pixels, int64_t size, int32_t* parent, uint8_t* flags) {
    const int64_t i = thread_index();
    if (i >= pixels) return;
    const int64_t start = i / size * size;
    const int32_t at = int32_t(i - start);
    const bool inside = parent[i] != kBackground;
    const int32_t root = inside ? root_of(parent + start, at) : kBackground;
    // Other threads pass through here meanwhile: old or new, it leads them to the same root.
    if (inside) static_cast<volatile int32_t*>(parent)[i] = root;
    flags[i] = inside && root == at;
}

// The number of components whose first pixels come before `place`.
__device__ inline int64_t before(const int64_t* first, int64_t count, int64_t place) {
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (first[middle] < place) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    number_kernel(const T* labels, const int64_t* first, int64_t count, int64_t size, int64_t width, int32_t* rank,
                  T* label, int64_t* area, int32_t* ends) {
    const int64_t k = thread_index();
    if (k >= count) return;
    const int64_t i = first[k];
    const Place p = place_of(i, size, width);
    rank[i] = int32_t(k - before(first, count, p.start)) + 1;
    label[k] = labels[i];
    area[k] = 0;
    ends[4 * k] = p.x;
    ends[4 * k + 1] = p.y;  // the first pixel is in the first row
    ends[4 * k + 2] = p.x + 1;
    ends[4 * k + 3] = p.y + 1;
}

__global__ void __launch_bounds__(kThreads)
    offset_kernel(const int64_t* first, int64_t count, int64_t n, int64_t size, int64_t* offsets) {
    const int64_t m = thread_index();
    if (m <= n) offsets[m] = before(first, count, m * size);
}

__device__ inline void add(int64_t* to, int64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

__global__ void __launch_bounds__(kThreads)
    map_kernel(const int32_t* parent, const int32_t* rank, const int64_t* offsets, int64_t pixels, int64_t size,
               int64_t width, int32_t* map, int64_t* area, int32_t* ends) {
    const int64_t i = thread_index();
    if (i >= pixels) return;
    const int32_t root = parent[i];
    if (root == kBackground) {
        map[i] = 0;
        return;
    }
    const Place p = place_of(i, size, width);
    const int32_t number = rank[p.start + root];
    map[i] = number;
    const int64_t k = offsets[p.start / size] + number - 1;
    if (!p.x || parent[i - 1] != root) {
        add(&area[k], -int64_t(p.x));
        atomicMin(&ends[4 * k], p.x);
    }
    if (p.x + 1 == int32_t(width) || parent[i + 1] != root) {
        add(&area[k], p.x + 1);
        atomicMax(&ends[4 * k + 2], p.x + 1);
        atomicMax(&ends[4 * k + 3], p.y + 1);
    }
}

__global__ void __launch_bounds__(kThreads) box_kernel(const int32_t* ends, int64_t numbers, double* box) {
    const int64_t i = thread_index();
    if (i < numbers) box[i] = ends[i];
}

unsigned blocks_of(int64_t items) { return unsigned(blocks_for(items, kThreads)); }

// f(labels) with the type of the labels.
template <class F>
void by_bytes(const ComponentMaps& maps, F&& f) {
    switch (maps.bytes) {
        case 1:
            return f(static_cast<const uint8_t*>(maps.labels));
        case 2:
            return f(static_cast<const uint16_t*>(maps.labels));
        case 4:
            return f(static_cast<const uint32_t*>(maps.labels));
        default:
            return f(static_cast<const uint64_t*>(maps.labels));
    }
}

}  // namespace

int64_t components_workspace(int64_t pixels) { return Workspace(pixels, nullptr).bytes; }

void find_components(const ComponentMaps& maps, void* workspace, int64_t* first, int64_t* count, cudaStream_t stream) {
    const int64_t pixels = maps.pixels(), size = maps.height * maps.width;
    const Workspace w(pixels, workspace);
    if (pixels) {
        by_bytes(maps, [&](auto* labels) {
            using T = std::remove_const_t<std::remove_pointer_t<decltype(labels)>>;
            FASTDET_LAUNCH((start_kernel<T>), blocks_of(pixels), kThreads, stream, labels, pixels, size, w.parent);
            FASTDET_LAUNCH((join_kernel<T>), blocks_of(pixels), kThreads, stream, labels, pixels, size, maps.width,
                           maps.eight, w.parent);
        });
        FASTDET_LAUNCH((root_kernel), blocks_of(pixels), kThreads, stream, pixels, size, w.parent, w.flags);
    }
    compact(w.flags, nullptr, pixels, -1, w.counters, first, count, stream);
}

void measure_components(const ComponentMaps& maps, void* workspace, const int64_t* first, int64_t count, int32_t* ends,
                        const ComponentResults& results, cudaStream_t stream) {
    const int64_t pixels = maps.pixels(), size = maps.height * maps.width;
    const Workspace w(pixels, workspace);
    if (count) {
        by_bytes(maps, [&](auto* labels) {
            using T = std::remove_const_t<std::remove_pointer_t<decltype(labels)>>;
            FASTDET_LAUNCH((number_kernel<T>), blocks_of(count), kThreads, stream, labels, first, count, size,
                           maps.width, w.rank, static_cast<T*>(results.label), results.area, ends);
        });
    }
    FASTDET_LAUNCH((offset_kernel), blocks_of(maps.n + 1), kThreads, stream, first, count, maps.n, size,
                   results.offsets);
    if (!pixels) return;
    FASTDET_LAUNCH((map_kernel), blocks_of(pixels), kThreads, stream, w.parent, w.rank, results.offsets, pixels, size,
                   maps.width, results.map, results.area, ends);
    if (count) FASTDET_LAUNCH((box_kernel), blocks_of(4 * count), kThreads, stream, ends, 4 * count, results.box);
}

}  // namespace fastdet
