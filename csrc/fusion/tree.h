// A tree over boxes that move, appear and go: which box overlaps a given one most.
#pragma once

#include <cstdint>
#include <vector>

#include "boxes/box.h"

namespace fastdet {

constexpr int64_t kNone = -1;

// Places 0 .. n-1, each of which holds a box or none. The tree is shaped for boxes near the given ones; others are
// found too, with more work. O(n) memory, O(n log n) time to build. Throws std::bad_alloc.
//
// A search leaves out nodes whose overlap cannot be the best, by bounds that hold for overlaps as they are rounded: it
// finds what the comparison with all would find.
class MovingTree {
  public:
    // names (n,): of the boxes that the places hold at first, or kNone
    MovingTree(const std::vector<Box<double>>& boxes, const std::vector<int64_t>& names, Measure kind);
    // Put a box into a place, under a name.
    void put(int64_t place, const Box<double>& box, int64_t name);
    void clear(int64_t place);

    // The names of the boxes, near ones together.
    std::vector<int64_t> names() const;

    struct Match {
        double value;
        int64_t name;  // kNone: no box
    };
    // The box of the largest overlap above `least`, of equal ones that of the lowest name; the one named `without` is
    // left out.
    Match best(const Box<double>& box, double least, int64_t without);
    // Whether so many pairs were compared that it is worth building the tree anew, with the boxes where they are now.
    bool is_worn() const { return compared_ > kFair * searches_ + kBuild * places(); }
    ~MovingTree();
    MovingTree(const MovingTree&) = delete;
    MovingTree& operator=(const MovingTree&) = delete;

  private:
    static constexpr int kFan = 4;
    static constexpr size_t kFlat = 40;                  // boxes that are compared one by one
    static constexpr int64_t kFair = 400, kBuild = 200;  // pairs: of a search in a good tree; what a build costs a box

    // A box, or the boxes below: the lowest and the highest of each coordinate, the largest width and height, the
    // lowest and the highest of their areas, and of their areas rescaled.
    struct Node {
        Box<double> low, high;
        double wide, tall;
        double least, most, scaled_least, scaled_most;
        int64_t name;  // the lowest; kNothing without a box
    };
    struct Query {
        Box<double> box, scaled;
        double area, scaled_area;
        int64_t without;
        Match match;
        bool is_out(double bound, int64_t name) const {
            return bound < match.value || (bound == match.value && !(name < match.name));
        }
    };
    static constexpr int64_t kNothing = INT64_MAX;

    static Node node(const Box<double>& box, int64_t name);
    static Node nothing();
    static void join(Node& to, const Node& from);
    int64_t places() const { return int64_t(leaf_.size()); }
    void fit(int level, int64_t k);
    void set(int64_t place, const Node& node);
    double pair(const Query& query, const Box<double>& box, double size) const;
    double by_area(const Query& query, const Node& node) const;
    double by_place(const Query& query, const Node& node) const;
    void meet(Query& query, const Node& other) const;
    void look(Query& query, int level, int64_t k);

    Measure kind_;
    std::vector<std::vector<Node>> levels_;  // the boxes, then the nodes above them; the last one is the root
    std::vector<int64_t> leaf_;              // of each place
    int64_t compared_ = 0, searches_ = 0;
};

}  // namespace fastdet
