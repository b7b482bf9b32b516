"""What metric objects share that keep something of each image."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastdet._core.metric import Metric


class Kept(NamedTuple):
    """What was counted of images. It is replaced whole: an interrupt leaves the old or the new one."""

    kept: list[Any]  # of each image, in order. It grows in place; those behind `images` are of a call that did not end
    images: int = 0
    synced: bool = False


class KeptImages(Metric):
    """The base of `PanopticMetrics` and `BoundaryMetrics`: their state is a list with one entry an image."""

    _state: Kept

    def reset(self) -> None:
        """Forget all images."""
        self._state = Kept([])

    def __len__(self) -> int:
        return int(self._state.images)

    @property
    def _kept(self) -> list[Any]:
        """What was counted of each image."""
        return self._state.kept[: self._state.images]

    def _add(self, images: list[Any]) -> None:
        """Add what was counted of some images."""
        now = self._state
        del now.kept[now.images :]  # of a call that did not end
        now.kept.extend(images)
        self._state = now._replace(images=now.images + len(images))

    def _settings(self) -> dict[str, Any]:
        return {}

    def _merged(self, op: str, others: list[Any]) -> Kept:
        kept = self._kept
        for other in others:
            kept += other._kept
        return self._state._replace(kept=kept, images=len(kept))
