// Confusion matrices: threads and scratch memory around the loops of confusion_matrix_loops.cpp.
#include "segmentation/confusion_matrix.h"

#include <atomic>
#include <cmath>
#include <cstring>

#include "core/memory.h"
#include "core/threads.h"

namespace fastdet {
namespace {

constexpr int64_t kFew = int64_t(1) << 18;   // pixels that are not worth a second thread
constexpr int64_t kBand = int64_t(1) << 17;  // pixels whose predictions are held before they are counted
constexpr int64_t kFirstCache = 32 << 10;    // bytes

// Counts of a number of tasks, each with its own cells, or straight into the result where there is one task and the
// matrix is too large for copies to pay.
class Cells {
  public:
    Cells(int64_t side, int64_t tasks, int64_t* out)
        : cells_(side * side),
          copies_(side <= 32 ? 4 : 1),
          stride_((cells_ + 511) / 512 * 512 + 136),  // the same cell of two copies has different offsets in a page
          tasks_(direct(tasks) ? 0 : tasks),
          side_(side),
          out_(out),
          own_(tasks_ * copies_ * stride_) {
        std::memset(own_.get(), 0, size_t(tasks_ * copies_ * stride_) * sizeof(int64_t));
    }
    Counts of(int64_t task) const {
        if (!tasks_) return {out_, side_, 1, 0};
        return {own_.get() + task * copies_ * stride_, side_, copies_, stride_};
    }
    void add_up() const {
        for (int64_t k = 0; k < tasks_ * copies_; ++k) {
            const int64_t* from = own_.get() + k * stride_;
            for (int64_t i = 0; i < cells_; ++i) out_[i] += from[i];
        }
    }

  private:
    bool direct(int64_t tasks) const { return tasks == 1 && copies_ == 1; }
    int64_t cells_;
    int copies_;
    int64_t stride_, tasks_, side_;
    int64_t* out_;
    Buffer<int64_t> own_;
};

// Tasks that n pixels are worth; a large matrix for each has to pay.
int64_t tasks_for(int64_t n, int64_t side) {
    const int64_t threads = get_num_threads(), worth = kFew + 4 * side * side;
    const int64_t max_tasks = n / worth;
    return max_tasks < 1 ? 1 : max_tasks < threads ? max_tasks : threads;
}

template <class T>
int64_t first_bad(const LabelMap& map, int64_t n) {
    const T* x = static_cast<const T*>(map.labels);
    for (int64_t i = 0; i < n; ++i) {
        if (is_invalid<uint64_t>(x[i], map.max_label, map.ignore)) return i;
    }
    return -1;
}

int64_t first_out_of_range(const LabelMap& map, int64_t n) {
    switch (map.bytes) {
        case 1:
            return first_bad<uint8_t>(map, n);
        case 2:
            return first_bad<uint16_t>(map, n);
        case 4:
            return first_bad<uint32_t>(map, n);
        default:
            return first_bad<uint64_t>(map, n);
    }
}

// The first score, in the order of (N, C, H, W), that is NaN, or not finite.
template <class S>
int64_t first_invalid(const Scores<S>& scores, int64_t images, bool finite) {
    const int64_t plane = scores.in_height * scores.in_width, c = scores.classes;
    for (int64_t i = 0; i < images * c * plane; ++i) {
        const int64_t image = i / (c * plane), k = i / plane % c, pixel = i % plane;
        const auto x = widen(scores.data[scores.channels_last ? (image * plane + pixel) * c + k : i]);
        if (finite ? !std::isfinite(x) : std::isnan(x)) return i;
    }
    return -1;
}

template <class S>
const ArgmaxKernels<S>& loops();
template <>
const ArgmaxKernels<float>& loops() {
    return confusion_matrix_kernels().f;
}
template <>
const ArgmaxKernels<double>& loops() {
    return confusion_matrix_kernels().d;
}
template <>
const ArgmaxKernels<Half>& loops() {
    return confusion_matrix_kernels().h;
}
template <>
const ArgmaxKernels<BFloat16>& loops() {
    return confusion_matrix_kernels().b;
}

}  // namespace

int64_t confusion_matrix(const LabelMap& target, const LabelMap& prediction, int64_t n, int64_t side, int64_t* out) {
    const auto count = confusion_matrix_kernels().count;
    const int64_t tasks = tasks_for(n, side);
    const Cells cells(side, tasks, out);
    std::atomic<bool> good{true};
    parallel_for(tasks, [&](int64_t task) {
        // ends at whole lines of the maps
        const int64_t first = n * task / tasks / 64 * 64,
                      last = task + 1 < tasks ? n * (task + 1) / tasks / 64 * 64 : n;
        if (!count(target, prediction, first, last, cells.of(task))) good = false;
    });
    if (good) {
        cells.add_up();
        return -1;
    }
    const int64_t bad = first_out_of_range(target, n);
    return bad >= 0 ? bad * 2 : first_out_of_range(prediction, n) * 2 + 1;
}

template <class S>
int64_t confusion_matrix_from_logits(const LabelMap& target, LabelMap prediction, Scores<S> scores, int64_t images,
                                     int64_t side, int64_t* out) {
    using T = decltype(widen(S()));
    const auto count = confusion_matrix_kernels().count;
    const ArgmaxKernels<S>& argmax = loops<S>();
    const int64_t width = scores.width, height = scores.height, classes = scores.classes, n = images * height * width;
    if (!n) return -1;
    const bool plain = scores.in_height == height && scores.in_width == width;

    Buffer<uint64_t> taps(plain ? 0 : argmax.taps_bytes(scores) / 8 + 1);
    scores.taps = taps.get();
    scores.tile = 0;
    std::atomic<bool> fit{true}, good{true};
    if (!plain) {
        const int64_t columns = kFirstCache / (2 * classes * int64_t(sizeof(T))) / 64 * 64;
        const int64_t whole = (width + 63) / 64 * 64;
        scores.tile = columns < 64 ? 64 : columns < whole ? columns : whole;
        argmax.prepare(scores);
        fit = argmax.finite(scores.data, images * classes * scores.in_height * scores.in_width);
    }

    // Bands of an image's rows, or of its pixels: their predictions are found, then counted.
    const int64_t unit = plain ? 1 : width, units = plain ? height * width : height;
    const int64_t rows = plain ? kBand : kBand / width > 1 ? kBand / width : 1;
    const int64_t band = rows < units ? rows : units, bands = (units + band - 1) / band;
    const int64_t jobs = images * bands;
    int64_t tasks = n * classes < kFew ? 1 : tasks_for(n * classes, side);
    tasks = tasks < jobs ? tasks : jobs;
    const Cells cells(side, tasks, out);
    if (fit) {
        parallel_for(tasks, [&](int64_t task) {
            Buffer<uint16_t> codes(band * unit);
            Buffer<char> scratch(argmax_scratch(scores));
            LabelMap predicted = prediction;
            predicted.labels = codes.get();
            for (int64_t job = jobs * task / tasks; job < jobs * (task + 1) / tasks; ++job) {
                const int64_t image = job / bands, first = job % bands * band;
                const int64_t last = first + band < units ? first + band : units;
                if (plain) {
                    if (!argmax.plain(scores, image, first, last, scratch.get(), codes.get())) fit = false;
                } else {
                    argmax.resampled(scores, image, first, last, scratch.get(), codes.get());
                }
                LabelMap part = target;
                part.labels = static_cast<const char*>(target.labels) + (image * units + first) * unit * target.bytes;
                if (!count(part, predicted, 0, (last - first) * unit, cells.of(task))) good = false;
            }
        });
    }
    if (fit && good) {
        cells.add_up();
        return -1;
    }
    const int64_t bad = first_out_of_range(target, n);
    return bad >= 0 ? bad * 2 : first_invalid(scores, images, !plain) * 2 + 1;
}

template int64_t confusion_matrix_from_logits(const LabelMap&, LabelMap, Scores<float>, int64_t, int64_t, int64_t*);
template int64_t confusion_matrix_from_logits(const LabelMap&, LabelMap, Scores<double>, int64_t, int64_t, int64_t*);
template int64_t confusion_matrix_from_logits(const LabelMap&, LabelMap, Scores<Half>, int64_t, int64_t, int64_t*);
template int64_t confusion_matrix_from_logits(const LabelMap&, LabelMap, Scores<BFloat16>, int64_t, int64_t, int64_t*);

}  // namespace fastdet
