"""NMS of Ultralytics' heads, computed by fastdet. Imported when Ultralytics is.

The framework moves the boxes of a class by a multiple of an offset and rounds, then suppresses boxes of any class: so
do these functions, for coordinates beyond the offset too. IoU is compared as the function that the framework would have
called compares it.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastdet._core import backends, check
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.integrations import _ultralytics_probiou
from fastdet.integrations._replace import fall_back
from fastdet.integrations._rounding import floor_float32
from fastdet.nms import nms as greedy_nms
from fastdet.yolo.candidates import yolo_candidates_reference

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MAX_COORDINATE = 1e15  # areas and their sums stay finite in float32


def functions(module: Any) -> dict[str, Callable[..., Any]]:
    """The new functions, by name, for ``ultralytics.utils.nms``; calls that they do not compute go to its own."""
    own_all, own_nms, own_fast = module.non_max_suppression, module.TorchNMS.nms, module.TorchNMS.fast_nms
    pairs = _ultralytics_probiou.Pairs(module)

    @functools.wraps(own_all)
    def non_max_suppression(
        prediction: Any,
        conf_thres: float = 0.25,
        iou_thres: float = 0.45,
        classes: Any = None,
        agnostic: bool = False,
        multi_label: bool = False,
        max_det: int = 300,
        nc: int = 0,
        max_time_img: float = 0.05,
        max_nms: int = 30000,
        max_wh: int = 7680,
        rotated: bool = False,
        end2end: bool = False,
        return_idxs: bool = False,
    ) -> Any:
        output = prediction[0] if isinstance(prediction, (list, tuple)) and prediction else prediction
        options = _options(conf_thres, iou_thres, classes, max_det, nc, max_nms, max_wh)
        if options is not None and is_plain("non_max_suppression", output) and output.ndim == 3:
            if output.shape[-1] == 6 or end2end:
                found = _end_to_end(output, conf_thres, options, max_det) if output.shape[-1] >= 6 else None
            else:
                job = _Job(module, output, conf_thres, iou_thres, options, bool(agnostic), bool(multi_label))
                found = job.run(max_det, nc, max_time_img, max_nms, max_wh, bool(rotated))
            if found is not None:
                return found if return_idxs else found[0]
        return own_all(
            prediction,
            conf_thres,
            iou_thres,
            classes,
            agnostic,
            multi_label,
            max_det,
            nc,
            max_time_img,
            max_nms,
            max_wh,
            rotated,
            end2end,
            return_idxs,
        )

    @functools.wraps(own_nms)
    def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
        if _fits("TorchNMS.nms", boxes, scores, iou_threshold, 4):
            keep = torch_rule(boxes, scores, iou_threshold)
            if keep is not None:
                return keep
        return own_nms(boxes, scores, iou_threshold)

    @functools.wraps(own_fast)
    def fast_nms(
        boxes: Any,
        scores: Any,
        iou_threshold: float,
        use_triu: bool = True,
        iou_func: Any = module.box_iou,
        exit_early: bool = True,
    ) -> Any:
        if (
            use_triu
            and iou_func is module.batch_probiou
            and _fits("TorchNMS.fast_nms", boxes, scores, iou_threshold, 5)
        ):
            keep = pairs.fast_nms(boxes, scores, iou_threshold)
            if keep is not None:
                return keep
        return own_fast(boxes, scores, iou_threshold, use_triu, iou_func, exit_early)

    return {"non_max_suppression": non_max_suppression, "nms": nms, "fast_nms": fast_nms}


def is_plain(name: str, *tensors: Any) -> bool:
    """Whether these are tensors whose memory fastdet may read: on the CPU, not traced, without a graph."""
    if not all(type(x) is torch.Tensor for x in tensors) or registered("fastdet.nms.greedy", *tensors, grad=False):
        return False
    if any(x.device.type != "cpu" for x in tensors):
        device = next(x.device.type for x in tensors if x.device.type != "cpu")
        fall_back("ultralytics", name, f"tensors on {device}")
        return False
    if any(x.requires_grad for x in tensors):
        fall_back("ultralytics", name, "tensors that require grad")
        return False
    return all(x.layout == torch.strided and x.dtype in FLOATS for x in tensors)


def _fits(name: str, boxes: Any, scores: Any, iou_threshold: Any, columns: int) -> bool:
    if not is_plain(name, boxes, scores) or type(iou_threshold) not in (int, float) or not 0 <= iou_threshold <= 1:
        return False
    shapes = boxes.ndim == 2 and boxes.shape[1] == columns and scores.shape == boxes.shape[:1] and len(boxes) > 0
    return bool(shapes and boxes.dtype == scores.dtype and boxes.dtype in (torch.float32, torch.float64))


def _options(conf: Any, iou: Any, classes: Any, max_det: Any, nc: Any, max_nms: Any, max_wh: Any) -> Any:
    """The ``classes`` as a tensor or (); None for arguments that the framework's own function is to judge."""
    if not all(type(x) in (int, float) and 0 <= x <= 1 for x in (conf, iou)):
        return None
    if not all(type(x) is int for x in (max_det, nc, max_nms, max_wh)) or max_nms < 0 or not 0 <= max_wh < 1 << 24:
        return None
    if classes is None:
        return ()
    try:
        wanted = torch.tensor(classes) if isinstance(classes, (list, tuple, int)) else None
    except (TypeError, ValueError):
        return None
    return wanted if wanted is not None and wanted.ndim < 2 and wanted.dtype != torch.bool else None


def _end_to_end(output: Any, conf: float, classes: Any, max_det: int) -> Any:
    """Rows of a head that needs no NMS: those above the threshold, in their order."""
    above = output[:, :, 4] > conf
    if not isinstance(classes, tuple):
        above &= torch.isin(output[:, :, 5], classes.to(output.dtype)) if classes.numel() else False
    rows = [x.nonzero()[:, 0][:max_det] for x in above]
    return [x[row].float() for x, row in zip(output, rows, strict=True)], rows


class _Job:
    """One call of `non_max_suppression` for a head that needs NMS."""

    def __init__(
        self, module: Any, output: Any, conf: float, iou: float, classes: Any, agnostic: bool, multi_label: bool
    ) -> None:
        self.module, self.output, self.iou, self.classes = module, output, iou, classes
        self.agnostic, self.multi_label = agnostic, multi_label
        # the framework compares in the dtype of the scores, and rounds the threshold to it
        self.conf = torch.tensor(conf, dtype=output.dtype).item()

    def run(self, max_det: int, nc: int, max_time: float, max_nms: int, max_wh: int, rotated: bool) -> Any:
        output, module = self.output, self.module
        start, limit = time.time(), 2.0 + max_time * len(output)
        channels = output.shape[1]
        classes = nc or channels - 4
        extras = channels - 4 - classes
        if not 0 < classes <= check.MAX_CLASSES or extras < (1 if rotated else 0) or 0 in output.shape:
            return None
        found = _candidates(output, classes, self.multi_label and classes > 1, self.conf)
        if found is None:
            fall_back("ultralytics", "non_max_suppression", "scores that are NaN or outside [0, 1]")
            return None
        boxes, scores, labels, images, rows = found
        narrow = output.dtype in (torch.float16, torch.bfloat16)
        if narrow or rotated:
            raw = output[torch.from_numpy(images), :4, torch.from_numpy(rows)]
            boxes = _numpy(raw if rotated else module.xywh2xyxy(raw))
        if not isinstance(self.classes, tuple):
            wanted = torch.isin(torch.from_numpy(labels).to(self.classes.dtype), self.classes).numpy()
            boxes, scores, labels, images, rows = (x[wanted] for x in (boxes, scores, labels, images, rows))
        ends = np.searchsorted(images, np.arange(len(output) + 1)).tolist()
        made = [torch.zeros((0, 6 + extras))] * len(output)
        kept = [torch.zeros((0, 1))] * len(output)
        for i, (first, last) in enumerate(itertools.pairwise(ends)):
            if first == last:
                continue
            part = slice(first, last)
            image = [x[part] for x in (boxes, scores, labels, rows)]
            if last - first > max_nms:
                best = torch.from_numpy(image[1]).argsort(descending=True)[:max_nms].numpy()
                image = [x[best] for x in image]
            offsets = image[2].astype(boxes.dtype) * boxes.dtype.type(0 if self.agnostic else max_wh)
            keep: Array | None
            if rotated:
                keep = self._rotated(image, offsets, i)
            else:
                keep = self._upright(image[0] + offsets[:, None], image[1], max_det)
            if keep is None:
                fall_back("ultralytics", "non_max_suppression", "boxes that are not finite, or of negative size")
                return None
            final = keep[:max_det]
            made[i] = self._rows([x[final] for x in image], i, classes, extras)
            kept[i] = torch.from_numpy(image[3][final])
            if time.time() - start > limit:
                module.LOGGER.warning(f"NMS time limit {limit:.3f}s exceeded")
                break
        return made, kept

    def _upright(self, boxes: Array, scores: Array, max_det: int) -> Array | None:
        if "torchvision" not in sys.modules:
            keep = self.module.TorchNMS.nms(torch.from_numpy(boxes), torch.from_numpy(scores), self.iou)
            return _numpy(keep)
        return torchvision_rule(boxes, scores, self.iou, max_det if max_det > 0 else None)

    def _rotated(self, image: list[Array], offsets: Array, i: int) -> Array:
        boxes, scores, _, rows = image
        angle = _numpy(self.output[i, -1, torch.from_numpy(rows)]).astype(boxes.dtype)
        whole = np.concatenate([boxes[:, :2] + offsets[:, None], boxes[:, 2:], angle[:, None]], axis=1)
        function, measure = self.module.TorchNMS.fast_nms, self.module.batch_probiou
        keep = function(torch.from_numpy(whole), torch.from_numpy(scores), self.iou, iou_func=measure)
        return _numpy(keep)

    def _rows(self, image: list[Array], i: int, classes: int, extras: int) -> Any:
        boxes, scores, labels, rows = image
        made = torch.empty((len(rows), 6 + extras), dtype=torch.from_numpy(boxes).dtype)
        whole = made.numpy()
        whole[:, :4], whole[:, 4], whole[:, 5] = boxes, scores, labels
        if extras:
            made[:, 6:] = self.output[i, 4 + classes :].index_select(1, torch.from_numpy(rows)).T
        return made


def _candidates(output: Any, classes: int, multi_label: bool, conf: float) -> Any:
    """Boxes x1 y1 x2 y2, scores, labels, images and rows above the threshold, in this order; None for a wrong score."""
    planes = output.is_contiguous() or not output.transpose(1, 2).is_contiguous()
    data = _numpy(output.contiguous() if planes else output.transpose(1, 2))
    kernel = backends.choose("yolo_candidates", None, yolo_candidates_reference, data)
    found: Any = kernel(data, planes, classes, False, multi_label, conf)
    return None if isinstance(found, int) else found


def _numpy(x: Any) -> Any:
    """The memory of a tensor; half floats as float32."""
    return (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).detach().numpy()


def _are_ordinary(boxes: Array) -> bool:
    """Whether fastdet and the framework compute IoU alike: sides are not negative, and no area overflows."""
    ordinary = np.abs(boxes).max(initial=0) < MAX_COORDINATE  # False for NaN
    return bool(ordinary and (boxes[:, 2:] >= boxes[:, :2]).all())


def torchvision_rule(boxes: Array, scores: Array, iou_threshold: float, max_output: int | None) -> Array | None:
    """Kept indices as `torchvision.ops.nms` gives them: IoU in the boxes' dtype is compared with a float64."""
    if not _are_ordinary(boxes):
        return None
    level = float(iou_threshold)
    if boxes.dtype == np.float32:
        level = max(float(floor_float32(level)), 0.0)
    limit = max_output if max_output is not None and max_output < len(boxes) else None
    return greedy_nms(boxes, scores, level, max_output=limit)


def torch_rule(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Kept indices as `TorchNMS.nms` gives them: torch's order of equal scores, the threshold rounded to the dtype."""
    order = scores.argsort(0, descending=True)
    ordered, ranks = boxes[order].numpy(), scores[order].numpy()
    sides = ordered[:, 2:] - ordered[:, :2]
    if not _are_ordinary(ordered) or not (sides[:, 0] * sides[:, 1] > 0).all() or not math.isfinite(ranks.sum()):
        return None
    keep = greedy_nms(ordered, ranks, float(ordered.dtype.type(iou_threshold)))
    return order[torch.from_numpy(keep)]
