// Scoring detections: greedy matching of one image and class at many thresholds and area ranges, and precision over
// recall from the matches of all images. The rules are pycocotools' (and VOC's), to the last bit. The NumPy
// references are in fastdet/detection/records.py.
#pragma once

#include <cstdint>

namespace fastdet {

struct BoxWH {
    double x, y, w, h;
};

// The outcome of a detection at one threshold and area range.
enum Outcome : uint8_t { kFalse = 0, kTrue = 1, kIgnored = 2 };

// Outcomes are packed five to a byte, base 3.
inline int64_t packed_bytes(int64_t outcomes) { return (outcomes + 4) / 5; }

struct MatchRule {
    const double* thresholds;  // (T,)
    int64_t T;
    const double* ranges;  // (A, 2) minimum and maximum area
    int64_t A;
    int64_t max_detections;  // of a group; < 0 for all
    double offset;           // added to sides: 1 for pixel-inclusive boxes
    bool voc;                // a detection is compared with its one best box, taken or not, and needs IoU > t
};

// Detections and true boxes in any order; `row`: (N,) which are those of the first group, then of the second, ...
struct Detections {
    const BoxWH* box;
    const double* score;
    const double* area;
    const int64_t* row;
};
struct Truths {
    const BoxWH* box;
    const double* area;
    const uint8_t* flags;  // 1: a crowd, 2: ignored
    const int64_t* row;
};

// One group is an image and a class. `start` arrays have groups + 1 entries, of places in `row`.
// overlaps: of the groups one after the other, (detections of the group, true boxes of the group) in the order of
// `row`; null: those of the boxes. order: (N,) rows of each group by falling score, the first kept[g] of them count;
// outcomes: (N, bytes) in that order; counted: (groups, A) true boxes that are not ignored; matched: (N, T, A) row of
// the true box of each outcome, -1 without, or null.
void match_groups(const Detections& d, const int64_t* d_start, const Truths& g, const int64_t* g_start, int64_t groups,
                  const MatchRule& rule, const double* overlaps, int64_t* order, int64_t* kept, uint8_t* outcomes,
                  int64_t* counted, int64_t* matched);

struct Records {
    const double* score;      // (N,) those of a group together, falling
    const uint8_t* outcomes;  // (N, bytes)
    const int64_t* start;     // (groups + 1,)
    const int64_t* counted;   // (groups, A)
    const int64_t* of_class;  // (classes + 1,) the groups of each class
    int64_t classes;
};
struct Curve {
    const double* recalls;  // (R,) rising
    int64_t R;
    const int64_t* max_detections;  // (M,)
    int64_t M;
    double* precision;  // (T, R, K, A, M), -1 where a class has no true box
    double* recall;     // (T, K, A, M)
    double* scores;     // (T, R, K, A, M)
};
void accumulate(const Records& records, int64_t T, int64_t A, const Curve& curve);

// Rows of detections and true boxes by their groups, which rise from 0; stable. Returns how many groups there are.
// group: (n + m,) the key of each; start arrays: (n + m + 1,).
int64_t group_rows(const int64_t* d_key, int64_t n, const int64_t* g_key, int64_t m, int64_t* group, int64_t* d_row,
                   int64_t* d_start, int64_t* g_row, int64_t* g_start);

}  // namespace fastdet
