// The loops of generate_proposals. Compiled once per instruction set. Floor: the logits read once.
#include "proposals/generate_proposals.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <class T>
int64_t at_least(const T* scores, int64_t n, T from, int32_t* found, bool* nan) {
    using V = Vec<T>;
    constexpr int L = V::lanes, U = 4;
    constexpr uint32_t kAll = uint32_t((uint64_t(1) << L) - 1);
    const V limit = V::set(from);
    uint32_t right = kAll;
    int64_t count = 0, i = 0;
    for (; i + U * L <= n; i += U * L) {
        uint32_t above[U], any = 0;
        for (int u = 0; u < U; ++u) {
            const V value = V::load(scores + i + u * L);
            right &= eq(value, value);
            above[u] = ge(value, limit);
            any |= above[u];
        }
        if (!any) continue;
        for (int u = 0; u < U; ++u) {
            for (uint32_t rest = above[u]; rest; rest &= rest - 1)
                found[count++] = int32_t(i + u * L + __builtin_ctz(rest));
        }
    }
    bool wrong = right != kAll;
    for (; i < n; ++i) {
        const T value = scores[i];
        wrong |= value != value;
        found[count] = int32_t(i);
        count += value >= from;
    }
    *nan |= wrong;
    return count;
}

template <class T>
void decode(const Chosen<T>& chosen, int64_t n, T limit) {
    using V = Vec<T>;
    const V one = V::set(1), weight[4] = {one, one, one, one};
    for (int64_t i = 0; i < n; i += V::lanes) {
        V anchor[4], delta[4], box[4];
        for (int k = 0; k < 4; ++k) anchor[k] = V::load(chosen.anchor[k] + i), delta[k] = V::load(chosen.delta[k] + i);
        decode_box(anchor, delta, weight, V::set(limit), box);
        for (int k = 0; k < 4; ++k) box[k].store(chosen.box[k] + i);
        sigmoid(V::load(chosen.logit + i)).store(chosen.score + i);
    }
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(ProposalKernels, generate_proposals_kernels,
                {{at_least<float>, decode<float>}, {at_least<double>, decode<double>}})

}  // namespace fastdet
