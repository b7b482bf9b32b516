"""fastdet: compiled kernels for post-processing and scoring detections and segmentations.

Modules, not functions, are re-exported, each imported when it is first used: ``fastdet.nms.nms(...)``,
``fastdet.boxes.box_iou(...)``, ``fastdet.segmentation.confusion_matrix(...)``.
NumPy is the only dependency; torch, numba and other array libraries are used where they are already imported.
``fastdet.models`` is networks in torch, and imports it.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from fastdet._config import config, get_num_threads, set_num_threads, show_config
from fastdet._version import __version__

if TYPE_CHECKING:
    from fastdet import boxes, coco, detection, inference, losses, nms, pool, segmentation, upsample
    from fastdet import models as models

__all__ = [
    "__version__",
    "boxes",
    "coco",
    "config",
    "detection",
    "get_num_threads",
    "inference",
    "losses",
    "nms",
    "pool",
    "segmentation",
    "set_num_threads",
    "show_config",
    "upsample",
]

_WITH_TORCH = ("models",)  # not in __all__: a star import needs no torch


def __getattr__(name: str) -> ModuleType:
    if name in __all__ or name in _WITH_TORCH:
        return import_module(f"fastdet.{name}")
    raise AttributeError(f"module 'fastdet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_WITH_TORCH})
