// Prints one hash of the answers of the C++ ops on pseudo-random input for each instruction set: the same number
// on every processor. See run.sh.
#include <cstdio>
#include <utility>
#include <vector>

#include "boxes/box_iou.h"
#include "core/isa.h"
#include "losses/box_losses.h"
#include "losses/sigmoid_focal_loss.h"
#include "losses/softmax_losses.h"
#include "nms/soft_nms.h"
#include "pool/max_unpool2d.h"
#include "segmentation/confusion_matrix.h"
#include "upsample/upsample_bilinear.h"

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

template <class T>
void add_all(const std::vector<T>& x) {
    add(x.data(), x.size() * sizeof(T));
}

template <class T>
std::vector<T> random_values(int64_t n, double scale) {
    std::vector<T> x;
    for (int64_t i = 0; i < n; ++i) x.push_back(T((random_unit() - 0.5) * scale));
    return x;
}

// Label maps of runs and of noise.
void confusion() {
    for (const double change : {0.02, 0.9}) {
        const int64_t n = 20011, side = 20;
        std::vector<uint8_t> target, prediction;
        for (int64_t i = 0; i < n; ++i) {
            target.push_back(i && random_unit() > change ? target.back() : uint8_t(random_unit() * 20));
            prediction.push_back(i && random_unit() > change ? prediction.back() : uint8_t(random_unit() * 20));
        }
        const LabelMap a{target.data(), 1, 18, 19, 19}, b{prediction.data(), 1, 18, 19, 19};
        std::vector<int64_t> out(size_t(side * side), 0);
        confusion_matrix(a, b, n, side, out.data());
        add_all(out);
        const std::vector<float> logits = random_values<float>(19 * 23 * 31, 8);
        std::vector<int64_t> fused(size_t(side * side), 0);
        const LabelMap best{nullptr, 2, 18, 19, 19};
        const Scores<float> scores{logits.data(), false, 19, 23, 31, 101, 97, false, nullptr, 0};
        confusion_matrix_from_logits(a, best, scores, 1, side, fused.data());
        add_all(fused);
    }
}

template <class T>
void images(Pixel pixel, PoolType type) {
    for (const int64_t channels : {1, 3, 40}) {
        const int64_t planes = 3, h = 13, w = 37;
        const std::vector<T> x = random_values<T>(planes * h * w * channels, 10);
        for (const auto& size : {std::pair<int64_t, int64_t>{26, 74}, {101, 90}, {5, 9}}) {
            UpsampleJob job = {};
            job.planes = planes, job.channels = channels, job.align_corners = size.first == 101;
            job.in_h = h, job.in_w = w, job.out_h = size.first, job.out_w = size.second;
            std::vector<T> large(size_t(planes * size.first * size.second * channels)), back(x.size());
            job.from = x.data(), job.to = large.data();
            upsample_bilinear(job, pixel);
            job.from = large.data(), job.to = back.data();
            upsample_bilinear_backward(job, pixel);
            add_all(large);
            add_all(back);
        }
        for (const PoolWindow& window : {PoolWindow{2, 2, 2, 2, 0, 0}, {3, 3, 2, 2, 1, 1}}) {
            const int64_t rows = (h + 2 * window.ph - window.kh) / window.sh + 1;
            const int64_t columns = (w + 2 * window.pw - window.kw) / window.sw + 1;
            std::vector<T> values(size_t(planes * rows * columns * channels)), wide(x.size()), sums(x.size());
            std::vector<int64_t> indices(values.size());
            max_pool2d({type, x.data(), planes, h, w, channels, window, rows, columns, values.data(), indices.data(),
                        false, false});
            PlaceJob place{type,    values.data(), indices.data(), false, true, planes,      rows,
                           columns, channels,      window,         h,     w,    sums.data(), false};
            max_unpool2d(place);
            add_all(values);
            add_all(indices);
            add_all(sums);
        }
    }
}

template <class T>
void losses(Storage storage, FloatType type) {
    const int64_t n = 2 * 777, classes = 19;
    const std::vector<T> logits = random_values<T>(n * classes, 20);
    std::vector<T> weight, targets, loss(logits.size());
    for (int64_t c = 0; c < classes; ++c) weight.push_back(T(0.5 + random_unit()));
    std::vector<uint8_t> labels;
    for (int64_t i = 0; i < n; ++i) labels.push_back(uint8_t(random_unit() * 20));
    for (const bool focal : {false, true}) {
        std::vector<T> grad(logits.size());
        SoftmaxJob<T> job{};
        job.storage = storage;
        job.logits = logits.data(), job.grad = grad.data();
        job.images = 2, job.classes = classes, job.pixels = 777;
        job.labels = {labels.data(), 1, false, true, 19, classes};
        const LossResult result = softmax_loss(job, weight.data(), {focal, 2.5, 0.0, Reduction::mean});
        add(&result.loss, sizeof result.loss);
        add_all(grad);
    }
    for (size_t i = 0; i < logits.size(); ++i) targets.push_back(random_unit() > 0.9 ? T(1) : T(0));
    std::vector<T> grad(logits.size());
    sigmoid_focal_loss(
        {logits.data(), targets.data(), type, false, 0.25, 0.75, 2.0, 1.0, loss.data(), nullptr, grad.data()},
        int64_t(logits.size()), false);
    add_all(loss);
    add_all(grad);
    const std::vector<Box<T>> a = random_boxes<T>(501), b = random_boxes<T>(501);
    for (const BoxLoss kind : {BoxLoss::giou, BoxLoss::diou, BoxLoss::ciou}) {
        std::vector<Box<T>> grad_a(a.size()), grad_b(a.size());
        std::vector<T> each(a.size());
        box_losses<T>(
            {a.data(), b.data(), kind, T(1e-7), T(1e-7), T(1), each.data(), nullptr, grad_a.data(), grad_b.data()}, 501,
            false);
        add_all(each);
        add_all(grad_a);
        add_all(grad_b);
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
        confusion();
        images<float>(Pixel::f32, PoolType::f32);
        images<double>(Pixel::f64, PoolType::f64);
        losses<float>(Storage::single, FloatType::single);
        losses<double>(Storage::twice, FloatType::twice);
        std::printf("%s %016llx\n", names[i], static_cast<unsigned long long>(hash));
    }
}
