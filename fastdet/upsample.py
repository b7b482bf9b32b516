"""Bilinear resampling, forward and backward."""

from __future__ import annotations

__all__: list[str] = []
