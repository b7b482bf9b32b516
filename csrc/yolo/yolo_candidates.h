// The candidates of YOLO (v5 and later) for NMS: those whose best class, or each class, is above a threshold.
#pragma once

#include <vector>

#include "core/memory.h"
#include "yolo/yolo_job.h"

namespace fastdet {

template <class T>
class YoloCandidates {
  public:
    YoloCandidates(const YoloJob<T>& job, bool multi_label);  // throws std::bad_alloc
    int64_t look();  // reads the outputs once; the flat index of the first wrong value, or -1
    int64_t count() const { return int64_t(found_.size()); }
    // In order of image, candidate and class; (count,) each. Rows are the candidates' numbers in their images.
    void write(Box<T>* boxes, T* scores, int64_t* labels, int64_t* images, int64_t* rows) const;

  private:
    // Kept when it is found: another thread may change the outputs before they are written.
    struct Found {
        T score;
        int32_t image, label;
        int64_t row;
    };
    void find();

    YoloJob<T> job_;
    bool multi_label_;
    Buffer<int32_t> label_;  // (images, candidates), the best class, or -1 where it is not above the threshold
    std::vector<Found> found_;
};

}  // namespace fastdet
