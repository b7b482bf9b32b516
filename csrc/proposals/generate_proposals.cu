// What generate_proposals does before NMS on a GPU: all logits of the batch are sorted by score, then, stable, by image
// and level; the tops are decoded, clipped and filtered, a thread each. NMS and the padding are multiclass_nms's.
// Floor: the logits read once (8 x 268,569 float32: 9 MB, 2 us); the two sorts move some 30 times as much.
#include "boxes/load_box.h"
#include "boxes/transforms.h"
#include "core/score_key.h"
#include "cuda/launch.h"
#include "cuda/sort.h"
#include "proposals/cuda.h"
#include "proposals/generate_proposals.h"

namespace fastdet {
namespace {

constexpr int kThreads = 256;

struct Place {
    int level;
    int64_t image, anchor;
};

template <class T>
__device__ inline Place place_of(const CudaLevels<T>& levels, int64_t place) {
    int level = 0;
    while (place >= levels.first_place[level + 1]) ++level;
    const int64_t in_level = place - levels.first_place[level];
    return {level, in_level / levels.count[level], in_level % levels.count[level]};
}

template <class T, class K>
__global__ void __launch_bounds__(kThreads)
    keys_kernel(CudaLevels<T> levels, int64_t places, K* by, int32_t* index, int64_t* wrong) {
    const int64_t i = thread_index();
    if (i >= places) return;
    const Place at = place_of(levels, i);
    const T score = levels.scores[at.level][i - levels.first_place[at.level]];
    if (score != score) note_first(wrong, 3 * i);
    by[i] = falling_key(score);
    index[i] = int32_t(i);
}

// Image and level of each rank.
template <class T>
__global__ void __launch_bounds__(kThreads)
    segments_kernel(CudaLevels<T> levels, const int32_t* order, int64_t places, uint64_t* by, int32_t* rank) {
    const int64_t r = thread_index();
    if (r >= places) return;
    const Place at = place_of(levels, order[r]);
    by[r] = uint64_t(at.image * levels.levels + at.level);
    rank[r] = int32_t(r);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(CudaLevels<T> levels, CudaProposals<T> job, const int32_t* order, const int32_t* rank) {
    const int64_t row = thread_index(), rows = levels.first_row[levels.levels];
    if (row >= rows * levels.images) return;
    const int64_t image = row / rows, in_image = row % rows;
    int level = 0;
    while (in_image >= levels.first_row[level + 1]) ++level;
    const int64_t position =
        image * levels.first_anchor[levels.levels] + levels.first_anchor[level] + (in_image - levels.first_row[level]);
    const int64_t place = order[rank[position]], in_level = place - levels.first_place[level];
    const Box<T> anchor = load_box(levels.anchors[level] + in_level % levels.count[level]);
    const Box<T> delta = load_box(reinterpret_cast<const Box<T>*>(levels.deltas[level]) + in_level);
    if (is_nan(delta)) {
        note_first(job.wrong + 1, 3 * place + 1);
    } else if (is_nan(anchor)) {
        note_first(job.wrong + 1, 3 * place + 2);
    }
    const T a[4] = {anchor.x1, anchor.y1, anchor.x2, anchor.y2}, d[4] = {delta.x1, delta.y1, delta.x2, delta.y2};
    const T weight[4] = {1, 1, 1, 1};
    T out[4];
    decode_box(a, d, weight, job.max_log_ratio, out);
    const Box<T> box =
        clipped(Box<T>{out[0], out[1], out[2], out[3]}, T(job.sizes[2 * image]), T(job.sizes[2 * image + 1]));
    const T score = sigmoid(levels.scores[level][in_level]);
    const bool left = has_min_size(box, job.min_size) && score >= job.score_threshold;
    store_box(job.boxes + row, left ? box : Box<T>{0, 0, 0, 0});
    job.scores[row] = left ? score : T(-1);
    job.keys[row] = image * levels.levels + level;
}

template <class T>
struct Scratch {
    using K = decltype(falling_key(T()));
    K *score_key, *score_sorted;
    uint64_t *segment_key, *segment_sorted;
    int32_t *index, *order, *rank;
    char* sorter;

    Scratch(Parts& parts, int64_t n) {
        score_key = parts.take<K>(n);
        score_sorted = parts.take<K>(n);
        segment_key = parts.take<uint64_t>(n);
        segment_sorted = parts.take<uint64_t>(n);
        index = parts.take<int32_t>(n);
        order = parts.take<int32_t>(n);
        rank = parts.take<int32_t>(n);
        sorter = parts.take<char>(sort_scratch(n));
    }
};

unsigned blocks(int64_t n) { return unsigned(blocks_for(n, kThreads)); }

}  // namespace

template <class T>
int64_t propose_workspace(int64_t places) {
    Parts parts;
    const Scratch<T> scratch(parts, places);
    return parts.bytes();
}

template <class T>
void propose_cuda(const CudaLevels<T>& levels, const CudaProposals<T>& job, void* workspace, cudaStream_t stream) {
    check_cuda(cudaMemsetAsync(job.wrong, 0xff, 2 * sizeof *job.wrong, stream));
    const int64_t places = levels.first_place[levels.levels];
    const int64_t rows = levels.first_row[levels.levels] * levels.images;
    if (!places) return;
    Parts parts(workspace);
    const Scratch<T> scratch(parts, places);
    using K = typename Scratch<T>::K;
    FASTDET_LAUNCH((keys_kernel<T, K>), blocks(places), kThreads, stream, levels, places, scratch.score_key,
                   scratch.index, job.wrong);
    sort_pairs(scratch.sorter, scratch.score_key, scratch.score_sorted, scratch.index, scratch.order, places,
               8 * int(sizeof(K)), stream);
    FASTDET_LAUNCH((segments_kernel<T>), blocks(places), kThreads, stream, levels, scratch.order, places,
                   scratch.segment_key, scratch.index);
    int bits = 1;
    while (levels.images * levels.levels >> bits) ++bits;
    sort_pairs(scratch.sorter, scratch.segment_key, scratch.segment_sorted, scratch.index, scratch.rank, places, bits,
               stream);
    if (rows)
        FASTDET_LAUNCH((decode_kernel<T>), blocks(rows), kThreads, stream, levels, job, scratch.order, scratch.rank);
}

template int64_t propose_workspace<float>(int64_t);
template int64_t propose_workspace<double>(int64_t);
template void propose_cuda(const CudaLevels<float>&, const CudaProposals<float>&, void*, cudaStream_t);
template void propose_cuda(const CudaLevels<double>&, const CudaProposals<double>&, void*, cudaStream_t);

}  // namespace fastdet
