"""The state of `DetectionMetrics`: compact records of images, how they are joined, and the checks of a state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import check
from fastdet._core.check import Array
from fastdet.detection.federated import Federated, judged
from fastdet.detection.records import (  # fmt: skip
    FALSE,
    IGNORED,
    PACKED,
    Bytes,
    Columns,
    Ints,
    Records,
    Rows,
    Rule,
    match_rows,
    pack,
    unpack,
)

UNLIMITED = check.MAX_COUNT
NO_CLASSES = np.zeros(0, np.int64)


def limit_word(limit: int) -> str:
    """A limit of detections as it is in the keys of results: "100", or "all"."""
    return "all" if limit == UNLIMITED else str(limit)


@dataclass(frozen=True)
class Parameters:
    """All parameters that the records and the results depend on."""

    iou_thresholds: tuple[float, ...]
    rec_thresholds: tuple[float, ...]
    max_detections: tuple[int, ...]
    areas: tuple[tuple[str, float, float], ...]
    rule: str
    method: str
    inclusive: bool
    confusion_at: tuple[float, float] | None
    iou_types: tuple[str, ...] = ("bbox",)
    sigmas: tuple[float, ...] | None = None
    use_area: bool = True

    def matching(self, iou_type: str) -> Rule:
        """The options of matching."""
        limit = max(self.max_detections)
        return Rule(
            np.array(self.iou_thresholds), np.array([area[1:] for area in self.areas]),
            -1 if limit == UNLIMITED else limit, float(self.inclusive), self.rule == "voc", **self.overlaps(iou_type),
        )  # fmt: skip

    def overlaps(self, iou_type: str) -> dict[str, Any]:
        """The options of `Rule` that say what overlaps are of."""
        sigmas = None if self.sigmas is None else np.array(self.sigmas)
        return {"iou_type": iou_type, "sigmas": sigmas, "use_area": self.use_area}

    @property
    def outcomes(self) -> int:
        """The number of outcomes of a detection: joined for each kind of overlap, threshold and area."""
        return len(self.iou_types) * len(self.iou_thresholds) * len(self.areas)

    @property
    def counts(self) -> int:
        """The number of counts of true boxes of a group: for each kind of overlap and area."""
        return len(self.iou_types) * len(self.areas)

    def to_json(self) -> dict[str, Any]:
        """The fields, as values that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Parameters:
        """The parameters from the fields of `to_json`. KeyError, TypeError or ValueError for other fields."""
        return Parameters(
            tuple(fields["iou_thresholds"]), tuple(fields["rec_thresholds"]), tuple(fields["max_detections"]),
            tuple((str(name), float(low), float(high)) for name, low, high in fields["areas"]),
            fields["rule"], fields["method"], fields["inclusive"],
            fields["confusion_at"] and tuple(fields["confusion_at"]), tuple(fields["iou_types"]),
            fields["sigmas"] and tuple(fields["sigmas"]), fields["use_area"],
        )  # fmt: skip

    def arguments(self) -> dict[str, Any]:
        """The arguments of `DetectionMetrics` that make these parameters."""
        arguments = asdict(self)
        arguments["areas"] = {name: (low, high) for name, low, high in self.areas}
        arguments["iou_type"] = arguments.pop("iou_types")
        arguments["max_detections"] = [None if limit == UNLIMITED else limit for limit in self.max_detections]
        return arguments


class Chunk(NamedTuple):
    """Records of images. Integers are in the smallest dtype that holds them, scores in float32 where that is exact."""

    images: Ints  # (I,) ids, images without boxes included
    classes: Ints  # (K,) labels of detections and true boxes, rising
    image: Array  # (G,) each group's position in images; a group is an image and a class
    label: Array  # (G,) each group's position in classes
    size: Array  # (G,) each group's number of detections; they are neighbours, by falling score
    counted: Array  # (G, S * A) each group's number of true boxes that are not ignored, for S kinds of overlap
    scores: Array  # (N,) float32 or float64
    outcomes: Bytes  # (N, ceil(S * T * A / 5))
    pairs: Array  # (P, 3) position in images, true class, predicted class (positions in classes; K: background)

    @property
    def start(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.size, dtype=np.int64)])

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in self)


class Log:
    """Ids of images, and images that wait to be matched. It grows in place, so that an update costs what it adds.

    Each `Counted` says how many entries are its own. Entries beyond them are from a call that did not end: they count
    as absent, and the next call removes them.
    """

    def __init__(self, entries: Iterable[Any] = ()) -> None:
        self.entries = list(entries)
        self._place: dict[Any, int] | None = None

    def has(self, entry: Any, count: int) -> bool:
        """Whether an entry is among the first ``count``."""
        if self._place is None:
            self._place = {x: i for i, x in enumerate(self.entries)}
        return self._place.get(entry, count) < count

    def grow(self, count: int, new: Sequence[Any]) -> int:
        """Put entries after the first ``count``, instead of what is there. Returns the new count."""
        if self._place is not None:
            for entry in self.entries[count:]:
                self._place.pop(entry, None)
        del self.entries[count:]
        self.entries.extend(new)  # before the places: what is in them is here, and can be removed
        if self._place is not None:
            self._place.update(zip(new, range(count, count + len(new)), strict=True))
        return count + len(new)


class Counted(NamedTuple):
    """What a `DetectionMetrics` has counted. It is replaced whole: an interrupt leaves the old one or the new one."""

    ids: Log  # of all images
    pending: Log  # images that are not matched yet: (id, image)
    whole: Chunk | None = None  # records of images, joined
    chunks: tuple[Chunk, ...] = ()  # records of other images, not yet joined
    waits: int = 0  # the number of them
    waiting: int = 0  # the number of their rows
    images: int = 0  # the number of all images
    next: int = 0  # the number of the next image without an id
    numbered: bool | None = None  # whether images come without ids; None before the first
    give: Callable[[Array], Any] | None = None  # converts results if `update` got tensors
    synced: bool = False


def counted(chunk: Chunk | None, ids: Sequence[int], world: int, numbered: bool | None) -> Counted:
    """The state of images that are matched, as one chunk."""
    after = max(ids, default=-1) // world + 1
    return Counted(Log(ids), Log(), chunk, images=len(ids), next=after, numbered=numbered)


def smallest(x: Array) -> Array:
    """Integers from 0 up, in the smallest dtype that holds them."""
    return x.astype(np.min_scalar_type(int(x.max())) if x.size else np.uint8)


def single(x: Array) -> Array:
    """float64 as float32, if that changes no value."""
    if x.dtype == np.float32:
        return x
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    return narrow if np.array_equal(narrow, x) else x


def min_kept_score(score: float) -> float:
    """The least score that is kept if scores of at least ``score`` are.

    A float32 score equals the number that it was rounded from: 0.7 in float32 is 0.69999999, and is kept at 0.7.
    """
    with np.errstate(over="ignore"):
        return min(score, float(np.float32(score)))


def ranges(start: Ints, size: Ints) -> Ints:
    """start[0], start[0] + 1, ... (size[0] numbers), then size[1] numbers from start[1] on, and so on."""
    end = np.cumsum(size)
    return np.repeat(start - (end - size), size) + np.arange(end[-1] if len(end) else 0)


def empty(parameters: Parameters) -> Chunk:
    none, small = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    return Chunk(
        none, none, small, small, small, np.zeros((0, parameters.counts), np.uint8), np.zeros(0, np.float32),
        np.zeros((0, -(-parameters.outcomes // PACKED)), np.uint8), np.zeros((0, 3), np.uint8),
    )  # fmt: skip


def match(
    parameters: Parameters, images: Ints, of_types: Sequence[tuple[Columns, Columns]], backend: str | None,
    federated: Federated | None = None,
) -> Chunk:  # fmt: skip
    """Match images; `Columns.image` holds positions in ``images``.

    ``of_types``: detections and true boxes for each kind of overlap; they differ in areas alone.
    """
    if federated is not None:
        with_area = np.flatnonzero(of_types[0][1].areas > 0)
        of_types = [(detections, truth.rows(with_area)) for detections, truth in of_types]
        kept = judged(federated, *of_types[0], max(parameters.max_detections))
        of_types = [(detections.rows(kept), truth) for detections, truth in of_types]
    detections, truth = of_types[0]
    n, count = len(detections.label), max(len(images), 1)
    classes, label = np.unique(np.concatenate([detections.label, truth.label]), return_inverse=True)
    label = label.reshape(-1).astype(np.int64)
    labels, true_labels = label[:n], label[n:]
    groups = labels * count + detections.image, true_labels * count + truth.image
    every = [
        match_rows(parameters.matching(kind), Rows.of(groups[0], d), Rows.of(groups[1], g), backend=backend)
        for kind, (d, g) in zip(parameters.iou_types, of_types, strict=True)
    ]
    records = joined_types(parameters, every)
    group, image = np.divmod(records.group, count)
    if federated is not None:
        open_groups = federated.are_open(image, classes[group])
        records = records._replace(outcomes=without_misses(parameters, records, open_groups))
    pairs = np.zeros((0, 3), np.int64)
    if parameters.confusion_at is not None:
        pairs = confused(parameters, detections, truth, labels, true_labels, len(classes), backend)
    return Chunk(
        images, classes, smallest(image), smallest(group), smallest(np.diff(records.start)),
        smallest(records.counted), single(records.scores), records.outcomes, smallest(pairs),
    )  # fmt: skip


def joined_types(parameters: Parameters, every: Sequence[Records]) -> Records:
    """One `Records` of several kinds of overlap, which have the same detections in the same order."""
    if len(every) == 1:
        return every[0]
    T, A = len(parameters.iou_thresholds), len(parameters.areas)
    outcomes = np.stack([unpack(records.outcomes, T, A) for records in every], axis=1)
    return every[0]._replace(counted=np.concatenate([r.counted for r in every], axis=1), outcomes=pack(outcomes))


def of_type(parameters: Parameters, chunk: Chunk, i: int) -> Chunk:
    """The records of one kind of overlap alone."""
    S, A = len(parameters.iou_types), len(parameters.areas)
    if S == 1:
        return chunk
    cells = parameters.outcomes // S
    outcomes = unpack(chunk.outcomes, S, cells)[:, i]
    return chunk._replace(counted=chunk.counted[:, i * A : (i + 1) * A], outcomes=pack(outcomes))


def without_misses(parameters: Parameters, records: Records, ignored: NDArray[np.bool_]) -> Bytes:
    """Outcomes where the false positives of the groups ``ignored`` are ignored."""
    rows = np.repeat(ignored, np.diff(records.start))
    outcomes = records.outcomes.copy()
    found = unpack(outcomes[rows], parameters.outcomes, 1)
    outcomes[rows] = pack(np.where(found == FALSE, np.uint8(IGNORED), found))
    return outcomes


def confused(
    parameters: Parameters, detections: Columns, truth: Columns, labels: Ints, true_labels: Ints, classes: int,
    backend: str | None,
) -> Ints:  # fmt: skip
    """`Chunk.pairs`: match by COCO's rule and the first kind of overlap, without regard to class.

    Matches with ignored boxes are left out.
    """
    assert parameters.confusion_at is not None
    iou, min_score = parameters.confusion_at
    above = np.flatnonzero(detections.scores >= min_kept_score(min_score))
    kind = parameters.overlaps(parameters.iou_types[0])
    rule = Rule(np.array([iou]), np.array([[-np.inf, np.inf]]), -1, float(parameters.inclusive), **kind)
    detected, true = Rows.of(detections.image, detections, above), Rows.of(truth.image, truth)
    records = match_rows(rule, detected, true, matched=True, backend=backend)
    assert records.matched is not None
    counts = unpack(records.outcomes, 1, 1).reshape(-1) != IGNORED
    row, true_row = above[records.row[counts]], records.matched.reshape(-1)[counts]
    missed = truth.flags == 0
    missed[true_row[true_row >= 0]] = False
    true_class = np.append(true_labels, classes)[true_row]  # -1: background
    return np.concatenate([
        np.stack([detections.image[row], true_class, labels[row]], axis=1),
        np.stack([truth.image, true_labels, np.full(len(true_labels), classes)], axis=1)[missed],
    ])  # fmt: skip


def join(parameters: Parameters, chunks: list[Chunk]) -> Chunk:
    """One chunk of all chunks: images by id, groups by class, then image. The order of ``chunks`` does not matter."""
    chunks = [empty(parameters), *chunks]
    images = np.concatenate([c.images for c in chunks])
    order = np.argsort(images, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    classes = np.unique(np.concatenate([c.classes for c in chunks]))
    image, label, pairs, first = [], [], [], 0
    for c in chunks:
        position = place[first : first + len(c.images)]
        where = np.append(np.searchsorted(classes, c.classes), len(classes))
        first += len(c.images)
        image.append(position[c.image])
        label.append(where[c.label])
        pairs.append(np.stack([position[c.pairs[:, 0]], where[c.pairs[:, 1]], where[c.pairs[:, 2]]], axis=1))
    joined = Chunk(
        images[order], classes, np.concatenate(image), np.concatenate(label),
        np.concatenate([c.size for c in chunks]), np.concatenate([c.counted for c in chunks]),
        np.concatenate([c.scores for c in chunks]), np.concatenate([c.outcomes for c in chunks]),
        np.concatenate(pairs),
    )  # fmt: skip
    joined = groups(joined, np.lexsort((joined.image, joined.label)))
    return joined._replace(
        image=smallest(joined.image), label=smallest(joined.label), size=smallest(joined.size),
        counted=smallest(joined.counted), scores=single(joined.scores),
        pairs=smallest(joined.pairs[np.lexsort(joined.pairs.T[::-1])]),
    )  # fmt: skip


def groups(chunk: Chunk, order: Ints) -> Chunk:
    """The groups ``order`` of a chunk; a group may occur any number of times."""
    size = chunk.size[order].astype(np.int64)
    rows = ranges(chunk.start[order], size)
    return chunk._replace(
        image=chunk.image[order], label=chunk.label[order], size=chunk.size[order], counted=chunk.counted[order],
        scores=chunk.scores[rows], outcomes=chunk.outcomes[rows],
    )  # fmt: skip


def without(chunk: Chunk, dropped: NDArray[np.bool_]) -> Chunk:
    """The chunk without its images ``dropped``; its classes stay."""
    place = np.cumsum(~dropped) - 1
    kept = groups(chunk, np.flatnonzero(~dropped[chunk.image]))
    pairs = chunk.pairs[~dropped[chunk.pairs[:, 0]]].astype(np.int64)
    pairs[:, 0] = place[pairs[:, 0]]
    return kept._replace(images=chunk.images[~dropped], image=smallest(place[kept.image]), pairs=smallest(pairs))


def of_classes(chunk: Chunk, wanted: NDArray[np.bool_]) -> Chunk:
    """The classes ``wanted`` of a joined chunk, and the images that have any of them."""
    kept = groups(chunk, np.flatnonzero(wanted[chunk.label]))
    used, place = np.unique(kept.image, return_inverse=True)
    label = (np.cumsum(wanted) - 1)[kept.label]
    return kept._replace(
        images=chunk.images[used], classes=chunk.classes[wanted], image=smallest(place.reshape(-1)),
        label=smallest(label), pairs=chunk.pairs[:0],
    )  # fmt: skip


def to_records(chunk: Chunk) -> tuple[Records, Ints]:
    """A joined chunk as `Records`, and the first group of each class."""
    label = chunk.label.astype(np.int64)
    of_class = np.searchsorted(label, np.arange(len(chunk.classes) + 1)).astype(np.int64)
    records = Records(
        label * max(len(chunk.images), 1) + chunk.image, chunk.start, chunk.counted.astype(np.int64),
        chunk.scores.astype(np.float64), chunk.outcomes, np.arange(len(chunk.scores)), None,
    )  # fmt: skip
    return records, of_class


def require_consistent(parameters: Parameters, c: Chunk) -> None:
    """Raise ValueError unless positions, sizes and codes are those of a joined chunk."""
    images, classes, n = len(c.images), len(c.classes), len(c.scores)
    shapes = {
        "images": (images,), "classes": (classes,), "image": (len(c.image),), "label": (len(c.image),),
        "size": (len(c.image),), "counted": (len(c.image), parameters.counts), "scores": (n,),
        "outcomes": (n, -(-parameters.outcomes // PACKED)), "pairs": (len(c.pairs), 3),
    }  # fmt: skip
    for name, shape in shapes.items():
        x = getattr(c, name)
        kind = {"images": "i", "classes": "i", "scores": "f"}.get(name, "u")
        if x.shape != shape or x.dtype.kind != kind or (name in ("images", "classes") and x.itemsize != 8):
            raise ValueError(f"array {name} must have shape {shape}, got {x.dtype} {x.shape}")
    if c.scores.itemsize < 4 or c.outcomes.dtype != np.uint8:
        raise ValueError(
            f"scores must be float32 or float64 and outcomes uint8, got {c.scores.dtype} and {c.outcomes.dtype}"
        )
    key = c.label.astype(np.int64) * max(images, 1) + c.image
    pairs = c.pairs.astype(np.int64)
    checks = {
        "images": (np.diff(c.images) > 0).all(),
        "classes": (np.diff(c.classes) > 0).all(),
        "image": (c.image < images).all(),
        "label": (c.label < classes).all() and (np.diff(key) > 0).all(),
        "size": float(c.size.sum(dtype=np.float64)) == n,
        "counted": (c.counted < 2**40).all(),
        "scores": np.isfinite(c.scores).all(),
        "outcomes": (c.outcomes < 3**PACKED).all()
        and (c.outcomes[:, -1:] < 3 ** ((parameters.outcomes - 1) % PACKED + 1)).all(),
        "pairs": (pairs < [images, classes + 1, classes + 1]).all() and (pairs >= 0).all(),
    }
    for name, valid in checks.items():
        if not valid:
            raise ValueError(f"array {name} is inconsistent with the others")
