"""Decode the raw output of YOLO v5 and later. `fastdet.inference` exports these functions too."""

from fastdet._core.dispatch import register_with_torch
from fastdet.nms.multiclass import Detections
from fastdet.yolo.candidates import Candidates, ExtendedCandidates, yolo_candidates
from fastdet.yolo.postprocess import ExtendedDetections, yolo_postprocess

__all__ = [
    "Candidates",
    "Detections",
    "ExtendedCandidates",
    "ExtendedDetections",
    "yolo_candidates",
    "yolo_postprocess",
]

register_with_torch(__name__)
