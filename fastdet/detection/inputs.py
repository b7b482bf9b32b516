"""Check the arguments of `DetectionMetrics`: parameters, image ids, and the dictionaries of images."""

from __future__ import annotations

import itertools
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import plain, stated_format, to_numpy
from fastdet._core.check import Array
from fastdet.detection.federated import Federated
from fastdet.detection.records import CROWD, IGNORE, SHAPES, Columns, Floats, Ints
from fastdet.detection.rotated import areas_of, around, rotated_boxes
from fastdet.detection.state import UNLIMITED, Parameters, limit_word
from fastdet.keypoints.similarity import COCO_SIGMAS, check_sigmas, extent
from fastdet.masks import RLE, area, encode, to_boxes

NAME = "DetectionMetrics"
METHODS = ("coco101", "voc2007", "area")
AREAS = {"all": (0.0, 1e5**2), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e5**2)}

IOU_TYPES = tuple(SHAPES)
RULES = ("coco", "voc", "lvis")


class Image(NamedTuple):
    """Checked copies of one image."""

    boxes: Floats  # (N, 4) x y w h
    scores: Array
    labels: Ints
    true_boxes: Floats
    true_labels: Ints
    flags: Array
    areas: Array  # 0 where it is not stated
    masks: RLE | None = None
    true_masks: RLE | None = None
    keypoints: Floats | None = None
    true_keypoints: Floats | None = None
    rotated: Floats | None = None
    true_rotated: Floats | None = None
    negative: Ints | None = None  # categories, see `Federated`
    not_exhaustive: Ints | None = None


def check_lists(op: str, predictions: Any, targets: Any) -> None:
    """A dictionary for each image, as many predictions as targets."""
    for name, x in (("predictions", predictions), ("targets", targets)):
        if not isinstance(x, Sequence):
            raise TypeError(f"{op}: {name} must be a list of dictionaries, got {type(x).__name__}")
    if len(predictions) != len(targets):
        raise ValueError(f"{op}: targets must be as many as predictions ({len(predictions)}), got {len(targets)}")


def read_image(op: str, i: int, prediction: Any, target: Any, box_format: str, p: Parameters) -> Image:
    """Checked copies of one image."""
    for name, x in (("predictions", prediction), ("targets", target)):
        if not isinstance(x, Mapping):
            raise TypeError(f"{op}: {name}[{i}] must be a dictionary, got {type(x).__name__}")
    if "scores" in target and "scores" not in prediction:
        hint = "targets have them; update takes (predictions, targets): is their order right?"
        raise ValueError(f"{op}: predictions[{i}] must have 'scores', got {_keys(prediction)}; {hint}")
    what = f"predictions[{i}]"
    boxes, masks, keypoints, turned = _shapes(op, what, prediction, box_format, p)
    scores = _column(op, what, prediction, "scores", len(boxes))
    labels = _labels(op, what, prediction, len(boxes))
    what = f"targets[{i}]"
    true_boxes, true_masks, true_keypoints, true_turned = _shapes(op, what, target, box_format, p)
    count = len(true_boxes)
    true_labels = _labels(op, what, target, count)
    flags, areas = np.zeros(count, np.uint8), np.zeros(count)
    for key, flag in (("iscrowd", CROWD), ("difficult", IGNORE), ("ignore", IGNORE)):
        if target.get(key) is not None:
            flags |= check.flags(op, f"{what}[{key!r}]", _get(op, what, target, key), count).view(np.uint8) * flag
    if target.get("area") is not None:
        areas[:] = _column(op, what, target, "area", count)
    image = Image(boxes, scores, labels, true_boxes, true_labels, flags, areas)
    if p.iou_types == ("bbox",) and p.rule != "lvis":  # the usual case
        return image
    if masks is not None and true_masks is not None and len(masks) and len(true_masks):
        sizes = masks.sizes[0], true_masks.sizes[0]
        if (sizes[0] != sizes[1]).any():
            a, b = (tuple(x.tolist()) for x in sizes)
            raise ValueError(
                f"{op}: targets[{i}]['masks'] must have the size of predictions[{i}]['masks'] {a}, got {b}"
            )
    if true_keypoints is not None:
        flags |= ~(true_keypoints[..., 2] > 0).any(1) * np.uint8(IGNORE)
    image = image._replace(
        masks=masks, true_masks=true_masks, keypoints=keypoints, true_keypoints=true_keypoints, rotated=turned,
        true_rotated=true_turned,
    )  # fmt: skip
    if p.rule != "lvis":
        return image
    listed = [_categories(op, what, target, key) for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    return image._replace(negative=listed[0], not_exhaustive=listed[1])


def _categories(op: str, what: str, target: Mapping[str, Any], key: str) -> Ints:
    """(P,) the categories that a target lists; none where it has no such key."""
    if target.get(key) is None:
        return np.zeros(0, np.int64)
    given = target[key]
    is_list = isinstance(given, (list, tuple, set, frozenset))
    listed = np.asarray(list(given)) if is_list else _get(op, what, target, key)
    if not listed.size:
        return np.zeros(0, np.int64)
    return check.keys(op, f"{what}[{key!r}]", listed.reshape(-1), listed.size)


def _shapes(
    op: str, what: str, x: Mapping[str, Any], box_format: str, p: Parameters
) -> tuple[Floats, RLE | None, Floats | None, Floats | None]:
    """The boxes, and masks, keypoints and rotated boxes where they are needed.

    Boxes that are absent are those of masks or points.
    """
    if p.iou_types == ("rotated",):
        _require(op, what, x, "boxes")
        turned = rotated_boxes(op, f"{what}['boxes']", x["boxes"], box_format)
        return around(turned), None, None, turned
    masks = keypoints = None
    if "segm" in p.iou_types or "boundary" in p.iou_types:
        masks = _masks(op, what, x)
    if "keypoints" in p.iou_types:
        keypoints = _keypoints(op, what, x, len(p.sigmas or ()))
    if "boxes" in x or (masks is None and keypoints is None) or "bbox" in p.iou_types:
        boxes = _boxes(op, what, x, box_format)
    elif masks is not None:
        boxes = to_boxes(masks)
        boxes[:, 2:] -= boxes[:, :2]
    else:
        assert keypoints is not None
        boxes = extent(keypoints)
    for name, shapes in (("masks", masks), ("keypoints", keypoints)):
        if shapes is not None and len(shapes) != len(boxes):
            raise ValueError(f"{op}: {what}[{name!r}] must be as many as boxes ({len(boxes)}), got {len(shapes)}")
    return boxes, masks, keypoints, None


def _masks(op: str, what: str, x: Mapping[str, Any]) -> RLE:
    """Masks of one size: an `RLE`, COCO's dictionaries, or dense ones."""
    _require(op, what, x, "masks")
    given, name = x["masks"], f"{what}['masks']"
    try:
        if isinstance(given, RLE):
            masks = given
        elif isinstance(given, (list, tuple)) and all(isinstance(m, Mapping) for m in given):
            masks = RLE.from_coco(given)
        else:
            masks = encode(to_numpy(op, name, given))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{op}: {name}: {error}") from None
    if len(masks) and (masks.sizes != masks.sizes[0]).any():
        raise ValueError(f"{op}: {name} must have one size, got {np.unique(masks.sizes, axis=0).tolist()}")
    return masks


def _keypoints(op: str, what: str, x: Mapping[str, Any], count: int) -> Floats:
    """(N, K, 3) finite keypoints."""
    points, name = _get(op, what, x, "keypoints"), f"{what}['keypoints']"
    points = check.real(op, name, points).astype(np.float64)
    if points.size == 0:
        return np.zeros((0, count, 3))
    if points.ndim != 3 or points.shape[1:] != (count, 3):
        raise ValueError(f"{op}: {name} must have shape (N, {count}, 3), {count} as sigmas, got {points.shape}")
    finite(op, name, points)
    return points


def columns(images: Sequence[Image], p: Parameters) -> list[tuple[Columns, Columns]]:
    """Detections and true boxes of images for each kind of overlap. `Columns.image` is the position in ``images``."""
    boxes, scores, labels, true_boxes, true_labels, flags, areas = (
        np.concatenate(column) for column in list(zip(*images, strict=True))[:7]
    )
    offset, none = float(p.inclusive), labels[:0]
    of_detection = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    of_truth = np.repeat(np.arange(len(images)), [len(image.flags) for image in images])
    masks, true_masks, keypoints, true_keypoints, turned, true_turned = (
        _joined([getattr(image, name) for image in images])
        for name in ("masks", "true_masks", "keypoints", "true_keypoints", "rotated", "true_rotated")
    )
    every = []
    for kind in p.iou_types:
        if kind in ("segm", "boundary"):
            detected, true = area(masks).astype(np.float64), area(true_masks).astype(np.float64)
        elif kind == "rotated":
            detected, true = (areas_of(x) for x in (turned, true_turned))
        else:
            with np.errstate(over="ignore"):
                detected, true = ((x[:, 2] + offset) * (x[:, 3] + offset) for x in (boxes, true_boxes))
        every.append((
            Columns(of_detection, labels, boxes, detected, scores.astype(np.float64), flags[:0], none,
                    masks, keypoints, turned),
            Columns(of_truth, true_labels, true_boxes, np.where(areas > 0, areas, true), np.zeros(0), flags, none,
                    true_masks, true_keypoints, true_turned),
        ))  # fmt: skip
    return every


def _joined(parts: Sequence[Any]) -> Any:
    if parts[0] is None:
        return None
    return RLE.concatenate(parts) if isinstance(parts[0], RLE) else np.concatenate(parts)


def federated(images: Sequence[Image]) -> Federated:
    """What images were searched for, of positions in ``images``."""
    every = []
    for name in Federated._fields:
        listed = [getattr(image, name) for image in images]
        image = np.repeat(np.arange(len(images)), [len(x) for x in listed])
        every.append(np.stack([image, np.concatenate(listed)], axis=1))
    return Federated(*every)


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


def parameters(given: Mapping[str, Any], op: str = NAME) -> Parameters:
    """Check the arguments of `DetectionMetrics` that its records and results depend on. None: the default."""
    method = check.choice(op, "method", given["method"], METHODS)
    rule = check.choice(op, "rule", given["rule"], RULES)
    kinds = iou_types(given["iou_type"], op)
    poses = kinds == ("keypoints",)
    limits = given["max_detections"]
    if limits is None:
        limits = (300,) if rule == "lvis" else (20,) if poses else (1, 10, 100)
    limits = max_detections(limits, op)
    of_poses = {name: limits for name, limits in AREAS.items() if name != "small"}
    levels, recall_levels, ranges = (given[name] for name in ("iou_thresholds", "rec_thresholds", "areas"))
    sigmas = given["sigmas"]
    if sigmas is not None and not poses:
        raise ValueError(f"{op}: sigmas go with iou_type 'keypoints', got iou_type {kinds[0]!r}")
    return Parameters(
        thresholds(op, "iou_thresholds", np.linspace(0.5, 0.95, 10) if levels is None else levels),
        recalls(np.linspace(0, 1, 11 if method == "voc2007" else 101) if recall_levels is None else recall_levels),
        limits,
        areas((of_poses if poses else AREAS) if ranges is None else ranges, limits),
        rule,
        method,
        bool(given["inclusive"]),
        None if given["confusion_at"] is None else confusion(given["confusion_at"]),
        kinds,
        tuple(check_sigmas(op, COCO_SIGMAS if sigmas is None else sigmas).tolist()) if poses else None,
        bool(given["use_area"]),
    )


def iou_types(x: Any, op: str = NAME) -> tuple[str, ...]:
    """The kinds of overlap, each once."""
    several = isinstance(x, Iterable) and not check.is_scalar_array(x)
    listed = (x,) if isinstance(x, str) else tuple(x) if several else ()
    if not listed or not all(isinstance(kind, str) for kind in listed):
        raise TypeError(f"{op}: iou_type must be a name or a sequence of names, got {check.describe(x)}")
    for kind in listed:
        check.choice(op, "iou_type", kind, IOU_TYPES)
    if len(set(listed)) < len(listed):
        raise ValueError(f"{op}: iou_type must name each kind once, got {check.describe(x)}")
    for alone, why in (("keypoints", "keypoints have other limits and areas"), ("rotated", "its boxes are others")):
        if alone in listed and len(listed) > 1:
            raise ValueError(
                f"{op}: iou_type must be {alone!r} alone, got {check.describe(x)}: {why}; make another object for them"
            )
    return listed


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


def max_detections(xs: Any, op: str = NAME) -> tuple[int, ...]:
    """Rising numbers of detections. An entry None is no limit."""
    if isinstance(xs, (str, bytes)) or not isinstance(xs, Iterable) or check.is_scalar_array(xs):
        raise TypeError(f"{op}: max_detections must be a sequence of integers, got {check.describe(xs)}")
    values = [UNLIMITED if x is None else check.count(op, "max_detections", x) for x in xs]
    if not values or values[0] < 1 or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{op}: max_detections must be rising integers of 1 or more, got {check.describe(values)}")
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
