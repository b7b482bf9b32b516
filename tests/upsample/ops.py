"""Rows of the table of ops: fastdet.upsample."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import upsample

# shape of the image (channels last: H, W, C) and options: larger, smaller, both ways, same size, rows past vectors
SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "twice": ((2, 3, 9, 21), {"scale_factor": 2}),
    "corners": ((2, 3, 9, 21), {"size": (20, 40), "align_corners": True}),
    "by parts": ((3, 7, 50), {"scale_factor": (1.7, 2.3)}),
    "smaller": ((2, 31, 70), {"size": (11, 33)}),
    "much smaller": ((1, 40, 900), {"size": (3, 20)}),
    "one way each": ((1, 30, 8), {"size": (7, 61)}),
    "same": ((2, 6, 35), {"size": (6, 35)}),
    "from one": ((1, 1), {"size": (3, 40)}),
    "to one": ((2, 5, 40), {"size": 1}),
    "tiles": ((1, 3, 1500), {"size": (5, 4100)}),
    "bands": ((1, 90, 100), {"size": (380, 390)}),
    "no image": ((0, 3, 4, 5), {"scale_factor": 2}),
    "few channels last": ((12, 14, 3), {"scale_factor": 2, "channels_last": True}),
    "many channels last": ((2, 5, 6, 37), {"size": (11, 9), "channels_last": True}),
    "smaller, channels last": ((9, 50, 3), {"size": (4, 23), "channels_last": True}),
    "much smaller, channels last": ((9, 300, 17), {"size": (4, 9), "channels_last": True}),
}


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype in ("uint8", "int8"):
        return rng.integers(0, 256, shape, dtype=np.uint8).view(dtype)
    values = rng.standard_normal(shape) * 10
    if values.size > 40:
        values.flat[[7, 19, 37]] = np.nan, np.inf, -np.inf
    return cast(values, dtype)


def _forward(shape: tuple[int, ...], options: dict[str, Any]) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        return (_values(rng, shape, dtype),), options

    return case


def _backward(shape: tuple[int, ...], options: dict[str, Any]) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        result = upsample.upsample_bilinear(np.zeros(shape, np.float32), **options, backend="reference")
        last = options.get("channels_last", False)
        size = shape[-3:-1] if last else shape[-2:]
        rest = {name: value for name, value in options.items() if name != "size"}
        return (_values(rng, result.shape, dtype), size), rest

    return case


OPS: dict[str, ArrayOp] = {
    "upsample_bilinear": ArrayOp(
        upsample.upsample_bilinear,
        {name: _forward(*row) for name, row in SHAPES.items()},
        (*ALL_FLOATS, "uint8", "int8"),
        threaded=("bands",),
    ),
    "upsample_bilinear_backward": ArrayOp(
        upsample.upsample_bilinear_backward,
        {name: _backward(*row) for name, row in SHAPES.items()},
        ALL_FLOATS,
        threaded=("bands",),
    ),
}
