// fastdet._cpp: losses and their gradients. See module_cpp.h.
#include "module_cpp.h"

#include "losses.h"

namespace fastdet {

void bind_losses(py::module_& m) { (void)m; }

}  // namespace fastdet
