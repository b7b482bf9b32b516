"""`BoundaryMetrics`: boundary F and boundary IoU of the label maps of a data set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import to_host
from fastdet._core.check import Array
from fastdet._core.label_images import as_labels
from fastdet._core.metric import (
    RESAMPLES,
    Bootstrap,
    bootstrap,
    interval,
    known_means,
    left_out,
    plural,
    ratio,
    resample,
)
from fastdet.segmentation import _check
from fastdet.segmentation.boundary_counts import COUNTS, boundary_counts_reference, count_boundaries
from fastdet.segmentation.confusion import class_codes
from fastdet.segmentation.kept import Kept, KeptImages

if TYPE_CHECKING:
    from typing_extensions import Self

NAME = "BoundaryMetrics"
TOLERANCE, DILATION = 0.0075, 0.02  # of the image's diagonal
MAX_CLASSES = check.MAX_CLASSES - 1  # one number is left for pixels that are no boundary


class BoundaryMetrics(KeptImages):
    """Boundary F and boundary IoU of each class: how well the outlines of segments are met.

    Boundary F is 2 P R / (P + R) of each image and class, where P is the share of the predicted boundary pixels that
    have a true one of the class within the tolerance, and R the share of the true ones that have a predicted one; then
    the mean over the images where either map has a boundary of the class. Boundary IoU is the IoU of the two boundary
    regions, of all images together: a mask less its erosion.

    Parameters
    ----------
    num_classes : int in [1, 65534], C
    ignore_index : int or None; a pixel with this label is void, in the targets and in the predictions. Where the target
        is void, the prediction is taken as void. Void belongs to no class: next to it a class has a boundary
    tolerance : the greatest distance in pixels between boundary pixels that match; None: 0.0075 of the image's
        diagonal, as DAVIS and BSDS have it (not rounded)
    distance : how deep the boundary regions of the IoU are, in pixels, 1 or more; None: 0.02 of the image's diagonal,
        rounded, as in Boundary IoU
    backend : "cpp", "numba", "reference", or None for the fastest there is

    Raises
    ------
    TypeError   type of an argument
    ValueError  range of an argument

    Notes
    -----
    A boundary pixel of F has a neighbour of another label at one of its four sides; the image's edge is no boundary.
    For the IoU, what is outside of the image is outside of the mask.

    Figures do not depend on the order or the batches of the images. Memory: 56 C bytes an image. Not safe to update
    from two threads at once: give each its own object and merge. ``pickle`` and ``copy`` go through `to_bytes`.

    Source: Csurka et al., What is a good evaluation measure for semantic segmentation? (2013); Perazzi et al., DAVIS
    (2016); Cheng et al., Boundary IoU (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.segmentation import BoundaryMetrics
    >>> target = np.zeros((20, 20), int)
    >>> target[5:15, 5:15] = 1
    >>> metrics = BoundaryMetrics(2, tolerance=1).update(np.roll(target, 1, axis=1), target)
    >>> metrics.compute()["mean_boundary_f"]  # each boundary pixel is one pixel off
    1.0
    >>> round(metrics.compute()["mean_boundary_iou"], 4)
    0.5117
    """

    __module__ = "fastdet.segmentation"
    _name, _absent = NAME, np.nan

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | None = None,
        tolerance: float | None = None,
        distance: int | None = None,
        backend: str | None = None,
    ) -> None:
        self.num_classes = _check.class_count(NAME, num_classes)
        if self.num_classes > MAX_CLASSES:
            raise ValueError(f"{NAME}: num_classes must be in [1, {MAX_CLASSES}], got {check.describe(num_classes)}")
        self.ignore_index = _check.ignored(NAME, ignore_index)
        self.tolerance = None if tolerance is None else check.non_negative(NAME, "tolerance", tolerance)
        self.distance = None if distance is None else check.at_least_one(NAME, "distance", distance)
        self.backend = backend
        backends.choose("boundary_counts", backend, boundary_counts_reference)
        self.reset()

    def update(self, predictions: Any, targets: Any) -> Self:
        """Count one image or a batch. If it raises, nothing is counted.

        Parameters
        ----------
        predictions, targets : (H, W) or (N, H, W) integers, classes in [0, C) or ignore_index; or grey or palette
            images of Pillow, or lists of them. What is on a GPU is copied to the host

        Returns
        -------
        this object

        Raises
        ------
        TypeError   dtype
        ValueError  shapes, a label out of range
        """
        op = f"{NAME}.update"
        guess, truth = (
            _check.labels(op, name, to_host(op, name, as_labels(op, name, x)))
            for name, x in (("predictions", predictions), ("targets", targets))
        )
        if truth.ndim not in (2, 3):
            raise ValueError(f"{op}: targets must have shape (H, W) or (N, H, W), got {truth.shape}")
        if guess.shape != truth.shape:
            raise ValueError(f"{op}: predictions must have targets' shape {truth.shape}, got {guess.shape}")
        maps = [self._codes(op, name, x) for name, x in (("targets", truth), ("predictions", guess))]
        if truth.ndim == 2:
            maps = [x[None] for x in maps]
        self._add([self._count(*pair) for pair in zip(*maps, strict=True)])
        return self

    def _codes(self, op: str, name: str, labels: Array) -> NDArray[np.uint16]:
        codes, bad = class_codes(labels, self.num_classes, self.ignore_index)
        if bad >= 0:
            at = tuple(int(i) for i in np.unravel_index(bad, labels.shape))
            also = "" if self.ignore_index is None else f" or ignore_index {self.ignore_index}"
            want = f"classes in [0, {self.num_classes}){also}"
            raise ValueError(f"{op}: {name} must hold {want}, got {int(labels[at])} at index {at}")
        return codes.astype(np.uint16).reshape(labels.shape)

    def _count(self, target: Array, prediction: Array) -> Array:
        diagonal = math.hypot(*target.shape)
        tolerance = TOLERANCE * diagonal if self.tolerance is None else self.tolerance
        distance = max(1, round(DILATION * diagonal)) if self.distance is None else self.distance
        reach = math.floor(min(tolerance, diagonal + 1) ** 2)
        return count_boundaries(target, prediction, self.num_classes, reach, distance, self.backend)

    def compute(self, *, ci: float | None = None, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """The figures of all images so far. Without images they are NaN, with a RuntimeWarning.

        Parameters
        ----------
        ci : level of confidence intervals in (0, 1), such as 0.95; None: no intervals
        resamples, seed : number of times that the images are resampled with replacement, and the seed

        Returns
        -------
        dict
            mean_boundary_f, mean_boundary_iou : float, means over the classes where they are not NaN
            boundary_f, boundary_precision, boundary_recall : (C,) float64, means over the images of the class
            boundary_iou : (C,) float64. NaN for a class without a boundary
            class_images : (C,) int64, the images of each class
            images : int
            ci : with ``ci``, a dict of level, resamples, seed, and of (low, high) for each float above, (2, C) for
                each array of float64. A basic bootstrap, at least as wide as the jackknife's standard error asks for

        Raises
        ------
        TypeError   type of an argument
        ValueError  range of an argument
        """
        op = f"{NAME}.compute"
        options = None if ci is None else bootstrap(op, ci, resamples, seed)
        self._warn_if_empty(op)
        values = _of_images(self._records())
        found = _figures(None, values)
        result: dict[str, Any] = {name: x[0] if x.ndim > 1 else float(x[0]) for name, x in found.items()}
        result |= {"class_images": values["seen"].sum(axis=0).astype(np.int64), "images": len(self)}
        if options is not None:
            result["ci"] = options._asdict() | _intervals(values, found, len(self), options)
        return result

    def _records(self) -> NDArray[np.int64]:
        """(I, C, 7)"""
        return np.array(self._kept, np.int64).reshape(len(self), self.num_classes, len(COUNTS))

    # The methods that `Metric` needs

    def _shared(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "tolerance": self.tolerance,
            "distance": self.distance,
        }

    def _arrays(self) -> dict[str, Array]:
        return {"records": self._records()}

    @classmethod
    def _restored(
        cls, parameters: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Array], backend: str | None
    ) -> Self:
        result = cls(**parameters, backend=backend)
        records = arrays.pop("records")
        shape = (len(records), result.num_classes, len(COUNTS))
        if settings or arrays or records.shape != shape or records.dtype != np.int64:
            raise ValueError(f"it must hold int64 records of shape {shape}, got {records.dtype} {records.shape}")
        if records.min(initial=0) < 0 or records.sum(dtype=np.float64) >= 2**62:
            raise ValueError("counts must be from 0 to below 2**62")
        result._state = Kept(list(records), len(records))
        return result

    def _empty(self) -> Self:
        return type(self)(**self._shared(), backend=self.backend)

    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        shown = {name: check.describe(value) for name, value in self._shared().items() if value is not None}
        pixels = sum(int(record[:, 0].sum()) for record in self._kept)
        return shown, [plural(pixels, "true boundary pixel")]


def _of_images(records: NDArray[np.int64]) -> dict[str, Array]:
    """(I, C) each: what the figures are sums of, over images."""
    true, guess, true_near, guess_near, true_region, guess_region, shared = (
        records[..., i] for i in range(len(COUNTS))
    )
    seen = (true > 0) | (guess > 0)
    precision = np.where(guess > 0, ratio(guess_near, guess), 0.0)
    recall = np.where(true > 0, ratio(true_near, true), 0.0)
    total = precision + recall
    f = np.where(total > 0, ratio(2 * precision * recall, total), 0.0)
    return {
        "seen": seen.astype(np.float64), "f": f, "precision": precision, "recall": recall,
        "shared": shared.astype(np.float64), "union": (true_region + guess_region - shared).astype(np.float64),
    }  # fmt: skip


def _figures(times: Array | None, values: dict[str, Array]) -> dict[str, Array]:
    """Each figure of resamples, (n,) or (n, C). times : (n, I) how often each image is drawn; None: each once, and sums
    are rounded once, so that the order of the images is no matter."""

    def total(x: Array) -> Array:
        if times is None:
            return np.array([[math.fsum(column) for column in x.T.tolist()]])
        # Not by @: the last bits would depend on the order of the BLAS library's sums.
        return np.stack([(times * column).sum(axis=1) for column in x.T], axis=1)

    seen = total(values["seen"])
    found = {f"boundary_{name}": ratio(total(values[name]), seen) for name in ("f", "precision", "recall")}
    found["boundary_iou"] = ratio(total(values["shared"]), total(values["union"]))
    return {f"mean_boundary_{name}": known_means(found[f"boundary_{name}"]) for name in ("f", "iou")} | found


def _intervals(
    values: dict[str, Array], estimate: dict[str, Array], images: int, options: Bootstrap
) -> dict[str, Any]:  # fmt: skip
    batches = [_figures(times, values) for times in resample(images, options, 6 * values["seen"].shape[1])]
    result: dict[str, Any] = {}
    for name, without in _figures(left_out(images), values).items():
        draws = np.concatenate([batch[name] for batch in batches])
        ends = interval(draws, estimate[name][0], without, images, options.level, np.nan)
        result[name] = (float(ends[0]), float(ends[1])) if ends.ndim == 1 else ends
    return result
