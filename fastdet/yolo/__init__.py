"""Decode the raw output of YOLO v5 and later. `fastdet.inference` exports these functions too."""

from fastdet.nms.multiclass import Detections
from fastdet.yolo.candidates import Candidates, yolo_candidates
from fastdet.yolo.postprocess import yolo_postprocess

__all__ = ["Candidates", "Detections", "yolo_candidates", "yolo_postprocess"]
