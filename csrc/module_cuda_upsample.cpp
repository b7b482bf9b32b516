// fastdet._cuda: resampling. See module_cuda.h.
#include "module_cuda.h"

namespace fastdet {

void bind_cuda_upsample(py::module_&) {}

}  // namespace fastdet
