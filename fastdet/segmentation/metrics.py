"""Segmentation metrics of a data set: one exact matrix of counts, and the figures that are read off it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastdet import segmentation
from fastdet._core import backends, check, metric
from fastdet._core.arrays import to_array
from fastdet._core.check import Array
from fastdet._core.half import BFLOAT16
from fastdet.segmentation.confusion import VOID, confusion_matrix_reference, count_labels, count_logits
from fastdet.segmentation.figures import _ratio

MAX_CLASSES = 65535

_FIGURES = (
    "mean_iou",
    "pixel_accuracy",
    "mean_class_accuracy",
    "mean_dice",
    "frequency_weighted_iou",
    "iou",
    "class_accuracy",
    "dice",
)
_QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}
_CHUNK = 1 << 21  # counts of resampled images that exist at a time


class SegmentationMetrics:
    """Mean IoU and its relatives over a data set, image by image or batch by batch.

    The state is the confusion matrix of all pixels seen, void ones included, in exact int64 counts: figures do not
    depend on the order or the grouping of the images, and each convention of void pixels can be asked for afterwards.

    Parameters
    ----------
    num_classes : int in [1, 65535], C
    ignore_index : int or None; a pixel with this label is void, in the target and in the prediction. It may lie in
        [0, C): that class is then absent. None: no label is void
    void : what void pixels count for, in every figure
        "miss"   pixels of void truth are left out; a prediction of void is a miss of the true class (default)
        "drop"   pixels that are void in the target or in the prediction are left out
        "count"  as "miss", but pixels of void truth count against the class that was predicted there
    class_names : C strings, for plots; None: the class numbers
    per_image : keep a record of each image as well, for `compute`'s per-image figures and confidence intervals
    backend : "cpp", "numba", "reference", or None for the fastest there is

    Raises
    ------
    TypeError, ValueError  as said by the text

    Notes
    -----
    Memory: 8 (C + 1)^2 bytes, 3.2 KB for 19 classes; with ``per_image`` 8 (5 C + 1) bytes an image more, 768 for 19
    classes (24 C without ignore_index), and about 200 for each update. Not safe to update from two threads at once:
    give each its own and merge. ``pickle`` and ``copy`` work.

    Mean IoU is that of ONE matrix over the data set, as Cityscapes defines it. The mean over images of each image's
    mean IoU is another figure, mostly a different one; `compute` gives it only under "per_image".

    Examples
    --------
    >>> metrics = SegmentationMetrics(2)
    >>> _ = metrics.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))  # once for each batch
    >>> round(metrics.compute()["mean_iou"], 3)
    0.583
    """

    __module__ = "fastdet.segmentation"

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | None = None,
        void: str = "miss",
        class_names: Sequence[str] | None = None,
        per_image: bool = False,
        backend: str | None = None,
    ) -> None:
        op = "SegmentationMetrics"
        self.num_classes = check.count(op, "num_classes", num_classes)
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise ValueError(f"{op}: num_classes must be in [1, {MAX_CLASSES}], got {num_classes}")
        self.ignore_index = check.ignored(op, ignore_index)
        self.void = check.choice(op, "void", void, VOID)
        self.class_names = None if class_names is None else _names(op, class_names, self.num_classes)
        if not isinstance(per_image, (bool, np.bool_)):
            raise TypeError(f"{op}: per_image must be True or False, got {check.describe(per_image)}")
        self.per_image = bool(per_image)
        self.backend = backend
        # a wrong backend is told now
        backends.choose("confusion_matrix", backend, confusion_matrix_reference)
        self.reset()

    def reset(self) -> None:
        """Forget every image."""
        size = self.num_classes + (self.ignore_index is not None)
        self._matrix: Array = np.zeros((size, size), np.int64)  # void is the last row and column
        self._records: list[Array] = []  # (n, K) int64 of each update, in order: see `_record`
        self._images = 0
        self._synced = False

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._parameters().items() if name != "class_names")
        return f"<SegmentationMetrics {given}: {self._images} images, {int(self._matrix.sum())} pixels>"

    def update(
        self, target: Any, prediction: Any, *, size: tuple[int, int] | None = None, align_corners: bool = False
    ) -> None:
        """Count the pixels of one image or of a batch.

        Parameters
        ----------
        target : (H, W) or (N, H, W) integer, the true class of each pixel, in [0, C) or ignore_index
        prediction : integer, as the target: the predicted class of each pixel; or floating: logits (C, H, W) or
            (N, C, H, W), whose class is the greatest (equal ones: the lower class)
        size, align_corners : (H, W) of the target: the logits are upsampled bilinearly to it first, as torch's
            ``interpolate`` does, without the full-size logits ever existing

        Both on a GPU are counted there, and the counts (with ``per_image`` of each image) alone come to the host, which
        waits for them.

        Raises
        ------
        TypeError   kind, dtype, device
        ValueError  shape, a label out of range, NaN. Nothing is counted then
        """
        op = "SegmentationMetrics.update"
        truth = to_array(op, "target", target)
        guess = to_array(op, "prediction", prediction, half=True)
        if truth.ndim not in (2, 3):
            raise ValueError(f"{op}: target must have shape (H, W) or (N, H, W), got {truth.shape}")
        if guess.dtype == BFLOAT16 or guess.dtype.kind == "f":
            batch = () if truth.ndim == 2 else truth.shape[:1]
            if guess.ndim != truth.ndim + 1 or guess.shape[:-2] != (*batch, self.num_classes):
                want = f"({', '.join(map(str, (*batch, self.num_classes)))}, H, W)"
                raise ValueError(
                    f"{op}: prediction must be integer labels, or logits of shape {want}, got {guess.shape}"
                )
            options: dict[str, Any] = {"size": size, "align_corners": bool(align_corners)}
        elif size is not None or align_corners:
            raise ValueError(f"{op}: size and align_corners go with logits, got a prediction of {guess.dtype}")
        else:
            options = {}
        counted: Any = 0
        records = []
        for one in self._counts(truth, guess, options):
            counted += one
            if self.per_image:
                records.append(self._record(one))
        self._matrix += counted
        if records:
            self._records.append(np.stack(records))
        self._images += 1 if truth.ndim == 2 else len(truth)

    def _counts(self, truth: Any, guess: Any, options: dict[str, Any]) -> Iterable[Array]:
        """The matrix of each image, one after the other, or of all of them where single ones are not asked for."""
        several = truth.ndim == 3 and guess.shape[:1] == truth.shape[:1]  # another shape raises
        each = self.per_image and several
        if not (isinstance(truth, np.ndarray) and isinstance(guess, np.ndarray)):
            yield from self._count(truth, guess, {**options, "each": each})
        elif not each:
            yield self._count(truth, guess, options)
        else:
            try:
                for pair in zip(truth, guess, strict=True):
                    yield self._count(*pair, options)
            except ValueError:
                self._count(truth, guess, options)  # the same error, with the index in the whole batch
                raise

    def _count(self, truth: Any, guess: Any, options: dict[str, Any]) -> Array:
        given = {"ignore": self.ignore_index, "backend": self.backend, **options}
        if "size" in options:
            return count_logits(truth, guess, **given)
        return count_labels(truth, guess, classes=self.num_classes, **given)

    def _record(self, matrix: Array) -> Array:
        """What the figures of one image need, under every convention.

        C numbers each: pixels right, pixels of each true class that were given a class, pixels of each predicted class
        whose truth is a class. With void also: of each true class those predicted void, of each predicted class those
        of void truth (C each), and void in both (1).
        """
        c = self.num_classes
        inner = matrix[:c, :c]
        parts = [inner.diagonal(), inner.sum(1), inner.sum(0)]
        if len(matrix) > c:
            parts += [matrix[:c, c], matrix[c, :c], matrix[c, c:]]
        return np.concatenate(parts)

    def matrix(self, void: str | None = None) -> Array:
        """The confusion matrix so far under a convention (None: the one given): int64, rows are the truth.

        "drop" (C, C); "miss" (C, C + 1), the last column is predictions of void; "count" (C + 1, C + 1). Always (C, C)
        without ignore_index.
        """
        how = self.void if void is None else check.choice("matrix", "void", void, VOID)
        c = self.num_classes
        rows, columns = {"drop": (c, c), "miss": (c, c + 1), "count": (c + 1, c + 1)}[how]
        return self._matrix[:rows, :columns].copy()

    def compute(
        self, *, void: str | None = None, ci: float | None = None, n_boot: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """The figures of all images so far.

        Parameters
        ----------
        void : another convention than the one given at the start
        ci : level of confidence intervals in (0, 1), such as 0.95; needs ``per_image=True``
        n_boot, seed : how many times the images are resampled with replacement for them, and the seed

        Returns
        -------
        dict
            mean_iou, pixel_accuracy, mean_class_accuracy, mean_dice, frequency_weighted_iou : float, of the data
                set's one matrix. NaN where nothing was counted
            iou, class_accuracy, dice : (C,) float64, NaN where the class is absent; means leave it out
            target_pixels, predicted_pixels, intersection : (C,) int64, what they are made of
            images, pixels : int, all that were seen
            void_pixels : int, pixels of void truth; void_predictions : int, pixels of a true class predicted void
            void : the convention; confusion_matrix : as `matrix` gives it
            per_image : with ``per_image=True``, a dict of figures of single images, which are NOT the data set's
                mean_iou, pixel_accuracy : (I,) float64, of each image's own matrix
                mean : mean over images of mean_iou; quantiles : dict from "min" over "median" to "max" of it
                scored : int, images with any class, which alone are in these two
            ci : with ``ci``, a dict of level, n_boot, seed, and of (low, high) for each float above and the per-image
                mean ("per_image_mean"), (2, C) for each array of classes. Percentile bootstrap; images are taken
                as independent, which frames of one video are not

        Raises
        ------
        TypeError, ValueError  as said by the text
        """
        op = "compute"
        how = self.void if void is None else check.choice(op, "void", void, VOID)
        if ci is not None:
            ci = check.number(op, "ci", ci)
            if not 0 < ci < 1:
                raise ValueError(f"{op}: ci must be in (0, 1), got {ci}")
            if not self.per_image:
                raise ValueError(f"{op}: ci must go with per_image=True, got per_image=False")
            n_boot, seed = check.count(op, "n_boot", n_boot), _integer(op, "seed", seed)
            for name, value, least in (("n_boot", n_boot, 1), ("seed", seed, 0)):
                if value < least:
                    raise ValueError(f"{op}: {name} must be {least} or more, got {value}")
        c = self.num_classes
        matrix = self.matrix(how)
        intersection, target, predicted = self._sums(self._record(self._matrix), how)
        result = {name: getattr(segmentation, name)(matrix, num_classes=c) for name in _FIGURES}
        result |= {
            "target_pixels": target,
            "predicted_pixels": predicted,
            "intersection": intersection,
            "images": self._images,
            "pixels": int(self._matrix.sum()),
            "void_pixels": int(self._matrix[c:].sum()),
            "void_predictions": int(self._matrix[:c, c:].sum()),
            "void": how,
            "confusion_matrix": matrix,
        }
        if self.per_image:
            records = self._all_records()
            single = _figures(*self._sums(records, how))
            scores = single["mean_iou"]
            scored = scores[~np.isnan(scores)]
            levels = list(_QUANTILES.values())
            found = np.quantile(scored, levels) if len(scored) else np.full(len(levels), np.nan)
            result["per_image"] = {
                "mean_iou": scores,
                "pixel_accuracy": single["pixel_accuracy"],
                "mean": float(_mean(scores)),
                "quantiles": dict(zip(_QUANTILES, found.tolist(), strict=True)),
                "scored": len(scored),
            }
            if ci is not None:
                result["ci"] = {"level": ci, "n_boot": n_boot, "seed": seed}
                result["ci"] |= self._intervals(records, scores, how, ci, n_boot, seed)
        return result

    def _sums(self, records: Array, void: str) -> tuple[Array, Array, Array]:
        """Of records (..., K): pixels right, true pixels and predicted pixels of each class, (..., C) each."""
        c = self.num_classes
        intersection, target, predicted = records[..., :c], records[..., c : 2 * c], records[..., 2 * c : 3 * c]
        if records.shape[-1] > 3 * c:
            if void != "drop":
                target = target + records[..., 3 * c : 4 * c]
            if void == "count":
                predicted = predicted + records[..., 4 * c : 5 * c]
        return intersection, target, predicted

    def _all_records(self) -> Array:
        """(I, K), one row an image."""
        if len(self._records) != 1:
            self._records = [np.concatenate([np.zeros((0, self._record(self._matrix).size), np.int64), *self._records])]
        return self._records[0]

    def _intervals(
        self, records: Array, scores: Array, void: str, ci: float, n_boot: int, seed: int
    ) -> dict[str, tuple[float, float] | Array]:
        """Percentile bootstrap over images: how often each was drawn, times its counts, some resamples at a time."""
        images = len(records)
        random = np.random.default_rng(seed)
        # float64 holds these sums exactly, and multiplies fast; beyond that integers do
        exact = images * int(records.max(initial=0)) < 2**53
        counts = records.astype(np.float64) if exact else records
        has, known = (~np.isnan(scores)).astype(np.float64), np.nan_to_num(scores)
        drawn: dict[str, list[Array]] = {}
        step = max(1, _CHUNK // max(images, records.shape[1], 1))
        for a in range(0, n_boot, step):
            n = min(step, n_boot - a)
            if images:
                times = random.multinomial(images, np.full(images, 1 / images), size=n)
            else:
                times = np.zeros((n, 0), np.int64)
            some = _figures(*self._sums(times.astype(counts.dtype) @ counts, void))
            # not @: the order of its sums, and so the last bits, would be the BLAS's
            some["per_image_mean"] = _ratio((times * known).sum(1), (times * has).sum(1))
            for name, values in some.items():
                drawn.setdefault(name, []).append(values)
        levels = (0.5 - ci / 2, 0.5 + ci / 2)
        result: dict[str, tuple[float, float] | Array] = {}
        for name, pieces in drawn.items():
            values = np.concatenate(pieces)
            ends = np.full((2, *values.shape[1:]), np.nan)
            known_to_some = ~np.isnan(values).all(0)  # a class that no resample has stays NaN
            if known_to_some.any():
                ends[:, known_to_some] = np.nanquantile(values[:, known_to_some], levels, axis=0)
            result[name] = (float(ends[0]), float(ends[1])) if ends.ndim == 1 else ends
        return result

    def merge_state(self, other: SegmentationMetrics | Iterable[SegmentationMetrics]) -> None:
        """Add the counts of another one, or of several; their images come after these, in order.

        Raises
        ------
        TypeError   something else than SegmentationMetrics
        ValueError  unlike parameters, which it names; nothing is added then
        """
        op = "merge_state"
        several = isinstance(other, Iterable)
        others: list[Any] = list(other) if several else [other]  # type: ignore[arg-type]
        for one in others:
            if not isinstance(one, SegmentationMetrics):
                raise TypeError(f"{op}: other must be SegmentationMetrics, one or several, got {type(one).__name__}")
            theirs = one._parameters()
            for name, value in self._parameters().items():
                if value != theirs[name]:
                    got = check.describe(theirs[name])
                    raise ValueError(f"{op}: other must have {name} {check.describe(value)}, got {got}")
        added = [(one._matrix.copy(), list(one._records), one._images) for one in others]  # one may be self
        for matrix, records, images in added:
            self._matrix += matrix
            self._records += records
            self._images += images

    def _parameters(self) -> dict[str, Any]:
        """What two states have to have in common."""
        return {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "void": self.void,
            "class_names": self.class_names,
            "per_image": self.per_image,
        }

    def to_bytes(self) -> bytes:
        """The parameters and the counts, for `from_bytes`: versioned, little-endian, with a SHA-256 of all of it."""
        records = [self._all_records()] if self.per_image else []
        return metric.pack({**self._parameters(), "images": self._images}, [self._matrix, *records])

    @classmethod
    def from_bytes(cls, data: bytes, *, backend: str | None = None) -> SegmentationMetrics:
        """What `to_bytes` wrote. TypeError for no bytes; ValueError for damaged, truncated or other data."""
        op = "from_bytes"
        about, counts = metric.unpack(op, data)
        try:
            images = check.count(op, "images", about.pop("images"))
            if check.count(op, "num_classes", about["num_classes"]) ** 2 > len(counts):
                raise ValueError(f"{about['num_classes']} classes, but {len(counts)} numbers")
            result = cls(**about, backend=backend)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{op}: data must be a state of SegmentationMetrics, got another: {error}") from None
        cells, width = result._matrix.size, result._record(result._matrix).size
        if len(counts) != cells + (images * width if result.per_image else 0):
            raise ValueError(f"{op}: data must hold the counts of {images} images, got {len(counts)} numbers")
        result._matrix[...] = counts[:cells].reshape(result._matrix.shape)
        records = counts[cells:].reshape(-1, width)
        if result.per_image and not np.array_equal(records.sum(0), result._record(result._matrix)):
            raise ValueError(f"{op}: data must hold counts that agree with each other, got others")
        result._records, result._images = [records] if len(records) else [], images
        return result

    def sync(self, group: Any = None) -> None:
        """Make this the sum over all processes of a torch.distributed group, on each of them. Call it on all.

        One all-reduce of the matrix (and, with ``per_image``, one all-gather of the records, which come in the order
        of the ranks), on the current CUDA device for NCCL, else on the CPU. Sync once, when all images are in: a
        second sync would count each image once for every rank, and raises; `reset` starts anew.

        Raises
        ------
        RuntimeError  torch.distributed is not initialised, this process is not in the group, or a rank has synced
        ValueError    ranks with unlike parameters. Like the last one above it is raised on every rank, and every
                      state is as before
        """
        records = self._all_records()
        state = self._parameters(), self._matrix, records, self._images, self._synced
        self._matrix, self._records, self._images = metric.gather("sync", *state, group)
        self._synced = True

    def plot(self, kind: str = "confusion", *, void: str | None = None, ax: Any = None) -> tuple[Any, Any]:
        """A picture of the figures so far: ``(fig, ax)``. Needs matplotlib.

        Parameters
        ----------
        kind : "confusion", a heat map in which each true class's row sums to 1; or "iou", "class_accuracy" or "dice",
            a bar for each class, with the mean
        void : another convention than the one given at the start
        ax : matplotlib axes to draw into; None for a new figure
        """
        from fastdet import plots

        op = "plot"
        check.choice(op, "kind", kind, ("confusion", "iou", "class_accuracy", "dice"))
        if kind == "confusion":
            return plots.draw_confusion(self.matrix(void), names=self.class_names, num_classes=self.num_classes, ax=ax)
        title = {"iou": "IoU", "class_accuracy": "accuracy", "dice": "Dice"}[kind]
        return plots.draw_class_scores(self.compute(void=void)[kind], names=self.class_names, title=title, ax=ax)


def _figures(intersection: Array, target: Array, predicted: Array) -> dict[str, Array]:
    """Each of `_FIGURES` of many images or resamples at once, from the pixels of each class (..., C).

    As the functions of `fastdet.segmentation` make them of one matrix, up to the order of a mean's sum.
    """
    iou = _ratio(intersection, target + predicted - intersection)
    accuracy = _ratio(intersection, target)
    dice = _ratio(2 * intersection, target + predicted)
    pixels = target.sum(-1)
    return {
        "mean_iou": _mean(iou),
        "pixel_accuracy": _ratio(intersection.sum(-1), pixels),
        "mean_class_accuracy": _mean(accuracy),
        "mean_dice": _mean(dice),
        "frequency_weighted_iou": _ratio((target * np.nan_to_num(iou)).sum(-1), pixels),
        "iou": iou,
        "class_accuracy": accuracy,
        "dice": dice,
    }


def _mean(x: Array) -> Array:
    """Over the last axis, NaN left out."""
    return _ratio(np.nansum(x, -1), (~np.isnan(x)).sum(-1))


def _integer(op: str, name: str, x: Any) -> int:
    if isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{op}: {name} must be an integer, got {x}")
    try:
        return operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {check.describe(x)}") from None


def _names(op: str, x: Any, count: int) -> list[str]:
    if isinstance(x, str) or not isinstance(x, Iterable):
        raise TypeError(f"{op}: class_names must be a sequence of strings, got {check.describe(x)}")
    names = list(x)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{op}: class_names must be strings, got {check.describe(name)}")
    if len(names) != count:
        raise ValueError(f"{op}: class_names must be {count}, one per class, got {len(names)}")
    return names
