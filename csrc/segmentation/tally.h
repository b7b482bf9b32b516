// How kernels count pixels into confusion matrices.
//
// A thread adds up a run of equal pixels in registers, and then adds it to a copy of the matrix in shared memory: of
// its warp where the matrix is small, of several warps or of the block where it is larger; where it does not fit, to
// the matrix itself. Copies count in 32 bits and are added to the matrix's 64 at the end of an image.
#pragma once

#include "cuda/launch.h"
#include "segmentation/cuda.h"

namespace fastdet {

struct Notes {
    unsigned long long first_invalid;  // where the first value is that is out of range: see `note`
    unsigned blocks_done;
};

// The fields of a MatrixJob that the kernels use.
struct Matrices {
    int64_t *cells, *fault;
    Notes* notes;
    int64_t stride;  // from an image's matrix to the next
    uint32_t side;
    int copies;          // in shared memory, a power of 2; 0: none
    unsigned per_image;  // blocks, one after the other
};

// `max_bytes`: bytes of shared memory for the copies. A matrix of more cells than an image has pixels is not worth any.
inline Matrices matrices_of(const MatrixJob& job, int64_t pixels, int warps, int64_t max_bytes) {
    const int64_t cells = job.side * job.side, few = max_bytes < kUnaskedShared ? max_bytes : kUnaskedShared;
    int copies = cells <= pixels && cells * 4 <= max_bytes;
    while (copies && copies < warps && copies * 2 * cells * 4 <= few) copies *= 2;
    return {job.cells, job.fault, static_cast<Notes*>(job.workspace), job.each ? cells : 0, uint32_t(job.side),
            copies,    1};
}
inline int64_t shared_bytes(const Matrices& m) {
    return int64_t(m.copies) * m.side * m.side * int64_t(sizeof(uint32_t));
}

// Blocks for an image which has `work` for so many: no more than run at once together with those of the other images.
template <class Kernel>
unsigned blocks_of(Kernel* kernel, int threads, const Matrices& m, int64_t images, int64_t work) {
    const int64_t shares = at_once(kernel, threads, shared_bytes(m)) / images;
    return unsigned(shares < 1 ? 1 : shares < work ? shares : work);
}

// Blocks of all images; CUDA's limit is 2^31.
inline unsigned grid_of(const Matrices& m, int64_t images) {
    const int64_t blocks = images * m.per_image;
    if (blocks >= int64_t(1) << 31) throw CudaError{cudaErrorInvalidConfiguration};
    return unsigned(blocks);
}

// confusion_matrix.cu: zeros. What every launcher begins with.
void clear_matrices(const MatrixJob& job, int64_t images, cudaStream_t stream);

// A value out of range: `second` in the prediction or the scores, whose faults come after all of the target's.
__device__ inline void note(Notes* notes, bool second, int64_t at) {
    const unsigned long long place =
        static_cast<unsigned long long>(second) << 63 | static_cast<unsigned long long>(at);
    if (place < *const_cast<volatile unsigned long long*>(&notes->first_invalid))
        atomicMin(&notes->first_invalid, place);
}

// Label i of a map.
__device__ inline uint64_t label_at(const LabelMap& map, int64_t i) {
    switch (map.bytes) {
        case 1:
            return static_cast<const uint8_t*>(map.labels)[i];
        case 2:
            return static_cast<const uint16_t*>(map.labels)[i];
        case 4:
            return static_cast<const uint32_t*>(map.labels)[i];
        default:
            return static_cast<const uint64_t*>(map.labels)[i];
    }
}

// The class of a label. A label out of range is noted; its class is then undefined.
template <class L>
__device__ inline uint32_t noted_class(L label, const LabelMap& map, Notes* notes, bool second, int64_t at) {
    if (is_invalid(label, L(map.max_label), L(map.ignore))) {
        note(notes, second, at);
        return 0;
    }
    return uint32_t(class_of(label, L(map.ignore), L(map.void_code)));
}

// A block counts pixels of one image: the copies, in `memory`, and the way from there.
class Tally {
  public:
    __device__ Tally(const Matrices& m, uint32_t* memory)  // by all threads
        : m_(m), memory_(memory), cells_(m.copies ? int(m.side * m.side) : 0) {
        mine_ = m.copies ? int(threadIdx.x / kWarp % unsigned(m.copies)) * cells_ : 0;
        for (int i = int(threadIdx.x); i < m.copies * cells_; i += int(blockDim.x)) memory_[i] = 0;
        __syncthreads();
    }
    __device__ int64_t image() const { return blockIdx.x / m_.per_image; }
    __device__ int64_t block() const { return blockIdx.x % m_.per_image; }  // of the image's

    __device__ void add(uint32_t key, int count) const {
        if (m_.copies) {
            atomicAdd(memory_ + mine_ + key, uint32_t(count));
        } else {
            add_to(key, uint32_t(count));
        }
    }
    // Called by all threads at the end of the kernel. The last block reports the first fault.
    __device__ void finish() const {
        __syncthreads();
        for (int i = int(threadIdx.x); i < cells_; i += int(blockDim.x)) {
            uint32_t sum = 0;
            for (int copy = 0; copy < m_.copies; ++copy) sum += memory_[copy * cells_ + i];
            if (sum) add_to(uint32_t(i), sum);
        }
        if (threadIdx.x) return;
        __threadfence();
        if (atomicAdd(&m_.notes->blocks_done, 1u) != gridDim.x - 1) return;
        const unsigned long long place = atomicMin(&m_.notes->first_invalid, ~0ull);  // as it is
        if (place != ~0ull) *m_.fault = 1 + int64_t(place << 1 | place >> 63);
    }

  private:
    __device__ void add_to(uint32_t cell, uint32_t count) const {
        unsigned long long* to = reinterpret_cast<unsigned long long*>(m_.cells + image() * m_.stride);
        atomicAdd(to + cell, static_cast<unsigned long long>(count));
    }
    const Matrices& m_;
    uint32_t* memory_;
    int cells_, mine_;
};

// A thread's run of pixels that have the same two labels. A and B hold labels of the maps a and b.
template <class A, class B>
struct Run {
    A a = 0;
    B b = 0;
    uint32_t key = 0;
    int count = 0;

    __device__ bool has(A a_, B b_) const { return count && a == a_ && b == b_; }
    // Ends at a pixel with other classes, where the next one begins.
    __device__ void turn(const Tally& tally, A a_, B b_, uint32_t key_) {
        end(tally);
        a = a_, b = b_, key = key_;
    }
    __device__ void end(const Tally& tally) {
        if (count) tally.add(key, count);
        count = 0;
    }
};

}  // namespace fastdet
