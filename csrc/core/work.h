// Counts the pairs of boxes that kernels compare, and the pairs of names that readers of files do, so that a test of
// growth needs no clock.
#pragma once

#include <cstdint>

namespace fastdet {

// Adds to the process's count. Called once a group of boxes or once a call, never in an inner loop.
void count_pairs(int64_t pairs);
int64_t pairs_counted();  // since the process began

}  // namespace fastdet
