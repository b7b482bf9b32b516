"""`DetectionMetrics`: average precision and recall of a data set, updated batch by batch, on one machine or many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_torch
from fastdet._core.check import Array
from fastdet._core.metric import RESAMPLES, bootstrap, plural
from fastdet.detection import inputs, results, state
from fastdet.detection.figures import Figures
from fastdet.detection.inputs import NAME, Image
from fastdet.detection.records import Columns, Floats, Ints, Records
from fastdet.detection.results import ABSENT
from fastdet.detection.state import Chunk, Parameters

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
    box_format : "xyxy" (corners), "xywh" (COCO's) or "cxcywh" (YOLO's) of the boxes in `update`. Boxes that state their
        own, as tv_tensors.BoundingBoxes do, are read by it; they raise if box_format is neither "xyxy" nor theirs
    iou_thresholds : IoU from which a detection can match, each in (0, 1]; None for COCO's 0.5, 0.55, ..., 0.95
    rec_thresholds : rising recall levels at which precision is read; None for those of ``method``
    max_detections : rising limits on the detections of an image and class, best by score; an entry None: all.
        The ``map`` keys are computed with the last limit
    areas : name -> (min_area, max_area) in square pixels, both inclusive; keys without an area's name use the
        first. None for COCO's all, small, medium, large
    class_metrics : also compute ``map_per_class`` and ``mar_<n>_per_class``
    rule : "coco": a detection takes the free true box of the maximum IoU, if IoU >= threshold; "voc": a detection
        has one box, that of the maximum IoU, if IoU > threshold, and is false if the box is taken
    method : of average precision: "coco101" (101 recall levels), "voc2007" (11), "area" (VOC from 2010: exact area
        below the interpolated curve)
    inclusive : True: coordinates name pixels and the last one is inside, so that each side is longer by 1 (VOC)
    confusion_at : (IoU, minimum score) of `confusion_matrix`; None: no confusion matrix
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
        box_format: str = "xyxy",
        iou_thresholds: Sequence[float] | None = None,
        rec_thresholds: Sequence[float] | None = None,
        max_detections: Sequence[int | None] = (1, 10, 100),
        areas: Mapping[str, tuple[float, float]] | None = None,
        class_metrics: bool = True,
        rule: str = "coco",
        method: str = "coco101",
        inclusive: bool = False,
        confusion_at: tuple[float, float] | None = None,
        on_duplicate: str = "raise",
        rank: int = 0,
        world: int = 1,
        backend: str | None = None,
    ) -> None:
        self._box_format = check.choice(NAME, "box_format", box_format, check.FORMATS)
        self._class_metrics = bool(class_metrics)
        self._on_duplicate = check.choice(NAME, "on_duplicate", on_duplicate, ("raise", "first"))
        self._rank, self._world = check.count(NAME, "rank", rank), check.count(NAME, "world", world)
        if self._rank >= self._world:
            raise ValueError(f"{NAME}: rank must be below world, got {rank} of {world}")
        if backend is not None:
            backends.choose("match_groups", check.choice(NAME, "backend", backend, backends.NAMES), _no_reference)
        self.backend = backend
        self._parameters = inputs.parameters(
            iou_thresholds, rec_thresholds, max_detections, areas, rule, method, inclusive, confusion_at
        )
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._whole: Chunk | None = None  # all chunks joined
        self._chunks: list[Chunk] = []  # not yet joined
        self._accumulated: tuple[Chunk, tuple[Floats, Floats, Floats]] | None = None  # the curves of `_whole`
        self._pending: list[tuple[int, Image]] = []
        self._waiting = 0
        self._seen: set[int] = set()
        self._next = 0  # the number of the next image without an id
        self._numbered: bool | None = None  # whether images come without ids; None before the first
        self._give: Callable[[Array], Any] | None = None  # converts results if `update` got tensors
        self._synced = False

    def __len__(self) -> int:
        return len(self._seen)

    def update(
        self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], image_ids: Any = None
    ) -> Self:
        """Count a batch of images. If it raises, nothing is counted.

        Parameters
        ----------
        predictions : for each image a dictionary with ``boxes`` (N, 4), ``scores`` (N,) and integer ``labels`` (N,)
        targets : for each image a dictionary with ``boxes`` (M, 4), integer ``labels`` (M,) and, optionally,
            ``iscrowd`` (M,) 0/1, ``difficult`` or ``ignore`` (M,) 0/1 (need no detection; detections that match one are
            ignored) and ``area`` (M,) (width times height by default, and where it is not above 0)
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
        for name, x in (("predictions", predictions), ("targets", targets)):
            if not isinstance(x, Sequence):
                raise TypeError(f"{op}: {name} must be a list of dictionaries, got {type(x).__name__}")
        if len(predictions) != len(targets):
            raise ValueError(f"{op}: targets must be as many as predictions ({len(predictions)}), got {len(targets)}")
        keep, ids = self._new_ids(op, image_ids, len(predictions))
        with np.errstate(over="ignore", invalid="ignore"):  # sides that are not finite raise
            images = [
                inputs.read_image(op, i, prediction, target, self._box_format)
                for i, (prediction, target) in enumerate(zip(predictions, targets, strict=True))
            ]
        if images:
            array = predictions[0]["boxes"]
            self._give = None if isinstance(array, (np.ndarray, list, tuple)) else like(array)
        self._pending += [(ids[i], images[i]) for i in keep]
        self._waiting += sum(len(images[i][1]) + len(images[i][4]) + 16 for i in keep)
        self._remember(image_ids is None, ids)
        if self._waiting >= BATCH:
            self._match()
        return self

    def update_columns(self, detections: Columns, truth: Columns, image_ids: Any) -> Self:
        """Count whole columns: boxes x y w h, areas as they are. ``image_ids``: all images to count.

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
            taken.append(c._replace(image=np.searchsorted(images, c.image).astype(np.int64)))
        self._chunks.append(state.match(self._parameters, images, taken[0], taken[1], self.backend))
        self._remember(False, ids)
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
        p, chunk = self._parameters, self._joined()
        values = results.summary(p, self._class_metrics, chunk.classes, *self._measures(chunk))
        if options is not None:
            values |= results.intervals(p, chunk, self.backend, options)
        return self._given(values)

    @property
    def records(self) -> tuple[Records, Ints, Ints]:
        """The state: `Records` (groups by class, then image id), the first group of each class (K + 1,), classes."""
        chunk = self._joined()
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

    def _new_ids(self, op: str, image_ids: Any, count: int) -> tuple[list[int], list[int]]:
        """The positions in the batch of images that are new, and the ids of all."""
        if self._numbered is not None and self._numbered != (image_ids is None):
            raise ValueError(f"{op}: image_ids must be passed to every update or to none")
        if image_ids is None:
            return list(range(count)), [(self._next + i) * self._world + self._rank for i in range(count)]
        ids = inputs.ids(op, image_ids, count)
        keep, batch = [], set()
        for position, i in enumerate(ids):
            if i in self._seen or i in batch:
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

    def _remember(self, numbered: bool, ids: list[int]) -> None:
        if ids:
            self._seen.update(ids)
            self._numbered, self._next = numbered, max(self._next, max(ids) // self._world + 1)

    def _match(self) -> None:
        """Match the images that wait; their records become a chunk."""
        if not self._pending:
            return
        ids, images = zip(*self._pending, strict=True)
        detections, truth = inputs.columns(images, self._parameters.inclusive)
        self._chunks.append(state.match(self._parameters, np.array(ids, np.int64), detections, truth, self.backend))
        self._pending, self._waiting = [], 0

    def _joined(self) -> Chunk:
        """All records as one chunk, which replaces the chunks it was joined from."""
        self._match()
        if self._chunks or self._whole is None:
            whole = [] if self._whole is None else [self._whole]
            self._whole, self._chunks = state.join(self._parameters, whole + self._chunks), []
        return self._whole

    def _given(self, values: dict[str, Any]) -> dict[str, Any]:
        give = self._give
        if give is None or (give is to_torch and "torch" not in sys.modules):  # unpickled in a process without torch
            return values
        return {key: give(np.asarray(value)) for key, value in values.items()}

    # The methods that `Metric` needs

    def _shared(self) -> dict[str, Any]:
        return self._parameters.to_json()

    def _settings(self) -> dict[str, Any]:
        return {**self._options(), "numbered": self._numbered}

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
        metric._whole = chunk
        metric._seen, metric._numbered = set(chunk.images.tolist()), numbered
        metric._next = max(metric._seen, default=-1) // metric._world + 1
        return metric

    def _empty(self) -> Self:
        return type(self)(**self._parameters.arguments(), **self._options(), backend=self.backend)

    def _merge(self, op: str, others: list[Self]) -> None:
        seen, chunks, numbered = set(self._seen), [], self._numbered
        for metric in others:
            if None not in (numbered, metric._numbered) and numbered != metric._numbered:
                raise ValueError(f"{op}: image_ids must be passed to all states or to none")
            numbered = metric._numbered if numbered is None else numbered
            chunk = metric._joined()
            ids = chunk.images.tolist()
            twice = np.array([i in seen for i in ids], bool)
            if twice.any():
                self._refuse(op, ids[int(np.argmax(twice))], metric._numbered is True)
                chunk = state.without(chunk, twice)
            chunks.append(chunk)
            seen.update(ids)
        self._chunks += chunks
        self._seen, self._next, self._numbered = seen, max(seen, default=-1) // self._world + 1, numbered
        for metric in others:
            self._give = self._give or metric._give

    def _of_rank(self, rank: int, world: int) -> Self:
        """The state with image i renumbered i * world + rank, if images came without ids, rank and world."""
        if not self._numbered or self._world != 1:
            return self
        metric, chunk = self._empty(), self._joined()
        metric._whole = chunk._replace(images=chunk.images * world + rank)
        metric._seen, metric._numbered, metric._give = set(metric._whole.images.tolist()), True, self._give
        return metric

    def _local(self) -> dict[str, Any]:
        return {"_synced": self._synced, "_give": self._give if self._give is to_torch else None}

    def _agree(self, ranks: list[dict[str, Any]]) -> None:
        if any(local["_give"] is not None for local in ranks):
            self._give = to_torch

    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        p = self._parameters
        first, *more = (f"{t:g}" for t in p.iou_thresholds)
        shown = {
            "box_format": repr(self._box_format), "iou_thresholds": f"{first} to {more[-1]}" if more else first,
            "max_detections": tuple(p.arguments()["max_detections"]), "rule": repr(p.rule), "method": repr(p.method),
        }  # fmt: skip
        chunks = self._chunks if self._whole is None else [self._whole, *self._chunks]
        labels = [
            *(c.classes for c in chunks),
            *(labels for _, image in self._pending for labels in (image[2], image[4])),
        ]
        return shown, [plural(len(np.unique(np.concatenate([state.NO_CLASSES, *labels]))), "class", "classes")]


def _no_reference(*_: Any) -> None:
    raise NotImplementedError
