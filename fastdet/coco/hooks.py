"""What a script has replaced: methods in a subclass, on the class or on one object, and functions of pycocotools."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

cocoeval: Any = None  # the module that stands for pycocotools.cocoeval, once one does
mask_iou: Any = None  # the function that stands for pycocotools.mask.iou then


def originals(cls: type, names: tuple[str, ...]) -> dict[str, Any]:
    """The methods of a class by name, as the class defines them."""
    return {name: vars(cls)[name] for name in names}


def replaced(x: object, methods: Mapping[str, Any]) -> list[str]:
    """The names of the methods that ``x`` has another one of. ``methods``: what `originals` returned."""
    return [name for name, own in methods.items() if getattr(getattr(x, name, None), "__func__", None) is not own]


def check_mask_iou() -> None:
    """NotImplementedError if a script has replaced pycocotools.mask.iou, which pycocotools' computeIoU calls."""
    mask, module = (sys.modules.get(f"pycocotools.{name}") for name in ("mask", "cocoeval"))
    if mask is None or module is None or module is not cocoeval:
        return
    if vars(module).get("maskUtils") is not mask or vars(mask).get("iou") is not mask_iou:
        raise NotImplementedError(
            "COCOeval: pycocotools.mask.iou was replaced, and fastdet's COCOeval does not call it; "
            "replace COCOeval.computeIoU instead"
        )
