"""COCO's evaluation with pycocotools' names: `COCOeval`, its parameters `Params`, and its list ``evalImgs``."""

from __future__ import annotations

import copy
import datetime
from collections import defaultdict
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._files.errors import FormatError
from fastdet.coco import hooks, steps
from fastdet.coco.dataset import COCO
from fastdet.coco.rows import Evaluated, curves_of, floats, from_images, ids, images_of, overlaps_of
from fastdet.coco.steps import SHAPES
from fastdet.detection.records import Records
from fastdet.keypoints.similarity import COCO_SIGMAS, CROWDPOSE_SIGMAS, check_sigmas


class Params:
    """Parameters of `COCOeval`; may be changed before ``evaluate``.

    Parameters
    ----------
    iouType : "segm", "bbox", "boundary", "keypoints" or "keypoints_crowd", as in `COCOeval`

    Attributes
    ----------
    imgIds, catIds : list of int
        Images and classes to evaluate. `COCOeval` sets them to all of the data set.
    iouThrs : (T,) array
        .5, .55, ..., .95.
    recThrs : (R,) array
        0, .01, ..., 1.
    maxDets : list of int
        Maximum numbers of detections of an image and class: 1, 10, 100; of keypoints 20.
    areaRng, areaRngLbl : list
        Minimum and maximum area of each range (both inside it), and the ranges' names: all, small, medium, large; of
        keypoints all, medium, large; of CrowdPose all.
    useCats : int
        0: all boxes are of one class.
    kpt_oks_sigmas : (K,) array
        Of keypoints: how far apart people place each, COCO's 17 or CrowdPose's 14.
    use_area : bool
        Of keypoints: distances are scaled by the true ``area``; False, as in CrowdPose: by 0.53 times the true box.
    """

    __module__ = "fastdet.coco"

    def __init__(self, iouType: str = "segm") -> None:
        _check_type(iouType)
        self.iouType = iouType
        self.useSegm: int | None = None
        self.setKpParams() if SHAPES[iouType] == "keypoints" else self.setDetParams()

    def setDetParams(self) -> None:
        self.imgIds: Any = []
        self.catIds: Any = []
        self.iouThrs: Any = np.linspace(0.5, 0.95, 10)
        self.recThrs: Any = np.linspace(0.0, 1.0, 101)
        self.maxDets: Any = [1, 10, 100]
        self.areaRng: Any = [[0, 1e10], [0, 1024], [1024, 9216], [9216, 1e10]]
        self.areaRngLbl: Any = ["all", "small", "medium", "large"]
        self.useCats: int = 1

    def setKpParams(self) -> None:
        self.setDetParams()
        crowd = self.iouType == "keypoints_crowd"
        of_size = [[0, 1e10], [1024, 9216], [9216, 1e10]]
        self.maxDets = [20]
        self.areaRng, self.areaRngLbl = (of_size[:1], ["all"]) if crowd else (of_size, ["all", "medium", "large"])
        self.kpt_oks_sigmas: Any = np.array(CROWDPOSE_SIGMAS if crowd else COCO_SIGMAS)
        self.use_area: bool = not crowd


def _check_type(iouType: str) -> None:
    if iouType not in SHAPES:
        kinds = ", ".join(map(repr, SHAPES))
        raise ValueError(f"COCOeval: iouType must be one of {kinds}, got {iouType!r}")


def _check_coco(name: str, coco: Any) -> None:
    """TypeError for what is neither a `COCO` nor pycocotools' own."""
    for method in ("getImgIds", "getCatIds", "getAnnIds", "loadAnns"):
        if not callable(getattr(coco, method, None)):
            raise TypeError(f"COCOeval: {name} must be a COCO, got {type(coco).__name__} without {method}")


def _check_known(name: str, wanted: list[int], what: str, known: Any) -> None:
    """ValueError if the data set has ids, and none of those that are wanted."""
    known = set(known)
    if wanted and known and known.isdisjoint(wanted):
        raise ValueError(
            f"COCOeval: params.{name} must be {what} of cocoGt, got none of them: {check.describe(wanted)}"
        )


class COCOeval:
    """Score detections as pycocotools does: ``evaluate()``, ``accumulate()``, ``summarize()``.

    Parameters
    ----------
    cocoGt, cocoDt : COCO
        The data set and its detections (`COCO.loadRes`). pycocotools' own objects are taken too.
    iouType : str
        What overlaps are of: "segm", masks; "bbox", boxes; "boundary", the lesser of the overlaps of masks and of their
        boundaries; "keypoints", the similarity of poses; "keypoints_crowd", the same as CrowdPose has it.
    sigmas : (K,) numbers, optional
        Sets ``params.kpt_oks_sigmas``.
    use_area : bool, optional
        Sets ``params.use_area``.

    Attributes
    ----------
    params : Params
        What to evaluate.
    eval : dict
        After ``accumulate``: "precision" and "scores" (T, R, K, A, M) and "recall" (T, K, A, M), float64, for
        thresholds, recalls, classes, area ranges and numbers of detections; -1 where a class has no true box. Also
        "counts", "params" and "date".
    stats : (12,) array
        After ``summarize``: its twelve numbers; ten of keypoints, nine of CrowdPose.
    evalImgs : list
        pycocotools' dictionaries for each class, area range and image, made on first use. ``accumulate`` uses them,
        with changes, once they were read or assigned.
    ious : dict
        After ``evaluate``: the overlaps of each image and class, computed on first use. ``evaluateImg`` uses it.

    Raises
    ------
    TypeError   cocoGt or cocoDt is no data set
    ValueError  iouType; params that are no numbers, or ids of which the data set has none; masks of an image that
        differ in size; another number of sigmas than of keypoints
    """

    __module__ = "fastdet.coco"

    # Defaults of the class: subclasses need not call __init__.
    _evaluated: Evaluated | None = None
    _records: Records | None = None
    _evalImgs: Any = None
    _ious: Any = None
    _prepared: tuple[Any, Any] | None = None
    _paramsEval: Any = None

    def __init__(
        self,
        cocoGt: COCO | None = None,
        cocoDt: COCO | None = None,
        iouType: str = "segm",
        sigmas: Any = None,
        use_area: bool | None = None,
    ) -> None:
        self.cocoGt, self.cocoDt = cocoGt, cocoDt
        _check_type(iouType)
        self.params: Any = getattr(hooks.cocoeval, "Params", Params)(iouType)
        if sigmas is not None:
            self.params.kpt_oks_sigmas = check_sigmas("COCOeval", sigmas)
        if use_area is not None:
            self.params.use_area = bool(use_area)
        self.eval: dict[str, Any] = {}
        self.stats: Any = []
        self._paramsEval = {}
        if cocoGt is not None:
            _check_coco("cocoGt", cocoGt)
            self.params.imgIds = sorted(cocoGt.getImgIds())
            self.params.catIds = sorted(cocoGt.getCatIds())

    def evaluate(self) -> None:
        """Match every image's detections with its true boxes.

        A script's own ``_prepare``, ``computeIoU`` or ``evaluateImg`` (of a subclass, or assigned to the class or the
        object) is called for each image, class and range of areas, as in pycocotools. That takes longer.
        """
        if self.cocoGt is None or self.cocoDt is None:
            raise ValueError("COCOeval: evaluate needs cocoGt and cocoDt, got None")
        hooks.check_mask_iou()
        p = self._checked_params()
        if hooks.replaced(self, STEPS):
            self._evaluated = self._records = self._evalImgs = self._ious = self._prepared = None
            self._step_by_step(p)
            return
        detections = steps.columns("cocoDt", self.cocoDt, p)
        missing = np.isnan(detections.scores)
        if missing.any():
            i = int(np.argmax(missing))
            raise FormatError(f"COCOeval: annotations[{i}].score of cocoDt: expected a number, got no such field")
        evaluated = Evaluated(p, steps.columns("cocoGt", self.cocoGt, p), detections)
        records = evaluated.records()
        params = copy.deepcopy(p, {id(p.imgIds): p.imgIds.copy()})  # a long list: copied at once
        vars(self).update(  # all at once: an interrupt leaves the results of before, or these
            _evaluated=evaluated, _records=records, _paramsEval=params, _evalImgs=None, _ious=None, _prepared=None
        )

    def _checked_params(self) -> Any:
        """The parameters to evaluate with, sorted as pycocotools sorts them."""
        _check_coco("cocoGt", self.cocoGt)
        _check_coco("cocoDt", self.cocoDt)
        p = self.params
        if getattr(p, "useSegm", None) is not None:  # pycocotools' older name for iouType
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
        _check_type(p.iouType)
        p.imgIds = ids("imgIds", p.imgIds)
        if p.useCats:
            p.catIds = ids("catIds", p.catIds)
        p.maxDets = [int(x) if x == int(x) else x for x in sorted(p.maxDets)]
        if not p.maxDets or p.maxDets[0] < 1 or not all(isinstance(x, int) for x in p.maxDets):
            raise ValueError(f"COCOeval: params.maxDets must be a list of integers >= 1, got {p.maxDets}")
        _check_known("imgIds", p.imgIds, "images", self.cocoGt.getImgIds())  # type: ignore[union-attr]
        if p.useCats:
            _check_known("catIds", p.catIds, "categories", self.cocoGt.getCatIds())  # type: ignore[union-attr]
        return p

    def _step_by_step(self, p: Any) -> None:
        """pycocotools' evaluate, which calls every step as a method."""
        self._prepare()
        categories = p.catIds if p.useCats else [-1]
        overlap = self.computeOks if SHAPES[p.iouType] == "keypoints" else self.computeIoU
        self.ious = {(i, k): overlap(i, k) for i in p.imgIds for k in categories}
        limit = p.maxDets[-1]
        self.evalImgs = [
            self.evaluateImg(i, k, limits, limit) for k in categories for limits in p.areaRng for i in p.imgIds
        ]
        self._paramsEval = copy.deepcopy(self.params)

    def _prepare(self) -> None:
        """Make ``_gts`` and ``_dts``: the annotations of each image id and category id."""
        self._prepared = steps.prepare(self.cocoGt, self.cocoDt, self.params)
        self._evaluated, self.evalImgs, self.eval = None, defaultdict(list), {}

    def _groups(self) -> tuple[Any, Any]:
        if self._prepared is None:
            if self.cocoGt is None or self.cocoDt is None:
                raise ValueError("COCOeval: _gts and _dts need cocoGt and cocoDt, got None")
            self._prepared = steps.prepare(self.cocoGt, self.cocoDt, self.params)
        return self._prepared

    @property
    def _gts(self) -> Any:
        return self._groups()[0]

    @_gts.setter
    def _gts(self, value: Any) -> None:
        self._prepared = value, self._prepared[1] if self._prepared is not None else defaultdict(list)

    @property
    def _dts(self) -> Any:
        return self._groups()[1]

    @_dts.setter
    def _dts(self, value: Any) -> None:
        self._prepared = self._prepared[0] if self._prepared is not None else defaultdict(list), value

    @property
    def evalImgs(self) -> Any:
        if self._evalImgs is None:
            images = images_of(self._evaluated, self._paramsEval) if self._evaluated is not None else []
            self.evalImgs = images  # without the records: the script may change what it gets
        return self._evalImgs

    @evalImgs.setter
    def evalImgs(self, value: Any) -> None:
        vars(self).update(_evalImgs=value, _records=None)

    @property
    def ious(self) -> Any:
        """(D, G) IoU by (image id, category id), detections by falling score; [] without detections or true boxes."""
        if self._ious is None:
            self._ious = {} if self._evaluated is None else overlaps_of(self._evaluated)
        return self._ious

    @ious.setter
    def ious(self, value: Any) -> None:
        self._ious = value

    def computeIoU(self, imgId: int, catId: int) -> Any:
        """(D, G) IoU of an image and a category, detections by falling score; [] without detections or true boxes."""
        if self._evaluated is not None and self._prepared is None and (imgId, catId) in self.ious:
            return self.ious[imgId, catId]
        return steps.compute_iou(self._gts, self._dts, self.params, imgId, catId)

    def computeOks(self, imgId: int, catId: int) -> Any:
        """(D, G) similarity of the poses of an image and a category, detections by falling score; [] without either."""
        return COCOeval.computeIoU(self, imgId, catId)

    def evaluateImg(self, imgId: int, catId: int, aRng: Any, maxDet: int) -> Any:
        """pycocotools' dictionary of an image, a category and a range of areas; None without a box."""
        return steps.evaluate_image(self._gts, self._dts, self.params, self.ious, imgId, catId, aRng, maxDet)

    def accumulate(self, p: Params | None = None) -> None:
        """Precision and recall of each class from the matches. ``p``: parameters with other recThrs or maxDets."""
        p = self.params if p is None else p
        evaluated = self._paramsEval
        if not evaluated and self._evalImgs is None:
            raise ValueError("COCOeval: call evaluate() before accumulate()")
        if not evaluated:
            evaluated = p
        for name in ("imgIds", "catIds", "iouThrs", "areaRng", "useCats"):
            if name == "catIds" and not p.useCats:
                continue
            if not np.array_equal(getattr(p, name), getattr(evaluated, name)):
                raise ValueError(f"COCOeval: params.{name} has changed: call evaluate() again")
        if len(p.maxDets) and len(evaluated.maxDets) and max(p.maxDets) > max(evaluated.maxDets):
            raise ValueError(f"COCOeval: params.maxDets has grown to {max(p.maxDets)}: call evaluate() again")
        recalls = floats("recThrs", p.recThrs)
        if (np.diff(recalls) < 0).any():
            raise ValueError(f"COCOeval: params.recThrs must rise, got {check.describe(p.recThrs)}")
        every = [self._records] if self._records is not None else from_images(self.evalImgs, evaluated)
        parts = [curves_of(records, evaluated, recalls, p.maxDets) for records in every]
        if parts:
            precision, recall, scores = (np.concatenate(x, axis=-2) for x in zip(*parts, strict=True))
        else:  # no range of areas
            T, R, M = len(evaluated.iouThrs), len(recalls), len(p.maxDets)
            K = len(evaluated.catIds) if evaluated.useCats else 1
            precision, scores = (np.zeros((T, R, K, 0, M)) for _ in range(2))
            recall = np.zeros((T, K, 0, M))
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
        for name in ("iouThrs", "maxDets"):
            if not len(getattr(self.params, name)):
                raise ValueError(f"COCOeval: summarize needs params.{name}, got an empty list")
        if ranges and len(names) != ranges:
            raise ValueError(
                f"COCOeval: params.areaRngLbl must be {ranges} names, one for each of areaRng, got {names}"
            )
        limits = list(self.params.maxDets)
        first_three = [*limits[:3], *[None] * (3 - len(limits))]
        last = limits[-1]
        kind = self.params.iouType
        lines: list[tuple[bool, float | None, str, int | None]] = [
            (True, None, "all", last), (True, 0.5, "all", last), (True, 0.75, "all", last),
            (True, None, "small", last), (True, None, "medium", last), (True, None, "large", last),
            *((False, None, "all", limit) for limit in first_three),
            (False, None, "small", last), (False, None, "medium", last), (False, None, "large", last),
        ]  # fmt: skip
        if SHAPES[kind] == "keypoints":
            sizes = [] if kind == "keypoints_crowd" else ["medium", "large"]
            of_kind: list[tuple[float | None, str]] = [
                (None, "all"), (0.5, "all"), (0.75, "all"), *((None, size) for size in sizes)
            ]  # fmt: skip
            lines = [(ap, t, area, last) for ap in (True, False) for t, area in of_kind]
        self.stats = np.array([-1.0 if m is None else self._line(ap, t, area, m) for ap, t, area, m in lines])
        if kind == "keypoints_crowd":
            self.stats = np.concatenate([self.stats, self._of_crowding()])

    def _of_crowding(self) -> Any:
        """(3,) AP of the images with a crowdIndex below 0.2, below 0.8, and of the others, rounded to 4 digits."""
        assert self.cocoGt is not None
        index = {i: float(self.cocoGt.imgs[i]["crowdIndex"]) for i in self.params.imgIds}
        found = []
        for name, low, high in (("easy", -np.inf, 0.2), ("medium", 0.2, 0.8), ("hard", 0.8, np.inf)):
            images = [i for i, x in index.items() if low <= x < high]
            part = copy.copy(self)
            part.params = copy.copy(self.params)
            part.params.imgIds = images
            value = -1.0
            if images:
                part.evaluate()
                part.accumulate()
                precision = part.eval["precision"][:, :, :, 0, -1]
                value = round(float(np.mean(precision)), 4)
            found.append(value)
            limits = f"IoU=0.50:0.95 | type={name:>6s} | maxDets={self.params.maxDets[-1]:>3d}"
            print(f" {'Average Precision':<18} (AP) @[ {limits} ] = {value:0.3f}")
        return np.array(found)

    def _line(self, ap: bool, threshold: float | None, area: str, max_dets: int) -> float:
        """Print one of the twelve numbers and return it."""
        p = self.params
        thresholds = np.asarray(p.iouThrs, np.float64)
        a = [i for i, label in enumerate(p.areaRngLbl[: len(p.areaRng)]) if label == area]
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


STEPS = hooks.originals(COCOeval, ("_prepare", "computeIoU", "computeOks", "evaluateImg"))
