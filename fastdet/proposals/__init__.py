"""Region proposals: anchors, the box coder, the matcher, the sampler, and proposals from a network's output.

The rules are torchvision's. Boxes are (N, 4), pixels, x1 y1 x2 y2. exp and log are fastdet's own, so answers are equal
bit for bit on every backend; against torch's they differ in the last bits. Equal values keep the lower index first.

Functions of arrays take NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, and return the type
of their first array. float16 and bfloat16 are computed and returned in float32. Anchors are made of numbers alone:
NumPy arrays.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.proposals.anchors import fpn_anchors, grid_anchors, ssd_default_boxes
from fastdet.proposals.coder import MAX_LOG_RATIO, decode_boxes, encode_boxes
from fastdet.proposals.generate import Proposals, generate_proposals
from fastdet.proposals.matching import match_boxes
from fastdet.proposals.sampling import sample_balanced

__all__ = [
    "MAX_LOG_RATIO",
    "Proposals",
    "decode_boxes",
    "encode_boxes",
    "fpn_anchors",
    "generate_proposals",
    "grid_anchors",
    "match_boxes",
    "sample_balanced",
    "ssd_default_boxes",
]

register_with_torch(__name__)
