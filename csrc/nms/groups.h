// For the calls of nms and soft_nms: checks of the input, the bound, groups and their threads.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/order.h"
#include "core/threads.h"
#include "nms/nms.h"

namespace fastdet {
namespace {

// Boxes from which a group gets a thread of its own, by measurement.
constexpr int64_t kThreadBoxes = 16384;

enum class Input { ordinary, large, nan };

// Ordinary: every coordinate within Limits::large, or infinite.
template <class T>
Input look(const T* x, int64_t n) {
    bool extreme = false;
    for (int64_t i = 0; i < n; ++i) extreme |= !(std::fabs(x[i]) <= Limits<T>::large);
    if (!extreme) return Input::ordinary;
    Input found = Input::ordinary;
    for (int64_t i = 0; i < n; ++i) {
        if (x[i] != x[i]) return Input::nan;
        if (std::fabs(x[i]) > Limits<T>::large && is_finite(x[i])) found = Input::large;
    }
    return found;
}

// See Bound: rounding of areas, sum and product is off by a few ulps, and the factor errs to the safe side.
template <class T>
Bound<T> make_bound(double threshold, Measure kind) {
    const T t = T(threshold);
    const double exact = kind == Measure::ios ? double(t) : double(t) / (1 + double(t));
    return {t, T(exact * (1 - 32 * double(std::numeric_limits<T>::epsilon()))), std::numeric_limits<T>::denorm_min()};
}

// Run f(group) for each group, several groups at a time where there is enough to do. f may run out of memory.
template <class F>
void run_groups(const std::vector<int32_t>& segments, F&& f) {
    const int64_t groups = int64_t(segments.size()) - 1;
    if (segments.back() < kThreadBoxes || groups < 2) {
        for (int64_t g = 0; g < groups; ++g) f(g);
        return;
    }
    std::vector<int64_t> first{0};  // groups in tasks of about equal numbers of boxes
    for (int64_t g = 0; g < groups; ++g) {
        if (segments[size_t(g) + 1] - segments[size_t(first.back())] >= kThreadBoxes / 4) first.push_back(g + 1);
    }
    if (first.back() != groups) first.push_back(groups);
    parallel_for(int64_t(first.size()) - 1, [&](int64_t task) {
        for (int64_t g = first[size_t(task)]; g < first[size_t(task) + 1]; ++g) f(g);
    });
}

}  // namespace
}  // namespace fastdet
