"""`SegmentationMetrics`: one exact matrix of counts of a data set, and the figures computed from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastdet import segmentation
from fastdet._core import backends, check
from fastdet._core.arrays import to_array
from fastdet._core.check import Array
from fastdet._core.half import BFLOAT16
from fastdet._core.label_images import as_labels, label_array
from fastdet._core.metric import RESAMPLES, Metric, bootstrap, plural
from fastdet.segmentation import _check, per_image
from fastdet.segmentation.confusion import Caller, confusion_matrix_reference, count_labels, count_logits
from fastdet.segmentation.matrix import VOID, ConfusionMatrix

if TYPE_CHECKING:
    from typing_extensions import Self

NAME = "SegmentationMetrics"
_ORDER = "update takes (predictions, targets): is their order right?"
_CALLER = Caller(f"{NAME}.update", "targets", "predictions", f"; {_ORDER}")
_MATRIX, _RECORDS = "matrix", "records"


class _Counted(NamedTuple):
    """What a `SegmentationMetrics` has counted. It is replaced whole: an interrupt leaves the old or the new one."""

    matrix: Array  # of all images; void is the last row and column
    records: list[Array]  # (n, K) int64 of each update, in order: see `per_image.record`. It grows in place
    updates: int = 0  # the number of records that count: others are from a call that did not end
    images: int = 0
    synced: bool = False
    warned: bool = False  # whether the warning about swapped arguments was shown


class SegmentationMetrics(Metric):
    """Mean IoU and related figures of a data set, updated image by image or batch by batch.

    The state is the confusion matrix of all pixels so far, void pixels included, in exact int64 counts. So figures do
    not depend on the order or the batches of the images, and `compute` can use any convention for void pixels.

    Parameters
    ----------
    num_classes : int in [1, 65535], C
    ignore_index : int or None; a pixel with this label is void, in the targets and in the predictions. It may lie in
        [0, C): that class is then absent. None: no label is void
    void : the convention for void pixels in every figure
        "miss"   pixels of void truth are left out; a prediction of void is a miss of the true class (default)
        "drop"   pixels that are void in the targets or in the predictions are left out
        "count"  as "miss", but pixels of void truth count against the class that was predicted there
    class_names : C strings, for plots; None: the class numbers
    per_image : keep a record of each image as well, for `compute`'s per-image figures and confidence intervals
    backend : "cpp", "numba", "reference", or None for the fastest there is

    Raises
    ------
    TypeError   type of an argument
    ValueError  range of an argument, or an unknown void

    Notes
    -----
    Memory: 8 (C + 1)^2 bytes, 3.2 KB for 19 classes; with ``per_image`` 8 (5 C + 1) bytes an image more, 768 for 19
    classes (24 C without ignore_index), and about 200 for each update. Not safe to update from two threads at once:
    give each its own object and merge. ``pickle`` and ``copy`` go through `to_bytes`.

    Mean IoU is that of ONE matrix over the data set, as Cityscapes defines it. The mean over images of each image's
    mean IoU is a different figure; `compute` gives it only under "per_image".

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.segmentation import SegmentationMetrics
    >>> metrics = SegmentationMetrics(2, ignore_index=255)
    >>> predictions, targets = np.array([[[0, 1, 1, 1]]]), np.array([[[0, 0, 1, 255]]])  # (N, H, W)
    >>> metrics.update(predictions, targets)
    <SegmentationMetrics(num_classes=2, ignore_index=255, void='miss', per_image=False): 1 image, 4 pixels>
    >>> metrics.compute()["mean_iou"]
    0.5
    """

    __module__ = "fastdet.segmentation"
    _name, _absent = NAME, np.nan

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
        op = NAME
        self.num_classes = _check.class_count(op, num_classes)
        self.ignore_index = _check.ignored(op, ignore_index)
        self.void = check.choice(op, "void", void, VOID)
        self.class_names = None if class_names is None else _names(op, class_names, self.num_classes)
        if not isinstance(per_image, (bool, np.bool_)):
            raise TypeError(f"{op}: per_image must be True or False, got {check.describe(per_image)}")
        self.per_image = bool(per_image)
        self.backend = backend
        backends.choose("confusion_matrix", backend, confusion_matrix_reference)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        size = self.num_classes + (self.ignore_index is not None)
        self._state = _Counted(np.zeros((size, size), np.int64), [])

    def __len__(self) -> int:
        return self._state.images

    @property
    def _matrix(self) -> Array:
        """The counts of all images; void is the last row and column. Never changed in place."""
        return self._state.matrix

    def update(
        self, predictions: Any, targets: Any, *, size: tuple[int, int] | None = None, align_corners: bool = False
    ) -> Self:
        """Count the pixels of one image or of a batch. If it raises, nothing is counted.

        Parameters
        ----------
        predictions : integers of the targets' shape, the predicted class of each pixel; or floating-point logits
            (C, H, W) or (N, C, H, W), of which the highest decides (equal logits: the lower class)
        targets : (H, W) or (N, H, W) integer, the true class of each pixel, in [0, C) or ignore_index. Both may be
            grey or palette images of Pillow too, or lists of them: their stored numbers are the classes
        size, align_corners : (H, W) of the targets: the logits are resampled bilinearly to it first, as by torch's
            ``interpolate``. The full-size logits are never stored

        Arrays on a GPU are counted there. Only the counts (with ``per_image`` of each image) are copied to the host,
        which waits for them.

        Returns
        -------
        this object

        Raises
        ------
        TypeError   type, dtype, device
        ValueError  shape, a label out of range, NaN

        Warns
        -----
        RuntimeWarning  predictions hold void pixels and targets hold none so far, and ignore_index is not a class:
            predictions and targets may be swapped. Shown once until `reset`
        """
        counted, records, images = self._count_images(predictions, targets, size, align_corners)
        if not self._state.warned and (text := self._swapped(counted)):
            self._state = self._state._replace(warned=True)
            warnings.warn(f"{NAME}.update: {text}", RuntimeWarning, stacklevel=2)
        self._add(counted, records, images)
        return self

    def _swapped(self, counted: Any) -> str | None:
        """The text of a warning if the counts so far and the new ones suggest swapped arguments; else None."""
        c = self.num_classes
        if self.ignore_index is None or 0 <= self.ignore_index < c or not np.ndim(counted) or not counted[:c, c].any():
            return None
        if self._matrix[c].any() or counted[c].any():
            return None
        pixels = plural(int(self._matrix[:c, c].sum() + counted[:c, c].sum()), "pixel")
        return f"predictions hold ignore_index {self.ignore_index} in {pixels}, targets in none; {_ORDER}"

    def _add(self, counted: Any, records: list[Array], images: int) -> None:
        """Add what `_count_images` returned. The array is used up: the new matrix takes its place."""
        now = self._state
        matrix = np.add(now.matrix, counted, out=counted) if np.ndim(counted) else now.matrix
        updates = now.updates
        if records:
            del now.records[updates:]  # of a call that did not end
            now.records.append(np.stack(records))
            updates += 1
        self._state = now._replace(matrix=matrix, updates=updates, images=now.images + images)

    def _count_images(
        self, predictions: Any, targets: Any, size: tuple[int, int] | None = None, align_corners: bool = False
    ) -> tuple[Any, list[Array], int]:
        """What `update` adds: the matrix of all images, the record of each image, and the number of images."""
        op = _CALLER.op
        prediction = to_array(op, "predictions", as_labels(op, "predictions", predictions), half=True)
        truth = label_array(op, "targets", targets)
        logits = prediction.dtype == BFLOAT16 or prediction.dtype.kind == "f"
        if truth.dtype.kind not in "biu" and truth.size:
            swapped = "" if logits else f", and predictions are {prediction.dtype}; {_ORDER}"
            raise TypeError(f"{op}: targets must be integer labels, got {truth.dtype}{swapped}")
        if truth.ndim not in (2, 3):
            raise ValueError(f"{op}: targets must have shape (H, W) or (N, H, W), got {truth.shape}")
        options: dict[str, Any] = {}
        if logits:
            batch = () if truth.ndim == 2 else truth.shape[:1]
            if prediction.ndim != truth.ndim + 1 or prediction.shape[:-2] != (*batch, self.num_classes):
                want = f"({', '.join(map(str, (*batch, self.num_classes)))}, H, W)"
                got = f"{prediction.dtype if prediction.dtype != BFLOAT16 else 'bfloat16'} of shape {prediction.shape}"
                raise ValueError(f"{op}: predictions must be integer labels, or logits of shape {want}, got {got}")
            options = {"size": size, "align_corners": bool(align_corners)}
        elif size is not None or align_corners:
            raise ValueError(f"{op}: size and align_corners go with logits, got predictions of {prediction.dtype}")
        counted: Any = 0
        records = []
        for counts in self._counts(truth, prediction, options):
            counted += counts
            if self.per_image:
                records.append(per_image.record(counts, self.num_classes))
        return counted, records, 1 if truth.ndim == 2 else len(truth)

    def _counts(self, truth: Any, prediction: Any, options: dict[str, Any]) -> Iterable[Array]:
        """With ``per_image`` the matrix of each image in turn, else one matrix of all."""
        several = truth.ndim == 3 and prediction.shape[:1] == truth.shape[:1]  # another shape raises
        each = self.per_image and several
        if not (isinstance(truth, np.ndarray) and isinstance(prediction, np.ndarray)):
            yield from self._count(truth, prediction, {**options, "per_image": each})
        elif not each:
            yield self._count(truth, prediction, options)
        else:
            try:
                for pair in zip(truth, prediction, strict=True):
                    yield self._count(*pair, options)
            except ValueError:
                self._count(truth, prediction, options)  # the same error, with the index in the whole batch
                raise

    def _count(self, truth: Any, prediction: Any, options: dict[str, Any]) -> Array:
        options = {"ignore": self.ignore_index, "backend": self.backend, "caller": _CALLER, **options}
        if "size" in options:
            return count_logits(truth, prediction, **options)
        return count_labels(truth, prediction, classes=self.num_classes, **options)

    def matrix(self, void: str | None = None) -> ConfusionMatrix:
        """The confusion matrix so far, int64. Rows are the truth.

        Parameters
        ----------
        void : a convention other than this object's. "drop" (C, C); "miss" (C, C + 1), the last column is predictions
            of void; "count" (C + 1, C + 1). Always (C, C) without ignore_index

        Returns
        -------
        ConfusionMatrix : a copy

        Raises
        ------
        ValueError  an unknown void
        """
        how = self.void if void is None else check.choice(f"{NAME}.matrix", "void", void, VOID)
        c = self.num_classes
        rows, columns = {"drop": (c, c), "miss": (c, c + 1), "count": (c + 1, c + 1)}[how]
        return ConfusionMatrix(self._matrix[:rows, :columns].copy(), c, None if self.ignore_index is None else how)

    def compute(
        self, *, void: str | None = None, ci: float | None = None, resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, Any]:
        """The figures of all images so far. Without images they are NaN, with a RuntimeWarning.

        Parameters
        ----------
        void : a convention other than this object's
        ci : level of confidence intervals in (0, 1), such as 0.95; needs ``per_image=True``
        resamples, seed : number of times that the images are resampled with replacement, and the seed

        Returns
        -------
        dict
            mean_iou, pixel_accuracy, mean_class_accuracy, mean_dice, frequency_weighted_iou : float, from the
                one matrix of the data set. NaN where nothing was counted
            iou, class_accuracy, dice : (C,) float64, NaN where the class is absent; means leave those out
            target_pixels, predicted_pixels, intersection : (C,) int64, the counts they are computed from
            images, pixels : int, all that were counted
            void_pixels : int, pixels of void truth; void_predictions : int, pixels of a class that were predicted void
            void : the convention; confusion_matrix : as `matrix` gives it
            per_image : with ``per_image=True``, a dict of figures of single images, which are NOT the data set's
                mean_iou, pixel_accuracy : (I,) float64, of each image's own matrix
                mean : mean over images of mean_iou; quantiles : dict from "min" over "median" to "max" of it
                scored : int, images with any class: only these are in mean and quantiles
            ci : with ``ci``, a dict of level, resamples, seed, and of (low, high) for each float above and the
                per-image mean ("per_image_mean"), (2, C) for each array of classes. A basic bootstrap, at
                least as wide as the jackknife's standard error asks for; it takes images as independent, and frames
                of one video are not

        Raises
        ------
        TypeError   type of an argument
        ValueError  range of an argument, an unknown void, ci without per_image
        """
        op = f"{NAME}.compute"
        how = self.void if void is None else check.choice(op, "void", void, VOID)
        options = None if ci is None else bootstrap(op, ci, resamples, seed)
        if options is not None and not self.per_image:
            raise ValueError(f"{op}: ci must go with per_image=True, got per_image=False")
        self._warn_if_empty(op)
        c = self.num_classes
        matrix = self.matrix(how)
        intersection, target, predicted = per_image.sums(per_image.record(self._matrix, c), c, how)
        result = {name: getattr(segmentation, name)(matrix) for name in per_image.FIGURES}
        result |= {
            "target_pixels": target,
            "predicted_pixels": predicted,
            "intersection": intersection,
            "images": self._state.images,
            "pixels": int(self._matrix.sum()),
            "void_pixels": int(self._matrix[c:].sum()),
            "void_predictions": int(self._matrix[:c, c:].sum()),
            "void": how,
            "confusion_matrix": matrix,
        }
        if self.per_image:
            records = self._all_records()
            result["per_image"] = per_image.spread(records, c, how)
            if options is not None:
                result["ci"] = options._asdict() | per_image.intervals(records, c, how, options)
        return result

    def _all_records(self) -> Array:
        """(I, K) int64, one row per image."""
        now = self._state
        if now.updates != 1:
            none = per_image.record(now.matrix, self.num_classes)[None][:0]
            now = now._replace(records=[np.concatenate([none, *now.records[: now.updates]])], updates=1)
            self._state = now
        return now.records[0]

    # The methods that `Metric` needs

    def _shared(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "void": self.void,
            "class_names": self.class_names,
            "per_image": self.per_image,
        }

    def _settings(self) -> dict[str, Any]:
        return {"images": self._state.images}

    def _arrays(self) -> dict[str, Array]:
        return {_MATRIX: self._matrix, _RECORDS: self._all_records()} if self.per_image else {_MATRIX: self._matrix}

    @classmethod
    def _restored(
        cls, parameters: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Array], backend: str | None
    ) -> Self:
        images = check.count("state", "images", settings["images"])
        classes = _check.class_count("state", parameters["num_classes"])
        side = classes + (parameters["ignore_index"] is not None)
        matrix = arrays.pop(_MATRIX)
        if matrix.shape != (side, side):
            raise ValueError(f"the matrix must have shape {(side, side)}, got {matrix.shape}")
        result = cls(**parameters, backend=backend)
        total = per_image.record(matrix, classes)
        records = arrays.pop(_RECORDS) if result.per_image else total[None]
        if arrays or records.shape != (images if result.per_image else 1, total.size):
            raise ValueError(f"the records must be of {images} images, got shape {records.shape}")
        for counts in (matrix, records):
            if counts.dtype != np.int64 or counts.min(initial=0) < 0 or counts.sum(dtype=np.float64) >= 2**62:
                raise ValueError(f"counts must be int64 from 0 to below 2**62, got {counts.dtype}")
        if not np.array_equal(records.sum(0), total):
            raise ValueError("the records must add up to the matrix")
        kept = [records] if result.per_image and images else []
        result._state = _Counted(matrix, kept, len(kept), images)
        return result

    def _empty(self) -> Self:
        return type(self)(**self._shared(), backend=self.backend)

    def _merged(self, op: str, others: list[Self]) -> _Counted:
        now = self._state
        matrix, records, images = now.matrix.copy(), now.records[: now.updates], now.images
        for one in (metric._state for metric in others):
            matrix += one.matrix
            records += one.records[: one.updates]
            images += one.images
        return now._replace(matrix=matrix, records=records, updates=len(records), images=images)

    def _local(self) -> dict[str, Any]:
        return {"synced": self._synced, "warned": self._state.warned}

    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        shown = {name: check.describe(value) for name, value in self._shared().items() if value is not None}
        if self.ignore_index is None:
            del shown["void"]
        return shown, [plural(int(self._matrix.sum()), "pixel")]

    def plot(self, kind: str = "confusion", *, void: str | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the figures so far; returns ``(fig, ax)``. Needs matplotlib.

        Parameters
        ----------
        kind : "confusion", a heat map in which each true class's row sums to 1; or "iou", "class_accuracy" or "dice",
            a bar for each class, with the mean
        void : a convention other than this object's
        ax : matplotlib axes to draw into; None for a new figure

        Raises
        ------
        ValueError   an unknown kind or void
        ImportError  matplotlib is not installed
        """
        from fastdet import plots

        op = f"{NAME}.plot"
        check.choice(op, "kind", kind, ("confusion", "iou", "class_accuracy", "dice"))
        if kind == "confusion":
            return plots.draw_confusion(self.matrix(void), names=self.class_names, ax=ax)
        title = {"iou": "IoU", "class_accuracy": "accuracy", "dice": "Dice"}[kind]
        scores = getattr(segmentation, kind)(self.matrix(void))
        return plots.draw_class_scores(scores, names=self.class_names, title=title, ax=ax)


def _names(op: str, x: Any, count: int) -> list[str]:
    if isinstance(x, str) or not isinstance(x, Iterable) or check.is_scalar_array(x):
        raise TypeError(f"{op}: class_names must be a sequence of strings, got {check.describe(x)}")
    names = list(x)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{op}: class_names must be strings, got {check.describe(name)}")
    if len(names) != count:
        raise ValueError(f"{op}: class_names must hold {count} names, one per class, got {len(names)}")
    return names
