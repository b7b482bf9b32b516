// The loops of the matcher. Compiled once per instruction set. Floor: the overlaps read once.
#include "proposals/match_boxes.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <class T>
bool best(const T* iou, int64_t rows, int64_t columns, int64_t first, int64_t last, T* most, int32_t* best_row,
          T* in_row) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    constexpr uint32_t kAll = uint32_t((uint64_t(1) << L) - 1);
    const int64_t width = last - first;
    uint32_t right = kAll;
    bool wrong = false;
    for (int64_t i = 0; i < rows; ++i) {
        const T* row = iou + i * columns + first;
        V highest = V::set(row[0]);
        int64_t j = 0;
        for (; j + L <= width; j += L) {
            const V value = V::load(row + j);
            right &= eq(value, value);
            highest = max(highest, value);
            if (i == 0) {
                value.store(most + j);
                for (int k = 0; k < L; ++k) best_row[j + k] = 0;
                continue;
            }
            const V before = V::load(most + j);
            uint32_t above = gt(value, before);
            if (!above) continue;  // most rows are far from most columns
            max(value, before).store(most + j);
            for (; above; above &= above - 1) best_row[j + __builtin_ctz(above)] = int32_t(i);
        }
        T lane[L];
        highest.store(lane);
        T top = lane[0];
        for (int k = 1; k < L; ++k) top = lane[k] > top ? lane[k] : top;
        for (; j < width; ++j) {
            const T value = row[j];
            wrong |= value != value;
            top = value > top ? value : top;
            if (i == 0 || value > most[j]) most[j] = value, best_row[j] = int32_t(i);
        }
        in_row[i] = top;
    }
    return right == kAll && !wrong;
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(MatchKernels, match_boxes_kernels, {{best<float>}, {best<double>}})

}  // namespace fastdet
