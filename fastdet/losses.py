"""Losses of segmentation and of boxes, each with its gradient in one pass."""

from __future__ import annotations

__all__: list[str] = []
