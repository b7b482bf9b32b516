"""Pictures of boxes and of the scores of detectors and segmentations. Every function has ``ax=``, gives ``(fig, ax)``.

matplotlib is imported when a picture is made, and never its global state: a figure made here is no `pyplot` figure,
needs no display, and is freed as any object. Pass an ``ax`` of your own to draw into a `pyplot` figure.
"""

from fastdet.plots.boxes import compare, draw_boxes
from fastdet.plots.detection import draw_area_scores, draw_precision_recall
from fastdet.plots.segmentation import draw_class_scores, draw_confusion

__all__ = ["compare", "draw_area_scores", "draw_boxes", "draw_class_scores", "draw_confusion", "draw_precision_recall"]
