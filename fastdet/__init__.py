"""fastdet: compiled kernels for post-processing and scoring detections and segmentations.

Modules are re-exported, not functions, and each is imported when it is first used: ``fastdet.nms.nms(...)``,
``fastdet.boxes.box_iou(...)``, ``fastdet.segmentation.confusion_matrix(...)``.
NumPy is the only dependency. torch, CuPy and other array libraries are used where they are already imported.
``fastdet.models`` holds torch networks and imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastdet._core import interpreter as _interpreter  # noqa: F401  first: it may refuse
from fastdet._version import __version__

if TYPE_CHECKING:
    from fastdet import (
        box_losses,
        boxes,
        coco,
        detection,
        distributed,
        fusion,
        inference,
        integrations,
        keypoints,
        label_maps,
        losses,
        masks,
        nms,
        plots,
        pool,
        proposals,
        roi,
        rotated,
        segmentation,
        sigmoid_focal,
        upsample,
        yolo,
    )
    from fastdet import cli as cli
    from fastdet import models as models
    from fastdet._core.config import config, get_num_threads, set_num_threads, show_config

__all__ = [
    "__version__",
    "box_losses",
    "boxes",
    "coco",
    "config",
    "detection",
    "distributed",
    "fusion",
    "get_num_threads",
    "inference",
    "integrations",
    "keypoints",
    "label_maps",
    "losses",
    "masks",
    "nms",
    "plots",
    "pool",
    "proposals",
    "roi",
    "rotated",
    "segmentation",
    "set_num_threads",
    "show_config",
    "sigmoid_focal",
    "upsample",
    "yolo",
]

_NOT_IN_STAR_IMPORT = ("cli", "models")  # models needs torch
_OF_CONFIG = ("config", "get_num_threads", "set_num_threads", "show_config")


def __getattr__(name: str) -> Any:
    """Modules and functions at their first use: the command must be able to heed Ctrl-C before NumPy is imported."""
    if name in _OF_CONFIG:
        globals()[name] = value = getattr(import_module("fastdet._core.config"), name)
        return value
    if name in __all__ or name in _NOT_IN_STAR_IMPORT:
        return import_module(f"fastdet.{name}")
    raise AttributeError(f"module 'fastdet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NOT_IN_STAR_IMPORT})
