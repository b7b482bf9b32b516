"""Max-pooling with indices, and unpooling."""

from __future__ import annotations

__all__: list[str] = []
