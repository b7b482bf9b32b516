"""The base of metric objects: merging, bytes, processes, `repr`, the bootstrap, and the mean of known values.

`Metric` is the base of `fastdet.segmentation.SegmentationMetrics` and `fastdet.detection.DetectionMetrics`. A subclass
defines how images are counted and which figures are computed. This file defines everything that must mean the same in
all of them.

The bytes of a state, little-endian: magic (8), version (uint32), length of the JSON (uint64), the JSON (name of the
metric, parameters, settings, and the name, dtype and shape of each array), the arrays, SHA-256 of all bytes before it.
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
RESAMPLES = 1000  # the default number of resamples of a bootstrap
MAX_RESAMPLES = 1_000_000
GROUPS = 100  # parts of the images, each of which is left out once, for the jackknife
HEADER = struct.Struct("<8sIQ")
_DIGEST = hashlib.sha256().digest_size
_DTYPES = ("|u1", "<u2", "<u4", "<u8", "<i8", "<f4", "<f8")  # the dtypes that arrays in a state may have
_CHUNK = 1 << 21  # the maximum of resampled counts in memory at once
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


class Metric(abc.ABC):
    """The base of metric objects. Equal states have equal bytes."""

    _name: ClassVar[str]  # the public name of the class, in errors and in bytes
    _absent: ClassVar[float]  # the value of a figure without counts
    backend: str | None
    _state: Any  # a NamedTuple with the field `synced`. It is replaced by one assignment, never changed in place: an
    # interrupt or an error in a call leaves the old state or the new one

    @property
    def _synced(self) -> bool:
        """Whether the images are those of several processes."""
        return bool(self._state.synced)

    # What a subclass defines

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget all images."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of images that were counted."""

    @abc.abstractmethod
    def _shared(self) -> dict[str, Any]:
        """The parameters that two states must have in common, as values that JSON can hold."""

    @abc.abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Further values for the bytes, which JSON can hold. They may differ between states that are merged."""

    @abc.abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """The counts, by name."""

    @classmethod
    @abc.abstractmethod
    def _restored(
        cls, parameters: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Array], backend: str | None
    ) -> Self:
        """The object of `_shared`, `_settings` and `_arrays`. Raises one of `_MALFORMED` if they are inconsistent."""

    @abc.abstractmethod
    def _empty(self) -> Self:
        """A new object of the same parameters, without images."""

    @abc.abstractmethod
    def _merged(self, op: str, others: list[Self]) -> Any:
        """The state with the images of others, whose parameters are equal."""

    def _of_rank(self, rank: int, world: int) -> Self:
        """The state for a merge of ``world`` processes, of which this one is number ``rank``."""
        return self

    def _local(self) -> dict[str, Any]:
        """Fields of the state that copies and pickles keep and bytes do not."""
        return {"synced": self._synced}

    def _agreed(self, state: Any, ranks: list[dict[str, Any]]) -> Any:
        """The state of a merge of processes, with what must be equal on all of them, from the `_local` of each."""
        return state

    @abc.abstractmethod
    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        """For `repr`: the parameters, and what was counted besides images."""

    # What all subclasses share

    def __repr__(self) -> str:
        parameters, counted = self._facts()
        words = ", ".join(f"{name}={value}" for name, value in parameters.items())
        return f"<{type(self).__name__}({words}): {', '.join([plural(len(self), 'image'), *counted])}>"

    def merge_state(self, other: Self | Iterable[Self]) -> Self:
        """Add the images of another object, or of several, to this one. The others stay as they are.

        ``a += b`` does the same. ``a + b`` and ``sum(several)`` make a new object.

        Parameters
        ----------
        other : an object of the same class and parameters, or an iterable of them

        Returns
        -------
        this object

        Raises
        ------
        TypeError   other is of another type
        ValueError  the parameters differ; the text names which. Nothing is added then
        """
        op = f"{self._name}.merge_state"
        single = isinstance(other, Metric) or not isinstance(other, Iterable)
        others: list[Any] = [other] if single else list(other)  # type: ignore[arg-type]
        own_parameters = self._shared()
        for metric in others:
            if not isinstance(metric, Metric) or metric._name != self._name:
                got = type(metric).__name__
                raise TypeError(f"{op}: other must be a {self._name}, or an iterable of them, got {got}")
            parameters = metric._shared()
            for name, value in own_parameters.items():
                if parameters[name] != value:
                    want, got = check.describe(value), check.describe(parameters[name])
                    raise ValueError(f"{op}: other must have {name} {want}, got {got}")
        synced = self._synced or any(metric._synced for metric in others)
        self._state = self._merged(op, others)._replace(synced=synced)
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
        """The parameters and the counts as bytes, for `from_bytes`.

        Versioned, little-endian, with a SHA-256 of all of it. Equal states have equal bytes.
        """
        return encode(self._name, self._shared(), self._settings(), self._arrays())

    @classmethod
    def from_bytes(cls, data: bytes, *, backend: str | None = None) -> Self:
        """An object with the state that `to_bytes` returned.

        Raises
        ------
        TypeError   data is not bytes
        ValueError  bytes of another version or metric; bytes that are damaged, truncated or no state
        """
        op = f"{cls._name}.from_bytes"
        parameters, settings, arrays = decode(op, cls._name, data)
        try:
            return cls._restored(parameters, settings, arrays, backend)
        except _MALFORMED as error:
            raise ValueError(f"{op}: data must be a state from to_bytes, got an inconsistent one: {error}") from None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpickled, (type(self), self.to_bytes(), self.backend, self._local())

    def sync(self, group: Any = None) -> Self:
        """Make this object hold the images of all processes of a torch.distributed group, on each of them.

        Every process of the group must call it. The states are sent as bytes and merged in the order of the ranks.
        Results are of one kind on all ranks, also on one that counted nothing: tensors if any rank counted tensors.
        Sync once, after all images: a second sync would count each image once for every rank, so it raises. `reset`
        makes the object ready for new images.

        Parameters
        ----------
        group : a process group; None: all processes, through gloo (CPU) if the default group is on GPUs

        Returns
        -------
        this object

        Raises
        ------
        RuntimeError  torch.distributed is not initialised, this process is not in the group, or a rank has synced
        ValueError    parameters differ between ranks, or two ranks have the same image. Raised on every rank, as for a
                      rank that has synced; every state is then unchanged
        """
        op = f"{self._name}.sync"
        torch: Any = sys.modules.get("torch")  # not imported means not initialised
        distributed = None if torch is None else torch.distributed
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            raise RuntimeError(f"{op}: torch.distributed must be initialised first (init_process_group), it is not")
        if distributed.get_rank(group) < 0:
            raise RuntimeError(f"{op}: this process must be in the group, it is not")
        if group is None and distributed.get_backend() != "gloo":
            group = _cpu_group(distributed)
        me = distributed.get_rank(group)
        ranks: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(ranks, (self._shared(), self._local(), self.to_bytes()), group=group)
        _require_alike(op, ranks)
        states = [
            (self if rank == me else type(self).from_bytes(data))._of_rank(rank, len(ranks))
            for rank, (_, _, data) in enumerate(ranks)
        ]
        merged = self._empty()._merged(op, states)
        self._state = self._agreed(merged, [local for _, local, _ in ranks])._replace(synced=True)
        return self

    def _warn_if_empty(self, op: str) -> None:
        if not len(self):
            text = f"no image was counted, so every figure is {self._absent:g}; call update(predictions, targets) first"
            warnings.warn(f"{op}: {text}", RuntimeWarning, stacklevel=3)


def _unpickled(cls: type[Metric], data: bytes, backend: str | None, local: dict[str, Any]) -> Metric:
    metric = cls.from_bytes(data, backend=backend)
    metric._state = metric._state._replace(**local)
    return metric


def _require_alike(op: str, ranks: list[Any]) -> None:
    """Raise, on every rank, if parameters differ between ranks or a rank has synced."""
    for name, first in ranks[0][0].items():
        for rank, (parameters, _, _) in enumerate(ranks):
            value = parameters.get(name)
            if value != first:
                got = f"{check.describe(first)} on rank 0 and {check.describe(value)} on rank {rank}"
                raise ValueError(f"{op}: all ranks must have the same {name}, got {got}")
    for rank, (_, local, _) in enumerate(ranks):
        if local["synced"]:
            raise RuntimeError(
                f"{op}: rank {rank} must not be synced twice, got the sum of all ranks; call reset() before new images"
            )


def _cpu_group(distributed: Any) -> Any:
    """The gloo group of all processes, made at the first call."""
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
    """The parameters, settings and arrays of `encode`. TypeError if data is not bytes, ValueError if it is no state."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{op}: data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if not data or data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise ValueError(f"{op}: data must be a state from to_bytes, got {check.describe(data[:8])}")
    if len(data) < HEADER.size + _DIGEST:
        raise ValueError(f"{op}: data must be a whole state, got {len(data)} bytes: truncated")
    _, version, length = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(
            f"{op}: data must be of version {VERSION}, got {version}: written by another version of fastdet, or damaged"
        )
    if hashlib.sha256(memoryview(data)[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise ValueError(f"{op}: data must be a whole state, got damaged or truncated bytes")
    body = memoryview(data)[HEADER.size : -_DIGEST]
    try:
        header = json.loads(bytes(body[:length]))
        if header["metric"] != name:
            raise ValueError(f"it is a state of {check.describe(header['metric'])}")
        return dict(header["parameters"]), dict(header["settings"]), _unpacked(header["arrays"], body[length:])
    except _MALFORMED as error:
        raise ValueError(f"{op}: data must be a state of {name}, got an inconsistent one: {error}") from None


def _unpacked(table: list[Any], body: memoryview) -> dict[str, Array]:
    """The arrays of the header's table, as native-endian copies. ValueError for too few or too many bytes."""
    arrays: dict[str, Array] = {}
    at = 0
    for name, dtype, shape in table:
        if dtype not in _DTYPES or not all(type(x) is int and x >= 0 for x in shape):
            raise ValueError(f"array {name} must have a known dtype and shape, got {dtype} {shape}")
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if count * kind.itemsize > len(body) - at:
            raise ValueError(f"array {name} is truncated")
        x = np.frombuffer(body, kind, count, at) if count else np.zeros(0, kind)
        arrays[name] = x.reshape(shape).astype(kind.newbyteorder("="))
        at += count * kind.itemsize
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes follow the last array")
    return arrays


# Confidence intervals


class Bootstrap(NamedTuple):
    """The options of a bootstrap over images."""

    level: float  # in (0, 1)
    resamples: int
    seed: int


def bootstrap(op: str, ci: Any, resamples: Any, seed: Any) -> Bootstrap:
    """The options ``ci``, ``resamples`` and ``seed`` of `compute`, checked."""
    level = check.number(op, "ci", ci)
    if not 0 < level < 1:
        raise ValueError(f"{op}: ci must be in (0, 1), got {level}")
    times = check.at_least_one(op, "resamples", resamples)
    if times > MAX_RESAMPLES:
        raise ValueError(f"{op}: resamples must be at most {MAX_RESAMPLES}, got {check.describe(resamples)}")
    return Bootstrap(level, times, check.count(op, "seed", seed))


def resample(images: int, options: Bootstrap, width: int = 1) -> Iterator[Array]:
    """Batches (n, images) int64 of resamples: how many times each image is drawn.

    ``width``: numbers that the caller stores per resample, to limit the batches. The draws do not depend on it.
    """
    random = np.random.default_rng(options.seed)
    step = max(1, _CHUNK // max(images, width, 1))
    for first in range(0, options.resamples, step):
        n = min(step, options.resamples - first)
        yield random.multinomial(images, np.full(images, 1 / images), size=n) if images else np.zeros((n, 0), np.int64)


def left_out(images: int) -> Array:
    """(groups, images) int64: 0 for the images of a group, 1 for the others. Every image is in one group."""
    groups = min(images, GROUPS)
    return (np.arange(images) % max(groups, 1) != np.arange(groups)[:, None]).astype(np.int64)


def interval(draws: Any, estimate: Any, without: Any, images: int, level: float, absent: float) -> Array:
    """(2, ...) lower and upper ends of basic bootstrap intervals, as wide as the jackknife's standard error asks for.

    A resample repeats images, so its figures lie above or below those of new images, and too close to each other. So
    the ends are 2 * estimate - (the percentiles of the resamples), which takes the bias of the resamples off, and their
    distance from the centre is stretched by the ratio of the two standard errors, where the jackknife's is greater.
    Ends stay in [0, 1], and the estimate between them. ``bench/intervals.py`` measures their coverage.

    Parameters
    ----------
    draws : (resamples, ...) values of the resamples
    estimate : (...) value of all images
    without : (groups, ...) values without each group of images, see `left_out`
    absent : marks unknown values. Without a known draw, or where the estimate is unknown, both ends are ``absent``

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), 5.2; Busing, Meijer and van der Leeden,
    Delete-m jackknife for unequal m (1999).
    """
    draws, estimate, without = (np.asarray(x, np.float64) for x in (draws, estimate, without))
    known = is_known(draws, absent)
    ends = np.full((2, *estimate.shape), absent, np.float64)
    use = is_known(estimate, absent) & (known.any(axis=0) if len(draws) else False)
    if not use.any():
        return ends
    draws, centre = np.where(known, draws, np.nan)[:, use], estimate[use]
    low, middle, high = np.nanquantile(draws, [0.5 - level / 2, 0.5, 0.5 + level / 2], axis=0)
    spread = np.nanstd(draws, axis=0)
    wanted = _jackknife_error(without[:, use], centre, images, absent)
    stretch = np.maximum(np.divide(wanted, spread, where=spread > 0, out=np.ones_like(spread)), 1)
    corrected = 2 * centre - middle
    ends[0, use] = np.minimum(np.clip(corrected - (high - middle) * stretch, 0, 1), centre)
    ends[1, use] = np.maximum(np.clip(corrected + (middle - low) * stretch, 0, 1), centre)
    return ends


def _jackknife_error(without: Array, estimate: Array, images: int, absent: float) -> Array:
    """(...) the standard error of the estimate from its values without each group; 0 from fewer than two groups.

    A group without which the figure is unknown is left out.
    """
    groups = len(without)
    if groups < 2:
        return np.zeros_like(estimate)
    share = images / np.bincount(np.arange(images) % groups, minlength=groups)[:, None]  # images to those of a group
    known = is_known(without, absent)
    value = np.where(known, share * estimate - (share - 1) * without, 0)
    count = np.maximum(known.sum(axis=0), 1)
    deviation = np.where(known, value - value.sum(axis=0) / count, 0)
    error: Array = np.sqrt((deviation**2 / (share - 1)).sum(axis=0) / count)
    return error


# Means


def is_known(values: Array, absent: float) -> Array:
    """True where values are not ``absent``, which is NaN or -1."""
    return ~np.isnan(values) if math.isnan(absent) else values > absent


def known_mean(values: Array, absent: float) -> float:
    """The mean of all known values; ``absent`` if there are none."""
    known = values[is_known(values, absent)]
    return float(known.mean()) if known.size else absent


def known_means(values: Array) -> Array:
    """The mean over the last axis of the values that are not NaN; NaN if there are none."""
    return ratio(np.nansum(values, -1), is_known(values, np.nan).sum(-1))


def ratio(part: Any, whole: Any) -> Any:
    """part / whole in float64; 0 / 0 is NaN."""
    with np.errstate(all="ignore"):
        return np.true_divide(part, whole)


def plural(count: int, word: str, many: str | None = None) -> str:
    """The count with its word: "1 image", "2 images"."""
    return f"{count} {word if count == 1 else many or word + 's'}"
