"""Inference on whole images: tiles and sliding windows, decoding of raw outputs, merging of detections.

Images are NumPy arrays, tensors, or objects that are read by slices and may be larger than memory. A model is a torch
module, an ONNX Runtime session or any function. NumPy is the only requirement.
"""

from fastdet.inference.decode import Decoded, ssd_decode, yolo_decode
from fastdet.inference.detect import detect
from fastdet.inference.detector import Detected, Detector
from fastdet.inference.instances import Instances
from fastdet.inference.overfeat import offset_pool, overfeat_dense, overfeat_multiscale
from fastdet.inference.regions import fast_rcnn, rcnn
from fastdet.inference.tiles import overlap_tile, tiling_error
from fastdet.inference.windows import Found, sliding_window, sliding_window_boxes
from fastdet.yolo.candidates import Candidates, yolo_candidates
from fastdet.yolo.postprocess import yolo_postprocess

__all__ = [
    "Candidates",
    "Decoded",
    "Detected",
    "Detector",
    "Found",
    "Instances",
    "detect",
    "fast_rcnn",
    "offset_pool",
    "overfeat_dense",
    "overfeat_multiscale",
    "overlap_tile",
    "rcnn",
    "sliding_window",
    "sliding_window_boxes",
    "ssd_decode",
    "tiling_error",
    "yolo_candidates",
    "yolo_decode",
    "yolo_postprocess",
]
