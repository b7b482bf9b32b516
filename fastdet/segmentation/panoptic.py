"""`PanopticMetrics`: panoptic quality of a data set, updated image by image or batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.check import Array
from fastdet._core.metric import RESAMPLES, bootstrap, plural
from fastdet.segmentation import panoptic_figures, panoptic_match
from fastdet.segmentation.kept import Kept, KeptImages
from fastdet.segmentation.panoptic_match import COUNTS, SUMS, Category, Image, Sides, read_segments
from fastdet.segmentation.segment_pairs import id_map, segment_pairs_reference

if TYPE_CHECKING:
    from typing_extensions import Self

NAME = "PanopticMetrics"
_KEYS = ("segmentation", "segments_info")


class PanopticMetrics(KeptImages):
    """Panoptic quality (PQ), segmentation quality (SQ) and recognition quality (RQ) of a data set.

    A true and a predicted segment of one category match where their IoU is above 0.5, so that no segment has two. Then
    SQ is the mean IoU of the pairs that match, RQ is TP / (TP + FP / 2 + FN / 2), and PQ their product, for each
    category; other figures are means over categories.

    Parameters
    ----------
    categories : COCO's ``categories``: dictionaries with ``id``, ``isthing`` (0 or 1) and, where there is one, ``name``
    backend : "cpp", "numba", "reference", or None for the fastest there is

    Raises
    ------
    TypeError   type of an argument or of a field
    ValueError  no category, an id twice, a missing field, ``isthing`` other than 0 and 1

    Notes
    -----
    Pixels of void truth (id 0) are left out of unions. Crowd truth matches nothing and is no miss. A prediction without
    a match is left out where more than half of it is void, or crowd of its category (of all crowd segments together;
    the panoptic API takes the last). Areas are counted from the maps; the records' ``area`` is not read. A category
    without true positives, false positives and false negatives is left out of the means.

    Modified PQ takes, for stuff, the sum of the IoU of all pairs of the category that overlap, without the threshold,
    divided by the number of true segments; things are as in PQ.

    Figures do not depend on the order or the batches of the images. Memory: about 100 bytes and 48 for each category,
    an image. Not safe to update from two threads at once: give each its own object and merge. ``pickle`` and ``copy``
    go through `to_bytes`.

    Source: Kirillov et al., Panoptic Segmentation (2019) and its evaluation code; Porzi et al., Seamless Scene
    Segmentation (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.segmentation import PanopticMetrics
    >>> metrics = PanopticMetrics([{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}])
    >>> truth = {"segmentation": np.array([[7, 7, 7, 9]]),
    ...          "segments_info": [{"id": 7, "category_id": 1}, {"id": 9, "category_id": 2}]}
    >>> guess = {"segmentation": np.array([[1, 1, 0, 2]]),
    ...          "segments_info": [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}]}
    >>> metrics.update([guess], [truth])
    <PanopticMetrics(categories=2): 1 image, 2 true segments>
    >>> round(metrics.compute()["pq"], 4)  # IoU 2 / 3 and 1
    0.8333
    """

    __module__ = "fastdet.segmentation"
    _name, _absent = NAME, np.nan

    def __init__(self, categories: Sequence[Mapping[str, Any]], *, backend: str | None = None) -> None:
        self._categories = _categories(categories)
        self._position = {category.id: i for i, category in enumerate(self._categories)}
        self._is_thing = np.array([category.is_thing for category in self._categories], np.bool_)
        self.backend = backend
        backends.choose("segment_pairs", backend, segment_pairs_reference)
        self.reset()

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The categories, as the constructor takes them."""
        return [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in self._categories]

    def update(self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> Self:
        """Count a batch of images. If it raises, nothing is counted.

        Parameters
        ----------
        predictions, targets : for each image a dictionary with
            segmentation : (H, W) integers in [0, 2**32), the segment id of each pixel; or (H, W, 3) uint8, colours of
                COCO's PNG files, whose id is R + 256 G + 65536 B; or such an image of Pillow. 0 is void. NumPy arrays
                or tensors; what is on a GPU is copied to the host
            segments_info : COCO's records, dictionaries with ``id``, ``category_id`` and, in targets, ``iscrowd``
                (0 or 1; 0 where it is missing). Further fields are not read

        Returns
        -------
        this object

        Raises
        ------
        TypeError   type or dtype
        ValueError  shapes that differ, a missing key, an unknown category, an id that the map has and the records lack,
            or the reverse; the text names the image, the record and the field
        """
        op = f"{NAME}.update"
        for name, x in (("predictions", predictions), ("targets", targets)):
            if isinstance(x, (str, bytes, Mapping)) or not isinstance(x, Sequence):
                raise TypeError(f"{op}: {name} must be a list of dictionaries, got {type(x).__name__}")
        if len(predictions) != len(targets):
            raise ValueError(f"{op}: targets must be as many as predictions ({len(predictions)}), got {len(targets)}")
        self._add([self._count(op, i, *pair) for i, pair in enumerate(zip(targets, predictions, strict=True))])
        return self

    def _count(self, op: str, i: int, target: Any, prediction: Any) -> Image:
        maps, segments = [], []
        for name, x in (("targets", target), ("predictions", prediction)):
            where = f"{name}[{i}]"
            if not isinstance(x, Mapping):
                raise TypeError(f"{op}: {where} must be a dictionary, got {check.describe(x)}")
            for key in _KEYS:
                if key not in x:
                    raise ValueError(
                        f"{op}: {where} must have the key {key!r}, got {check.describe(sorted(map(str, x)))}"
                    )
            maps.append(id_map(op, f"{where}.segmentation", x["segmentation"]))
            segments.append(read_segments(f"{op}: {where}.segments_info", x["segments_info"], self._position))
        names = [f"{op}: {name}[{i}]" for name in ("targets", "predictions")]
        sides = Sides(
            (f"{names[0]}.segments_info", f"{names[1]}.segments_info"),
            (f"{names[0]}.segmentation", f"{names[1]}.segmentation"),
        )
        return panoptic_match.count(sides, (maps[0], maps[1]), (segments[0], segments[1]), self.backend)

    def compute(self, *, ci: float | None = None, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """The figures of all images so far. Without images they are NaN, with a RuntimeWarning.

        Parameters
        ----------
        ci : level of confidence intervals in (0, 1), such as 0.95; None: no intervals
        resamples, seed : number of times that the images are resampled with replacement, and the seed

        Returns
        -------
        dict
            pq, sq, rq, modified_pq : float, means over all categories; with ``_things`` and ``_stuff`` over those of a
                kind. NaN where no category was counted
            pq_per_class, sq_per_class, rq_per_class, modified_pq_per_class : (C,) float64, NaN where the category is
                absent
            true_positives, false_positives, false_negatives, true_segments : (C,) int64; crowd is in none of them
            categories : (C,) int64, their ids
            counted, counted_things, counted_stuff : int, categories in the means of PQ
            images, pixels, void_pixels : int; void_pixels are those of void truth
            ci : with ``ci``, a dict of level, resamples, seed, and of (low, high) for each float above, (2, C) for each
                array of categories. A basic bootstrap, at least as wide as the jackknife's standard error asks for

        Raises
        ------
        TypeError   type of an argument
        ValueError  range of an argument
        """
        op = f"{NAME}.compute"
        options = None if ci is None else bootstrap(op, ci, resamples, seed)
        self._warn_if_empty(op)
        rows = self._arrays()
        counts, sums = panoptic_figures.totals(rows["category"], rows["counts"], rows["sums"], len(self._categories))
        found = panoptic_figures.figures(counts, sums, self._is_thing)
        result: dict[str, Any] = {name: found[name] if np.ndim(found[name]) else float(found[name]) for name in found}
        result |= {name: counts[:, i].copy() for i, name in enumerate(COUNTS)}
        known = ~np.isnan(found["pq_per_class"])
        pixels = rows["pixels"].sum(axis=0).tolist()
        result |= {
            "categories": np.array([category.id for category in self._categories], np.int64),
            "counted": int(known.sum()),
            "counted_things": int((known & self._is_thing).sum()),
            "counted_stuff": int((known & ~self._is_thing).sum()),
            "images": len(self),
            "pixels": pixels[0],
            "void_pixels": pixels[1],
        }
        if options is not None:
            image = np.repeat(np.arange(len(self)), rows["rows"])
            each = rows["category"], rows["counts"], rows["sums"]
            ends = panoptic_figures.intervals(image, *each, len(self), self._is_thing, found, options)
            result["ci"] = options._asdict() | ends
        return result

    # The methods that `Metric` needs

    def _shared(self) -> dict[str, Any]:
        return {"categories": self.categories}

    def _arrays(self) -> dict[str, Array]:
        images = self._kept
        none = Image(
            np.zeros(0, np.int64), np.zeros((0, len(COUNTS)), np.int64), np.zeros((0, len(SUMS))), np.zeros(2, np.int64)
        )
        category, counts, sums = (np.concatenate([none[k], *(image[k] for image in images)]) for k in range(3))
        return {
            "rows": np.array([len(image.category) for image in images], np.int64),
            "pixels": np.array([image.pixels for image in images], np.int64).reshape(-1, 2),
            "category": category,
            "counts": counts,
            "sums": sums,
        }

    @classmethod
    def _restored(
        cls, parameters: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Array], backend: str | None
    ) -> Self:
        result = cls(**parameters, backend=backend)
        if settings or set(arrays) != {"rows", "pixels", "category", "counts", "sums"}:
            raise ValueError(f"it must hold rows, pixels, category, counts and sums, got {sorted(arrays)}")
        rows, pixels, category, counts, sums = (
            arrays[name] for name in ("rows", "pixels", "category", "counts", "sums")
        )
        total = len(category)
        shapes = {"rows": (rows, (len(rows),)), "pixels": (pixels, (len(rows), 2)), "category": (category, (total,)),
                  "counts": (counts, (total, len(COUNTS)))}  # fmt: skip
        for name, (x, shape) in shapes.items():
            if x.dtype != np.int64 or x.shape != shape or x.min(initial=0) < 0 or x.sum(dtype=np.float64) >= 2**62:
                raise ValueError(f"{name} must be int64 of shape {shape}, from 0 to below 2**62")
        if sums.dtype != np.float64 or sums.shape != (total, len(SUMS)) or not (sums >= 0).all():
            raise ValueError(f"sums must be float64 of shape {(total, len(SUMS))}, 0 or more")
        if not np.isfinite(sums).all() or rows.sum() != total or category.max(initial=0) >= len(result._categories):
            raise ValueError("sums must be finite, rows add up, and categories be known")
        ends = np.cumsum(rows)[:-1]
        parts = zip(*(np.split(x, ends) for x in (category, counts, sums)), pixels, strict=True) if len(rows) else ()
        result._state = Kept([Image(*(np.array(x) for x in part)) for part in parts], len(rows))
        return result

    def _empty(self) -> Self:
        return type(self)(self.categories, backend=self.backend)

    def _facts(self) -> tuple[dict[str, Any], list[str]]:
        segments = sum(int(image.counts[:, 3].sum()) for image in self._kept)
        return {"categories": len(self._categories)}, [plural(segments, "true segment")]


def _categories(x: Any) -> list[Category]:
    if isinstance(x, (str, bytes, Mapping)) or not isinstance(x, Sequence):
        raise TypeError(f"{NAME}: categories must be a list of dictionaries, got {check.describe(x)}")
    found: list[Category] = []
    for i, record in enumerate(x):
        where = f"{NAME}: categories[{i}]"
        if not isinstance(record, Mapping):
            raise TypeError(f"{where} must be a dictionary, got {check.describe(record)}")
        number = panoptic_match.integer(where, record, "id")
        if not 0 <= number < 2**63:
            raise ValueError(f"{where}.id must be in [0, 2**63), got {check.describe(number)}")
        flag = panoptic_match.integer(where, record, "isthing")
        if flag not in (0, 1):
            raise ValueError(f"{where}.isthing must be 0 or 1, got {check.describe(flag)}")
        name = record.get("name", str(number))
        if not isinstance(name, str):
            raise TypeError(f"{where}.name must be a string, got {check.describe(name)}")
        found.append(Category(number, bool(flag), name))
    if not found:
        raise ValueError(f"{NAME}: categories must hold at least one category, got none")
    ids = [category.id for category in found]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ValueError(f"{NAME}: categories must have an id each, got {twice} twice")
    return found
