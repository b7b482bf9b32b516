// Boxes averaged instead of suppressed. Float64 throughout; box.h decides how far a pair overlaps.
#pragma once

#include <cstdint>
#include <vector>

#include "boxes/box.h"

namespace fastdet {

// Merges boxes (n,) in place: the pair of maximum overlap above the threshold becomes its mean in the lower slot,
// until no such pair is left. owner (n,) <- the slot of each box. O(n) memory, about O(n^2) time.
void merge_boxes(Box<double>* boxes, int64_t n, double threshold, Measure kind, int64_t* owner);

struct MergedBoxes {
    std::vector<Box<double>> boxes;
    std::vector<double> scores;  // the sums of the merged boxes' scores
};
// A whole call: merged boxes by falling score, and groups (n,) <- the row of each box among them. Consumes boxes.
MergedBoxes merge_boxes_by_score(Box<double>* boxes, const double* scores, int64_t n, double threshold, Measure kind,
                                 int64_t* groups);

// Boxes (n,) sorted by label, then by falling score: fused (n,) and group (n,) out, returns how many are fused.
int64_t fuse_sorted_boxes(const Box<double>* boxes, const double* scores, const int64_t* labels, int64_t n,
                          double threshold, Box<double>* fused, int64_t* group);

enum class Confidence : int { average = 0, max = 1, box_and_model = 2, absent_model = 3 };  // CONF_TYPES of Python

struct FusionInput {
    std::vector<Box<double>> boxes;  // of all models, one after the other
    std::vector<double> scores;
    std::vector<int64_t> labels;
    std::vector<int32_t> model;
};

struct FusionRule {
    std::vector<double> share;  // (models,) the weight of each
    double threshold, min_score;
    Confidence confidence;
    bool allows_overflow;
};

struct FusedBoxes {
    std::vector<Box<double>> boxes;
    std::vector<double> scores;
    std::vector<int64_t> labels;
};
// A whole call: fused boxes by falling score.
FusedBoxes weighted_boxes_fusion(const FusionInput& input, const FusionRule& rule);

}  // namespace fastdet
