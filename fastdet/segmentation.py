"""Confusion matrices of label maps, and the figures that are read off them."""

from __future__ import annotations

__all__ = ["SegmentationMetrics"]

from fastdet._segmentation_metrics import SegmentationMetrics
