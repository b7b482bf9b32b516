// The candidates of YOLO (v5 and later) for NMS: those whose best class, or each class, is above a threshold.
#pragma once

#include "core/memory.h"
#include "yolo/yolo_job.h"

namespace fastdet {

template <class T>
class YoloCandidates {
  public:
    YoloCandidates(const YoloJob<T>& job, bool multi_label);  // throws std::bad_alloc
    int64_t look();  // reads the outputs once; the flat index of the first wrong value, or -1
    int64_t count() const { return count_; }
    // In order of image, candidate and class; (count,) each. Rows are the candidates' numbers in their images.
    // Returns how many were written: fewer where another thread has changed the outputs since.
    int64_t write(Box<T>* boxes, T* scores, int64_t* labels, int64_t* images, int64_t* rows) const;

  private:
    template <class F>
    void each(F&& f) const;

    YoloJob<T> job_;
    bool multi_label_;
    Buffer<int32_t> label_;  // (images, candidates), the best class, or -1 where it is not above the threshold
    int64_t count_ = 0;
};

}  // namespace fastdet
