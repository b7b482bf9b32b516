"""Rows of the table of ops: fastdet.rotated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from op_rows import FLOATS, Arguments, ArrayOp, Case, cast
from rotated_boxes import hostile_boxes, hostile_scores, some_boxes

from fastdet import rotated
from fastdet.rotated.transforms import FORMATS

MANY_DTYPES = (*FLOATS, "float16", "int32")
WAYS = tuple(product((True, False), (True, False)))


def boxes(dtype: str, rng: np.random.Generator, n: int, kind: str) -> Any:
    made = hostile_boxes(rng, n) if kind == "hostile" else some_boxes(rng, n, 300 if kind == "sparse" else 60)
    if dtype == "int32":
        made = np.nan_to_num(np.clip(made, -1000, 1000))
    with np.errstate(over="ignore"):
        return cast(made, dtype)


def pairs(n: int, m: int, kind: str, **options: Any) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        return (boxes(dtype, rng, n, kind), boxes(dtype, rng, m, kind)), options

    return case


def scored(n: int, kind: str, *, groups: int = 0, **options: Any) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        own = boxes("int32" if dtype == "int32" else "float64", rng, n, kind)
        own = np.nan_to_num(own, posinf=np.inf, neginf=-np.inf)
        with np.errstate(over="ignore"):
            arguments: tuple[Any, ...] = cast(own, dtype), hostile_scores(rng, n).astype(np.float32)
        if groups:
            arguments += (rng.integers(-1, groups - 1, n),)
        return arguments, options

    return case


def all_conversions(convert: Callable[..., Any], b: Any, *, backend: str | None = None) -> tuple[Any, ...]:
    five = [
        convert(b, i, o, degrees=d, clockwise=c, out_degrees=e, out_clockwise=f, backend=backend)
        for i, o, (d, c), (e, f) in product(FORMATS[:2], FORMATS, WAYS, WAYS)
    ]
    corners = convert(b, "cxcywhr", "xyxyxyxy", backend=backend)
    eight = [
        convert(corners, "xyxyxyxy", o, degrees=d, clockwise=c, backend=backend) for o, (d, c) in product(FORMATS, WAYS)
    ]
    return tuple(five + eight)


def converted(kind: str) -> Case:
    return lambda dtype, rng: ((boxes(dtype, rng, 40, kind),), {})


def points(n: int, count: int, *, grid: int = 0, line: bool = False, **options: Any) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        x = rng.integers(0, grid, (n, count, 2)).astype(float) if grid else rng.standard_normal((n, count, 2)) * 100
        if line:
            x[..., 1] = 3 * x[..., 0] + 1
        if n > 3:
            x[1] = x[1, :1]
            x[2, 0, 0] = np.nan
            x[3] *= 1e30
        return (cast(x, dtype),), options

    return case


IOU: dict[str, Case] = {
    "dense": pairs(30, 70, "dense"),
    "hostile": pairs(40, 90, "hostile"),
    "radians": pairs(9, 33, "dense", degrees=False, clockwise=True, metric="iof"),
    "ios": pairs(17, 40, "dense", metric="ios"),
    "aligned": pairs(60, 60, "hostile", aligned=True),
    "none": pairs(0, 3, "dense"),
    "large": pairs(600, 700, "sparse"),
}
NMS: dict[str, Case] = {
    "dense": scored(120, "dense", iou_threshold=0.3),
    "hostile": scored(150, "hostile", iou_threshold=0.5, metric="ios"),
    "many": scored(700, "sparse", iou_threshold=0.2),
    "limited": scored(90, "dense", iou_threshold=0.0, max_output=7, score_threshold=0.25, clockwise=True),
    "none": scored(0, "dense", iou_threshold=0.5),
}
SOFT: dict[str, Case] = {
    "dense": scored(80, "dense"),
    "gaussian": scored(300, "hostile", method="gaussian", sigma=0.02),
    "limited": scored(90, "dense", method="gaussian", max_output=7, min_score=0.2, degrees=False),
    "none": scored(0, "dense"),
}
OPS: dict[str, ArrayOp] = {
    "box_iou_rotated": ArrayOp(rotated.box_iou_rotated, IOU, MANY_DTYPES, threaded=("large",)),
    "nms_rotated": ArrayOp(rotated.nms_rotated, NMS, MANY_DTYPES),
    "batched_nms_rotated": ArrayOp(
        rotated.batched_nms_rotated,
        {
            "dense": scored(120, "dense", groups=4, iou_threshold=0.3),
            "many": scored(1500, "sparse", groups=2, iou_threshold=0.1, max_output=900),
        },
        FLOATS,
    ),
    "soft_nms_rotated": ArrayOp(rotated.soft_nms_rotated, SOFT, FLOATS),
    "batched_soft_nms_rotated": ArrayOp(
        rotated.batched_soft_nms_rotated, {"dense": scored(120, "dense", groups=4)}, FLOATS
    ),
    "box_convert_rotated": ArrayOp(
        partial(all_conversions, rotated.box_convert_rotated),
        {"dense": converted("dense"), "hostile": converted("hostile")},
        MANY_DTYPES,
    ),
    "min_area_rect": ArrayOp(
        rotated.min_area_rect,
        {
            "quads": points(40, 4),
            "grid": points(20, 9, grid=4, degrees=False),
            "lines": points(6, 5, line=True, clockwise=True),
            "clouds": points(5, 200),
            "point": points(2, 1),
            "none": points(0, 4),
        },
        FLOATS,
    ),
}
