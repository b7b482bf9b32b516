"""One table of every op: how to call it on a sample, where its fast kernels are, how two answers are compared.

Backends are declared here, never discovered: a kernel that is missing fails its tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from samples import Array, Sample

from fastdet import boxes, nms

FLOATS = ("float32", "float64")
DTYPES = (*FLOATS, "float16", "bfloat16", "uint8", "int16", "int32", "int64")
FORMATS = ("xyxy", "xywh", "cxcywh")
CLOSE_ULP = 8  # of max(1, |value|): what two arc tangents of 1 ulp each make of complete_box_iou

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Compare = Callable[[Any, Any], None]


def equal(got: Any, want: Any) -> None:
    """The same type, dtype, shape and bits; a NaN equals any NaN."""
    _compare(got, want, lambda g, w: g.tobytes() == w.tobytes())


def close(got: Any, want: Any) -> None:
    """As `equal`, but values may differ by `CLOSE_ULP`."""

    def near(g: Array, w: Array) -> bool:
        unit = CLOSE_ULP * np.finfo(g.dtype).eps
        with np.errstate(invalid="ignore"):  # inf - inf
            return bool(np.all((g == w) | (np.abs(g - w) <= unit * np.maximum(1, np.abs(w)))))

    _compare(got, want, near)


def _compare(got: Any, want: Any, same: Callable[[Array, Array], bool]) -> None:
    assert type(got) is type(want), f"type {type(got).__name__}, not {type(want).__name__}"
    if isinstance(got, tuple):
        assert len(got) == len(want), f"{len(got)} results, not {len(want)}"
        for g, w in zip(got, want, strict=True):
            _compare(g, w, same)
        return
    g, w = np.asarray(got), np.asarray(want)
    assert g.dtype == w.dtype, f"dtype {g.dtype}, not {w.dtype}"
    assert g.shape == w.shape, f"shape {g.shape}, not {w.shape}: {g}\nnot {w}"
    if g.dtype.kind == "f":
        hole = np.isnan(g)
        assert np.array_equal(hole, np.isnan(w)), f"NaN at {np.argwhere(hole != np.isnan(w))[:5].tolist()} of one only"
        g, w = np.where(hole, g.dtype.type(0), g), np.where(hole, w.dtype.type(0), w)
    if not same(g, w):
        at = np.argwhere(~((g == w) & (np.signbit(g) == np.signbit(w))))[:5]
        pairs = [(i.tolist(), g[tuple(i)].item(), w[tuple(i)].item()) for i in at]
        raise AssertionError(f"(index, got, want): {pairs} of {g.size}")


@dataclass(frozen=True)
class Op:
    """A public function and one way to call it."""

    public: Callable[..., Any]
    inputs: Callable[[Sample], Arguments]
    dtypes: tuple[str, ...] = DTYPES
    backends: tuple[str, ...] = ("numba", "cpp", "cuda")
    same: Compare = equal
    nan: bool = False  # carries NaN instead of refusing it
    finite: bool = False  # refuses infinities
    largest: int = 1025  # boxes: beyond it the reference takes seconds

    def call(self, sample: Sample, backend: str | None, prepare: Callable[[Array], Any] = lambda x: x) -> Any:
        """The answer of a backend, with every array of the arguments as ``prepare`` gives it."""
        args, options = self.inputs(sample)
        args, options = mapped(args, prepare), mapped(options, prepare)
        try:
            return self.public(*args, **options, backend=backend)
        except ValueError as error:  # fusion refuses infinities: a refusal is an answer too
            if self.finite and "must be finite" in str(error):
                return np.array([str(error)])
            raise

    def reference(self, sample: Sample, prepare: Callable[[Array], Any] = lambda x: x) -> Any:
        return self.call(sample, "reference", prepare)


def mapped(x: Any, prepare: Callable[[Array], Any]) -> Any:
    """``x`` with ``prepare`` applied to each array within."""
    if isinstance(x, np.ndarray):
        return prepare(x)
    if isinstance(x, dict):
        return {key: mapped(value, prepare) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(mapped(value, prepare) for value in x)
    return x


def all_conversions(b: Any, *, backend: str | None) -> tuple[Any, ...]:
    return tuple(boxes.box_convert(b, i, o, backend=backend) for i, o in product(FORMATS, FORMATS))


def iou_into_buffer(a: Any, b: Any, *, backend: str | None, **options: Any) -> Any:
    shape = (len(a),) if options.get("aligned") else (len(a), len(b))
    buffer = np.full(shape, 7, a.dtype.newbyteorder("="))
    assert boxes.box_iou(a, b, out=buffer, backend=backend, **options) is buffer
    return buffer


def _pairs(**options: Any) -> Callable[[Sample], Arguments]:
    """N of one and M of the other, N < M, so that rows are not taken for columns."""
    return lambda s: ((s.boxes[: len(s.boxes) // 4 + 1], s.boxes2), options)


def _couples(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.boxes2), {"aligned": True, **options})


def _crowd(aligned: bool = False, **options: Any) -> Callable[[Sample], Arguments]:
    pick = _couples if aligned else _pairs
    return lambda s: pick(iscrowd=s.crowd, **options)(s)


def _scored(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores, s.t), options)


def _soft(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores), {"iou_threshold": s.t, **options})


def _soft_batched(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores, s.idxs), {"iou_threshold": s.t, **options})


def _batch(**options: Any) -> Callable[[Sample], Arguments]:
    def inputs(s: Sample) -> Arguments:
        scores = np.stack([np.stack([s.scores, np.roll(s.scores, 1), s.scores[::-1]], axis=1)] * 2)
        scores[1:] = scores[1:, ::-1]
        return (np.stack([s.boxes, s.boxes2]), scores, s.t), options

    return inputs


def _models(**options: Any) -> Callable[[Sample], Arguments]:
    """The boxes dealt out to three models, the last of which may have none."""
    hands = (slice(0, None, 3), slice(1, None, 3), slice(2, None, 3))
    return lambda s: (([s.boxes[h] for h in hands], [s.scores[h] for h in hands], [s.idxs[h] for h in hands]), options)


OPS: dict[str, Op] = {
    "box_area": Op(boxes.box_area, lambda s: ((s.boxes,), {}), nan=True),
    "box_convert": Op(all_conversions, lambda s: ((s.boxes,), {}), nan=True),
    "clip_boxes_to_image": Op(boxes.clip_boxes_to_image, lambda s: ((s.boxes, (480, 640.5)), {}), nan=True),
    "remove_small_boxes": Op(boxes.remove_small_boxes, lambda s: ((s.boxes, 3.0), {}), nan=True),
    "box_iou": Op(boxes.box_iou, _pairs(), nan=True),
    "box_iou ios": Op(boxes.box_iou, _pairs(metric="ios"), nan=True),
    "box_iou crowd": Op(boxes.box_iou, _crowd(), nan=True),
    "box_iou crowd ios": Op(boxes.box_iou, _crowd(metric="ios"), nan=True),
    "box_iou aligned": Op(boxes.box_iou, _couples(), nan=True),
    "box_iou aligned crowd ios": Op(boxes.box_iou, _crowd(aligned=True, metric="ios"), nan=True),
    "box_iou out": Op(iou_into_buffer, _pairs(), FLOATS, nan=True),
    "box_iou aligned out": Op(iou_into_buffer, _couples(), FLOATS, nan=True),
    "generalized_box_iou": Op(boxes.generalized_box_iou, _pairs(), nan=True),
    "generalized_box_iou aligned": Op(boxes.generalized_box_iou, _couples(), nan=True),
    "distance_box_iou": Op(boxes.distance_box_iou, _pairs(), nan=True),
    "distance_box_iou aligned": Op(boxes.distance_box_iou, _couples(eps=0.5), nan=True),
    "complete_box_iou": Op(boxes.complete_box_iou, _pairs(), same=close, nan=True),
    "complete_box_iou aligned": Op(boxes.complete_box_iou, _couples(eps=0.5), same=close, nan=True),
    "nms": Op(nms.nms, _scored()),
    "nms ios": Op(nms.nms, _scored(metric="ios")),
    "nms limited": Op(nms.nms, _scored(score_threshold=0.25, max_output=9)),
    "batched_nms": Op(nms.batched_nms, lambda s: ((s.boxes, s.scores, s.idxs, s.t), {})),
    "batched_nms limited": Op(
        nms.batched_nms,
        lambda s: ((s.boxes, s.scores, s.idxs, s.t), {"score_threshold": 0.25, "max_output": 9, "metric": "ios"}),
    ),
    "soft_nms": Op(nms.soft_nms, _soft(), largest=513),
    "soft_nms gaussian": Op(nms.soft_nms, _soft(method="gaussian"), largest=513),
    "soft_nms sigma": Op(nms.soft_nms, _soft(method="gaussian", sigma=0.07, min_score=0.2), largest=513),
    "soft_nms offset": Op(nms.soft_nms, _soft(offset=1.0, min_score=0.0, max_output=20)),
    "batched_soft_nms": Op(nms.batched_soft_nms, _soft_batched(), largest=513),
    "batched_soft_nms gaussian": Op(nms.batched_soft_nms, _soft_batched(method="gaussian", offset=1.0), largest=513),
    "multiclass_nms": Op(nms.multiclass_nms, _batch(max_output=50), largest=513),
    "multiclass_nms limited": Op(
        nms.multiclass_nms, _batch(max_output=9, max_per_class=2, score_threshold=0.25, metric="ios"), largest=513
    ),
    "merge_boxes": Op(nms.merge_boxes, _scored(), largest=129, finite=True),
    "merge_boxes ios": Op(nms.merge_boxes, _scored(metric="ios"), largest=129, finite=True),
    "weighted_boxes_fusion": Op(nms.weighted_boxes_fusion, _models(), largest=257, finite=True),
    "weighted_boxes_fusion max": Op(
        nms.weighted_boxes_fusion,
        _models(conf_type="max", weights=[1, 2, 0.5], skip_box_thr=0.1),
        largest=257,
        finite=True,
    ),
    "weighted_boxes_fusion model": Op(
        nms.weighted_boxes_fusion,
        _models(conf_type="box_and_model_avg", weights=[1, 2, 0.5], iou_thr=0.3),
        largest=257,
        finite=True,
    ),
    "weighted_boxes_fusion absent": Op(
        nms.weighted_boxes_fusion,
        _models(conf_type="absent_model_aware_avg", iou_thr=0.0),
        largest=257,
        finite=True,
    ),
    "weighted_boxes_fusion overflow": Op(
        nms.weighted_boxes_fusion, _models(allows_overflow=True), largest=257, finite=True
    ),
}
