// fastdet._cuda: confusion matrices. See module_cuda.h.
#include "module_cuda.h"

namespace fastdet {

void bind_cuda_segmentation(py::module_&) {}

}  // namespace fastdet
