"""Scoring detections: matching with true boxes, precision and recall, average precision, and whole data sets.

`match_detections`, `precision_recall_curve` and `average_precision` are the steps of COCO's and VOC's evaluation,
one by one; `count_naive` is what they improve on; `DetectionMetrics` does all of it for a stream of images.

Boxes are ``x1 y1 x2 y2`` unless ``box_format`` says otherwise. A detection is matched with at most one true box; with
``rule="coco"`` detections take turns by falling score (ties: lower index first), and each takes the free true box of
greatest IoU, if that is at least the threshold. Results equal pycocotools' bit for bit, on every backend.
"""

from fastdet.detection.curves import PRCurve, average_precision, precision_recall_curve
from fastdet.detection.matching import Matches, NaiveCounts, count_naive, match_detections
from fastdet.detection.metrics import DetectionMetrics

__all__ = [
    "DetectionMetrics",
    "Matches",
    "NaiveCounts",
    "PRCurve",
    "average_precision",
    "count_naive",
    "match_detections",
    "precision_recall_curve",
]
