// fastdet._cuda: pooling. See module_cuda.h.
#include "module_cuda.h"

namespace fastdet {

void bind_cuda_pool(py::module_&) {}

}  // namespace fastdet
