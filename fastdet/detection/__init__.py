"""Score detections: match them with true boxes, then compute precision, recall and average precision.

`match_detections`, `precision_recall_curve` and `average_precision` are the single steps of COCO's and VOC's
evaluation. `DetectionMetrics` does all steps for a stream of images, for boxes, masks and keypoints.
`error_analysis` says what costs average precision. `count_naive` counts hits without matching.

Boxes are ``x1 y1 x2 y2`` unless ``box_format`` says otherwise. A detection is matched with at most one true box; with
``rule="coco"`` detections take turns by falling score (ties: lower index first), and each takes the free true box of
the maximum IoU, if that is at least the threshold. Results equal pycocotools' bit for bit, on every backend.
"""

from fastdet.detection.curves import PRCurve, average_precision, precision_recall_curve
from fastdet.detection.errors import error_analysis
from fastdet.detection.matching import Matches, NaiveCounts, count_naive, match_detections
from fastdet.detection.metrics import DetectionMetrics

__all__ = [
    "DetectionMetrics",
    "Matches",
    "NaiveCounts",
    "PRCurve",
    "average_precision",
    "count_naive",
    "error_analysis",
    "match_detections",
    "precision_recall_curve",
]
