#include "core/work.h"

#include <atomic>

namespace fastdet {
namespace {
std::atomic<int64_t> counted{0};
}  // namespace

void count_pairs(int64_t pairs) { counted.fetch_add(pairs, std::memory_order_relaxed); }
int64_t pairs_counted() { return counted.load(std::memory_order_relaxed); }

}  // namespace fastdet
