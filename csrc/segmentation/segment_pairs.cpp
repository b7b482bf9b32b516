// See segment_pairs.h.
//
// Maps are made of regions, so most pixels repeat the pair of their left neighbour: vector comparisons find where they
// do not, and only there is a pair looked up, in a table by the hash of its ids. Floor: both maps are read once.
#include "segmentation/segment_pairs.h"

#include <algorithm>

#include "core/memory.h"

namespace fastdet {
namespace {

// Counts of pairs, by open addressing.
class Table {
  public:
    Table() : slots_(kFirst, -1) {}

    void add(uint64_t key, int64_t pixels) {
        size_t at = place(key);
        while (slots_[at] >= 0) {
            SegmentPair& pair = pairs[size_t(slots_[at])];
            if (pair.key == key) {
                pair.pixels += pixels;
                return;
            }
            at = (at + 1) & (slots_.size() - 1);
        }
        slots_[at] = int64_t(pairs.size());
        pairs.push_back({key, pixels});
        if (2 * pairs.size() > slots_.size()) grow();
    }

    std::vector<SegmentPair> pairs;

  private:
    static constexpr size_t kFirst = 1024;

    size_t place(uint64_t key) const { return size_t((key * 0x9e3779b97f4a7c15) >> 20) & (slots_.size() - 1); }
    void grow() {
        slots_.assign(slots_.size() * 4, -1);
        for (size_t i = 0; i < pairs.size(); ++i) {
            size_t at = place(pairs[i].key);
            while (slots_[at] >= 0) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = int64_t(i);
        }
    }

    std::vector<int64_t> slots_;
};

}  // namespace

std::vector<SegmentPair> segment_pairs(const IdMap& target, const IdMap& prediction, int64_t n) {
    constexpr int kBefore = 16, kRoom = kBefore + kPairChunk + 64;
    Buffer<uint32_t> a(kRoom), b(kRoom);
    Buffer<uint16_t> at(kPairChunk);
    std::fill(a.get(), a.get() + kRoom, 0), std::fill(b.get(), b.get() + kRoom, 0);
    uint32_t *const t = a.get() + kBefore, *const p = b.get() + kBefore;
    const PairLoops& loops = pair_loops();
    Table table;
    int64_t start = 0;  // of the run whose pair is before the chunk
    for (int64_t first = 0; first < n; first += kPairChunk) {
        const int count = int(std::min<int64_t>(kPairChunk, n - first));
        loops.widen(target, first, count, t);
        loops.widen(prediction, first, count, p);
        if (!first) t[-1] = t[0], p[-1] = p[0];
        const int turns = loops.turns(t, p, count, at.get());
        for (int k = 0; k < turns; ++k) {
            const int i = at[k];
            table.add(uint64_t(t[i - 1]) << 32 | p[i - 1], first + i - start);
            start = first + i;
        }
        t[-1] = t[count - 1], p[-1] = p[count - 1];
    }
    if (n) table.add(uint64_t(t[-1]) << 32 | p[-1], n - start);
    std::sort(table.pairs.begin(), table.pairs.end(),
              [](const SegmentPair& a, const SegmentPair& b) { return a.key < b.key; });
    return std::move(table.pairs);
}

}  // namespace fastdet
