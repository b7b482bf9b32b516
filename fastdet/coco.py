"""COCO's data sets and evaluation with the names of pycocotools, for boxes.

Scripts written for pycocotools run on `init_as_pycocotools`, or with ``from fastdet.coco import COCO, COCOeval``. Every
cell of ``eval["precision"]``, ``eval["recall"]`` and ``eval["scores"]`` is equal to pycocotools'. What differs, on
purpose:

- An annotation whose id is 0 is matched like any other (pycocotools takes its detection for a false one), and two
  annotations with the same id stay two.
- ``summarize`` honours ``params.maxDets``: the first line's 100 is its last, however many there are.
- Empty results are scored; ``iscrowd`` may be absent (0), and ``area`` (width * height).
- NaN, infinity and negative sides are errors that name record and field.
- Nothing is printed but the twelve lines of ``summarize``.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; github.com/cocodataset/cocoapi.
"""

from __future__ import annotations

import copy
import datetime
import gzip
import importlib
import json
import os
import sys
import types
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastdet import _check, _matching
from fastdet._backends import choose
from fastdet._check import Array
from fastdet._coco_files import Content, FormatError, check_known, coco_content, columns_of, content_of, positions
from fastdet._matching import FALSE, IGNORED, TRUE, Columns, Ints, Records, Rows, Rule

__all__ = ["COCO", "COCOeval", "FormatError", "Params", "init_as_pycocotools"]

Ids = int | Sequence[int] | Array


def _listed(x: Any) -> list[Any]:
    """pycocotools takes one of a thing for a list of it."""
    return list(x) if isinstance(x, Iterable) and not isinstance(x, str) else [x]


class COCO:
    """A data set in COCO's form, or results that `loadRes` gives.

    Parameters
    ----------
    annotation_file : str, path or dict, optional
        COCO's JSON (also ``.json.gz``), or its content. None makes an empty object: assign ``dataset`` and call
        ``createIndex``.

    Attributes
    ----------
    dataset : dict
        The content, and ``anns``, ``cats``, ``imgs``, ``imgToAnns``, ``catToImgs`` as in pycocotools. Made when they
        are first asked for, by reading the file again: evaluation needs none of them. Once made, they are what is
        evaluated, changes included.

    Raises
    ------
    FormatError
        A ValueError of one line: the file, the record, the field, what was expected and what was found.
    """

    def __init__(self, annotation_file: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> None:
        self._path: str | None = None
        self._content: Content | None = None
        self._dataset: Any = None
        self._results: Any = None  # of loadRes: where detections come from, and the data set they belong to
        self._tables: dict[str, Any] | None = None
        if annotation_file is None:
            self._dataset = {}
        elif isinstance(annotation_file, Mapping):
            self._dataset = annotation_file
            self._content = content_of("COCO", annotation_file)
        elif isinstance(annotation_file, str | os.PathLike):
            self._path = os.fspath(annotation_file)
            self._content = coco_content(self._path, results=False)
        else:
            raise TypeError(f"COCO: annotation_file must be a path or a dict, got {type(annotation_file).__name__}")

    # ------------------------------------------------------------------------------------- the content
    @property
    def dataset(self) -> Any:
        if self._dataset is None:
            self._dataset = self._result_dicts() if self._results is not None else _load(str(self._path))
        return self._dataset

    @dataset.setter
    def dataset(self, value: Any) -> None:
        self._dataset, self._content, self._results, self._tables = value, None, None, None

    def _result_dicts(self) -> dict[str, Any]:
        """What pycocotools' loadRes makes of results."""
        source, columns, data = self._results
        records = _load(source) if isinstance(source, str) else source
        if isinstance(records, Mapping):
            records = records["annotations"]
        if isinstance(records, np.ndarray):
            records = COCO.loadNumpyAnnotations(self, records)
        found = []
        for i, (record, area) in enumerate(zip(records, columns.areas.tolist(), strict=True), 1):
            x, y, w, h = record["bbox"]
            outline = [[x, y, x, y + h, x + w, y + h, x + w, y]]
            found.append({"segmentation": outline, **record, "area": area, "id": i, "iscrowd": 0})
        images, categories = data.dataset.get("images", []), data.dataset.get("categories", [])
        return {"images": list(images), "categories": copy.deepcopy(categories), "annotations": found}

    def createIndex(self) -> None:
        """Make ``anns``, ``imgs``, ``cats``, ``imgToAnns`` and ``catToImgs`` from ``dataset``."""
        data = self.dataset
        tables: dict[str, Any] = {name: {} for name in ("anns", "cats", "imgs")}
        tables["imgToAnns"], tables["catToImgs"] = defaultdict(list), defaultdict(list)
        for annotation in data.get("annotations", []):
            tables["imgToAnns"][annotation["image_id"]].append(annotation)
            tables["anns"][annotation["id"]] = annotation
            if "categories" in data:
                tables["catToImgs"][annotation["category_id"]].append(annotation["image_id"])
        for image in data.get("images", []):
            tables["imgs"][image["id"]] = image
        for category in data.get("categories", []):
            tables["cats"][category["id"]] = category
        self._tables = tables

    def __getattr__(self, name: str) -> Any:
        if name not in ("anns", "cats", "imgs", "imgToAnns", "catToImgs"):
            raise AttributeError(f"COCO has no attribute {name!r}")
        if self.__dict__.get("_tables") is None:
            self.createIndex()
        assert self._tables is not None
        return self._tables[name]

    def _columns(self) -> Columns:
        """What is evaluated: the dictionaries where somebody has them, who may have changed them."""
        if self._results is not None and self._dataset is None:
            columns: Columns = self._results[1]
            return columns
        if self._path is not None and self._dataset is None:
            assert self._content is not None
            return self._content.boxes
        return columns_of("COCO", "annotations", self.dataset.get("annotations", []), results=False)

    # ------------------------------------------------------------------------------------------ queries
    def info(self) -> None:
        """Print the data set's description."""
        for key, value in self.dataset["info"].items():
            print(f"{key}: {value}")

    def getAnnIds(
        self, imgIds: Ids = (), catIds: Ids = (), areaRng: Sequence[float] = (), iscrowd: bool | None = None
    ) -> list[int]:
        """Ids of the annotations of these images and categories, with an area inside ``areaRng``."""
        images, categories = _listed(imgIds), _listed(catIds)
        found = self.dataset.get("annotations", [])
        if images:
            found = [a for i in images if i in self.imgToAnns for a in self.imgToAnns[i]]
        if categories:
            wanted = set(categories)
            found = [a for a in found if a["category_id"] in wanted]
        if len(areaRng):
            found = [a for a in found if areaRng[0] < a["area"] < areaRng[1]]
        return [a["id"] for a in found if iscrowd is None or a["iscrowd"] == iscrowd]

    def getCatIds(
        self, catNms: str | Sequence[str] = (), supNms: str | Sequence[str] = (), catIds: Ids = ()
    ) -> list[int]:
        """Ids of the categories of these names, of these supercategories, among these ids."""
        names, above, ids = _listed(catNms), _listed(supNms), _listed(catIds)
        if self._dataset is None and self._content is not None and not (names or above or ids):
            return list(self._content.categories[0].tolist())
        found = self.dataset.get("categories", [])
        for wanted, key in ((names, "name"), (above, "supercategory"), (ids, "id")):
            found = [c for c in found if c[key] in wanted] if wanted else found
        return [c["id"] for c in found]

    def getImgIds(self, imgIds: Ids = (), catIds: Ids = ()) -> list[int]:
        """Ids of the images among these ids that have all of these categories."""
        images, categories = _listed(imgIds), _listed(catIds)
        if not images and not categories:
            if self._dataset is None and self._content is not None:
                return list(dict.fromkeys(self._content.images[0].tolist()))
            return list(self.imgs)
        found = set(images)
        for i, category in enumerate(categories):
            of_category = self.catToImgs.get(category, [])
            found = set(of_category) if i == 0 and not found else found & set(of_category)
        return list(found)

    def loadAnns(self, ids: Ids = ()) -> list[dict[str, Any]]:
        """The annotations of these ids."""
        return [self.anns[i] for i in _listed(ids)]

    def loadCats(self, ids: Ids = ()) -> list[dict[str, Any]]:
        """The categories of these ids."""
        return [self.cats[i] for i in _listed(ids)]

    def loadImgs(self, ids: Ids = ()) -> list[dict[str, Any]]:
        """The images of these ids."""
        return [self.imgs[i] for i in _listed(ids)]

    # ------------------------------------------------------------------------------------------ results
    def loadRes(self, resFile: str | os.PathLike[str] | Sequence[Mapping[str, Any]] | Array) -> COCO:
        """Detections of this data set's images.

        Parameters
        ----------
        resFile : str, path, list of dict or (N, 7) array
            COCO results ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``; an array has columns
            image id, x, y, width, height, score, class. They may be none. Other keys are kept.

        Returns
        -------
        COCO
            Its annotations have ids 1, 2, ..., ``area`` of width * height and ``iscrowd`` 0.
        """
        source: Any = os.fspath(resFile) if isinstance(resFile, str | os.PathLike) else resFile
        if isinstance(source, str):
            where, columns = source, coco_content(source, results=True).boxes
        elif isinstance(source, np.ndarray):
            where, columns = "loadRes", _array_columns(source)
        else:
            where, columns = "loadRes", columns_of("loadRes", "results", source, results=True)
        known = np.array(self.getImgIds(), np.int64)
        check_known(where, "results", "image_id", columns.image, known, "an image of the data set")
        found = COCO()
        found._dataset, found._results = None, (source, columns, self)
        return found

    def loadNumpyAnnotations(self, data: Array) -> list[dict[str, Any]]:
        """(N, 7) rows of image id, x, y, width, height, score, class as dictionaries."""
        c = _array_columns(data)
        return [
            {"image_id": i, "bbox": box, "score": score, "category_id": label}
            for i, box, score, label in zip(
                c.image.tolist(), c.boxes.tolist(), c.scores.tolist(), c.label.tolist(), strict=True
            )
        ]


def _load(path: str) -> Any:
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        return json.load(file)


def _array_columns(x: Array) -> Columns:
    if x.ndim != 2 or x.shape[1] != 7:
        raise ValueError(f"loadRes: resFile must have shape (N, 7), got {x.shape}")
    x = x.astype(np.float64)
    wrong = ~np.isfinite(x).all(axis=1) | (x[:, 3:5] < 0).any(axis=1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise FormatError(f"loadRes: results[{i}]: expected finite numbers and sides >= 0, got {x[i].tolist()}")
    boxes = np.ascontiguousarray(x[:, 1:5])
    image, label = x[:, 0].astype(np.int64), x[:, 6].astype(np.int64)
    areas = boxes[:, 2] * boxes[:, 3]
    return Columns(image, label, boxes, areas, x[:, 5].copy(), np.zeros(0, np.uint8), np.zeros(0, np.int64))


class Params:
    """What is evaluated; may be changed before ``evaluate``.

    Attributes
    ----------
    imgIds, catIds : list of int
        Of the data set when `COCOeval` is made.
    iouThrs : (T,) array
        .5, .55, ..., .95.
    recThrs : (R,) array
        0, .01, ..., 1.
    maxDets : list of int
        Most detections of an image and class: 1, 10, 100.
    areaRng, areaRngLbl : list
        Least and greatest area (both inside), and their names: all, small, medium, large.
    useCats : int
        0: classes are not told apart.
    """

    def __init__(self, iouType: str = "bbox") -> None:
        if iouType != "bbox":
            raise NotImplementedError(f"COCOeval: iouType must be 'bbox', got {iouType!r}")
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


class _Evaluated:
    """The parameters, rows and records of one evaluation. Groups are class * images + image."""

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
        if not self.by_class:  # in an image: class by class, as they are listed
            keep = np.flatnonzero(keep)
            keep = keep[np.argsort(label[keep], kind="stable")]
        elif keep.all():
            return Rows(group, c.boxes, c.areas, c.scores, c.flags), ids
        flags = c.flags[keep] if len(c.flags) else c.flags
        scores = c.scores[keep] if len(c.scores) else c.scores
        return Rows(group[keep], c.boxes[keep], c.areas[keep], scores, flags), ids[keep]

    def records(self, *, matched: bool = False) -> Records:
        return _matching.match_rows(self.rule, self.detections, self.truth, matched=matched)


def _unsorted_positions(known: Ints, values: Ints) -> Ints:
    order = np.argsort(known, kind="stable")
    at = positions(known[order], values)
    return np.where(at < 0, -1, order[at]) if len(known) else at


def _floats(name: str, x: Any) -> Array:
    found = np.ascontiguousarray(x, np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError(f"COCOeval: params.{name} must be a list of finite numbers, got {_check.describe(x)}")
    return found


def _ranges(x: Any) -> Array:
    found = np.ascontiguousarray(x, np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found) or np.isnan(found).any():
        raise ValueError(f"COCOeval: params.areaRng must be a list of pairs of numbers, got {_check.describe(x)}")
    return found


class COCOeval:
    """Scores detections as pycocotools does: ``evaluate()``, ``accumulate()``, ``summarize()``.

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
        After ``accumulate``: "precision" and "scores" (T, R, K, A, M), "recall" (T, K, A, M) over thresholds, recalls,
        classes, area ranges and numbers of detections, float64, -1 where a class has no true box; "counts", "params",
        "date".
    stats : (12,) array
        After ``summarize``: its twelve numbers.
    evalImgs : list
        pycocotools' dictionary for each class, area range and image, made when it is asked for. What is assigned to
        it is what ``accumulate`` takes.
    ious : dict
        After ``evaluate``: the overlaps that it saw, made when they are asked for.
    """

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
        self._paramsEval = copy.deepcopy(p, {id(p.imgIds): p.imgIds.copy()})  # many: not one by one

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
        """(D, G) IoU of each (image id, category id), detections by falling score; [] where either has none."""
        if self._evaluated is None:
            return {}
        if self._ious is None:
            self._ious = _overlaps(self._evaluated)
        return self._ious

    def computeIoU(self, imgId: int, catId: int) -> Any:
        """What `ious` has for an image and category."""
        return self.ious[imgId, catId]

    def accumulate(self, p: Params | None = None) -> None:
        """Precision and recall of each class from the matches. ``p``: with other recalls or maxDets."""
        p = self.params if p is None else p
        done = self._paramsEval
        if not isinstance(done, Params) and self._evalImgs is None:
            raise ValueError("COCOeval: call evaluate() before accumulate()")
        if not isinstance(done, Params):
            done = p
        for name in ("imgIds", "catIds", "iouThrs", "areaRng", "useCats"):
            if name == "catIds" and not p.useCats:
                continue
            if not np.array_equal(getattr(p, name), getattr(done, name)):
                raise ValueError(f"COCOeval: params.{name} has changed: call evaluate() again")
        images = len(done.imgIds)
        K = len(done.catIds) if done.useCats else 1
        records = self._records if self._records is not None else _from_images(self._evalImgs, done)
        of_class = np.searchsorted(records.group, np.arange(K + 1) * images).astype(np.int64)
        recalls, most = _floats("recThrs", p.recThrs), np.asarray(p.maxDets, np.int64)
        if (np.diff(recalls) < 0).any():
            raise ValueError(f"COCOeval: params.recThrs must rise, got {_check.describe(p.recThrs)}")
        precision, recall, scores = choose("accumulate", None, _matching.accumulate_reference)(
            records.scores, records.outcomes, records.start, records.counted, of_class, len(done.iouThrs),
            recalls, most,
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
        """Print and keep (``stats``) the twelve numbers, in pycocotools' words.

        Precision is of the last of ``maxDets``, as is recall by size; the three recalls are of the first, second and
        third. -1 where there is no such number of detections, area range or threshold, or nothing to find.
        """
        if not self.eval:
            raise Exception("Please run accumulate() first")
        most = list(self.params.maxDets)
        at = [*most[:3], *[None] * (3 - len(most))]
        last = most[-1]
        lines: list[tuple[bool, float | None, str, int | None]] = [
            (True, None, "all", last), (True, 0.5, "all", last), (True, 0.75, "all", last),
            (True, None, "small", last), (True, None, "medium", last), (True, None, "large", last),
            *((False, None, "all", m) for m in at),
            (False, None, "small", last), (False, None, "medium", last), (False, None, "large", last),
        ]  # fmt: skip
        self.stats = np.array([-1.0 if m is None else self._line(ap, t, area, m) for ap, t, area, m in lines])

    def _line(self, ap: bool, threshold: float | None, area: str, most: int) -> float:
        p = self.params
        thresholds = np.asarray(p.iouThrs, np.float64)
        a = [i for i, label in enumerate(p.areaRngLbl) if label == area]
        m = [i for i, x in enumerate(p.maxDets) if x == most][:1]
        s = self.eval["precision" if ap else "recall"]
        if threshold is not None:
            s = s[np.where(threshold == thresholds)[0]]
        s = s[..., a, :][..., m]
        s = s[s > -1]
        mean = float(np.mean(s)) if len(s) else -1.0
        title, kind = ("Average Precision", "(AP)") if ap else ("Average Recall", "(AR)")
        iou = f"{thresholds[0]:0.2f}:{thresholds[-1]:0.2f}" if threshold is None else f"{threshold:0.2f}"
        print(f" {title:<18} {kind} @[ IoU={iou:<9} | area={area:>6s} | maxDets={most:>3d} ] = {mean:0.3f}")
        return mean

    def __str__(self) -> str:
        self.summarize()
        return ""


# --------------------------------------------------------------------------------------------- evalImgs
def _truth_rows(done: _Evaluated) -> dict[int, Ints]:
    """The true boxes of each group that has any."""
    group_rows = choose("group_rows", None, _matching.group_rows_reference)
    groups, order, first, *_ = group_rows(done.truth.group, done.truth.group[:0])
    return {group: order[a:b] for group, (a, b) in zip(groups.tolist(), pairwise(first), strict=True)}


def _overlaps(done: _Evaluated) -> dict[tuple[int, int], Any]:
    records, truth_of = done.records(), _truth_rows(done)
    classes = done.classes.tolist() if done.by_class else [-1]
    images = done.images.tolist()
    found: dict[tuple[int, int], Any] = {(i, k): [] for i in images for k in classes}
    for n, group in enumerate(records.group.tolist()):
        rows, truth = records.row[records.start[n] : records.start[n + 1]], truth_of.get(group)
        if len(rows) and truth is not None:
            k, i = divmod(group, len(images))
            crowd = (done.truth.flags[truth] & _matching.CROWD) > 0
            boxes = done.detections.boxes[rows], done.truth.boxes[truth]
            found[images[i], classes[k]] = _matching.overlap_reference(*boxes, crowd, 0.0)
    return found


def _images(done: _Evaluated | None, p: Params) -> list[dict[str, Any] | None]:
    """pycocotools' evalImgs, of the evaluation that was done."""
    assert done is not None
    records = done.records(matched=True)
    T, A, images = len(done.rule.thresholds), len(done.rule.ranges), len(done.images)
    outcomes = _matching.unpack(records.outcomes, T, A)
    truth_of = _truth_rows(done)
    none = np.zeros(0, np.int64)
    classes = [int(k) for k in done.classes] if done.by_class else [-1]
    found: list[dict[str, Any] | None] = [None] * (len(classes) * A * images)
    assert records.matched is not None
    for n, group in enumerate(records.group.tolist()):
        k, i = divmod(group, images)
        rows = slice(int(records.start[n]), int(records.start[n + 1]))
        truth = truth_of.get(group, none)
        ids = done.detection_ids[records.row[rows]]
        for a, (least, most) in enumerate(done.rule.ranges):
            areas = done.truth.areas[truth]
            ignored = (done.truth.flags[truth] > 0) | (areas < least) | (areas > most)
            by_ignored = np.argsort(ignored, kind="stable")
            at = {int(row): j for j, row in enumerate(truth[by_ignored])}
            matched = records.matched[rows, :, a].T
            to_truth, to_detection = np.zeros((T, len(ids))), np.zeros((T, len(truth)))
            for t, d in zip(*np.nonzero(matched >= 0), strict=True):
                to_truth[t, d] = done.truth_ids[matched[t, d]]
                to_detection[t, at[int(matched[t, d])]] = ids[d]
            found[(k * A + a) * images + i] = {
                "image_id": int(done.images[i]),
                "category_id": classes[k],
                "aRng": p.areaRng[a],
                "maxDet": p.maxDets[-1],
                "dtIds": ids.tolist(),
                "gtIds": done.truth_ids[truth[by_ignored]].tolist(),
                "dtMatches": to_truth,
                "gtMatches": to_detection,
                "dtScores": records.scores[rows].tolist(),
                "gtIgnore": ignored[by_ignored].astype(np.int64),
                "dtIgnore": outcomes[rows, :, a].T == IGNORED,
            }
    return found


def _from_images(entries: Any, p: Params) -> Records:
    """Records of evalImgs that somebody has put together, of several processes for example."""
    A, images, T = len(p.areaRng), len(p.imgIds), len(p.iouThrs)
    K = len(p.catIds) if p.useCats else 1
    if len(entries) != K * A * images:
        raise ValueError(f"COCOeval: evalImgs must have {K} x {A} x {images} entries, got {len(entries)}")
    groups, counted, scores, outcomes, start = [], [], [], [], [0]
    for k in range(K):
        for i in range(images):
            here = [entries[(k * A + a) * images + i] for a in range(A)]
            if any(e is None for e in here):
                continue
            groups.append(k * images + i)
            counted.append([int(np.count_nonzero(np.asarray(e["gtIgnore"]) == 0)) for e in here])
            scores.append(np.asarray(here[0]["dtScores"], np.float64))
            ignored = np.stack([np.asarray(e["dtIgnore"], bool).reshape(T, -1).T for e in here], axis=2)
            hit = np.stack([np.asarray(e["dtMatches"]).reshape(T, -1).T != 0 for e in here], axis=2)
            outcomes.append(np.where(ignored, IGNORED, np.where(hit, TRUE, FALSE)).astype(np.uint8))
            start.append(start[-1] + len(scores[-1]))
    every = np.concatenate(outcomes) if outcomes else np.zeros((0, T, A), np.uint8)
    return Records(
        np.array(groups, np.int64),
        np.array(start, np.int64),
        np.array(counted, np.int64).reshape(-1, A),
        np.concatenate(scores) if scores else np.zeros(0),
        _matching.pack(every),
        np.zeros(0, np.int64),
        None,
    )


def init_as_pycocotools() -> None:
    """Let ``import pycocotools.coco`` and ``pycocotools.cocoeval`` give this module's classes, in this process.

    Call it before other libraries import them. ``pycocotools.mask`` stays what is installed; where nothing is, it can
    be imported, and its functions say that masks are not handled.
    """
    try:
        mask: Any = importlib.import_module("pycocotools.mask")
    except ImportError:
        mask = _Masks("pycocotools.mask")
    package: Any = types.ModuleType("pycocotools")
    package.__path__ = []  # a package
    coco: Any = types.ModuleType("pycocotools.coco")
    cocoeval: Any = types.ModuleType("pycocotools.cocoeval")
    coco.COCO, cocoeval.COCOeval, cocoeval.Params = COCO, COCOeval, Params
    package.coco, package.cocoeval, package.mask = coco, cocoeval, mask
    named = {"": package, ".coco": coco, ".cocoeval": cocoeval, ".mask": mask}
    sys.modules.update({"pycocotools" + name: module for name, module in named.items()})


class _Masks(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise NotImplementedError(
                f"pycocotools.mask.{name}: fastdet.coco handles boxes; install pycocotools for masks"
            )

        return missing
