"""The stand-in for `mmcv._ext`: its ops by name; a name that fastdet lacks is there too, and says so when called."""

from __future__ import annotations

import importlib.machinery
import platform
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fastdet.integrations import _mmcv_boxes, _mmcv_conv, _mmcv_focal, _mmcv_nms, _mmcv_quadri, _mmcv_roi, _mmcv_rotated


def get_compiler_version() -> str:
    return platform.python_compiler()


def get_compiling_cuda_version() -> str:
    return "not available"


OPS: dict[str, Callable[..., Any]] = {
    "bbox_overlaps": _mmcv_boxes.bbox_overlaps,
    "box_iou_quadri": _mmcv_quadri.box_iou_quadri,
    "box_iou_rotated": _mmcv_boxes.box_iou_rotated,
    "deform_conv_backward_input": _mmcv_conv.deform_conv_backward_input,
    "deform_conv_backward_parameters": _mmcv_conv.deform_conv_backward_parameters,
    "deform_conv_forward": _mmcv_conv.deform_conv_forward,
    "get_compiler_version": get_compiler_version,
    "get_compiling_cuda_version": get_compiling_cuda_version,
    "masked_col2im_forward": _mmcv_conv.masked_col2im_forward,
    "masked_im2col_forward": _mmcv_conv.masked_im2col_forward,
    "modulated_deform_conv_backward": _mmcv_conv.modulated_deform_conv_backward,
    "modulated_deform_conv_forward": _mmcv_conv.modulated_deform_conv_forward,
    "nms": _mmcv_nms.nms,
    "nms_match": _mmcv_nms.nms_match,
    "nms_quadri": _mmcv_quadri.nms_quadri,
    "nms_rotated": _mmcv_nms.nms_rotated,
    "roi_align_backward": _mmcv_roi.roi_align_backward,
    "roi_align_forward": _mmcv_roi.roi_align_forward,
    "roi_align_rotated_backward": _mmcv_rotated.roi_align_rotated_backward,
    "roi_align_rotated_forward": _mmcv_rotated.roi_align_rotated_forward,
    "roi_pool_backward": _mmcv_roi.roi_pool_backward,
    "roi_pool_forward": _mmcv_roi.roi_pool_forward,
    "sigmoid_focal_loss_backward": _mmcv_focal.sigmoid_focal_loss_backward,
    "sigmoid_focal_loss_forward": _mmcv_focal.sigmoid_focal_loss_forward,
    "softmax_focal_loss_backward": _mmcv_focal.softmax_focal_loss_backward,
    "softmax_focal_loss_forward": _mmcv_focal.softmax_focal_loss_forward,
    "softnms": _mmcv_nms.softnms,
}


class _Here:
    """mmcv asks whether its ops exist by asking for the loader of `mmcv._ext`."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return sys.modules.get(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module is complete."""


class StandIn(ModuleType):
    """`mmcv._ext`: fastdet's ops, those of a compiled module where there is one, else functions that refuse."""

    def __init__(self, own: ModuleType | None) -> None:
        super().__init__("mmcv._ext", "The compiled ops of mmcv, by fastdet.integrations.mmcv().")
        self.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", _Here())  # type: ignore[arg-type]
        self._own = own
        vars(self).update(OPS)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module 'mmcv._ext' has no attribute {name!r}")
        if self._own is not None:
            return getattr(self._own, name)

        def refuse(*args: Any, **options: Any) -> Any:
            raise NotImplementedError(
                f"mmcv._ext.{name}: fastdet.integrations.mmcv() has no such op: build mmcv with its ops for it "
                f"(then mmcv(replace=True) keeps fastdet for the others)"
            )

        refuse.__name__ = refuse.__qualname__ = name
        setattr(self, name, refuse)
        return refuse


def stand_in(own: ModuleType | None) -> StandIn:
    """A module for `mmcv._ext`. ``own`` is mmcv's compiled one, if it has one."""
    return StandIn(own)
