// A whole call of yolo_candidates: threads, the first wrong value, and what is written of the candidates found.
#include <atomic>

#include "core/threads.h"
#include "yolo/yolo_candidates.h"

namespace fastdet {
namespace {

constexpr int64_t kThreadValues = 1 << 20;  // below it a second thread is slower
constexpr int64_t kTask = 4096;             // candidates

}  // namespace

template <class T>
YoloCandidates<T>::YoloCandidates(const YoloJob<T>& job, bool multi_label)
    : job_(job), multi_label_(multi_label), label_(job.images * job.candidates) {}

template <class T>
int64_t YoloCandidates<T>::look() {
    const YoloJob<T>& job = job_;
    const auto best = yolo_kernels().of<T>().best;
    const int64_t size = job.candidates * job.channels, tasks = (job.candidates + kTask - 1) / kTask;
    std::atomic<bool> right{true};
    const auto run = [&](int64_t task) {
        const int64_t image = task / tasks, first = task % tasks * kTask;
        const int64_t last = first + kTask < job.candidates ? first + kTask : job.candidates;
        if (!best(job, job.x + image * size, first, last, label_.get() + image * job.candidates)) right = false;
    };
    if (job.images * size < kThreadValues) {
        for (int64_t task = 0; task < job.images * tasks; ++task) run(task);
    } else {
        parallel_for(job.images * tasks, run);
    }
    if (!right) {
        for (int64_t i = 0; i < job.images * size; ++i) {
            const int64_t channel = (job.planes ? i / job.candidates : i) % job.channels;
            if (channel < first_class(job) + job.classes && is_wrong(job.x[i], channel)) return i;
        }
    }
    find();
    return -1;
}

// Each that is above the threshold.
template <class T>
void YoloCandidates<T>::find() {
    const int64_t step = job_.planes ? job_.candidates : 1, start = first_class(job_);
    for (int64_t image = 0; image < job_.images; ++image) {
        const T* x = job_.x + image * job_.candidates * job_.channels;
        for (int64_t i = 0; i < job_.candidates; ++i) {
            const int32_t label = label_[image * job_.candidates + i];
            if (label < 0) continue;
            const T* values = x + i * (job_.planes ? 1 : job_.channels);
            const T object = job_.objectness ? values[4 * step] : T(1);
            const int64_t first = multi_label_ ? 0 : label, last = multi_label_ ? job_.classes : label + 1;
            for (int64_t c = first; c < last; ++c) {
                const T score = class_score(values[(start + c) * step], object, job_.objectness);
                if (score > job_.threshold) found_.push_back({score, int32_t(image), int32_t(c), i});
            }
        }
    }
}

template <class T>
void YoloCandidates<T>::write(Box<T>* boxes, T* scores, int64_t* labels, int64_t* images, int64_t* rows) const {
    const int64_t step = job_.planes ? job_.candidates : 1;
    for (int64_t at = 0; at < count(); ++at) {
        const Found& found = found_[size_t(at)];
        const T* values =
            job_.x + found.image * job_.candidates * job_.channels + found.row * (job_.planes ? 1 : job_.channels);
        const T cx = values[0], cy = values[step], half_w = T(0.5) * values[2 * step],
                half_h = T(0.5) * values[3 * step];
        boxes[at] = {cx - half_w, cy - half_h, cx + half_w, cy + half_h};
        scores[at] = found.score;
        labels[at] = found.label;
        images[at] = found.image;
        rows[at] = found.row;
    }
}

template class YoloCandidates<float>;
template class YoloCandidates<double>;

}  // namespace fastdet
