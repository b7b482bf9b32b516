"""`DetectionMetrics`: average precision and recall of a data set, updated batch by batch, on one machine or many."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_torch
from fastdet._core.check import Array
from fastdet._core.metric import RESAMPLES, Bootstrap, bootstrap, plural
from fastdet.detection import inputs, results, state
from fastdet.detection.federated import Federated
from fastdet.detection.figures import Figures
from fastdet.detection.inputs import NAME
from fastdet.detection.records import Columns, Floats, Ints, Records
from fastdet.detection.results import ABSENT
from fastdet.detection.rotated import format_of
from fastdet.detection.state import Chunk, Counted, Parameters
from fastdet.masks import RLE
from fastdet.rotated.transforms import numbers_of

if TYPE_CHECKING:
    from typing_extensions import Self

BATCH = 16384  # rows from which waiting images are matched together


class DetectionMetrics(Figures):
    """COCO's and VOC's mean average precision and recall, from batches of images.

    `update` matches detections with true boxes and keeps only what the results need: 13 to 15 bytes per detection with
    COCO's ten thresholds and four areas (4 for a float32 score, 8 for its 40 outcomes, the rest for its image and
    class). `compute` is exact at any time. States of several processes are joined by `merge_state` or
    `sync`; the result does not depend on the order in which images came or states were joined.

    Parameters
    ----------
    iou_type : what overlaps are of: "bbox", boxes; "segm", masks; "boundary", the lesser of the overlaps of masks and
        of their boundaries; "keypoints", the similarity of poses; "rotated", rotated boxes. Several, such as ("bbox",
        "segm"): each key of the results has its kind before it, as "segm_map"; "keypoints" and "rotated" go alone
    box_format : "xyxy" (corners), "xywh" (COCO's) or "cxcywh" (YOLO's) of the boxes in `update`. Boxes that state their
        own, as tv_tensors.BoundingBoxes do, are read by it; they raise if box_format is neither "xyxy" nor theirs. Of
        rotated boxes: "cxcywhr" (the default), "xywhr", both in degrees, see `fastdet.rotated`, or "xyxyxyxy", the
        corners of quadrilaterals of any shape, whose overlap is the DOTA development kit's
    iou_thresholds : IoU from which a detection can match, each in (0, 1]; None for COCO's 0.5, 0.55, ..., 0.95
    rec_thresholds : rising recall levels at which precision is read; None for those of ``method``
    max_detections : rising limits on the detections of an image and class, best by score; an entry None: all.
        The ``map`` keys are computed with the last limit. None: (1, 10, 100), of keypoints (20,), by LVIS's rule (300,)
    areas : name -> (min_area, max_area) in square pixels, both inclusive; keys without an area's name use the
        first. None for COCO's all, small, medium, large, and without small for keypoints
    class_metrics : also compute ``map_per_class`` and ``mar_<n>_per_class``
    rule : "coco": a detection takes the free true box of the maximum IoU, if IoU >= threshold; "voc": a detection
        has one box, that of the maximum IoU, if IoU > threshold, and is false if the box is taken; "lvis": COCO's, but
        the last of max_detections limits an image over all classes, and detections of classes that an image was not
        searched for are left out
    method : of average precision: "coco101" (101 recall levels), "voc2007" (11), "area" (VOC from 2010: exact area
        below the interpolated curve)
    inclusive : True: coordinates name pixels and the last one is inside, so that each side is longer by 1 (VOC)
    confusion_at : (IoU, minimum score) of `confusion_matrix`; None: no confusion matrix
    sigmas : of keypoints, how far apart people place each, (K,) numbers above 0; None for COCO's 17
    use_area : of keypoints: distances are scaled by the true area; False, as CrowdPose does: by 0.53 times the true box
    on_duplicate : for an image id that was counted before: "raise", or "first" to leave the later image out
    rank, world : rank and number of processes, if they call `update` without ``image_ids`` and are merged: image i of
        a process gets the id i * world + rank, in the order of a distributed sampler
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Raises
    ------
    TypeError   type or dtype of an argument
    ValueError  range of an argument

    Notes
    -----
    `sync` renumbers images without ids in the order of a distributed sampler, unless rank and world were passed. Images
    that such a sampler repeats as padding are then counted twice: pass ``image_ids`` and on_duplicate="first" to
    prevent that. ``pickle`` and ``copy`` go through `to_bytes`.

    Source: Lin et al., Microsoft COCO (2014) and its evaluation code; Everingham et al., The PASCAL VOC Challenge
    (2010).

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.detection import DetectionMetrics
    >>> prediction = {"boxes": np.array([[0.0, 0, 10, 9]]), "scores": np.array([0.9]), "labels": np.array([3])}
    >>> target = {"boxes": np.array([[0.0, 0, 10, 10]]), "labels": np.array([3])}
    >>> metrics = DetectionMetrics().update([prediction], [target])  # a batch of one image
    >>> round(metrics.compute()["map"], 3)  # IoU 0.9: a true positive at nine of ten thresholds
    0.9
    """

    __module__ = "fastdet.detection"
    _name, _absent = NAME, ABSENT

    def __init__(
        self,
        *,
        iou_type: str | Sequence[str] = "bbox",
        box_format: str = "xyxy",
        iou_thresholds: Sequence[float] | None = None,
        rec_thresholds: Sequence[float] | None = None,
        max_detections: Sequence[int | None] | None = None,
        areas: Mapping[str, tuple[float, float]] | None = None,
        class_metrics: bool = True,
        rule: str = "coco",
        method: str = "coco101",
        inclusive: bool = False,
        confusion_at: tuple[float, float] | None = None,
        sigmas: Sequence[float] | None = None,
        use_area: bool = True,
        on_duplicate: str = "raise",
        rank: int = 0,
        world: int = 1,
        backend: str | None = None,
    ) -> None:
        turned = iou_type == "rotated" or (isinstance(iou_type, (tuple, list)) and "rotated" in iou_type)
        self._box_format = (
            format_of(NAME, box_format) if turned else check.choice(NAME, "box_format", box_format, check.FORMATS)
        )
        self._class_metrics = bool(class_metrics)
        self._on_duplicate = check.choice(NAME, "on_duplicate", on_duplicate, ("raise", "first"))
        self._rank, self._world = check.count(NAME, "rank", rank), check.count(NAME, "world", world)
        if self._rank >= self._world:
            raise ValueError(f"{NAME}: rank must be below world, got {check.describe(rank)} of {check.describe(world)}")
        if backend is not None:
            backends.choose("match_groups", check.choice(NAME, "backend", backend, backends.NAMES), _no_reference)
        self.backend = backend
        self._parameters = inputs.parameters({
            "iou_type": iou_type, "iou_thresholds": iou_thresholds, "rec_thresholds": rec_thresholds,
            "max_detections": max_detections, "areas": areas, "rule": rule, "method": method, "inclusive": inclusive,
            "confusion_at": confusion_at, "sigmas": sigmas, "use_area": use_area,
        })  # fmt: skip
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._accumulated: tuple[Chunk, tuple[Floats, Floats, Floats]] | None = None  # the curves of a chunk
        self._state = state.counted(None, [], self._world, None)

    def __len__(self) -> int:
        return self._state.images

    def update(
        self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], image_ids: Any = None
    ) -> Self:
        """Count a batch of images. If it raises, nothing is counted.

        Parameters
        ----------
        predictions : for each image a dictionary with ``boxes`` (N, 4), ``scores`` (N,) and integer ``labels`` (N,);
            by iou_type ``masks``, (N, H, W) bool or 0/1, an `fastdet.masks.RLE` or a list of COCO's dictionaries, or
            ``keypoints`` (N, K, 3), x y and a number that is not used. ``boxes`` may then be absent
        targets : for each image a dictionary with ``boxes`` (M, 4), integer ``labels`` (M,) and, optionally,
            ``iscrowd`` (M,) 0/1, ``difficult`` or ``ignore`` (M,) 0/1 (need no detection; detections that match one are
            ignored) and ``area`` (M,) (by default, and where it is not above 0: that of the mask, or width times
            height). ``masks`` and ``keypoints`` as in predictions; a keypoint is visible where its third number is
            above 0, and a pose without a visible one is ignored. By LVIS's rule also ``neg_category_ids`` and
            ``not_exhaustive_category_ids``, lists of labels
        image_ids : for each image an integer; None: images are numbered. Ids order equal scores of different images,
            and detect an image that is counted twice. Pass them to every update or to none

        Returns
        -------
        this object

        Raises
        ------
        TypeError   type, dtype or device
        ValueError  a missing key, shapes, NaN or infinity, an image id that was counted before
        """
        op = f"{NAME}.update"
        inputs.check_lists(op, predictions, targets)
        keep, ids = self._new_ids(op, image_ids, len(predictions))
        with np.errstate(over="ignore", invalid="ignore"):  # sides that are not finite raise
            images = [
                inputs.read_image(op, i, prediction, target, self._box_format, self._parameters)
                for i, (prediction, target) in enumerate(zip(predictions, targets, strict=True))
            ]
        now = self._state
        if images:
            array = next(predictions[0][key] for key in ("boxes", "masks", "keypoints") if key in predictions[0])
            now = now._replace(give=None if isinstance(array, (np.ndarray, list, tuple, RLE)) else like(array))
        waits = now.pending.grow(now.waits, [(ids[i], images[i]) for i in keep])
        rows = sum(len(images[i].scores) + len(images[i].flags) + 16 for i in keep)
        now = self._with_ids(now._replace(waits=waits, waiting=now.waiting + rows), image_ids is None, keep, ids)
        self._state = self._matched(now) if now.waiting >= BATCH else now
        return self

    def update_columns(
        self, detections: Columns, truth: Columns, image_ids: Any, federated: Federated | None = None
    ) -> Self:
        """Count whole columns: boxes x y w h, areas as they are. ``image_ids``: all images to count.

        ``federated``: what images were searched for, by LVIS's rule.

        Returns
        -------
        this object

        Raises
        ------
        ValueError  a row of an image that is not in ``image_ids``, NaN or infinity, an image id that was counted before
        """
        op = f"{NAME}.update_columns"
        every = np.asarray(image_ids)
        keep, ids = self._new_ids(op, every, len(every))
        images = np.sort(np.array([ids[i] for i in keep], np.int64))
        taken = []
        for name, c in (("detections", detections), ("truth", truth)):
            for column in ("boxes", "areas", "scores"):
                inputs.finite(op, f"{name}.{column}", getattr(c, column))
            known = np.isin(c.image, every)
            if not known.all():
                row = int(np.argmin(known))
                raise ValueError(f"{op}: {name}.image must be among image_ids, got {c.image[row]} in row {row}")
            if len(keep) < len(ids):
                c = c.rows(np.isin(c.image, images))
            self._check_shapes(op, name, c)
            taken.append(c._replace(image=np.searchsorted(images, c.image).astype(np.int64)))
        if self._parameters.rule == "lvis":
            none = np.zeros((0, 2), np.int64)
            federated = (Federated(none, none) if federated is None else federated).at(images)
        else:
            federated = None
        of_types = [(taken[0], taken[1])] * len(self._parameters.iou_types)
        chunk = state.match(self._parameters, images, of_types, self.backend, federated)
        now = self._state._replace(chunks=(*self._state.chunks, chunk))
        self._state = self._with_ids(now, False, keep, ids)
        return self

    def compute(self, *, ci: float | None = None, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """The results of all images so far. Without images they are -1, with a RuntimeWarning.

        Parameters
        ----------
        ci : level of confidence intervals in (0, 1), such as 0.95; adds ``<key>_ci``, (2,) the lower and the upper end
            of a basic bootstrap over images, at least as wide as the jackknife's standard error asks for, for each key
            that is a number. They hold the number, and stay in [0, 1]. None: no intervals
        resamples, seed : number of times that the images are resampled with replacement, and the seed

        Returns
        -------
        results : ``map``, ``map_50``, ``map_75``, ``map_<area>``, ``mar_<n>`` for each number of detections,
            ``mar_<area>``, ``classes`` (K,) int64, ``map_per_class`` and ``mar_<n>_per_class`` (K,) float64; numbers
            are float64. -1 where there is no true box, or no such threshold. NumPy, or tensors if `update` got
            tensors

        Raises
        ------
        TypeError   type of an argument
        ValueError  range of an argument
        """
        op = f"{NAME}.compute"
        options = None if ci is None else bootstrap(op, ci, resamples, seed)
        self._warn_if_empty(op)
        kinds = self._parameters.iou_types
        if len(kinds) == 1:
            return self._given(self._values(options))
        return self._given(results.named_by_kind({kind: self.of_type(kind)._values(options) for kind in kinds}))

    def _values(self, options: Bootstrap | None) -> dict[str, Any]:
        p, chunk = self._parameters, self._joined()
        values = results.summary(p, self._class_metrics, chunk.classes, *self._measures(chunk))
        if options is not None:
            values |= results.intervals(p, chunk, self.backend, options)
        return values

    def of_type(self, iou_type: str) -> Self:
        """The same images with one kind of overlap alone, as another object.

        ValueError if ``iou_type`` is not one of this object's.
        """
        kinds = self._parameters.iou_types
        at = kinds.index(check.choice(f"{NAME}.of_type", "iou_type", iou_type, kinds))
        arguments = {**self._parameters.arguments(), "iou_type": iou_type}
        metric = type(self)(**arguments, **self._options(), backend=self.backend)
        chunk = state.of_type(self._parameters, self._joined(), at)
        metric._state = self._state._replace(whole=chunk, chunks=(), pending=state.Log(), waits=0, waiting=0)
        return metric

    def of_images(self, image_ids: Any) -> Self:
        """Some of the images alone, as another object: for figures of a part of the data.

        ValueError for an id that was not counted.
        """
        op = f"{NAME}.of_images"
        every = list(image_ids)
        wanted = np.unique(np.array(inputs.ids(op, every, len(every)), np.int64))
        chunk = self._joined()
        known = np.isin(wanted, chunk.images)
        if not known.all():
            raise ValueError(f"{op}: image_ids must be of images that were counted, got {wanted[np.argmin(known)]}")
        part = state.without(chunk, ~np.isin(chunk.images, wanted))
        metric = self._empty()
        metric._state = state.counted(part, part.images.tolist(), self._world, self._state.numbered)._replace(
            give=self._state.give
        )
        return metric

    @property
    def records(self) -> tuple[Records, Ints, Ints]:
        """The state: `Records` (groups by class, then image id), the first group of each class (K + 1,), classes."""
        chunk = self._one_type("records")
        return (*state.to_records(chunk), chunk.classes)

    @property
    def image_ids(self) -> Ints:
        """(I,) the ids of all images so far, rising."""
        return self._joined().images.copy()

    @property
    def nbytes(self) -> int:
        """Bytes of the records and image ids."""
        return self._joined().nbytes

    # Images in

    def _check_shapes(self, op: str, name: str, c: Columns) -> None:
        """ValueError where columns lack the masks or keypoints of the kind of overlap."""
        kinds, sigmas = self._parameters.iou_types, self._parameters.sigmas
        if "rotated" in kinds and (c.rotated is None or c.rotated.shape[1] != numbers_of(self._box_format)):
            got = "None" if c.rotated is None else f"shape {c.rotated.shape}"
            raise ValueError(f"{op}: {name}.rotated must be (N, {numbers_of(self._box_format)}) boxes, got {got}")
        if c.masks is None and not {"segm", "boundary"}.isdisjoint(kinds):
            raise ValueError(f"{op}: {name}.masks must be an RLE for iou_type {kinds}, got None")
        if sigmas is None:
            return
        count = None if c.keypoints is None else c.keypoints.shape[1]
        if count is None or (count != len(sigmas) and len(c.keypoints)):  # type: ignore[arg-type]
            got = "None" if count is None else f"{count} keypoints"
            raise ValueError(f"{op}: {name}.keypoints must have {len(sigmas)} keypoints, one for each sigma, got {got}")

    def _new_ids(self, op: str, image_ids: Any, count: int) -> tuple[list[int], list[int]]:
        """The positions in the batch of images that are new, and the ids of all."""
        now = self._state
        if now.numbered is not None and now.numbered != (image_ids is None):
            raise ValueError(f"{op}: image_ids must be passed to every update or to none")
        if image_ids is None:
            return list(range(count)), [(now.next + i) * self._world + self._rank for i in range(count)]
        ids = inputs.ids(op, image_ids, count)
        keep, batch = [], set()
        for position, i in enumerate(ids):
            if now.ids.has(i, now.images) or i in batch:
                self._refuse(op, i, False)
            else:
                keep.append(position)
                batch.add(i)
        return keep, ids

    def _refuse(self, op: str, image: int, numbered: bool) -> None:
        """Raise for an image id that was counted before, unless on_duplicate is "first".

        Equal numbers of images without ids always raise: the images differ.
        """
        if numbered or self._on_duplicate == "raise":
            hint = 'on_duplicate="first" leaves the later image out'
            if numbered:
                hint = "pass rank and world, or image_ids, so that images of two states differ"
            raise ValueError(f"{op}: image_ids must be unique, got {image} twice; {hint}")

    def _with_ids(self, now: Counted, numbered: bool, keep: list[int], ids: list[int]) -> Counted:
        """The state with the ids of a batch, of which the images ``keep`` are new."""
        if not ids:
            return now
        images = now.ids.grow(now.images, [ids[i] for i in keep])
        return now._replace(images=images, numbered=numbered, next=max(now.next, max(ids) // self._world + 1))

    def _matched(self, now: Counted) -> Counted:
        """The state with the images that wait matched; their records become a chunk."""
        if not now.waits:
            return now
        ids, images = zip(*now.pending.entries[: now.waits], strict=True)
        p = self._parameters
        federated = inputs.federated(images) if p.rule == "lvis" else None
        chunk = state.match(p, np.array(ids, np.int64), inputs.columns(images, p), self.backend, federated)
        return now._replace(chunks=(*now.chunks, chunk), pending=state.Log(), waits=0, waiting=0)

    def _joined(self) -> Chunk:
        """All records as one chunk, which replaces the chunks it was joined from."""
        now = self._state
        if now.waits or now.chunks or now.whole is None:
            now = self._matched(now)
            whole = [] if now.whole is None else [now.whole]
            now = now._replace(whole=state.join(self._parameters, [*whole, *now.chunks]), chunks=())
            self._state = now
        assert now.whole is not None
        return now.whole

    def _given(self, values: dict[str, Any]) -> dict[str, Any]:
        give = self._state.give
        if give is None or (give is to_torch and "torch" not in sys.modules):  # unpickled in a process without torch
            return values
        return {key: give(np.asarray(value)) for key, value in values.items()}

    # The methods that `Metric` needs

    def _shared(self) -> dict[str, Any]:
        return self._parameters.to_json()

    def _settings(self) -> dict[str, Any]:
        return {**self._options(), "numbered": self._state.numbered}

    def _options(self) -> dict[str, Any]:
        """The arguments that are not in `Parameters`."""
        return {
            "box_format": self._box_format, "class_metrics": self._class_metrics, "on_duplicate": self._on_duplicate,
            "rank": self._rank, "world": self._world,
        }  # fmt: skip

    def _arrays(self) -> dict[str, Array]:
        return self._joined()._asdict()

    @classmethod
    def _restored(
        cls, parameters: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Array], backend: str | None
    ) -> Self:
        numbered = settings.pop("numbered")
        if not (numbered is None or isinstance(numbered, bool)):
            raise TypeError(f"numbered must be true, false or null, got {check.describe(numbered)}")
        metric = cls(**Parameters.from_json(parameters).arguments(), **settings, backend=backend)
        chunk = Chunk(**arrays)
        state.require_consistent(metric._parameters, chunk)
        metric._state = state.counted(chunk, chunk.images.tolist(), metric._world, numbered)
        return metric

    def _empty(self) -> Self:
        return type(self)(**self._parameters.arguments(), **self._options(), backend=self.backend)

    def _merged(self, op: str, others: list[Self]) -> Counted:
        now, chunks = self._state, []
        seen, numbered, give = now.ids.entries[: now.images], now.numbered, now.give
        known = set(seen)
        for metric in others:
            if None not in (numbered, metric._state.numbered) and numbered != metric._state.numbered:
                raise ValueError(f"{op}: image_ids must be passed to all states or to none")
            numbered = metric._state.numbered if numbered is None else numbered
            chunk = metric._joined()
            ids = chunk.images.tolist()
            twice = np.array([i in known for i in ids], bool)
            if twice.any():
                self._refuse(op, ids[int(np.argmax(twice))], metric._state.numbered is True)
                chunk = state.without(chunk, twice)
            chunks.append(chunk)
            seen += [i for i in ids if i not in known]
            known.update(ids)
            give = give or metric._state.give
        now = self._state  # self may be among the others, and be joined by now
        merged = state.counted(now.whole, seen, self._world, numbered)
        return merged._replace(
            chunks=(*now.chunks, *chunks), pending=now.pending, waits=now.waits, waiting=now.waiting, give=give
        )

    def _of_rank(self, rank: int, world: int) -> Self:
        """The state with image i renumbered i * world + rank, if images came without ids, rank and world."""
        if not self._state.numbered or self._world != 1:
            return self
        metric, chunk = self._empty(), self._joined()
        chunk = chunk._replace(images=chunk.images * world + rank)
        renumbered = state.counted(chunk, chunk.images.tolist(), self._world, True)
        metric._state = renumbered._replace(give=self._state.give)
        return metric

    def _local(self) -> dict[str, Any]:
        return {"synced": self._synced, "give": self._state.give if self._state.give is to_torch else None}

    def _agreed(self, state: Counted, ranks: list[dict[str, Any]]) -> Counted:
        return state._replace(give=to_torch) if any(local["give"] is not None for local in ranks) else state

    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        p = self._parameters
        first, *more = (f"{t:g}" for t in p.iou_thresholds)
        kinds = p.iou_types if len(p.iou_types) > 1 else repr(p.iou_types[0])
        shown = {
            **({} if p.iou_types == ("bbox",) else {"iou_type": kinds}),
            "box_format": repr(self._box_format), "iou_thresholds": f"{first} to {more[-1]}" if more else first,
            "max_detections": tuple(p.arguments()["max_detections"]), "rule": repr(p.rule), "method": repr(p.method),
        }  # fmt: skip
        now = self._state
        chunks = now.chunks if now.whole is None else [now.whole, *now.chunks]
        waiting = now.pending.entries[: now.waits]
        labels = [
            *(c.classes for c in chunks),
            *(labels for _, image in waiting for labels in (image.labels, image.true_labels)),
        ]
        return shown, [plural(len(np.unique(np.concatenate([state.NO_CLASSES, *labels]))), "class", "classes")]


def _no_reference(*_: Any) -> None:
    raise NotImplementedError
