// Boxes one by one, on the CPU.
#include "boxes/transforms.h"

#include <cmath>

namespace fastdet {

template <class T>
void box_area(const Box<T>* boxes, int64_t n, T* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = is_nan(boxes[i]) ? T(NAN) : area(boxes[i]);
}

template <class T>
void box_convert(const Box<T>* boxes, int64_t n, Format from, Format to, Box<T>* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = converted(boxes[i], from, to);
}

template <class T>
void clip_boxes_to_image(const Box<T>* boxes, int64_t n, T height, T width, Box<T>* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = clipped(boxes[i], height, width);
}

template <class T>
int64_t remove_small_boxes(const Box<T>* boxes, int64_t n, T min_size, int64_t* keep) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
        keep[kept] = i;
        kept += has_min_size(boxes[i], min_size);
    }
    return kept;
}

#define FASTDET_INSTANTIATE(T)                                                  \
    template void box_area(const Box<T>*, int64_t, T*);                         \
    template void box_convert(const Box<T>*, int64_t, Format, Format, Box<T>*); \
    template void clip_boxes_to_image(const Box<T>*, int64_t, T, T, Box<T>*);   \
    template int64_t remove_small_boxes(const Box<T>*, int64_t, T, int64_t*);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)

}  // namespace fastdet
