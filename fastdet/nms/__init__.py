"""Non-maximum suppression: greedy, class-wise, soft, and for batches of images.

The rules are the same on every backend. Boxes are taken by falling score, equal scores in order of index. A box whose
overlap with a kept box is ABOVE the threshold is removed; one that is equal to it stays. The overlap is rounded and
compared in the boxes' dtype. 0/0 is 0. A NaN raises ValueError with its index. A box of infinite area has IoU 0 with
everything; with metric="ios" it overlaps a box of finite area by the part of that box which it covers, and another
infinite one by 0.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, on the CPU or an
NVIDIA GPU, and returns the type of ``boxes``. float32 and float64 are computed as such, float16 and bfloat16 in
float32, integers as in `fastdet.boxes`. No function here has a gradient: tensors that require grad are taken, and the
results carry no graph.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.fusion.merge import merge_boxes
from fastdet.fusion.weighted import weighted_boxes_fusion
from fastdet.nms.greedy import batched_nms, nms
from fastdet.nms.multiclass import Detections, multiclass_nms
from fastdet.nms.soft import batched_soft_nms, soft_nms

__all__ = [
    "Detections",
    "batched_nms",
    "batched_soft_nms",
    "merge_boxes",
    "multiclass_nms",
    "nms",
    "soft_nms",
    "weighted_boxes_fusion",
]

register_with_torch(__name__)
