// fastdet._cpp: max-pooling and unpooling. See module_cpp.h.
#include "module_cpp.h"

#include "pool.h"

namespace fastdet {

void bind_pool(py::module_& m) { (void)m; }

}  // namespace fastdet
