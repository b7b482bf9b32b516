// The search in a tree of hulls: for the loops of suppression, of upright boxes and of rotated ones. Included only by
// the files that setup.py compiles once per instruction set.
#pragma once

#include "nms/nms.h"
#include "simd/simd.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

// The leaves of a tree that a box may overlap by enough: maybe(block, at) tests a vector of hulls or boxes,
// inside(block, core, at) those of a node with their cores, strike(leaf, lanes) gets the lanes of a leaf that passed.
// Returns how many blocks were tested.
template <class T, class Maybe, class Inside, class Strike>
int64_t walk(const Tree<T>& tree, const Maybe& maybe, const Inside& inside, const Strike& strike) {
    constexpr int L = Vec<T>::lanes, B = Block<T>::lanes;
    struct Node {
        int64_t block;
        int level;
    } open[Tree<T>::max_levels * B];
    int count = 1;
    open[0] = {tree.first[tree.levels - 1], tree.levels - 1};
    int64_t tested = 0;
    while (count) {
        const Node node = open[--count];
        const Block<T>& block = tree.blocks[node.block];
        uint32_t found = 0;
        for (int at = 0; at < B; at += L) found |= maybe(block, at) << at;
        ++tested;
        if (!found) continue;
        if (!node.level) {
            strike(node.block, found);
            continue;
        }
        const Block<T>& core = tree.cores[node.block - tree.first[1]];
        uint32_t held = 0;
        for (int at = 0; at < B; at += L) held |= inside(block, core, at) << at;
        found &= held;
        const int64_t child = tree.first[node.level - 1] + (node.block - tree.first[node.level]) * B;
        for (; found; found &= found - 1) open[count++] = {child + __builtin_ctz(found), node.level - 1};
    }
    return tested;
}

// Empty a lane of a leaf, and of each node of which it was the last one.
template <class T>
void take_out(const Tree<T>& tree, int64_t leaf, int lane) {
    constexpr int B = Block<T>::lanes;
    int64_t at = leaf;  // within its level
    for (int level = 0;; ++level) {
        Block<T>& block = tree.blocks[tree.first[level] + at];
        const Box<T> none = empty_box<T>();
        block.x1[lane] = none.x1, block.y1[lane] = none.y1, block.x2[lane] = none.x2, block.y2[lane] = none.y2;
        if (--tree.left[tree.first[level] + at] || level + 1 == tree.levels) return;
        lane = int(at % B);
        at /= B;
    }
}

}  // namespace
}  // namespace FASTDET_ISA
}  // namespace fastdet
