"""Check the arguments of `DetectionMetrics`: parameters, image ids, and the dictionaries of images."""

from __future__ import annotations

import itertools
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import plain, stated_format, to_numpy
from fastdet._core.check import Array
from fastdet.detection.records import CROWD, IGNORE, Columns, Floats, Ints
from fastdet.detection.state import UNLIMITED, Parameters, limit_word

NAME = "DetectionMetrics"
METHODS = ("coco101", "voc2007", "area")
AREAS = {"all": (0.0, 1e5**2), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e5**2)}

Image = tuple[Array, Array, Array, Array, Array, Array, Array]


def read_image(op: str, i: int, prediction: Any, target: Any, box_format: str) -> Image:
    """Checked copies of one image: boxes x y w h, scores, labels; true boxes x y w h, labels, flags, areas."""
    for name, x in (("predictions", prediction), ("targets", target)):
        if not isinstance(x, Mapping):
            raise TypeError(f"{op}: {name}[{i}] must be a dictionary, got {type(x).__name__}")
    if "scores" in target and "scores" not in prediction:
        hint = "targets have them; update takes (predictions, targets): is their order right?"
        raise ValueError(f"{op}: predictions[{i}] must have 'scores', got {_keys(prediction)}; {hint}")
    what = f"predictions[{i}]"
    boxes = _boxes(op, what, prediction, box_format)
    scores = _column(op, what, prediction, "scores", len(boxes))
    labels = _labels(op, what, prediction, len(boxes))
    what = f"targets[{i}]"
    true_boxes = _boxes(op, what, target, box_format)
    count = len(true_boxes)
    true_labels = _labels(op, what, target, count)
    flags, areas = np.zeros(count, np.uint8), np.zeros(count)
    for key, flag in (("iscrowd", CROWD), ("difficult", IGNORE), ("ignore", IGNORE)):
        if target.get(key) is not None:
            flags |= check.flags(op, f"{what}[{key!r}]", _get(op, what, target, key), count).view(np.uint8) * flag
    if target.get("area") is not None:
        areas[:] = _column(op, what, target, "area", count)
    return boxes, scores, labels, true_boxes, true_labels, flags, areas


def columns(images: Sequence[Image], inclusive: bool) -> tuple[Columns, Columns]:
    """Detections and true boxes of images as columns. `Columns.image` is the position in ``images``."""
    boxes, scores, labels, true_boxes, true_labels, flags, areas = (
        np.concatenate(column) for column in zip(*images, strict=True)
    )
    offset, none = float(inclusive), labels[:0]
    with np.errstate(over="ignore"):
        detected, true = ((x[:, 2] + offset) * (x[:, 3] + offset) for x in (boxes, true_boxes))
    of_detection = np.repeat(np.arange(len(images)), [len(image[1]) for image in images])
    of_truth = np.repeat(np.arange(len(images)), [len(image[4]) for image in images])
    return (
        Columns(of_detection, labels, boxes, detected, scores.astype(np.float64), flags[:0], none),
        Columns(of_truth, true_labels, true_boxes, np.where(areas > 0, areas, true), np.zeros(0), flags, none),
    )


def _require(op: str, what: str, x: Mapping[str, Any], key: str) -> None:
    if key not in x:
        raise ValueError(f"{op}: {what} must have {key!r}, got {_keys(x)}")


def _get(op: str, what: str, x: Mapping[str, Any], key: str) -> Array:
    _require(op, what, x, key)
    value = x[key]
    return value if type(value) is np.ndarray else to_numpy(op, f"{what}[{key!r}]", value)


def _boxes(op: str, what: str, x: Mapping[str, Any], box_format: str) -> Floats:
    _require(op, what, x, "boxes")
    return read_boxes(op, f"{what}['boxes']", x["boxes"], box_format)


def read_boxes(op: str, name: str, x: Any, box_format: str) -> Floats:
    """A copy of boxes as x y w h in float64, by the format that they state themselves, else by ``box_format``.

    ValueError if both are given and differ: ``box_format`` other than "xyxy", the default of all that take boxes.
    """
    if type(x) is np.ndarray:
        return to_xywh(op, name, x, box_format)
    stated = stated_format(x)
    if stated is not None and stated not in check.FORMATS:
        raise ValueError(f"{op}: {name} must be xyxy, xywh or cxcywh, got {type(x).__name__} of format {stated}")
    if stated is not None and box_format not in ("xyxy", stated):
        raise ValueError(
            f"{op}: {name} must be of box_format {box_format!r}, got {type(x).__name__} of format {stated}; "
            f"leave box_format out"
        )
    return to_xywh(op, name, to_numpy(op, name, plain(op, name, x, stated)), stated or box_format)


def _keys(x: Mapping[str, Any]) -> str:
    return check.describe(sorted(map(str, x)))


def to_xywh(op: str, name: str, x: Array, box_format: str) -> Floats:
    """A copy of finite boxes as x y w h in float64. Sides are computed in the dtype of the boxes."""
    b = check.boxes(op, name, x)
    out = np.empty(b.shape)
    out[:] = b
    if box_format == "cxcywh":
        out[:, :2] = b[:, :2] - b.dtype.type(0.5) * b[:, 2:]
    elif box_format == "xyxy":
        out[:, 2:] = b[:, 2:] - b[:, :2]
    if not np.isfinite(out).all():
        finite(op, name, b)
        bad = int(np.argwhere(~np.isfinite(out))[0, 0])
        raise ValueError(f"{op}: {name} must have finite sides, got {b[bad].tolist()} at index {bad}")
    return out


def _column(op: str, what: str, x: Mapping[str, Any], key: str, count: int) -> Array:
    """(N,) finite numbers, copied."""
    value = _get(op, what, x, key)
    if value.shape != (count,):
        raise ValueError(f"{op}: {what}[{key!r}] must have shape ({count},), one per box, got {value.shape}")
    value = check.real(op, f"{what}[{key!r}]", value).copy()
    if not np.isfinite(value).all():
        finite(op, f"{what}[{key!r}]", value)
    return value


def _labels(op: str, what: str, x: Mapping[str, Any], count: int) -> Ints:
    value = _get(op, what, x, "labels")
    if value.dtype == np.int64 and value.shape == (count,):  # the usual case
        return value.astype(np.int64)
    return check.keys(op, f"{what}['labels']", value, count).copy()


def finite(op: str, name: str, x: Array) -> None:
    """Raise ValueError with the index of the first NaN or infinity."""
    bad = np.argwhere(np.isnan(x))
    if len(bad):
        check.raise_nan(op, name, tuple(map(int, bad[0])))
    bad = np.argwhere(np.isinf(x))
    if len(bad):
        at = tuple(map(int, bad[0]))
        raise ValueError(f"{op}: {name} must be finite, got {x[at]} at index {at[0] if len(at) == 1 else at}")


def parameters(
    iou_thresholds: Any,
    rec_thresholds: Any,
    limits: Any,
    ranges: Any,
    rule: Any,
    method: Any,
    inclusive: Any,
    confusion_at: Any,
) -> Parameters:
    """Check the arguments of `DetectionMetrics` that its records and results depend on. None: the default."""
    check.choice(NAME, "method", method, METHODS)
    limits = max_detections(limits)
    return Parameters(
        thresholds(NAME, "iou_thresholds", np.linspace(0.5, 0.95, 10) if iou_thresholds is None else iou_thresholds),
        recalls(np.linspace(0, 1, 11 if method == "voc2007" else 101) if rec_thresholds is None else rec_thresholds),
        limits,
        areas(AREAS if ranges is None else ranges, limits),
        check.choice(NAME, "rule", rule, ("coco", "voc")),
        method,
        bool(inclusive),
        None if confusion_at is None else confusion(confusion_at),
    )


def ids(op: str, image_ids: Any, count: int) -> list[int]:
    """Integer ids of ``count`` images."""
    listed = image_ids.tolist() if hasattr(image_ids, "tolist") else image_ids
    if not isinstance(listed, Iterable) or isinstance(listed, (str, bytes)):
        raise TypeError(f"{op}: image_ids must be a sequence of integers, got {check.describe(image_ids)}")
    result = [_integer(op, i) for i in listed]
    if len(result) != count:
        raise ValueError(f"{op}: image_ids must be as many as images ({count}), got {len(result)}")
    return result


def _integer(op: str, x: Any) -> int:
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: image_ids must be integers, got {check.describe(x)}") from None
    if not -(2**62) <= value < 2**62:
        raise ValueError(f"{op}: image_ids must be in [-2**62, 2**62), got {check.describe(value)}")
    return value


def _numbers(op: str, name: str, xs: Any) -> list[float]:
    if isinstance(xs, (str, bytes)) or not isinstance(xs, Iterable) or check.is_scalar_array(xs):
        raise TypeError(f"{op}: {name} must be a sequence of numbers, got {check.describe(xs)}")
    values = [check.number(op, name, x) for x in xs]
    if not values:
        raise ValueError(f"{op}: {name} must not be empty")
    return values


def thresholds(op: str, name: str, xs: Any) -> tuple[float, ...]:
    """Numbers in (0, 1]."""
    values = _numbers(op, name, xs)
    for x in values:
        if not 0 < x <= 1:
            raise ValueError(f"{op}: {name} must be in (0, 1], got {x}")
    return tuple(values)


def recalls(xs: Any) -> tuple[float, ...]:
    """Rising numbers in [0, 1]."""
    values = _numbers(NAME, "rec_thresholds", xs)
    if any(not 0 <= x <= 1 for x in values) or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{NAME}: rec_thresholds must be rising numbers in [0, 1], got {check.describe(values)}")
    return tuple(values)


def max_detections(xs: Any) -> tuple[int, ...]:
    """Rising numbers of detections. An entry None is no limit."""
    if isinstance(xs, (str, bytes)) or not isinstance(xs, Iterable) or check.is_scalar_array(xs):
        raise TypeError(f"{NAME}: max_detections must be a sequence of integers, got {check.describe(xs)}")
    values = [UNLIMITED if x is None else check.count(NAME, "max_detections", x) for x in xs]
    if not values or values[0] < 1 or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{NAME}: max_detections must be rising integers of 1 or more, got {check.describe(values)}")
    return tuple(values)


def areas(xs: Any, limits: Sequence[int]) -> tuple[tuple[str, float, float], ...]:
    """(name, min_area, max_area) of each area. ``limits``: those of `max_detections`, which are keys of the results."""
    if not isinstance(xs, Mapping) or not xs:
        raise TypeError(f"{NAME}: areas must be a dictionary of (min_area, max_area), got {check.describe(xs)}")
    result = []
    for name, pair in xs.items():
        real = isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(x, numbers.Real) for x in pair)
        if not isinstance(name, str) or not real:
            raise TypeError(f"{NAME}: areas must be name: (min_area, max_area), got {check.describe({name: pair})}")
        low, high = map(float, pair)
        if not low <= high:
            raise ValueError(f"{NAME}: areas must have min_area <= max_area, got {check.describe({name: pair})}")
        result.append((name, low, high))
    taken = {"50", "75", *map(limit_word, limits)}
    for name, _, _ in result[1:]:
        if name in taken or name.endswith(("per_class", "_ci")):
            raise ValueError(
                f"{NAME}: areas must have names that differ from the other keys of the results, got {name!r}"
            )
    return tuple(result)


def confusion(x: Any) -> tuple[float, float]:
    """(IoU, minimum score) of the confusion matrix."""
    if not isinstance(x, Sequence) or len(x) != 2:
        raise TypeError(f"{NAME}: confusion_at must be (iou, score), got {check.describe(x)}")
    return thresholds(NAME, "confusion_at", x[:1])[0], check.number(NAME, "confusion_at", x[1])
