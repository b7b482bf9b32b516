"""What every metric object shares: merging, bytes, processes, `repr`, the bootstrap, and the mean of known values.

`Metric` is the base of `fastdet.segmentation.SegmentationMetrics` and `fastdet.detection.DetectionMetrics`. An area
defines how images are counted and which figures come out; this file defines everything that must mean the same in
all areas.

The bytes of a state, little-endian: magic (8), version (uint32), length of the JSON (uint64), the JSON (name of the
metric, parameters, settings, and the name, dtype and shape of each array), the arrays, SHA-256 of all before it.
"""

from __future__ import annotations

import abc
import hashlib
import json
import math
import struct
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array

if TYPE_CHECKING:
    from typing_extensions import Self

MAGIC, VERSION = b"fastdet\n", 1
RESAMPLES = 1000  # of a bootstrap, unless the caller says otherwise
HEADER = struct.Struct("<8sIQ")
_DIGEST = hashlib.sha256().digest_size
_DTYPES = ("|u1", "<u2", "<u4", "<u8", "<i8", "<f4", "<f8")  # of arrays in a state
_CHUNK = 1 << 21  # counts of resampled images that exist at a time
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


class Metric(abc.ABC):
    """The base of metric objects. States that are equal have equal bytes."""

    _name: ClassVar[str]  # the public name of the class, in errors and in bytes
    _absent: ClassVar[float]  # the value of a figure that nothing was counted for
    backend: str | None
    _synced: bool

    # What an area defines

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget all images."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many images were counted."""

    @abc.abstractmethod
    def _shared(self) -> dict[str, Any]:
        """The parameters that two states must have in common, as values that JSON can hold."""

    @abc.abstractmethod
    def _settings(self) -> dict[str, Any]:
        """What else the bytes carry, as values that JSON can hold."""

    @abc.abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """The counts."""

    @classmethod
    @abc.abstractmethod
    def _restored(
        cls, parameters: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Array], backend: str | None
    ) -> Self:
        """The object of `_shared`, `_settings` and `_arrays`. One of `_MALFORMED` where they do not fit."""

    @abc.abstractmethod
    def _empty(self) -> Self:
        """One of the same parameters without images."""

    @abc.abstractmethod
    def _merge(self, op: str, others: list[Self]) -> None:
        """Add the images of others, whose parameters are equal. Nothing is added where an error is raised."""

    def _of_rank(self, rank: int, world: int) -> Self:
        """The state as one of several processes has it."""
        return self

    def _local(self) -> dict[str, Any]:
        """Attributes that a copy and a pickle keep, and bytes do not."""
        return {"_synced": self._synced}

    @abc.abstractmethod
    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        """For `repr`: parameters, and how much was counted."""

    # What is the same in all

    def __repr__(self) -> str:
        parameters, counted = self._facts()
        words = ", ".join(f"{name}={value}" for name, value in parameters.items())
        return f"<{type(self).__name__}({words}): {', '.join([plural(len(self), 'image'), *counted])}>"

    def merge_state(self, other: Self | Iterable[Self]) -> Self:
        """Add the images of another object, or of several, to this one. The others stay as they are.

        ``a += b`` is the same; ``a + b`` and ``sum(several)`` make a new object.

        Parameters
        ----------
        other : an object of the same class and parameters, or an iterable of them

        Returns
        -------
        this object

        Raises
        ------
        TypeError   other is something else
        ValueError  other parameters, which the text names. Nothing is added then
        """
        op = f"{self._name}.merge_state"
        single = isinstance(other, Metric) or not isinstance(other, Iterable)
        others: list[Any] = [other] if single else list(other)  # type: ignore[arg-type]
        mine = self._shared()
        for one in others:
            if not isinstance(one, Metric) or one._name != self._name:
                got = type(one).__name__
                raise TypeError(f"{op}: other must be a {self._name}, or an iterable of them, got {got}")
            theirs = one._shared()
            for name, value in mine.items():
                if theirs[name] != value:
                    want, got = check.describe(value), check.describe(theirs[name])
                    raise ValueError(f"{op}: other must have {name} {want}, got {got}")
        self._merge(op, others)
        self._synced = self._synced or any(one._synced for one in others)
        return self

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, Metric):
            return NotImplemented
        return self._empty().merge_state([self, other])

    def __radd__(self, other: Any) -> Self:
        """``sum(several)`` starts from 0."""
        if type(other) is not int or other:
            return NotImplemented
        return self._empty().merge_state([self])

    def __iadd__(self, other: Self) -> Self:
        if not isinstance(other, Metric):
            return NotImplemented
        return self.merge_state(other)

    def to_bytes(self) -> bytes:
        """The parameters and the counts, for `from_bytes`: versioned, little-endian, with a SHA-256 of all of it.

        Equal states have equal bytes.
        """
        return encode(self._name, self._shared(), self._settings(), self._arrays())

    @classmethod
    def from_bytes(cls, data: bytes, *, backend: str | None = None) -> Self:
        """The object that `to_bytes` was called on.

        Raises
        ------
        TypeError   data is not bytes
        ValueError  bytes of another version or metric; damaged, truncated or other bytes
        """
        op = f"{cls._name}.from_bytes"
        parameters, settings, arrays = decode(op, cls._name, data)
        try:
            return cls._restored(parameters, settings, arrays, backend)
        except _MALFORMED as error:
            raise ValueError(
                f"{op}: data must be a state from to_bytes, got one that is wrong inside: {error}"
            ) from None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpickled, (type(self), self.to_bytes(), self.backend, self._local())

    def sync(self, group: Any = None) -> Self:
        """Make this object hold the images of all processes of a torch.distributed group, on each of them.

        Every process of the group must call it. The states travel as bytes, and are merged in the order of the ranks.
        Sync once, when all images are in: a second sync would count each image once for every rank, and raises;
        `reset` starts anew.

        Parameters
        ----------
        group : a process group; None for all processes, by their CPU (gloo) where the default group is on GPUs

        Returns
        -------
        this object

        Raises
        ------
        RuntimeError  torch.distributed is not initialised, this process is not in the group, or a rank has synced
        ValueError    ranks of other parameters, or an image that two ranks have. Like the last one above it is raised
                      on every rank, and every state is as before
        """
        op = f"{self._name}.sync"
        torch: Any = sys.modules.get("torch")  # whoever has initialised it has imported it
        distributed = None if torch is None else torch.distributed
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            raise RuntimeError(f"{op}: torch.distributed must be initialised first (init_process_group), it is not")
        if distributed.get_rank(group) < 0:
            raise RuntimeError(f"{op}: this process must be in the group, it is not")
        if group is None and distributed.get_backend() != "gloo":
            group = _cpu_group(distributed)
        me = distributed.get_rank(group)
        ranks: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(ranks, (self._shared(), self._synced, self.to_bytes()), group=group)
        _require_alike(op, ranks)
        states = [
            (self if rank == me else type(self).from_bytes(data))._of_rank(rank, len(ranks))
            for rank, (_, _, data) in enumerate(ranks)
        ]
        merged = self._empty()
        merged._merge(op, states)
        self.reset()
        self._merge(op, [merged])
        self._synced = True
        return self

    def _warn_if_empty(self, op: str) -> None:
        if not len(self):
            text = f"no image was counted, so every figure is {self._absent:g}; call update(predictions, targets) first"
            warnings.warn(f"{op}: {text}", RuntimeWarning, stacklevel=3)


def _unpickled(cls: type[Metric], data: bytes, backend: str | None, local: dict[str, Any]) -> Metric:
    metric = cls.from_bytes(data, backend=backend)
    vars(metric).update(local)
    return metric


def _require_alike(op: str, ranks: list[Any]) -> None:
    """Raise, on every rank alike, where ranks have other parameters or one has synced."""
    for name, first in ranks[0][0].items():
        for rank, (parameters, _, _) in enumerate(ranks):
            value = parameters.get(name)
            if value != first:
                got = f"{check.describe(first)} on rank 0 and {check.describe(value)} on rank {rank}"
                raise ValueError(f"{op}: all ranks must have the same {name}, got {got}")
    for rank, (_, synced, _) in enumerate(ranks):
        if synced:
            raise RuntimeError(f"{op}: rank {rank} is the sum of all ranks already; reset it before it counts anew")


def _cpu_group(distributed: Any) -> Any:
    """A gloo group of all processes, made once."""
    default = distributed.group.WORLD
    if default not in _CPU_GROUPS:
        _CPU_GROUPS[default] = distributed.new_group(backend="gloo")
    return _CPU_GROUPS[default]


_CPU_GROUPS: dict[Any, Any] = {}


# Bytes


def encode(name: str, parameters: Mapping[str, Any], settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """A state as bytes."""
    little = {key: np.ascontiguousarray(x, x.dtype.newbyteorder("<")) for key, x in arrays.items()}
    words = json.dumps({
        "metric": name, "parameters": parameters, "settings": settings,
        "arrays": [[key, x.dtype.str, list(x.shape)] for key, x in little.items()],
    }).encode()  # fmt: skip
    parts = [HEADER.pack(MAGIC, VERSION, len(words)), words, *(x.tobytes() for x in little.values())]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.digest()])


def decode(op: str, name: str, data: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Array]]:
    """Parameters, settings and arrays that `encode` took. TypeError for no bytes, ValueError for other ones."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{op}: data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if not data or data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise ValueError(f"{op}: data must be a state from to_bytes, got {check.describe(data[:8])}")
    if len(data) < HEADER.size + _DIGEST:
        raise ValueError(f"{op}: data must be a whole state, got {len(data)} bytes: truncated")
    _, version, length = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"{op}: data must be of version {VERSION}, got {version}: of another fastdet, or damaged")
    if hashlib.sha256(memoryview(data)[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise ValueError(f"{op}: data must be a whole state, got damaged or truncated bytes")
    body = memoryview(data)[HEADER.size : -_DIGEST]
    try:
        header = json.loads(bytes(body[:length]))
        if header["metric"] != name:
            raise ValueError(f"it is of {check.describe(header['metric'])}")
        return dict(header["parameters"]), dict(header["settings"]), _unpacked(header["arrays"], body[length:])
    except _MALFORMED as error:
        raise ValueError(f"{op}: data must be a state of {name}, got one that is wrong inside: {error}") from None


def _unpacked(table: list[Any], body: memoryview) -> dict[str, Array]:
    """The arrays of the header's table, native-endian copies. ValueError where the bytes are too few or too many."""
    arrays: dict[str, Array] = {}
    at = 0
    for name, dtype, shape in table:
        if dtype not in _DTYPES or not all(type(x) is int and x >= 0 for x in shape):
            raise ValueError(f"{name} is {dtype} {shape}")
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if count * kind.itemsize > len(body) - at:
            raise ValueError(f"{name} is cut short")
        x = np.frombuffer(body, kind, count, at) if count else np.zeros(0, kind)
        arrays[name] = x.reshape(shape).astype(kind.newbyteorder("="))
        at += count * kind.itemsize
    if at != len(body):
        raise ValueError("it goes on after its arrays")
    return arrays


# Confidence intervals


class Bootstrap(NamedTuple):
    """A percentile bootstrap over images."""

    level: float  # in (0, 1)
    resamples: int
    seed: int


def bootstrap(op: str, ci: Any, resamples: Any, seed: Any) -> Bootstrap:
    """The checked options of `compute`."""
    level = check.number(op, "ci", ci)
    if not 0 < level < 1:
        raise ValueError(f"{op}: ci must be in (0, 1), got {level}")
    return Bootstrap(level, check.at_least_one(op, "resamples", resamples), check.count(op, "seed", seed))


def resample(images: int, options: Bootstrap, width: int = 1) -> Iterator[Array]:
    """How often each image is drawn, (n, images) int64 for some of the resamples at a time.

    ``width`` is how many numbers the caller holds for each resample. The draws do not depend on it.
    """
    random = np.random.default_rng(options.seed)
    step = max(1, _CHUNK // max(images, width, 1))
    for first in range(0, options.resamples, step):
        n = min(step, options.resamples - first)
        yield random.multinomial(images, np.full(images, 1 / images), size=n) if images else np.zeros((n, 0), np.int64)


def interval(values: Any, level: float, absent: float) -> Array:
    """(2, ...) lower and upper ends of percentile intervals of (resamples, ...) values.

    ``absent`` marks values that are not known, and is both ends where none is.
    """
    values = np.asarray(values, np.float64)
    known = is_known(values, absent)
    ends = np.full((2, *values.shape[1:]), absent, np.float64)
    some = known.any(0) if len(values) else np.zeros(values.shape[1:], np.bool_)
    if some.any():
        levels = (0.5 - level / 2, 0.5 + level / 2)
        ends[:, some] = np.nanquantile(np.where(known, values, np.nan)[:, some], levels, axis=0)
    return ends


# Means


def is_known(values: Array, absent: float) -> Array:
    """Where figures are not ``absent``: NaN, or -1."""
    return ~np.isnan(values) if math.isnan(absent) else values > absent


def known_mean(values: Array, absent: float) -> float:
    """The mean of all values that are known; ``absent`` where none is."""
    known = values[is_known(values, absent)]
    return float(known.mean()) if known.size else absent


def known_means(values: Array) -> Array:
    """The mean over the last axis of the values that are not NaN; NaN where none is."""
    return ratio(np.nansum(values, -1), is_known(values, np.nan).sum(-1))


def ratio(part: Any, whole: Any) -> Any:
    """float64 quotient; NaN for 0 of 0."""
    with np.errstate(all="ignore"):
        return np.true_divide(part, whole)


def plural(count: int, word: str, many: str | None = None) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {word if count == 1 else many or word + 's'}"
