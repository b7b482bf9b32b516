// Prints one hash of the answers of the C++ ops on pseudo-random boxes for each instruction set: the same number
// on every processor. See run.sh.
#include <cstdio>
#include <vector>

#include "boxes.h"
#include "kernels.h"
#include "nms.h"

using namespace fastdet;

namespace {

uint64_t state, hash;

double random_unit() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return double(state >> 11) / 9007199254740992.0;
}

void add(const void* p, size_t n) {  // FNV-1a
    const unsigned char* byte = static_cast<const unsigned char*>(p);
    while (n--) hash = (hash ^ *byte++) * 1099511628211u;
}

template <class T>
std::vector<Box<T>> random_boxes(int n) {
    std::vector<Box<T>> boxes;
    for (int i = 0; i < n; ++i) {
        const T x = T(random_unit() * 300), y = T(random_unit() * 200);
        const T w = T(5 + random_unit() * 40), h = T(5 + random_unit() * 40);
        boxes.push_back({x - w, y - h, x + w, y + h});
    }
    return boxes;
}

template <class T>
void answers() {
    for (const int n : {0, 1, 5, 16, 33, 300, 3000}) {
        const std::vector<Box<T>> a = random_boxes<T>(n), b = random_boxes<T>(77);
        std::vector<T> scores, out(size_t(n) * 77 + 1, 0), new_scores(size_t(n) + 1);
        std::vector<int64_t> keys, keep(size_t(n) + 1);
        for (int i = 0; i < n; ++i) scores.push_back(T(random_unit())), keys.push_back(int64_t(random_unit() * 3));
        for (int kind = 0; kind < 4; ++kind) {
            box_iou(a.data(), n, b.data(), 77, Measure(kind), false, static_cast<const bool*>(nullptr), 1e-7,
                    out.data());
            add(out.data(), out.size() * sizeof(T));
        }
        for (const double t : {0.0, 0.1, 0.3, 0.5, 0.7, 0.95}) {
            const NmsOptions hard{t, nullptr, -1, -1, t == 0.3 ? Measure::ios : Measure::iou};
            const int64_t* groups = t == 0.5 ? keys.data() : nullptr;
            add(keep.data(), size_t(nms(a.data(), scores.data(), groups, n, hard, keep.data())) * 8);
            const SoftOptions soft{t > 0.4, t, 0.5, 0.001, -1};
            const size_t kept =
                size_t(soft_nms(a.data(), scores.data(), groups, n, soft, keep.data(), new_scores.data()));
            add(keep.data(), kept * 8);
            add(new_scores.data(), kept * sizeof(T));
        }
    }
}

}  // namespace

int main() {
    int count;
    const char* const* names = isa_names(&count);
    for (int i = 0; i < count; ++i) {
        choose_isa(names[i]);
        hash = 1469598103934665603u;
        state = 1;
        answers<float>();
        answers<double>();
        std::printf("%s %016llx\n", names[i], static_cast<unsigned long long>(hash));
    }
}
