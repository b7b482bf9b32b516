"""COCO's evaluation with pycocotools' names: `COCOeval`, its parameters `Params`, and its list ``evalImgs``."""

from __future__ import annotations

import copy
import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdet._core import check
from fastdet._core.backends import choose
from fastdet._core.check import Array
from fastdet._files.data_set import positions
from fastdet._files.errors import FormatError
from fastdet.detection import records as matching
from fastdet.detection.records import FALSE, IGNORED, TRUE, Columns, Ints, Records, Rows, Rule

if TYPE_CHECKING:
    from fastdet.coco.dataset import COCO


class Params:
    """Parameters of `COCOeval`; may be changed before ``evaluate``.

    Attributes
    ----------
    imgIds, catIds : list of int
        Images and classes to evaluate. `COCOeval` sets them to all of the data set.
    iouThrs : (T,) array
        .5, .55, ..., .95.
    recThrs : (R,) array
        0, .01, ..., 1.
    maxDets : list of int
        Maximum numbers of detections of an image and class: 1, 10, 100.
    areaRng, areaRngLbl : list
        Minimum and maximum area of each range (both inside it), and the ranges' names: all, small, medium, large.
    useCats : int
        0: all boxes are of one class.
    """

    __module__ = "fastdet.coco"

    def __init__(self, iouType: str = "bbox") -> None:
        _check_type(iouType)
        self.iouType = iouType
        self.useSegm: int | None = None
        self.setDetParams()

    def setDetParams(self) -> None:
        self.imgIds: Any = []
        self.catIds: Any = []
        self.iouThrs: Any = np.linspace(0.5, 0.95, 10)
        self.recThrs: Any = np.linspace(0.0, 1.0, 101)
        self.maxDets: Any = [1, 10, 100]
        self.areaRng: Any = [[0, 1e10], [0, 1024], [1024, 9216], [9216, 1e10]]
        self.areaRngLbl: Any = ["all", "small", "medium", "large"]
        self.useCats: int = 1


def _check_type(iouType: str) -> None:
    if iouType != "bbox":
        raise NotImplementedError(f"COCOeval: iouType must be 'bbox', got {iouType!r}")


class _Evaluated:
    """The parameters, rows and records of one evaluation. The group of a box is class * images + image."""

    def __init__(self, p: Params, truth: Columns, detections: Columns) -> None:
        self.images = np.asarray(p.imgIds, np.int64)
        self.classes = np.asarray(p.catIds, np.int64)
        self.by_class = bool(p.useCats)
        self.truth, self.truth_ids = self._rows(truth, truth.ids)
        ids = detections.ids if len(detections.ids) else np.arange(1, len(detections.image) + 1)
        self.detections, self.detection_ids = self._rows(detections, ids)
        self.rule = Rule(_floats("iouThrs", p.iouThrs), _ranges(p.areaRng), int(p.maxDets[-1]))

    def _rows(self, c: Columns, ids: Ints) -> tuple[Rows, Ints]:
        image, label = positions(self.images, c.image), _unsorted_positions(self.classes, c.label)
        group = image + label * len(self.images) if self.by_class else image
        keep: Any = (image >= 0) & (label >= 0)
        if not self.by_class:  # within an image: class by class, in the order of catIds
            keep = np.flatnonzero(keep)
            keep = keep[np.argsort(label[keep], kind="stable")]
        elif keep.all():
            return Rows(group, c.boxes, c.areas, c.scores, c.flags), ids
        flags = c.flags[keep] if len(c.flags) else c.flags
        scores = c.scores[keep] if len(c.scores) else c.scores
        return Rows(group[keep], c.boxes[keep], c.areas[keep], scores, flags), ids[keep]

    def records(self, *, matched: bool = False) -> Records:
        return matching.match_rows(self.rule, self.detections, self.truth, matched=matched)


def _unsorted_positions(known: Ints, values: Ints) -> Ints:
    order = np.argsort(known, kind="stable")
    at = positions(known[order], values)
    return np.where(at < 0, -1, order[at]) if len(known) else at


def _floats(name: str, x: Any) -> Array:
    values = np.ascontiguousarray(x, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"COCOeval: params.{name} must be a list of finite numbers, got {check.describe(x)}")
    return values


def _ranges(x: Any) -> Array:
    ranges = np.ascontiguousarray(x, np.float64)
    if ranges.ndim != 2 or ranges.shape[1] != 2 or not len(ranges) or np.isnan(ranges).any():
        raise ValueError(f"COCOeval: params.areaRng must be a list of pairs of numbers, got {check.describe(x)}")
    return ranges


class COCOeval:
    """Score detections as pycocotools does: ``evaluate()``, ``accumulate()``, ``summarize()``.

    Parameters
    ----------
    cocoGt, cocoDt : COCO
        The data set and its detections (`COCO.loadRes`).
    iouType : str
        "bbox".

    Attributes
    ----------
    params : Params
        What to evaluate.
    eval : dict
        After ``accumulate``: "precision" and "scores" (T, R, K, A, M) and "recall" (T, K, A, M), float64, for
        thresholds, recalls, classes, area ranges and numbers of detections; -1 where a class has no true box. Also
        "counts", "params" and "date".
    stats : (12,) array
        After ``summarize``: its twelve numbers.
    evalImgs : list
        pycocotools' dictionaries for each class, area range and image, made on first use. ``accumulate`` uses a list
        that is assigned to it.
    ious : dict
        After ``evaluate``: the IoU of each image and class, computed on first use.
    """

    __module__ = "fastdet.coco"

    def __init__(self, cocoGt: COCO | None = None, cocoDt: COCO | None = None, iouType: str = "bbox") -> None:
        self.cocoGt, self.cocoDt = cocoGt, cocoDt
        self.params = Params(iouType)
        self.eval: dict[str, Any] = {}
        self.stats: Any = []
        self._evaluated: _Evaluated | None = None
        self._records: Records | None = None
        self._evalImgs: Any = None
        self._ious: dict[tuple[int, int], Any] | None = None
        self._paramsEval: Any = {}
        if cocoGt is not None:
            self.params.imgIds = sorted(cocoGt.getImgIds())
            self.params.catIds = sorted(cocoGt.getCatIds())

    def evaluate(self) -> None:
        """Match every image's detections with its true boxes."""
        if self.cocoGt is None or self.cocoDt is None:
            raise ValueError("COCOeval: evaluate needs cocoGt and cocoDt, got None")
        p = self.params
        if p.useSegm is not None:  # pycocotools' older name for iouType
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
        _check_type(p.iouType)
        p.imgIds = np.unique(np.asarray(p.imgIds, np.int64)).tolist()
        if p.useCats:
            p.catIds = np.unique(np.asarray(p.catIds, np.int64)).tolist()
        p.maxDets = sorted(p.maxDets)
        if not p.maxDets or p.maxDets[0] < 1:
            raise ValueError(f"COCOeval: params.maxDets must be a list of integers >= 1, got {p.maxDets}")
        detections = self.cocoDt._columns()
        missing = np.isnan(detections.scores)
        if missing.any():
            i = int(np.argmax(missing))
            raise FormatError(f"COCOeval: annotations[{i}].score of cocoDt: expected a number, got no such field")
        self._evaluated = _Evaluated(p, self.cocoGt._columns(), detections)
        self._records, self._evalImgs, self._ious = self._evaluated.records(), None, None
        self._paramsEval = copy.deepcopy(p, {id(p.imgIds): p.imgIds.copy()})  # a long list: copied at once

    @property
    def evalImgs(self) -> Any:
        if self._evalImgs is None:
            self._evalImgs = _images(self._evaluated, self._paramsEval) if self._evaluated is not None else []
        return self._evalImgs

    @evalImgs.setter
    def evalImgs(self, value: Any) -> None:
        self._evalImgs, self._records = value, None

    @property
    def ious(self) -> dict[tuple[int, int], Any]:
        """(D, G) IoU by (image id, category id), detections by falling score; [] without detections or true boxes."""
        if self._evaluated is None:
            return {}
        if self._ious is None:
            self._ious = _overlaps(self._evaluated)
        return self._ious

    def computeIoU(self, imgId: int, catId: int) -> Any:
        """The entry of `ious` for an image and a category."""
        return self.ious[imgId, catId]

    def accumulate(self, p: Params | None = None) -> None:
        """Precision and recall of each class from the matches. ``p``: parameters with other recThrs or maxDets."""
        p = self.params if p is None else p
        evaluated = self._paramsEval
        if not isinstance(evaluated, Params) and self._evalImgs is None:
            raise ValueError("COCOeval: call evaluate() before accumulate()")
        if not isinstance(evaluated, Params):
            evaluated = p
        for name in ("imgIds", "catIds", "iouThrs", "areaRng", "useCats"):
            if name == "catIds" and not p.useCats:
                continue
            if not np.array_equal(getattr(p, name), getattr(evaluated, name)):
                raise ValueError(f"COCOeval: params.{name} has changed: call evaluate() again")
        images = len(evaluated.imgIds)
        K = len(evaluated.catIds) if evaluated.useCats else 1
        records = self._records if self._records is not None else _from_images(self._evalImgs, evaluated)
        of_class = np.searchsorted(records.group, np.arange(K + 1) * images).astype(np.int64)
        recalls, max_detections = _floats("recThrs", p.recThrs), np.asarray(p.maxDets, np.int64)
        if (np.diff(recalls) < 0).any():
            raise ValueError(f"COCOeval: params.recThrs must rise, got {check.describe(p.recThrs)}")
        precision, recall, scores = choose("accumulate", None, matching.accumulate_reference)(
            records.scores, records.outcomes, records.start, records.counted, of_class, len(evaluated.iouThrs),
            recalls, max_detections,
        )  # fmt: skip
        self.eval = {
            "params": p,
            "counts": list(precision.shape),
            "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            "precision": precision,
            "recall": recall,
            "scores": scores,
        }

    def summarize(self) -> None:
        """Print the twelve numbers in pycocotools' words, and keep them in ``stats``.

        Precision and recall by size use the last of ``maxDets``, the three recalls the first, second and third. A
        number is -1 where ``params`` lacks its maxDets, area range or threshold, or where there is no true box.
        """
        if not self.eval:
            raise Exception("Please run accumulate() first")
        names, ranges = self.params.areaRngLbl, len(self.params.areaRng)
        if len(names) != ranges:
            raise ValueError(
                f"COCOeval: params.areaRngLbl must be {ranges} names, one for each of areaRng, got {names}"
            )
        limits = list(self.params.maxDets)
        first_three = [*limits[:3], *[None] * (3 - len(limits))]
        last = limits[-1]
        lines: list[tuple[bool, float | None, str, int | None]] = [
            (True, None, "all", last), (True, 0.5, "all", last), (True, 0.75, "all", last),
            (True, None, "small", last), (True, None, "medium", last), (True, None, "large", last),
            *((False, None, "all", limit) for limit in first_three),
            (False, None, "small", last), (False, None, "medium", last), (False, None, "large", last),
        ]  # fmt: skip
        self.stats = np.array([-1.0 if m is None else self._line(ap, t, area, m) for ap, t, area, m in lines])

    def _line(self, ap: bool, threshold: float | None, area: str, max_dets: int) -> float:
        """Print one of the twelve numbers and return it."""
        p = self.params
        thresholds = np.asarray(p.iouThrs, np.float64)
        a = [i for i, label in enumerate(p.areaRngLbl) if label == area]
        m = [i for i, x in enumerate(p.maxDets) if x == max_dets][:1]
        s = self.eval["precision" if ap else "recall"]
        if threshold is not None:
            s = s[np.where(threshold == thresholds)[0]]
        s = s[..., a, :][..., m]
        s = s[s > -1]
        mean = float(np.mean(s)) if len(s) else -1.0
        title, short = ("Average Precision", "(AP)") if ap else ("Average Recall", "(AR)")
        iou = f"{thresholds[0]:0.2f}:{thresholds[-1]:0.2f}" if threshold is None else f"{threshold:0.2f}"
        print(f" {title:<18} {short} @[ IoU={iou:<9} | area={area:>6s} | maxDets={max_dets:>3d} ] = {mean:0.3f}")
        return mean

    def __str__(self) -> str:
        self.summarize()
        return ""


# --------------------------------------------------------------------------------------------- evalImgs
def _truth_rows(evaluated: _Evaluated) -> dict[int, Ints]:
    """The rows of true boxes of each group that has any."""
    group_rows = choose("group_rows", None, matching.group_rows_reference)
    groups, order, first, *_ = group_rows(evaluated.truth.group, evaluated.truth.group[:0])
    return {group: order[a:b] for group, (a, b) in zip(groups.tolist(), pairwise(first), strict=True)}


def _overlaps(evaluated: _Evaluated) -> dict[tuple[int, int], Any]:
    records, truth_of = evaluated.records(), _truth_rows(evaluated)
    classes = evaluated.classes.tolist() if evaluated.by_class else [-1]
    images = evaluated.images.tolist()
    overlaps: dict[tuple[int, int], Any] = {(i, k): [] for i in images for k in classes}
    for n, group in enumerate(records.group.tolist()):
        rows, truth = records.row[records.start[n] : records.start[n + 1]], truth_of.get(group)
        if len(rows) and truth is not None:
            k, i = divmod(group, len(images))
            crowd = (evaluated.truth.flags[truth] & matching.CROWD) > 0
            boxes = evaluated.detections.boxes[rows], evaluated.truth.boxes[truth]
            overlaps[images[i], classes[k]] = matching.overlap_reference(*boxes, crowd, 0.0)
    return overlaps


def _images(evaluated: _Evaluated | None, p: Params) -> list[dict[str, Any] | None]:
    """pycocotools' evalImgs of an evaluation."""
    assert evaluated is not None
    records = evaluated.records(matched=True)
    T, A, images = len(evaluated.rule.thresholds), len(evaluated.rule.ranges), len(evaluated.images)
    outcomes = matching.unpack(records.outcomes, T, A)
    truth_of = _truth_rows(evaluated)
    none = np.zeros(0, np.int64)
    classes = [int(k) for k in evaluated.classes] if evaluated.by_class else [-1]
    entries: list[dict[str, Any] | None] = [None] * (len(classes) * A * images)
    assert records.matched is not None
    for n, group in enumerate(records.group.tolist()):
        k, i = divmod(group, images)
        rows = slice(int(records.start[n]), int(records.start[n + 1]))
        truth = truth_of.get(group, none)
        ids = evaluated.detection_ids[records.row[rows]]
        for a, (min_area, max_area) in enumerate(evaluated.rule.ranges):
            areas = evaluated.truth.areas[truth]
            ignored = (evaluated.truth.flags[truth] > 0) | (areas < min_area) | (areas > max_area)
            by_ignored = np.argsort(ignored, kind="stable")
            at = {int(row): j for j, row in enumerate(truth[by_ignored])}
            matched = records.matched[rows, :, a].T
            to_truth, to_detection = np.zeros((T, len(ids))), np.zeros((T, len(truth)))
            for t, d in zip(*np.nonzero(matched >= 0), strict=True):
                to_truth[t, d] = evaluated.truth_ids[matched[t, d]]
                to_detection[t, at[int(matched[t, d])]] = ids[d]
            entries[(k * A + a) * images + i] = {
                "image_id": int(evaluated.images[i]),
                "category_id": classes[k],
                "aRng": p.areaRng[a],
                "maxDet": p.maxDets[-1],
                "dtIds": ids.tolist(),
                "gtIds": evaluated.truth_ids[truth[by_ignored]].tolist(),
                "dtMatches": to_truth,
                "gtMatches": to_detection,
                "dtScores": records.scores[rows].tolist(),
                "gtIgnore": ignored[by_ignored].astype(np.int64),
                "dtIgnore": outcomes[rows, :, a].T == IGNORED,
            }
    return entries


def _from_images(entries: Any, p: Params) -> Records:
    """Records of an evalImgs that the caller has assigned, for example of several processes."""
    A, images, T = len(p.areaRng), len(p.imgIds), len(p.iouThrs)
    K = len(p.catIds) if p.useCats else 1
    if len(entries) != K * A * images:
        raise ValueError(f"COCOeval: evalImgs must have {K} x {A} x {images} entries, got {len(entries)}")
    groups, counted, scores, outcomes, start = [], [], [], [], [0]
    for k in range(K):
        for i in range(images):
            of_ranges = [entries[(k * A + a) * images + i] for a in range(A)]
            if any(e is None for e in of_ranges):
                continue
            groups.append(k * images + i)
            counted.append([int(np.count_nonzero(np.asarray(e["gtIgnore"]) == 0)) for e in of_ranges])
            scores.append(np.asarray(of_ranges[0]["dtScores"], np.float64))
            ignored = np.stack([np.asarray(e["dtIgnore"], bool).reshape(T, -1).T for e in of_ranges], axis=2)
            is_matched = np.stack([np.asarray(e["dtMatches"]).reshape(T, -1).T != 0 for e in of_ranges], axis=2)
            outcomes.append(np.where(ignored, IGNORED, np.where(is_matched, TRUE, FALSE)).astype(np.uint8))
            start.append(start[-1] + len(scores[-1]))
    all_outcomes = np.concatenate(outcomes) if outcomes else np.zeros((0, T, A), np.uint8)
    return Records(
        np.array(groups, np.int64),
        np.array(start, np.int64),
        np.array(counted, np.int64).reshape(-1, A),
        np.concatenate(scores) if scores else np.zeros(0),
        matching.pack(all_outcomes),
        np.zeros(0, np.int64),
        None,
    )
