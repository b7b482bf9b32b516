// fastdet._cpp: confusion matrices. See module_cpp.h.
#include "module_cpp.h"

#include "confusion.h"

namespace fastdet {

void bind_segmentation(py::module_& m) { (void)m; }

}  // namespace fastdet
