"""Plots of boxes and of the scores of detectors and segmentations. Every function takes ``ax=``, gives ``(fig, ax)``.

matplotlib is imported when a plot is made. A figure made here is not one of `pyplot`: it needs no display and is freed
like any object. Pass your own ``ax`` to draw into a `pyplot` figure.
"""

from fastdet.plots.boxes import compare, draw_boxes
from fastdet.plots.detection import draw_area_scores, draw_precision_recall
from fastdet.plots.segmentation import draw_class_scores, draw_confusion

__all__ = ["compare", "draw_area_scores", "draw_boxes", "draw_class_scores", "draw_confusion", "draw_precision_recall"]
