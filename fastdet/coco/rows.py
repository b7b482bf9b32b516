"""The boxes and parameters of one evaluation as rows, its matches, and pycocotools' dictionaries of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdet._core import check
from fastdet._core.backends import choose
from fastdet._core.check import Array
from fastdet._files.data_set import positions
from fastdet.coco.steps import ImageRecord, of_kind
from fastdet.detection import records as matching
from fastdet.detection.records import FALSE, IGNORED, TRUE, Columns, Ints, Records, Rows, Rule
from fastdet.detection.results import require_room

if TYPE_CHECKING:
    from fastdet.coco.evaluation import Params


class Evaluated:
    """The parameters, rows and records of one evaluation. The group of a box is class * images + image."""

    def __init__(self, p: Params, truth: Columns, detections: Columns) -> None:
        self.images = np.asarray(p.imgIds, np.int64)
        self.classes = np.asarray(p.catIds, np.int64)
        self.by_class = bool(p.useCats)
        self.truth, self.truth_ids = self._rows(truth, truth.ids)
        ids = detections.ids if len(detections.ids) else np.arange(1, len(detections.image) + 1)
        self.detections, self.detection_ids = self._rows(detections, ids)
        self.rule = Rule(floats("iouThrs", p.iouThrs), ranges(p.areaRng), int(p.maxDets[-1]), **of_kind(p))
        if self.rule.sigmas is not None:
            for name, rows in (("cocoGt", self.truth), ("cocoDt", self.detections)):
                assert rows.keypoints is not None
                count, wanted = rows.keypoints.shape[1], len(self.rule.sigmas)
                if len(rows.keypoints) and count != wanted:
                    raise ValueError(
                        f"COCOeval: params.kpt_oks_sigmas must have {count} numbers, one for each keypoint of {name}, "
                        f"got {wanted}"
                    )

    def _rows(self, c: Columns, ids: Ints) -> tuple[Rows, Ints]:
        image, label = positions(self.images, c.image), unsorted_positions(self.classes, c.label)
        group = image + label * len(self.images) if self.by_class else image
        keep: Any = (image >= 0) & (label >= 0)
        if not self.by_class:  # within an image: class by class, in the order of catIds
            keep = np.flatnonzero(keep)
            keep = keep[np.argsort(label[keep], kind="stable")]
        elif keep.all():
            return Rows.of(group, c), ids
        return Rows.of(group, c, keep), ids[keep]

    def records(self, *, matched: bool = False) -> Records:
        nothing = not len(self.rule.thresholds) or not len(self.rule.ranges)  # the kernels need one of each
        backend = "reference" if nothing else None
        return matching.match_rows(self.rule, self.detections, self.truth, matched=matched, backend=backend)


def unsorted_positions(known: Ints, values: Ints) -> Ints:
    order = np.argsort(known, kind="stable")
    at = positions(known[order], values)
    return np.where(at < 0, -1, order[at]) if len(known) else at


def ids(name: str, x: Any) -> list[int]:
    """Distinct integers, rising."""
    values = np.unique(np.asarray(list(x) if isinstance(x, Iterable) else x))
    if values.size and values.dtype.kind not in "iu":
        whole = values.dtype.kind == "f" and bool((values == np.floor(values)).all())
        if not whole:
            raise ValueError(f"COCOeval: params.{name} must be integers, got {check.describe(x)}")
    return list(values.astype(np.int64).tolist())


def curves_of(records: Records, p: Params, recalls: Array, limits: Any) -> tuple[Array, Array, Array]:
    """Precision (T, R, K, A, M), recall (T, K, A, M) and scores (T, R, K, A, M) of records."""
    images, K, T = len(p.imgIds), len(p.catIds) if p.useCats else 1, len(p.iouThrs)
    require_room("COCOeval", T, len(recalls), K, records.counted.shape[1], len(limits))
    of_class = np.searchsorted(records.group, np.arange(K + 1) * images).astype(np.int64)
    backend = None if T and records.counted.shape[1] else "reference"  # the kernels need one of each
    kernel = choose("accumulate", backend, matching.accumulate_reference)
    curves: tuple[Array, Array, Array] = kernel(
        records.scores, records.outcomes, records.start, records.counted, of_class, T, recalls,
        np.asarray(limits, np.int64),
    )  # fmt: skip
    return curves


def floats(name: str, x: Any) -> Array:
    values = np.ascontiguousarray(x, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"COCOeval: params.{name} must be a list of finite numbers, got {check.describe(x)}")
    return values


def ranges(x: Any) -> Array:
    pairs = np.ascontiguousarray(x, np.float64)
    if not pairs.size:
        return np.zeros((0, 2))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or np.isnan(pairs).any():
        raise ValueError(f"COCOeval: params.areaRng must be a list of pairs of numbers, got {check.describe(x)}")
    return pairs


def truth_rows(evaluated: Evaluated) -> dict[int, Ints]:
    """The rows of true boxes of each group that has any."""
    group_rows = choose("group_rows", None, matching.group_rows_reference)
    groups, order, first, *_ = group_rows(evaluated.truth.group, evaluated.truth.group[:0])
    return {group: order[a:b] for group, (a, b) in zip(groups.tolist(), pairwise(first), strict=True)}


def overlaps_of(evaluated: Evaluated) -> dict[tuple[int, int], Any]:
    records, truth_of = evaluated.records(), truth_rows(evaluated)
    classes = evaluated.classes.tolist() if evaluated.by_class else [-1]
    images = evaluated.images.tolist()
    overlaps: dict[tuple[int, int], Any] = {(i, k): [] for i in images for k in classes}
    of_groups = [truth_of.get(group, np.zeros(0, np.int64)) for group in records.group.tolist()]
    true_start = np.concatenate([[0], np.cumsum([len(truth) for truth in of_groups], dtype=np.int64)]).astype(np.int64)
    grouped = records.row, records.start, np.concatenate([np.zeros(0, np.int64), *of_groups]), true_start
    flat, at = matching.overlaps_of_groups(evaluated.rule, evaluated.detections, evaluated.truth, grouped, None), 0
    for n, group in enumerate(records.group.tolist()):
        rows, columns = int(records.start[n + 1] - records.start[n]), len(of_groups[n])
        if rows and columns:
            k, i = divmod(group, len(images))
            overlaps[images[i], classes[k]] = flat[at : at + rows * columns].reshape(rows, columns)
        at += rows * columns
    return overlaps


def images_of(evaluated: Evaluated | None, p: Params) -> list[ImageRecord | None]:
    """pycocotools' evalImgs of an evaluation."""
    assert evaluated is not None
    records = evaluated.records(matched=True)
    T, A, images = len(evaluated.rule.thresholds), len(evaluated.rule.ranges), len(evaluated.images)
    outcomes = matching.unpack(records.outcomes, T, A)
    truth_of = truth_rows(evaluated)
    none = np.zeros(0, np.int64)
    classes = [int(k) for k in evaluated.classes] if evaluated.by_class else [-1]
    entries: list[ImageRecord | None] = [None] * (len(classes) * A * images)
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
            entry = entries[(k * A + a) * images + i] = ImageRecord(
                {
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
            )
            zero = (to_truth == 0) & (matched >= 0)
            entry.zero = zero if zero.any() else None
    return entries


def from_images(entries: Any, p: Params) -> list[Records]:
    """Records of each range of areas, from an evalImgs that a script has assigned, changed or made step by step."""
    A, images = len(p.areaRng), len(p.imgIds)
    K = len(p.catIds) if p.useCats else 1
    if len(entries) != K * A * images:
        raise ValueError(f"COCOeval: evalImgs must have {K} x {A} x {images} entries, got {len(entries)}")
    return [
        _of_range([(k * images + i, entries[(k * A + a) * images + i]) for k in range(K) for i in range(images)], p)
        for a in range(A)
    ]


def _of_range(entries: list[tuple[int, Any]], p: Params) -> Records:
    """Records of the entries (group, entry) of one range of areas."""
    T = len(p.iouThrs)
    used = [(group, e) for group, e in entries if e is not None]
    scores = [np.asarray(e["dtScores"], np.float64) for _, e in used]
    size = np.array([len(x) for x in scores], np.int64)

    def table(make: Callable[[Any, int], Any]) -> Array:
        """(T, N) of (T, D) of each entry."""
        return np.concatenate([np.zeros((T, 0)), *(make(e, n) for (_, e), n in zip(used, size, strict=True))], axis=1)

    matched = table(lambda e, n: _shaped(e, "dtMatches", (T, int(n)))) != 0
    if any(getattr(e, "zero", None) is not None for _, e in used):
        matched |= table(lambda e, n: _zero(e, (T, int(n)))) != 0
    ignored = table(lambda e, n: _shaped(e, "dtIgnore", (T, int(n)))) != 0
    outcomes = np.where(ignored, IGNORED, np.where(matched, TRUE, FALSE)).astype(np.uint8)
    counted = [np.count_nonzero(np.asarray(e["gtIgnore"]) == 0) for _, e in used]
    return Records(
        np.array([group for group, _ in used], np.int64), np.concatenate([[0], np.cumsum(size)]),
        np.array(counted, np.int64)[:, None], np.concatenate([np.zeros(0), *scores]),
        matching.pack(np.ascontiguousarray(outcomes.T)[:, :, None]), np.zeros(0, np.int64), None,
    )  # fmt: skip


def _shaped(entry: Any, key: str, shape: tuple[int, int]) -> Array:
    values = np.asarray(entry[key])
    if values.size != shape[0] * shape[1]:
        raise ValueError(
            f"COCOeval: {key} of an entry of evalImgs must have shape {shape}, one column for each of dtScores, "
            f"got {values.shape}"
        )
    return values.reshape(shape)


def _zero(entry: Any, shape: tuple[int, int]) -> Array:
    """Where an entry's detections are matched with an annotation of the id 0."""
    zero = getattr(entry, "zero", None)
    return zero if zero is not None and zero.shape == shape else np.zeros(shape, bool)
