"""Odd values for each parameter that is no array, of each public function: an answer, or an error that names the op.

The ops come from the tables of the areas, so a new op is covered by its row there.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from op_tables import ARRAY_OPS, BOX_OPS
from samples import sample

import fastdet
from fastdet import (
    boxes,
    detection,
    inference,
    label_maps,
    losses,
    masks,
    plots,
    proposals,
    rotated,
    segmentation,
    upsample,
    yolo,
)
from fastdet._core import check
from fastdet._files.errors import FormatError

ODD: dict[str, Any] = {
    "10**400": 10**400, "-10**400": -(10**400), "10**5000": 10**5000, "2**70": 2**70, "-2**70": -(2**70),
    "2**64": 2**64, "2**63": 2**63, "2**62": 2**62, "2**31": 2**31, "True": True, "np.True": np.True_,
    "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "1e308": 1e308, "5e-324": 5e-324, "np inf": np.float64("inf"),
    "np 1e300": np.float64(1e300), "longdouble": np.longdouble("1e4000"), "text": "x", "digits": "3", "bytes": b"3",
    "None": None, "int64": np.int64(2), "uint8": np.uint8(2), "float32": np.float32(0.5), "array 0": np.array(2),
    "array 1": np.array([2]), "array 1, 1": np.array([[0.5]]), "array of text": np.array("x"),
    "Fraction": Fraction(1, 2), "huge Fraction": Fraction(10**400, 3), "Decimal": Decimal("0.5"),
    "huge Decimal": Decimal("1e5000"),
    "Decimal nan": Decimal("nan"), "complex": 1j, "list": [1], "(2**61, 3)": (2**61, 3), "(2, 2)": (2, 2),
    "(10**400, 10**400)": (10**400, 10**400), "(1/2, 1)": (Fraction(1, 2), 1), "('a', 'b')": ("a", "b"),
    "(None, None)": (None, None), "(2**31, 2**31)": (2**31, 2**31), "()": (), "(nan, nan)": (np.nan, np.nan),
    "dict": {}, "-1": -1, "0": 0, "object": object(), "set": {1}, "[[1]]": [[1], [2, 3]],
}  # fmt: skip
ERRORS = (TypeError, ValueError, NotImplementedError, FormatError)
# Functions whose errors name the function that does the work: it has the same parameters.
NAMED_BY = {"tiling_error": ("overlap_tile",), "detect": ("upsample_bilinear", "multiclass_nms")}
Call = tuple[Callable[..., Any], dict[str, Any]]


TABLES = {**BOX_OPS, **ARRAY_OPS}


def of_table(name: str) -> Call | None:
    """One way to call a public function of the tables; None for a row around another library's function."""
    op: Any = TABLES[name]
    if name in BOX_OPS:
        args, options = op.inputs(sample("clustered", 6, "float32"))
    else:
        args, options = op.arguments(next(iter(op.cases)), op.dtypes[0])
    function: Any = op.public
    while isinstance(function, functools.partial):
        args, options, function = (*function.args, *args), {**function.keywords, **options}, function.func
    if args and inspect.isfunction(args[0]):  # a wrapper of the table around a public function
        function, args = args[0], args[1:]
    if not function.__module__.startswith("fastdet."):
        return None
    return function, dict(inspect.signature(function).bind_partial(*args, **options).arguments)


BOX = np.array([[0.0, 0, 4, 4], [1, 1, 5, 5]])
IMAGE = np.zeros((1, 6, 6), np.float32)
WINDOWED = {"model": lambda x: x, "image": IMAGE}
MATRIX = np.array([[3, 1], [0, 2]])
OF_MATRIX = (
    "iou", "dice", "mean_dice", "class_accuracy", "mean_class_accuracy", "pixel_accuracy", "frequency_weighted_iou",
)  # fmt: skip
TRUE = {"boxes": BOX, "scores": np.array([0.5, 0.6]), "true_boxes": BOX}
OTHERS: dict[str, Call] = {
    **{
        name: (getattr(losses, name), {"boxes1": BOX, "boxes2": BOX})
        for kind in ("giou_loss", "diou_loss", "ciou_loss")
        for name in (kind, f"{kind}_with_grad")
    },
    "box_convert": (boxes.box_convert, {"boxes": BOX, "in_fmt": "xyxy", "out_fmt": "xywh"}),
    "box_convert_rotated": (
        rotated.box_convert_rotated,
        {"boxes": np.zeros((2, 5)), "in_fmt": "cxcywhr", "out_fmt": "xyxyxyxy"},
    ),
    "sliding_window_boxes": (
        inference.sliding_window_boxes,
        {"model": lambda x: [(BOX, np.array([0.5, 0.6]), np.array([0, 1]))] * len(x), "image": IMAGE, "window": 4},
    ),
    "grid_anchors": (
        proposals.grid_anchors,
        {"sizes": [8, 16], "aspect_ratios": [0.5, 1.0], "map_size": (2, 3), "stride": (4, 8)},
    ),
    "fpn_anchors": (
        proposals.fpn_anchors,
        {"sizes": [8, 16], "aspect_ratios": [0.5, 1.0], "map_sizes": [(4, 6), (2, 3)], "image_size": (16, 24)},
    ),
    "ssd_default_boxes": (
        proposals.ssd_default_boxes,
        {"map_sizes": [2, 1], "aspect_ratios": [[2], [2, 3]], "image_size": 8, "scales": [0.2, 0.5, 1.0],
         "steps": [4, 8], "min_ratio": 0.15, "max_ratio": 0.9, "clip": True},
    ),
    "draw_confusion": (plots.draw_confusion, {"matrix": MATRIX}),
    "match_detections": (detection.match_detections, TRUE),
    "count_naive": (detection.count_naive, {"boxes": BOX, "true_boxes": BOX}),
    "average_precision": (
        detection.average_precision,
        {"scores": np.array([0.5]), "outcome": np.zeros((1, 1, 1), np.uint8), "counted": np.array([[1]])},
    ),
    "DetectionMetrics": (detection.DetectionMetrics, {}),
    "DetectionMetrics.compute": (
        lambda **o: detection.DetectionMetrics().update([{"boxes": BOX, "scores": [0.5, 0.6], "labels": [0, 1]}],
                                                        [{"boxes": BOX, "labels": [0, 1]}]).compute(**o),
        {"ci": 0.9, "resamples": 3, "seed": 0},
    ),
    "DetectionMetrics.at_score": (
        lambda **o: detection.DetectionMetrics().update([{"boxes": BOX, "scores": [0.5, 0.6], "labels": [0, 1]}],
                                                        [{"boxes": BOX, "labels": [0, 1]}]).at_score(**o),
        {"score": 0.5, "iou": 0.5},
    ),
    "DetectionMetrics.calibration": (
        lambda **o: detection.DetectionMetrics().update([{"boxes": BOX, "scores": [0.5, 0.6], "labels": [0, 1]}],
                                                        [{"boxes": BOX, "labels": [0, 1]}]).calibration(**o),
        {"bins": 3, "iou": 0.5},
    ),
    "error_analysis": (
        detection.error_analysis,
        {"predictions": [{"boxes": BOX, "scores": [0.5, 0.6], "labels": [0, 1]}],
         "targets": [{"boxes": BOX, "labels": [0, 1]}]},
    ),
    "SegmentationMetrics": (segmentation.SegmentationMetrics, {"num_classes": 2}),
    "SegmentationMetrics.compute": (
        lambda **o: segmentation.SegmentationMetrics(2, per_image=True).update(MATRIX % 2, MATRIX % 2).compute(**o),
        {"ci": 0.9, "resamples": 3, "seed": 0},
    ),
    "mean_iou": (segmentation.mean_iou, {"matrix": MATRIX}),
    "median_frequency_weights": (losses.median_frequency_weights, {"counts": np.array([1, 2])}),
    "bilinear_kernel": (upsample.bilinear_kernel, {"channels": 2, "factor": 2}),
    "yolo_postprocess": (yolo.yolo_postprocess, {"output": np.zeros((1, 6, 3), np.float32), "layout": "v8"}),
    "offset_pool": (inference.offset_pool, {"x": IMAGE, "size": 2}),
    "sliding_window": (inference.sliding_window, {**WINDOWED, "window": 4}),
    "overlap_tile": (inference.overlap_tile, {**WINDOWED, "tile": 4, "margin": 1}),
    "set_num_threads": (fastdet.set_num_threads, {"n": 1}),
    "detect": (
        inference.detect,
        {"model": lambda x: np.full((len(x), 1, 1, 6), 0.5), "image": IMAGE,
         "decode": functools.partial(inference.yolo_decode, predictors=1, size=(6, 6))},
    ),
    "Detector": (inference.Detector, {"model": lambda x: x}),
    "Detector.warm_up": (
        lambda **o: inference.Detector(lambda x: (BOX[:0], [], [])).warm_up(**o), {"size": 4, "count": 1},
    ),
    "yolo_decode": (inference.yolo_decode, {"output": np.zeros((2, 2, 6)), "predictors": 1}),
    "ssd_decode": (inference.ssd_decode, {"loc": BOX, "conf": np.zeros((2, 3)), "priors": BOX}),
    "tiling_error": (inference.tiling_error, {**WINDOWED, "tile": 4, "margin": 1}),
    "read_label_map": (label_maps.read_label_map, {"source": MATRIX}),
    **{name: (getattr(segmentation, name), {"matrix": MATRIX}) for name in OF_MATRIX},
    "precision_recall_curve": (
        detection.precision_recall_curve,
        {"scores": np.array([0.5]), "outcome": np.zeros(1, np.uint8), "counted": 1},
    ),
    "draw_boxes": (plots.draw_boxes, {"boxes": BOX}),
    "masks_to_boxes": (masks.masks_to_boxes, {"masks": np.eye(3, dtype=bool)[None]}),
    "RLE": (masks.RLE, {"sizes": [[2, 3]], "counts": [1, 2, 3], "offsets": [0, 3]}),
    "RLE.from_coco": (lambda **o: masks.RLE.from_coco(o), {"size": [2, 3], "counts": [1, 2, 3]}),
    "draw_class_scores": (plots.draw_class_scores, {"scores": np.array([0.5, 0.6])}),
}  # fmt: skip
ARRAYS = (
    "backend",
    "out",
    "ax",
    "names",
    "beyond",
    "model",
    "image",
    "output",
    "targets",
    "decode",
    "progress",
    "x",
    "matrix",
    "counts",
)


def tried(function: Callable[..., Any], options: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each parameter that is no array, with each odd value."""
    names = list(inspect.signature(function).parameters) if inspect.signature(function).parameters else []
    names = [*(n for n in names if n != "o"), *(n for n in options if n not in names)]
    for name in names:
        value = options.get(name)
        if name in ARRAYS or isinstance(value, np.ndarray) or type(value).__module__.startswith("torch"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            continue
        for word, odd in ODD.items():
            yield name, word, {**options, name: odd}


def fault(op: str, call: Callable[[], Any]) -> str | None:
    """What is wrong with the error of a call, if it raises one."""
    try:
        call()
    except Exception as error:
        named = str(error).startswith((op, *NAMED_BY.get(op, ()))) and len(str(error)) < 400
        return None if type(error) in (*ERRORS, MemoryError) and named else repr(error)[:200]
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", [*TABLES, *OTHERS])
def test_odd_values(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = OTHERS[row] if row in OTHERS else of_table(row)
    if call is None:
        return
    function, options = call
    monkeypatch.setattr(np, "empty", limited(np.empty))
    op = row if row in OTHERS else function.__name__
    threads = fastdet.get_num_threads()
    backends: list[dict[str, Any]] = [{}]
    if "backend" in inspect.signature(function).parameters and row in TABLES:
        backends = [{"backend": "reference"}, {"backend": None}]
    wrong = {}
    for name, word, arguments in tried(function, options):
        for backend in backends:
            found = fault(op.partition(".")[0], lambda a=arguments, b=backend: function(**a, **b))
            if found is not None:
                wrong[f"{name}={word} {backend}"] = found
    fastdet.set_num_threads(threads)
    assert not wrong


def limited(make: Callable[..., Any]) -> Callable[..., Any]:
    """`numpy.empty` on a machine with a gigabyte."""

    def empty(shape: Any, dtype: Any = float, *rest: Any, **options: Any) -> Any:
        size = np.prod(shape, dtype=np.float64) * np.dtype(dtype).itemsize
        if size > 2**30:
            raise MemoryError
        return make(shape, dtype, *rest, **options)

    return empty


def test_the_tables_are_whole() -> None:
    """Nearly every public function with a number as a parameter is here."""
    covered = set(OTHERS)
    for name in TABLES:
        with contextlib.suppress(pytest.skip.Exception):  # of a library that is missing
            if call := of_table(name):
                covered.add(call[0].__name__)
    covered |= {function.__name__ for function, _ in OTHERS.values()}
    without = set()
    for module in fastdet.__all__:
        area = getattr(fastdet, module)
        for name in getattr(area, "__all__", []) if isinstance(area, types.ModuleType) else []:
            if isinstance(getattr(area, name), types.FunctionType) and name not in covered:
                without.add(f"{module}.{name}")
    kept = (
        "plots.",
        "coco.",
        "distributed.",
        "label_maps.",
        "inference.",
        "integrations.",
        "segmentation.",
        "detection.precision_recall",
    )
    assert {name for name in without if not name.startswith(kept)} == set()


def test_describe() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError

    assert check.describe(10**5000) == "an integer of 16610 bits"
    assert check.describe(Bad()) == "an object of type Bad"
    assert check.describe("\x1b[31m") == r"'\x1b[31m'"
    assert len(check.describe([10**300])) < 100
