// What a kernel finds wrong with values (a label that is no class, an index outside the image), reported without
// waiting: a number in the host's memory, that the device writes and the next call on a GPU looks at. The Python side
// of the CUDA backend looks.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// The place of an op's faults: a static object beside the op's binding.
class Fault {
  public:
    explicit Fault(const char* op);  // the op's name, for the error's text

    // Where a kernel writes 1 + the code that the op's function on the CPU would return, if there is one to tell; 0:
    // none. One aligned store of 8 bytes, so that calls of several streams do not mix. Page-locked memory of the
    // process.
    int64_t* slot() const;

  private:
    int index_;
};

// The first fault that is noted, which is then forgotten: its op and the code. False: there is none.
bool take_fault(const char** op, int64_t* code);

}  // namespace fastdet
