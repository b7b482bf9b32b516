// See components.h.
//
// A row is a few runs of equal labels, found 64 pixels at a time. RowRuns of neighbouring rows that touch are joined in
// a forest whose roots are the runs that come first, so that a component is numbered where its root comes, and one pass
// over the runs makes numbers, areas and boxes. Only then the map is written, by run. Floor: the labels are read once
// and the map is written once.
#include "masks/components.h"

#include <cstddef>

namespace fastdet {
namespace {

int32_t root_of(int32_t* parent, int32_t i) {
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

void join(int32_t* parent, int32_t i, int32_t k) {
    i = root_of(parent, i), k = root_of(parent, k);
    if (i < k) {
        parent[k] = i;
    } else {
        parent[i] = k;
    }
}

struct RowRuns {
    std::vector<int32_t> ends;    // start and end of each run
    std::vector<int64_t> rows;    // rows[y] to rows[y + 1]: the runs of row y
    std::vector<int32_t> parent;  // of each run, an earlier one or itself
};

// Joins the runs of row y to those of the row above that they touch. `touch`: 1 where corners do, else 0.
template <class T>
void join_rows(const T* labels, int64_t width, int64_t y, int32_t touch, RowRuns& runs) {
    const T *row = labels + y * width, *above = row - width;
    const int32_t *ends = runs.ends.data(), last = int32_t(runs.rows[size_t(y)]);
    int32_t* parent = runs.parent.data();
    int32_t i = int32_t(runs.rows[size_t(y) - 1]);
    for (int32_t k = last; k < int32_t(runs.rows[size_t(y) + 1]); ++k) {
        const int32_t start = ends[2 * k] - touch, end = ends[2 * k + 1] + touch;
        while (i < last && ends[2 * i + 1] <= start) ++i;
        for (int32_t j = i; j < last && ends[2 * j] < end; ++j) {
            if (above[ends[2 * j]] != row[ends[2 * k]]) continue;
            if (parent[k] == k) {
                parent[k] = root_of(parent, j);
            } else {
                join(parent, j, k);
            }
        }
    }
}

template <class T>
RowRuns joined(const T* labels, int64_t height, int64_t width, bool eight) {
    const ComponentLoops& loops = component_loops();
    RowRuns runs;
    runs.rows.reserve(size_t(height) + 1);
    runs.rows.push_back(0);
    for (int64_t y = 0; y < height; ++y) {
        const int64_t before = runs.rows.back();
        if (runs.ends.size() < size_t(2 * (before + width + 1))) runs.ends.resize(size_t(2 * (2 * before + width + 1)));
        const int64_t n = loops.runs(labels + y * width, int(sizeof(T)), width, runs.ends.data() + 2 * before);
        runs.rows.push_back(before + n);
        if (runs.parent.size() < size_t(before + n)) runs.parent.resize(size_t(2 * (before + n)));
        for (int64_t k = before; k < before + n; ++k) runs.parent[size_t(k)] = int32_t(k);
        if (y) join_rows(labels, width, y, int32_t(eight), runs);
    }
    return runs;
}

// Numbers the runs, in the place of their parents, and measures the components.
Components measured(RowRuns& runs, int64_t height, int64_t width) {
    Components out;
    int32_t* number = runs.parent.data();
    const int32_t* ends = runs.ends.data();
    for (int64_t y = 0; y < height; ++y) {
        for (int64_t k = runs.rows[size_t(y)]; k < runs.rows[size_t(y) + 1]; ++k) {
            const int32_t start = ends[2 * k], end = ends[2 * k + 1];
            if (number[k] == k) {
                out.first.push_back(y * width + start);
                out.area.push_back(0);
                out.box.insert(out.box.end(), {start, int32_t(y), end, int32_t(y)});
                number[k] = int32_t(out.area.size());
            } else {
                number[k] = number[number[k]];  // of an earlier run, which has its number
            }
            const size_t c = size_t(number[k]) - 1;
            out.area[c] += end - start;
            int32_t* box = out.box.data() + 4 * c;
            box[0] = start < box[0] ? start : box[0];
            box[2] = end > box[2] ? end : box[2];
            box[3] = int32_t(y) + 1;
        }
    }
    return out;
}

template <class T>
Components components_of(const T* labels, int64_t height, int64_t width, bool eight, int32_t* out) {
    RowRuns runs = joined(labels, height, width, eight);
    Components found = measured(runs, height, width);
    const ComponentLoops& loops = component_loops();
    for (int64_t y = 0; y < height; ++y) {
        const int64_t first = runs.rows[size_t(y)], count = runs.rows[size_t(y) + 1] - first;
        loops.fill(runs.ends.data() + 2 * first, runs.parent.data() + first, count, width, (height - y) * width,
                   out + y * width);
    }
    return found;
}

}  // namespace

Components connected_components(const void* labels, int bytes, int64_t height, int64_t width, bool eight,
                                int32_t* out) {
    switch (bytes) {
        case 1:
            return components_of(static_cast<const uint8_t*>(labels), height, width, eight, out);
        case 2:
            return components_of(static_cast<const uint16_t*>(labels), height, width, eight, out);
        case 4:
            return components_of(static_cast<const uint32_t*>(labels), height, width, eight, out);
        default:
            return components_of(static_cast<const uint64_t*>(labels), height, width, eight, out);
    }
}

}  // namespace fastdet
