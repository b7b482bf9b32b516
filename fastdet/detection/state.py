"""What `DetectionMetrics` keeps of images: compact records, how they are joined, and how they travel as bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import check
from fastdet._core.check import Array
from fastdet.detection.records import IGNORED, PACKED, Bytes, Columns, Ints, Records, Rows, Rule, match_rows, unpack

MAGIC, VERSION = b"fastdet\n", 1
DTYPES = ("|u1", "<u2", "<u4", "<u8", "<i8", "<f4", "<f8")  # of what travels
UNLIMITED = check.MAX_COUNT


def word(most: int) -> str:
    """A number of detections in the keys of results."""
    return "all" if most == UNLIMITED else str(most)


_HEAD, _DIGEST = 8 + 4 + 8, 16  # magic, version, length of the JSON; then the digest of all that follows it


@dataclass(frozen=True)
class Parameters:
    """Everything the records and the results depend on."""

    iou_thresholds: tuple[float, ...]
    rec_thresholds: tuple[float, ...]
    max_detections: tuple[int, ...]
    areas: tuple[tuple[str, float, float], ...]
    rule: str
    method: str
    inclusive: bool
    confusion_at: tuple[float, float] | None

    @property
    def matching(self) -> Rule:
        most = max(self.max_detections)
        return Rule(
            np.array(self.iou_thresholds), np.array([area[1:] for area in self.areas]),
            -1 if most == UNLIMITED else most, float(self.inclusive), self.rule == "voc",
        )  # fmt: skip

    @property
    def outcomes(self) -> int:
        return len(self.iou_thresholds) * len(self.areas)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def hash(self) -> str:
        return hashlib.blake2b(self.to_json().encode(), digest_size=_DIGEST).hexdigest()

    def require(self, op: str, other: Parameters) -> None:
        """Raise ValueError that names the first parameter that differs."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                raise ValueError(f"{op}: states must have equal parameters, got {field.name} {mine} and {theirs}")


class Chunk(NamedTuple):
    """Records of some images. Integers are in the smallest dtype that holds them, scores in float32 where exact."""

    images: Ints  # (I,) ids, also of images without a box
    classes: Ints  # (K,) labels of detections or true boxes, rising
    image: Array  # (G,) the position in images of each group, which is an image and class
    label: Array  # (G,) its position in classes
    size: Array  # (G,) its detections; they follow each other, by falling score
    counted: Array  # (G, A) its true boxes that are not ignored
    scores: Array  # (N,) float32 or float64
    outcomes: Bytes  # (N, ceil(T * A / 5))
    pairs: Array  # (P, 3) position in images, of the true and of the predicted class, K for background

    @property
    def start(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.size, dtype=np.int64)])

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in self)


def smallest(x: Array) -> Array:
    """Integers of 0 or more in the smallest dtype that holds them."""
    return x.astype(np.min_scalar_type(int(x.max())) if x.size else np.uint8)


def single(x: Array) -> Array:
    """float64 as float32 where that changes no value."""
    if x.dtype == np.float32:
        return x
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    return narrow if np.array_equal(narrow, x) else x


def ranges(start: Ints, size: Ints) -> Ints:
    """start[0], start[0] + 1, ... up to size[0] of them, then those of the next."""
    end = np.cumsum(size)
    return np.repeat(start - (end - size), size) + np.arange(end[-1] if len(end) else 0)


def empty(parameters: Parameters) -> Chunk:
    none, small = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    return Chunk(
        none, none, small, small, small, np.zeros((0, len(parameters.areas)), np.uint8), np.zeros(0, np.float32),
        np.zeros((0, -(-parameters.outcomes // PACKED)), np.uint8), np.zeros((0, 3), np.uint8),
    )  # fmt: skip


def match(parameters: Parameters, images: Ints, detections: Columns, truth: Columns, backend: str | None) -> Chunk:
    """Match images; `Columns.image` holds positions in ``images``."""
    n, count = len(detections.label), max(len(images), 1)
    classes, label = np.unique(np.concatenate([detections.label, truth.label]), return_inverse=True)
    label = label.reshape(-1).astype(np.int64)
    mine, theirs = label[:n], label[n:]
    records = match_rows(
        parameters.matching,
        Rows(mine * count + detections.image, detections.boxes, detections.areas, detections.scores, truth.flags[:0]),
        Rows(theirs * count + truth.image, truth.boxes, truth.areas, detections.scores[:0], truth.flags),
        backend=backend,
    )
    group, image = np.divmod(records.group, count)
    pairs = np.zeros((0, 3), np.int64)
    if parameters.confusion_at is not None:
        pairs = confused(parameters, detections, truth, mine, theirs, len(classes), backend)
    return Chunk(
        images, classes, smallest(image), smallest(group), smallest(np.diff(records.start)),
        smallest(records.counted), single(records.scores), records.outcomes, smallest(pairs),
    )  # fmt: skip


def confused(
    parameters: Parameters, detections: Columns, truth: Columns, mine: Ints, theirs: Ints, classes: int,
    backend: str | None,
) -> Ints:  # fmt: skip
    """`Chunk.pairs`: COCO's matching with the classes left out of it; what meets only ignored boxes is no error."""
    assert parameters.confusion_at is not None
    iou, least = parameters.confusion_at
    sure = np.flatnonzero(detections.scores >= least)
    rule = Rule(np.array([iou]), np.array([[-np.inf, np.inf]]), -1, float(parameters.inclusive))
    records = match_rows(
        rule,
        Rows(detections.image[sure], detections.boxes[sure], detections.areas[sure], detections.scores[sure],
             truth.flags[:0]),
        Rows(truth.image, truth.boxes, truth.areas, detections.scores[:0], truth.flags),
        matched=True, backend=backend,
    )  # fmt: skip
    assert records.matched is not None
    counts = unpack(records.outcomes, 1, 1).reshape(-1) != IGNORED
    row, found = sure[records.row[counts]], records.matched.reshape(-1)[counts]
    missed = truth.flags == 0
    missed[found[found >= 0]] = False
    of_found = np.append(theirs, classes)[found]  # -1: background
    return np.concatenate([
        np.stack([detections.image[row], of_found, mine[row]], axis=1),
        np.stack([truth.image, theirs, np.full(len(theirs), classes)], axis=1)[missed],
    ])  # fmt: skip


def join(parameters: Parameters, chunks: list[Chunk]) -> Chunk:
    """One chunk of them all, its images by id and its groups by class, then image: the same in whatever order."""
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
    one = Chunk(
        images[order], classes, np.concatenate(image), np.concatenate(label),
        np.concatenate([c.size for c in chunks]), np.concatenate([c.counted for c in chunks]),
        np.concatenate([c.scores for c in chunks]), np.concatenate([c.outcomes for c in chunks]),
        np.concatenate(pairs),
    )  # fmt: skip
    one = groups(one, np.lexsort((one.image, one.label)))
    return one._replace(
        image=smallest(one.image), label=smallest(one.label), size=smallest(one.size), counted=smallest(one.counted),
        scores=single(one.scores), pairs=smallest(one.pairs[np.lexsort(one.pairs.T[::-1])]),
    )  # fmt: skip


def groups(chunk: Chunk, order: Ints) -> Chunk:
    """The groups of that order, each as often as it is there."""
    size = chunk.size[order].astype(np.int64)
    rows = ranges(chunk.start[order], size)
    return chunk._replace(
        image=chunk.image[order], label=chunk.label[order], size=chunk.size[order], counted=chunk.counted[order],
        scores=chunk.scores[rows], outcomes=chunk.outcomes[rows],
    )  # fmt: skip


def without(chunk: Chunk, dropped: NDArray[np.bool_]) -> Chunk:
    """The chunk without some of its images; its classes stay."""
    place = np.cumsum(~dropped) - 1
    kept = groups(chunk, np.flatnonzero(~dropped[chunk.image]))
    pairs = chunk.pairs[~dropped[chunk.pairs[:, 0]]].astype(np.int64)
    pairs[:, 0] = place[pairs[:, 0]]
    return kept._replace(images=chunk.images[~dropped], image=smallest(place[kept.image]), pairs=smallest(pairs))


def of_classes(chunk: Chunk, wanted: NDArray[np.bool_]) -> Chunk:
    """Some of the classes of a joined chunk, and the images that have any of them."""
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


def encode(parameters: Parameters, settings: dict[str, Any], chunk: Chunk) -> bytes:
    arrays = {name: np.ascontiguousarray(x, x.dtype.newbyteorder("<")) for name, x in chunk._asdict().items()}
    header = json.dumps({
        "hash": parameters.hash(), "parameters": asdict(parameters), "settings": settings,
        "arrays": [[name, x.dtype.str, list(x.shape)] for name, x in arrays.items()],
    }).encode()  # fmt: skip
    body = b"".join([header, *(x.tobytes() for x in arrays.values())])
    digest = hashlib.blake2b(body, digest_size=_DIGEST).digest()
    return MAGIC + VERSION.to_bytes(4, "little") + len(header).to_bytes(8, "little") + digest + body


def decode(data: Any) -> tuple[Parameters, dict[str, Any], Chunk]:
    """What `encode` took. Every byte is under the digest; what a writer of other bytes can get wrong is looked at."""
    op = "DetectionMetrics.from_bytes"
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{op}: data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise ValueError(f"{op}: data must be a state from to_bytes, got {check.describe(data[:8])}")
    if len(data) < _HEAD + _DIGEST:
        raise ValueError(f"{op}: data must be a whole state, got {len(data)} bytes: truncated")
    version, length = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:20], "little")
    if version != VERSION:
        raise ValueError(f"{op}: data must have version {VERSION}, got {version}")
    body = data[_HEAD + _DIGEST :]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != data[_HEAD : _HEAD + _DIGEST]:
        raise ValueError(f"{op}: data must be a whole state, got damaged or truncated bytes")
    try:
        header = json.loads(body[:length])
        p = header["parameters"]
        parameters = Parameters(
            tuple(p["iou_thresholds"]), tuple(p["rec_thresholds"]), tuple(p["max_detections"]),
            tuple((str(name), float(least), float(most)) for name, least, most in p["areas"]),
            p["rule"], p["method"], p["inclusive"], p["confusion_at"] and tuple(p["confusion_at"]),
        )  # fmt: skip
        if header["hash"] != parameters.hash():
            raise ValueError("its hash is not that of its parameters")
        arrays, at = {}, length
        for name, dtype, shape in header["arrays"]:
            if dtype not in DTYPES or not all(type(x) is int and x >= 0 for x in shape):
                raise ValueError(f"{name} is {dtype} {shape}")
            kind = np.dtype(dtype)
            size = int(np.prod(shape, dtype=object)) * kind.itemsize
            if size > len(body) - at:
                raise ValueError(f"{name} is cut short")
            x = np.frombuffer(body, kind, size // kind.itemsize, at).reshape(shape)
            arrays[name] = x.astype(kind.newbyteorder("="))
            at += size
        chunk = Chunk(**arrays)
        if at != len(body):
            raise ValueError("it goes on after its arrays")
        _consistent(parameters, chunk)
        return parameters, dict(header["settings"]), chunk
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"{op}: data must be a state from to_bytes, got one that is wrong inside: {error}") from None


def _consistent(parameters: Parameters, c: Chunk) -> None:
    """Raise ValueError unless positions, sizes and codes are those of a joined chunk."""
    images, classes, n = len(c.images), len(c.classes), len(c.scores)
    shapes = {
        "images": (images,), "classes": (classes,), "image": (len(c.image),), "label": (len(c.image),),
        "size": (len(c.image),), "counted": (len(c.image), len(parameters.areas)), "scores": (n,),
        "outcomes": (n, -(-parameters.outcomes // PACKED)), "pairs": (len(c.pairs), 3),
    }  # fmt: skip
    for name, shape in shapes.items():
        x = getattr(c, name)
        kind = {"images": "i", "classes": "i", "scores": "f"}.get(name, "u")
        if x.shape != shape or x.dtype.kind != kind or (name in ("images", "classes") and x.itemsize != 8):
            raise ValueError(f"{name} is {x.dtype} {x.shape}")
    if c.scores.itemsize < 4 or c.outcomes.dtype != np.uint8:
        raise ValueError(f"scores are {c.scores.dtype}, outcomes {c.outcomes.dtype}")
    key = c.label.astype(np.int64) * max(images, 1) + c.image
    pairs = c.pairs.astype(np.int64)
    sound = {
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
    for name, good in sound.items():
        if not good:
            raise ValueError(f"its {name} do not fit")
