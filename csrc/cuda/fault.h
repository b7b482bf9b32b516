// Errors in values that a kernel finds (a label that is no class, an index outside the image). They are asynchronous:
// the device writes a number into host memory, and the Python side of the next call on a GPU reads it and raises.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// The place of an op's faults: a static object beside the op's binding.
class Fault {
  public:
    explicit Fault(const char* op);  // the op's name, for the error's text

    // A kernel writes 1 + the code here that the op's function on the CPU would return; 0: no fault. One aligned store
    // of 8 bytes, so that calls of several streams do not mix. Page-locked memory of the process.
    int64_t* slot() const;

  private:
    int index_;
};

bool has_fault();  // whether `take_fault` has one to give

// Takes the first fault: its op and its code. False: there is none.
bool take_fault(const char** op, int64_t* code);

}  // namespace fastdet
