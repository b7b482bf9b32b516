"""`DetectionMetrics`: detections scored as they come, image by image, on one machine or many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet._core.check import Array
from fastdet.detection import inputs as given
from fastdet.detection import state
from fastdet.detection.curves import METHODS, PRCurve, area_below, curve, mean_curves, ranked
from fastdet.detection.inputs import NAME, Image
from fastdet.detection.records import Columns, Floats, Ints, Records, accumulate_reference
from fastdet.detection.state import UNLIMITED, Chunk, Parameters

AREAS = {"all": (0.0, 1e5**2), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e5**2)}
BATCH = 16384  # rows that wait to be matched together
_NONE = np.zeros(0)


class DetectionMetrics:
    """COCO's and VOC's mean average precision and recall, from batches of images.

    `update` matches detections with true boxes and keeps only what is needed for the result: 13 to 15 bytes a
    detection with COCO's ten thresholds and four areas (4 for a float32 score, 8 for its 40 outcomes, the rest for its
    image and class). `compute` is exact at any time. States of several processes are joined by `merge_state` or
    `sync`; the result does not depend on the order in which images came or states were joined.

    Parameters
    ----------
    box_format : "xyxy" (corners), "xywh" (COCO's) or "cxcywh" (YOLO's) of the boxes in `update`
    iou_thresholds : IoU from which a detection can match, each in (0, 1]; None for COCO's 0.5, 0.55, ..., 0.95
    rec_thresholds : rising recall levels at which precision is read; None for those of ``method``
    max_detections : rising numbers of detections of an image and class that count, best first; None in it: all.
        The last is the one that the ``map`` keys are computed with
    areas : name -> (least, greatest) area in square pixels, both inside; the first is the one of the plain keys.
        None for COCO's all, small, medium, large
    class_metrics : also give ``map_per_class`` and ``mar_<n>_per_class``
    rule : "coco": a detection takes the free true box of greatest IoU, IoU >= threshold; "voc": a detection has its
        one box of greatest IoU, IoU > threshold, and is false where that is taken
    method : of average precision: "coco101" (101 recall levels), "voc2007" (11), "area" (VOC from 2010: exact area
        below the interpolated curve)
    inclusive : boxes name their last pixel, so that sides are one longer (VOC)
    confusion_at : (IoU, score) at which `confusion_matrix` is kept; None for none
    on_duplicate : of an image id that was there before: "raise", or "first" to leave the later one out
    rank, world : of several processes that number images themselves (`update` without ``image_ids``) and are merged:
        image i of a process is number i * world + rank, as a distributed sampler deals them out
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Raises
    ------
    TypeError   kind or dtype of an argument
    ValueError  range of an argument

    Source: Lin et al., Microsoft COCO (2014) and its evaluation code; Everingham et al., The PASCAL VOC Challenge
    (2010).
    """

    __module__ = "fastdet.detection"

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
        self._backend = backend
        check.choice(NAME, "method", method, METHODS)
        most = given.most_detections(max_detections)
        self._parameters = Parameters(
            given.thresholds(
                NAME, "iou_thresholds", np.linspace(0.5, 0.95, 10) if iou_thresholds is None else iou_thresholds
            ),
            given.recalls(
                np.linspace(0, 1, 11 if method == "voc2007" else 101) if rec_thresholds is None else rec_thresholds
            ),
            most,
            given.areas(AREAS if areas is None else areas, most),
            check.choice(NAME, "rule", rule, ("coco", "voc")),
            method,
            bool(inclusive),
            None if confusion_at is None else given.confusion(confusion_at),
        )
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._whole: Chunk | None = None  # joined
        self._chunks: list[Chunk] = []  # not yet joined
        self._accumulated: tuple[Chunk, tuple[Floats, Floats, Floats]] | None = None  # the curves of `_whole`
        self._pending: list[tuple[int, Image]] = []
        self._waiting = 0
        self._seen: set[int] = set()
        self._next = 0  # the number of the next image, where images are numbered here
        self._numbered: bool | None = None  # whether images are numbered here; None before the first
        self._give: Callable[[Array], Any] | None = None

    def update(
        self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], image_ids: Any = None
    ) -> None:
        """Take a batch of images. Nothing is taken where an error is raised.

        Parameters
        ----------
        predictions : for each image a dictionary with ``boxes`` (N, 4), ``scores`` (N,) and integer ``labels`` (N,)
        targets : for each image a dictionary with ``boxes`` (M, 4), integer ``labels`` (M,) and, where wanted,
            ``iscrowd`` (M,) 0/1, ``difficult`` (M,) 0/1 (neither needed nor held against a detection) and ``area`` (M,)
            (where it is not above 0, and by default: width times height)
        image_ids : for each image an integer; None to number them. Ids order tied scores of different images, and
            make an image that is seen twice known; give them always, or never

        Raises
        ------
        TypeError   kind, dtype or device
        ValueError  a key that is missing, shapes, NaN or infinity, an image id seen before
        """
        op = f"{NAME}.update"
        for name, x in (("predictions", predictions), ("targets", targets)):
            if not isinstance(x, Sequence):
                raise TypeError(f"{op}: {name} must be a list of dictionaries, got {type(x).__name__}")
        if len(predictions) != len(targets):
            raise ValueError(f"{op}: targets must be as many as predictions, got {len(targets)} and {len(predictions)}")
        keep, ids = self._new_ids(op, image_ids, len(predictions))
        with np.errstate(over="ignore", invalid="ignore"):  # of sides: what is not finite is an error
            images = [
                given.read_image(op, i, prediction, target, self._box_format)
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

    def update_columns(self, detections: Columns, truth: Columns, image_ids: Any) -> None:
        """Take whole columns, boxes as x y w h, areas as they are. ``image_ids`` are all images that are scored.

        Raises
        ------
        ValueError  a row of an image that is not in ``image_ids``, NaN or infinity, an image id seen before
        """
        op = f"{NAME}.update_columns"
        every = np.asarray(image_ids)
        keep, ids = self._new_ids(op, every, len(every))
        images = np.sort(np.array([ids[i] for i in keep], np.int64))
        taken = []
        for name, c in (("detections", detections), ("truth", truth)):
            for column in ("boxes", "areas", "scores"):
                given.finite(op, f"{name}.{column}", getattr(c, column))
            known = np.isin(c.image, every)
            if not known.all():
                row = int(np.argmin(known))
                raise ValueError(f"{op}: {name}.image must be among image_ids, got {c.image[row]} in row {row}")
            if len(keep) < len(ids):
                inside = np.isin(c.image, images)
                c = Columns._make(x[inside] if len(x) else x for x in c)
            taken.append(c._replace(image=np.searchsorted(images, c.image).astype(np.int64)))
        self._chunks.append(state.match(self._parameters, images, taken[0], taken[1], self._backend))
        self._remember(False, ids)

    def compute(self, *, ci: float | None = None, resamples: int = 200, seed: int = 0) -> dict[str, Any]:
        """The results of all images so far.

        Parameters
        ----------
        ci : confidence level, such as 0.95; adds ``<key>_ci``, (2,) the least and the greatest value of a bootstrap
            over images, for each key that is a number. None for none
        resamples, seed : how many times images are drawn, and the seed of drawing

        Returns
        -------
        results : ``map``, ``map_50``, ``map_75``, ``map_<area>``, ``mar_<n>`` for each number of detections,
            ``mar_<area>``, ``classes`` (K,) int64, ``map_per_class`` and ``mar_<n>_per_class`` (K,) float64; numbers
            are float64. -1 where there is no true box, or no such threshold. NumPy, or tensors where `update` got
            tensors

        Raises
        ------
        TypeError, ValueError  ci, resamples, seed
        """
        op, one = f"{NAME}.compute", self._joined()
        results = self._summary(one.classes, *self._measures(one))
        if ci is not None:
            level = check.unit(op, "ci", ci)
            if level in (0, 1):
                raise ValueError(f"{op}: ci must be between 0 and 1, got {level}")
            given_seed = check.count(op, "seed", seed)
            results |= self._bootstrap(one, level, check.count(op, "resamples", resamples), given_seed)
        if self._give is None:
            return results
        return {key: self._give(np.asarray(value)) for key, value in results.items()}

    def curves(self) -> tuple[Floats, Floats, Floats]:
        """Precision (T, R, K, A, M), recall (T, K, A, M) and scores (T, R, K, A, M) as in COCO's evaluation.

        By IoU threshold, recall level, class (as in ``classes`` of `compute`), area and number of detections; precision
        and scores are those at the recall level, 0 where it is not met, -1 where a class has no true box. Read-only.
        """
        return self._curves(self._joined())

    def confusion_matrix(self) -> Any:
        """(K + 1, K + 1) int64: true classes in rows, predicted ones in columns, in the order of ``classes``.

        Detections of at least the score of ``confusion_at`` are matched whatever their class, by COCO's rule at its
        IoU. The last row counts detections that met no true box, the last column true boxes that none met; crowds and
        difficult boxes, and what meets only those, are left out.

        Raises
        ------
        ValueError  confusion_at was not given
        """
        if self._parameters.confusion_at is None:
            raise ValueError(f"{NAME}.confusion_matrix: {NAME} must be made with confusion_at=(iou, score), got None")
        one = self._joined()
        size = len(one.classes) + 1
        pairs = one.pairs.astype(np.int64)
        matrix = np.bincount(pairs[:, 1] * size + pairs[:, 2], minlength=size * size).reshape(size, size)
        return (self._give or (lambda x: x))(matrix.astype(np.int64))

    def average_precision(self) -> Floats:
        """(T, K, A) of each IoU threshold, class (as in ``classes`` of `compute`) and area; -1 without a true box."""
        one = self._joined()
        if self._parameters.method == "area":
            return self._areas_below(one)[..., 0]
        # each mean over its own contiguous row: rounded alike, however many there are
        rows = np.ascontiguousarray(np.moveaxis(self._curves(one)[0][..., -1], 1, -1))
        return rows.mean(axis=-1)

    def precision_recall_curves(self, label: int | None = None) -> list[PRCurve]:
        """Precision over recall at each IoU threshold, with the first area and the most detections.

        Parameters
        ----------
        label : of a class; None for the mean of all that have a true box, at recall 0, 0.01, ..., 1

        Returns
        -------
        curves : as from `precision_recall_curve`, T of them; the mean of classes has no scores, and there is none
            without a true box

        Raises
        ------
        ValueError  no image has such a class
        """
        one = self._joined()
        records, of_class = state.to_records(one)
        if label is None:
            every = (self._class_curves(records, of_class, k) for k in range(len(one.classes)))
            return mean_curves(filter(None, every), np.linspace(0, 1, 101))
        at = np.flatnonzero(one.classes == label)
        if not len(at):
            got = check.describe(label)
            raise ValueError(f"{NAME}.precision_recall_curves: label must be a class of an image, got {got}")
        return self._class_curves(records, of_class, int(at[0]))

    def plot(self, label: int | None = None, *, ax: Any = None) -> tuple[Any, Any]:
        """Precision over recall, raw and interpolated, a colour for each IoU threshold. Returns (fig, ax).

        ``label`` is that of a class; None for the mean of all classes.
        """
        from fastdet.plots.detection import draw_precision_recall

        curves = self.precision_recall_curves(label)
        precision, one = self.average_precision()[..., 0], self._joined()
        if label is not None:
            precision = precision[:, one.classes == label]
        words = [
            f"IoU {threshold:.2f}   AP {_mean(ap):.3f}"
            for threshold, ap in zip(self._parameters.iou_thresholds, precision, strict=True)
        ]
        return draw_precision_recall(curves, names=words[: len(curves)], ax=ax)

    def merge_state(self, other: DetectionMetrics | Iterable[DetectionMetrics]) -> DetectionMetrics:
        """Take the images of one or several others as well; they stay as they are. Returns itself.

        Raises
        ------
        TypeError   other is something else
        ValueError  other parameters; an image id that both have
        """
        op = f"{NAME}.merge_state"
        others = [other] if isinstance(other, DetectionMetrics) else list(other)
        seen, chunks, numbered = set(self._seen), [], self._numbered
        for one in others:
            if not isinstance(one, DetectionMetrics):
                raise TypeError(f"{op}: other must be a {NAME}, got {type(one).__name__}")
            self._parameters.require(op, one._parameters)
            if None not in (numbered, one._numbered) and numbered != one._numbered:
                raise ValueError(f"{op}: image_ids must be given to all states or to none")
            numbered = one._numbered if numbered is None else numbered
            chunk = one._joined()
            ids = chunk.images.tolist()
            twice = np.array([i in seen for i in ids], bool)
            if twice.any():
                self._refuse(op, ids[int(np.argmax(twice))], one._numbered is True)
                chunk = state.without(chunk, twice)
            chunks.append(chunk)
            seen.update(ids)
        self._chunks += chunks
        self._seen, self._next, self._numbered = seen, max(seen, default=-1) // self._world + 1, numbered
        for one in others:
            self._give = self._give or one._give
        return self

    def sync(self, group: Any = None) -> DetectionMetrics:
        """A new object with the images of all processes of torch.distributed, the same in each; itself stays.

        Every process of the group has to call it. Bytes travel over ``group``, by default over one on the CPU (gloo).
        Images that `update` numbered are dealt out as by a distributed sampler unless rank and world were given; what
        such a sampler pads is then counted twice: pass ``image_ids`` and on_duplicate="first" to prevent that.

        Raises
        ------
        RuntimeError  torch.distributed is not initialized
        ValueError    other parameters; an image id that two processes have
        """
        torch = sys.modules.get("torch")
        if torch is None or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise RuntimeError(f"{NAME}.sync: torch.distributed must be initialized, got none")
        dist = torch.distributed
        if group is None and dist.get_backend() != "gloo":
            group = _cpu_group(dist)
        world, merged = dist.get_world_size(group), self._like()
        states: list[bytes] = [b""] * world
        dist.all_gather_object(states, self.to_bytes(), group=group)
        for rank, data in enumerate(states):
            one = self if rank == dist.get_rank(group) else DetectionMetrics.from_bytes(data)
            merged.merge_state(one._dealt(rank, world) if one._numbered and one._world == 1 else one)
        merged._give = self._give or merged._give
        return merged

    def to_bytes(self) -> bytes:
        """The state with its parameters: a version, a hash of the parameters, a checksum. The same for equal states."""
        settings = {
            "box_format": self._box_format, "class_metrics": self._class_metrics, "on_duplicate": self._on_duplicate,
            "rank": self._rank, "world": self._world, "numbered": self._numbered,
        }  # fmt: skip
        return state.encode(self._parameters, settings, self._joined())

    @classmethod
    def from_bytes(cls, data: bytes, *, backend: str | None = None) -> DetectionMetrics:
        """The object that `to_bytes` was called on. Gives NumPy until it is updated with tensors.

        Raises
        ------
        TypeError   data is not bytes
        ValueError  another version; damaged, truncated or other bytes
        """
        parameters, settings, chunk = state.decode(data)
        try:
            numbered = settings.pop("numbered")
            one = cls(**_arguments(parameters), **settings, backend=backend)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{NAME}.from_bytes: data must be a state from to_bytes, got {error}") from None
        one._whole = chunk
        one._seen, one._numbered = set(chunk.images.tolist()), numbered
        one._next = max(one._seen, default=-1) // one._world + 1
        return one

    @property
    def records(self) -> tuple[Records, Ints, Ints]:
        """What is kept: `Records` (groups by class, then image id), the first group of each class (K + 1,), classes."""
        one = self._joined()
        return (*state.to_records(one), one.classes)

    @property
    def image_ids(self) -> Ints:
        """(I,) the ids of all images so far, rising."""
        return self._joined().images.copy()

    @property
    def nbytes(self) -> int:
        """Bytes of the records and image ids that are kept."""
        return self._joined().nbytes

    def __len__(self) -> int:
        return len(self._seen)

    def __repr__(self) -> str:
        return f"{NAME}({len(self)} images)"

    # Images in

    def _new_ids(self, op: str, image_ids: Any, count: int) -> tuple[list[int], list[int]]:
        """The positions in the batch that are new, and the ids of all."""
        if self._numbered is not None and self._numbered != (image_ids is None):
            raise ValueError(f"{op}: image_ids must be given always or never")
        if image_ids is None:
            return list(range(count)), [(self._next + i) * self._world + self._rank for i in range(count)]
        listed = image_ids.tolist() if hasattr(image_ids, "tolist") else image_ids
        if not isinstance(listed, Iterable) or isinstance(listed, (str, bytes)):
            raise TypeError(f"{op}: image_ids must be a sequence of integers, got {check.describe(image_ids)}")
        ids = [given.integer(op, i) for i in listed]
        if len(ids) != count:
            raise ValueError(f"{op}: image_ids must be one for each image, got {len(ids)} for {count}")
        keep, batch = [], set()
        for position, i in enumerate(ids):
            if i in self._seen or i in batch:
                self._refuse(op, i, False)
            else:
                keep.append(position)
                batch.add(i)
        return keep, ids

    def _refuse(self, op: str, image: int, numbered: bool) -> None:
        """Images of one number that two processes gave are not the same: no option leaves one out."""
        if numbered or self._on_duplicate == "raise":
            hint = 'on_duplicate="first" leaves the later one out'
            if numbered:
                hint = "give rank and world, or image_ids, to states that number images"
            raise ValueError(f"{op}: image ids must be seen once, got {image} twice; {hint}")

    def _remember(self, numbered: bool, ids: list[int]) -> None:
        if ids:
            self._seen.update(ids)
            self._numbered, self._next = numbered, max(self._next, max(ids) // self._world + 1)

    def _match(self) -> None:
        """What waits becomes a chunk."""
        if not self._pending:
            return
        ids, images = zip(*self._pending, strict=True)
        boxes, scores, labels, true_boxes, true_labels, flags, areas = (
            np.concatenate(column) for column in zip(*images, strict=True)
        )
        of_detection = np.repeat(np.arange(len(ids)), [len(image[1]) for image in images])
        of_truth = np.repeat(np.arange(len(ids)), [len(image[4]) for image in images])
        none = labels[:0]
        chunk = state.match(
            self._parameters,
            np.array(ids, np.int64),
            Columns(of_detection, labels, boxes, self._area(boxes), scores.astype(np.float64), flags[:0], none),
            Columns(of_truth, true_labels, true_boxes, np.where(areas > 0, areas, self._area(true_boxes)), _NONE, flags,
                    none),
            self._backend,
        )  # fmt: skip
        self._chunks.append(chunk)
        self._pending, self._waiting = [], 0

    def _area(self, boxes: Floats) -> Floats:
        offset = float(self._parameters.inclusive)
        with np.errstate(over="ignore"):
            return (boxes[:, 2] + offset) * (boxes[:, 3] + offset)

    def _joined(self) -> Chunk:
        """All records as one chunk, which replaces what it was joined from."""
        self._match()
        if self._chunks or self._whole is None:
            whole = [] if self._whole is None else [self._whole]
            self._whole, self._chunks = state.join(self._parameters, whole + self._chunks), []
        return self._whole

    def _like(self) -> DetectionMetrics:
        """An empty one of the same parameters."""
        return DetectionMetrics(
            **_arguments(self._parameters), box_format=self._box_format, class_metrics=self._class_metrics,
            on_duplicate=self._on_duplicate, backend=self._backend,
        )  # fmt: skip

    def _dealt(self, rank: int, world: int) -> DetectionMetrics:
        """Its copy with image i as number i * world + rank."""
        one, chunk = self._like(), self._joined()
        one._whole = chunk._replace(images=chunk.images * world + rank)
        one._seen, one._numbered = set(one._whole.images.tolist()), True
        return one

    # Results out

    def _curves(self, one: Chunk) -> tuple[Floats, Floats, Floats]:
        if self._accumulated is not None and self._accumulated[0] is one:
            return self._accumulated[1]
        records, of_class = state.to_records(one)
        p = self._parameters
        kernel = backends.choose("accumulate", self._backend, accumulate_reference)
        result: tuple[Floats, Floats, Floats] = kernel(
            records.scores, records.outcomes, records.start, records.counted, of_class, len(p.iou_thresholds),
            np.array(p.rec_thresholds), np.array(p.max_detections, np.int64),
        )  # fmt: skip
        if one is self._whole:  # asked for more than once: by compute, curves, average_precision and plots
            for x in result:
                x.flags.writeable = False
            self._accumulated = one, result
        return result

    def _measures(self, one: Chunk) -> tuple[Floats, Floats]:
        """Precision (T, R, K, A, M), or average precision (T, 1, K, A, 1), and recall (T, K, A, M)."""
        precision, recall, _ = self._curves(one)
        return (self._areas_below(one)[:, None] if self._parameters.method == "area" else precision), recall

    def _summary(self, classes: Ints, precision: Floats, recall: Floats) -> dict[str, Any]:
        p = self._parameters
        results: dict[str, Any] = {"map": _mean(precision[..., 0, -1])}
        for name, wanted in (("map_50", 0.5), ("map_75", 0.75)):
            at = np.flatnonzero(np.isclose(p.iou_thresholds, wanted, rtol=0, atol=1e-9))
            results[name] = _mean(precision[at[:1], ..., 0, -1])
        for a, (name, _, _) in enumerate(p.areas[1:], 1):
            results[f"map_{name}"] = _mean(precision[..., a, -1])
        for m, most in enumerate(p.max_detections):
            results[f"mar_{state.word(most)}"] = _mean(recall[..., 0, m])
        for a, (name, _, _) in enumerate(p.areas[1:], 1):
            results[f"mar_{name}"] = _mean(recall[..., a, -1])
        if self._class_metrics:
            each = range(len(classes))
            results["map_per_class"] = np.array([_mean(precision[:, :, k, 0, -1]) for k in each])
            results[f"mar_{state.word(p.max_detections[-1])}_per_class"] = np.array(
                [_mean(recall[:, k, 0, -1]) for k in each]
            )
        results["classes"] = classes
        return results

    def _areas_below(self, one: Chunk) -> Floats:
        """(T, K, A, 1) the exact area below each interpolated curve, with the greatest number of detections."""
        records, of_class = state.to_records(one)
        T, A = len(self._parameters.iou_thresholds), len(self._parameters.areas)
        result = np.full((T, len(one.classes), A, 1), -1.0)
        for k in range(len(one.classes)):
            _, outcome, total = ranked(records, of_class, k, T)
            result[:, k, :, 0] = np.where(total > 0, area_below(outcome, total), -1)
        return result

    def _class_curves(self, records: Records, of_class: Ints, k: int) -> list[PRCurve]:
        """One for each threshold; none without a true box."""
        scores, outcome, total = ranked(records, of_class, k, len(self._parameters.iou_thresholds))
        return [curve(scores, outcome[:, t, 0], int(total[0])) for t in range(outcome.shape[1]) if total[0]]

    def _bootstrap(self, one: Chunk, level: float, resamples: int, seed: int) -> dict[str, Any]:
        if not resamples:
            raise ValueError(f"{NAME}.compute: resamples must be above 0, got 0")
        generator, count, drawn = np.random.default_rng(seed), len(one.images), []
        for _ in range(resamples if count else 0):
            times = np.bincount(generator.integers(0, count, count), minlength=count)
            sample = state.groups(one, np.repeat(np.arange(len(one.image)), times[one.image]))
            results = self._summary(sample.classes, *self._measures(sample))
            drawn.append({k: v for k, v in results.items() if isinstance(v, float)})
        out = {}
        for key, value in self._summary(one.classes, *self._measures(one)).items():
            if isinstance(value, float):
                values = np.array([d[key] for d in drawn if d[key] > -1])
                ends = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]) if len(values) else np.full(2, -1.0)
                out[f"{key}_ci"] = ends
        return out


def _mean(x: Floats) -> float:
    known = x[x > -1]
    return float(np.mean(known)) if known.size else -1.0


def _no_reference(*_: Any) -> None:
    raise NotImplementedError


def _arguments(p: Parameters) -> dict[str, Any]:
    """Those of `DetectionMetrics` that give these parameters."""
    arguments = asdict(p)
    arguments["areas"] = {name: (least, most) for name, least, most in p.areas}
    arguments["max_detections"] = [None if most == UNLIMITED else most for most in p.max_detections]
    return arguments


def _cpu_group(dist: Any) -> Any:
    """A gloo group of all processes, made once."""
    default = dist.group.WORLD
    if default not in _CPU_GROUPS:
        _CPU_GROUPS[default] = dist.new_group(backend="gloo")
    return _CPU_GROUPS[default]


_CPU_GROUPS: dict[Any, Any] = {}
