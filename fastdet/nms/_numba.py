"""Numba kernels of the NMS family, by op."""

from fastdet.nms._numba_greedy import multiclass_nms, nms
from fastdet.nms._numba_soft import soft_nms

__all__ = ["multiclass_nms", "nms", "soft_nms"]
