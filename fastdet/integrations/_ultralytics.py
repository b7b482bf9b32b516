"""Ultralytics: NMS of its heads and the masks of its segmentation heads are computed by fastdet."""

from __future__ import annotations

import importlib
from typing import Any

from fastdet.integrations._replace import (
    Changes,
    Integration,
    IntegrationError,
    check_parameters,
    check_version,
    installed,
    integrate,
)

_FIRST, _LAST = "8.4", "8.4"
_NMS = (
    *("prediction", "conf_thres", "iou_thres", "classes", "agnostic", "multi_label", "max_det", "nc", "max_time_img"),
    *("max_nms", "max_wh", "rotated", "end2end", "return_idxs"),
)
_FAST_NMS = ("boxes", "scores", "iou_threshold", "use_triu", "iou_func", "exit_early")
_MASK = ("protos", "masks_in", "bboxes", "shape")
_SCALE = ("masks", "shape", "ratio_pad", "padding", "mode")


def ultralytics() -> Integration:
    """Replace the post-processing of Ultralytics in this process; predictors and validators call it as before.

    Replaced: `non_max_suppression` (detect, segment, pose, oriented boxes, end-to-end heads), `TorchNMS.nms`,
    `TorchNMS.fast_nms`, `process_mask`, `process_mask_native` and `scale_masks`. Signatures and results are kept, to
    the bit except for `scale_masks`: its values differ by at most 2**-20 of the largest one times height plus width of
    the masks, as torch rounds positions to float32, or by 2**-21 of it where the ratio is a power of two.
    Tensors on the CPU are computed by fastdet; the framework's own functions answer all other calls.

    Returns
    -------
    Integration, with what was replaced and `undo`

    Raises
    ------
    IntegrationError   the package is not installed, or its functions take other arguments: nothing was replaced

    Examples
    --------
    >>> from fastdet import integrations
    >>> made = integrations.ultralytics()  # doctest: +SKIP
    >>> from ultralytics import YOLO                  # doctest: +SKIP
    >>> YOLO("yolo11n.pt").predict("street.jpg")      # doctest: +SKIP
    """
    return integrate("ultralytics", _make)


def _make(changes: Changes) -> tuple[str | None, str]:
    _, version = installed("ultralytics")
    check_version("ultralytics", version, _FIRST, _LAST)
    try:
        nms: Any = importlib.import_module("ultralytics.utils.nms")
    except ModuleNotFoundError as error:
        if error.name != "ultralytics.utils.nms":
            raise
        raise IntegrationError(
            f"ultralytics: version {version} has no ultralytics.utils.nms: install {_FIRST} or later"
        ) from None
    ops: Any = importlib.import_module("ultralytics.utils.ops")
    replaced = (
        (nms, "non_max_suppression", _NMS),
        (nms.TorchNMS, "nms", ("boxes", "scores", "iou_threshold")),
        (nms.TorchNMS, "fast_nms", _FAST_NMS),
        (ops, "process_mask", (*_MASK, "upsample")),
        (ops, "process_mask_native", _MASK),
        (ops, "scale_masks", _SCALE),
    )
    for owner, name, parameters in replaced:
        check_parameters("ultralytics", name, getattr(owner, name), parameters)
    from fastdet.integrations import _ultralytics_masks, _ultralytics_nms

    new = _ultralytics_nms.functions(nms) | _ultralytics_masks.functions(ops)
    changes.functions([(owner, name, new[name]) for owner, name, _ in replaced])
    return version, "tensors on the CPU"
