"""Small networks and images for tests of fastdet.models."""

from __future__ import annotations

from typing import Any, NamedTuple


class Small(NamedTuple):
    """A network that runs in milliseconds."""

    options: dict[str, Any]
    shape: tuple[int, ...]


DENSE = Small({"width": 1 / 16}, (2, 3, 45, 61))
SMALL = {
    **dict.fromkeys(("deeplab_v3", "deeplab_v3plus", "pspnet", "segnet", "segnet_basic", "deeplab_largefov"), DENSE),
    **dict.fromkeys(
        ("hrnet_ocr", "hrnet_v2"), DENSE._replace(options={**DENSE.options, "modules": (1, 1, 1), "blocks": 1})
    ),
    **dict.fromkeys(("fcn8s", "fcn16s", "fcn32s"), Small({"width": 1 / 32, "classes": 3}, (1, 3, 45, 61))),
    "overfeat_accurate": Small({"width": 1 / 32, "classes": 5}, (1, 3, 245, 221)),
    "overfeat_fast": Small({"width": 1 / 32, "classes": 5}, (1, 3, 231, 263)),
    "ssd300": Small({"width": 1 / 32, "classes": 3}, (1, 3, 300, 300)),
    "unet": Small({"width": 1 / 16}, (1, 1, 204, 188)),
    "vgg16": Small({"width": 1 / 32, "classes": 7}, (1, 3, 64, 96)),
    "yolov1": Small({"width": 1 / 32, "grid": 2}, (2, 3, 128, 128)),
    "yolov1_tiny": Small({"width": 1 / 16, "grid": 3}, (2, 3, 192, 192)),
}

DETECTORS = {  # that take a list of images and targets
    **{name: {"classes": 3} for name in ("faster_rcnn", "mask_rcnn", "retinanet")},
    "keypoint_rcnn": {"keypoints": 4},
}
NARROW = {"width": 1 / 16, "min_size": 64, "max_size": 96}


def tensors(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (tuple, list)) else [x]
