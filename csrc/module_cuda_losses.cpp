// fastdet._cuda: losses. See module_cuda.h.
#include "module_cuda.h"

namespace fastdet {

void bind_cuda_losses(py::module_&) {}

}  // namespace fastdet
