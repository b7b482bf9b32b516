"""Regions of interest: the features of each box, resampled or pooled to one size, and their gradients.

Signatures, names and boundary rules are those of torchvision.ops. Answers are equal bit for bit on every backend, and
gradients are deterministic: each sum has one order, for any number of threads and on a GPU too.
float64 is computed in float64, all other dtypes in float32; float16 and bfloat16 are rounded once, at the end.

Every function takes NumPy arrays, torch tensors, CuPy arrays, anything with ``__dlpack__`` or nested lists, and returns
the input's type, dtype and memory order (planes or channels last).
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.roi.align import roi_align, roi_align_backward
from fastdet.roi.multiscale import multiscale_roi_align, multiscale_roi_align_backward
from fastdet.roi.pooling import roi_pool, roi_pool_backward
from fastdet.roi.position_sensitive import ps_roi_align, ps_roi_align_backward, ps_roi_pool, ps_roi_pool_backward

__all__ = [
    "multiscale_roi_align",
    "multiscale_roi_align_backward",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "roi_align",
    "roi_align_backward",
    "roi_pool",
    "roi_pool_backward",
]

register_with_torch(__name__)
