// fastdet._cpp: bilinear resampling. See module_cpp.h.
#include "module_cpp.h"

#include "upsample.h"

namespace fastdet {

void bind_upsample(py::module_& m) { (void)m; }

}  // namespace fastdet
