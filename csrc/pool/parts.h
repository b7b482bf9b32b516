// For the calls of pooling and unpooling: when stores bypass the caches, and tasks for threads.
#pragma once

#include "core/threads.h"
#include "pool/max_pool2d.h"

namespace fastdet {
namespace {

constexpr int64_t kStreamBytes = 8 << 20;     // bytes of output from which stores bypass the caches
constexpr int64_t kStreamPlane = 8 << 10;     // and planes: their ends are written the ordinary way
constexpr int64_t kTaskElements = 128 << 10;  // about 50 us

int64_t size_of(PoolType type) {
    switch (type) {
        case PoolType::f64:
        case PoolType::i64:
            return 8;
        case PoolType::f32:
        case PoolType::u32:
        case PoolType::i32:
            return 4;
        case PoolType::u8:
        case PoolType::i8:
            return 1;
        default:
            return 2;
    }
}

bool streams(int64_t planes, int64_t plane_bytes) {
    return planes * plane_bytes >= kStreamBytes && plane_bytes >= kStreamPlane;
}

// A measure of the work of one window.
int64_t window_elements(const PoolWindow& w) { return (w.sh < 16 ? w.sh : 16) * (w.sw < 16 ? w.sw : 16); }

// run(plane, first row, last row) over all rows of all planes, in tasks of at least kTaskElements.
template <class F>
void each_part(int64_t planes, int64_t rows, int64_t row_elements, const F& run) {
    const int64_t all = planes * rows;
    if (!all || !row_elements) return;
    int64_t step = kTaskElements / row_elements + 1;
    if (get_num_threads() == 1) step = all;
    parallel_for((all + step - 1) / step, [&](int64_t task) {
        const int64_t end = task * step + step < all ? task * step + step : all;
        for (int64_t at = task * step; at < end;) {
            const int64_t plane = at / rows, first = at - plane * rows;
            const int64_t last = end - plane * rows < rows ? end - plane * rows : rows;
            run(plane, first, last);
            at = plane * rows + last;
        }
    });
}

}  // namespace
}  // namespace fastdet
