"""Rows of the table of ops: fastdet.pool."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast
from pool_images import WINDOWS, channels_last, image

from fastdet import pool


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    return rng.integers(-126, -123, shape) if dtype == "int8" else rng.integers(0, 4, shape)


WIDE = (17, 3, 8, False)  # a window of more places than a byte counts


def pooling(name: str, shape: tuple[int, ...], *, last: bool = False, **options: Any) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        kernel, stride, padding, ceil_mode = WINDOWS.get(name, WIDE)
        x = cast(image(rng, shape) if dtype in ALL_FLOATS else integers(rng, shape, dtype), dtype)
        return (channels_last(x) if last else x, kernel, stride, padding), {"ceil_mode": ceil_mode, **options}

    return case


def unpooling(name: str, shape: tuple[int, ...], backward: str = "", *, last: bool = False, **options: Any) -> Case:
    """Arguments of `max_unpool2d`, or of one of the gradients, from an image that was pooled."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        kernel, stride, padding, ceil_mode = WINDOWS[name]
        x = image(rng, shape) if dtype in ALL_FLOATS else integers(rng, shape, dtype)
        values, indices = pool.max_pool2d(
            x, kernel, stride, padding, ceil_mode=ceil_mode, backend="reference", **options
        )
        if last:
            indices = channels_last(indices)
        if backward == "pool":
            grad = cast(np.where(rng.random(values.shape) < 0.1, -0.0, rng.standard_normal(values.shape)), dtype)
            return (channels_last(grad) if last else grad, indices, shape[-2:], kernel, stride, padding), {}
        moved = cast(x if backward else values, dtype)
        moved = channels_last(moved) if last else moved
        if backward:
            return (moved, indices, kernel, stride, padding), {}
        zero = {"int8": {"zero_point": -7}, "uint8": {"zero_point": 128}}.get(dtype, {})
        return (moved, indices, kernel, stride, padding, shape[-2:]), zero

    return case


LAST = ("2x2", "3x3/2", "apart")  # windows that are also tested with channels last


def cases(make: Any, *args: Any, names: tuple[str, ...] = tuple(WINDOWS)) -> dict[str, Case]:
    return {
        **{name: make(name, (2, 3, 9, 37), *args) for name in names},
        **{f"{name} channels last": make(name, (2, 19, 7, 8), *args, last=True) for name in names if name in LAST},
        "compact": make("2x2", (2, 3, 8, 70), *args, compact=True),
        "compact 3x3/2": make("3x3/2", (3, 9, 37), *args, compact=True),
        "compact channels last": make("2x2", (2, 19, 6, 8), *args, compact=True, last=True),
        "plane": make("2x2", (6, 9), *args),
        "no image": make("2x2", (0, 3, 4, 4), *args),
        "large": make("2x2", (1, 5, 300, 420), *args),
    }


BACK = ("2x2", "3x3/2", "oblong")
OPS: dict[str, ArrayOp] = {
    "max_pool2d": ArrayOp(
        pool.max_pool2d,
        {
            **cases(pooling),
            **{f"{name} values": pooling(name, (2, 3, 9, 37), return_indices=False) for name in ("2x2", "3x3/2")},
            "values channels last": pooling("3x3/2", (2, 19, 7, 8), return_indices=False, last=True),
            "17x17": pooling("17x17", (1, 3, 20, 40)),
            "17x17 channels last": pooling("17x17", (1, 19, 9, 12), last=True),
        },
        (*ALL_FLOATS, "uint8", "int8"),
        threaded=("large",),
    ),
    "max_unpool2d": ArrayOp(
        pool.max_unpool2d, cases(unpooling), ("float32", "float64", "bfloat16", "uint8", "int8"), threaded=("large",)
    ),
    "max_pool2d_backward": ArrayOp(
        pool.max_pool2d_backward, cases(unpooling, "pool", names=BACK), ALL_FLOATS, threaded=("large",)
    ),
    "max_unpool2d_backward": ArrayOp(
        pool.max_unpool2d_backward, cases(unpooling, "unpool", names=BACK), ("float32", "bfloat16"), threaded=("large",)
    ),
}
