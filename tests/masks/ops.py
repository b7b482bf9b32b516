"""Rows of the table of ops: fastdet.masks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from mask_samples import hostile_boxes, some_masks, some_polygons
from op_rows import ALL_FLOATS, FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import masks
from fastdet.masks import RLE

HOST = ("numba", "cpp")


def arrays(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The answer of a function, an `RLE` as its arrays."""
    found = function(*args, **options)
    return (found.sizes, found.counts, found.offsets) if isinstance(found, RLE) else found


def dense(shape: tuple[int, ...] | None = None, *, columns: bool = False) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        x = some_masks(rng) if shape is None else (rng.random(shape) < 0.4).astype(np.uint8)
        x = x.astype(dtype)
        return (x.swapaxes(-1, -2).copy().swapaxes(-1, -2) if columns else x,), {}

    return case


def runs(*rest: Any, side: tuple[int, int] | None = None, more: int = 1, **options: Any) -> Case:
    """Run lengths of ``more`` batches; of masks of several sizes where ``side`` is None and there is one batch."""

    def batch(rng: np.random.Generator) -> RLE:
        if side is None:
            return RLE.concatenate([masks.encode(some_masks(rng), backend="reference") for _ in range(3)])
        n = int(rng.integers(2, 6))
        y, x = np.mgrid[: side[0], : side[1]]
        middle = [(rng.random() * side[0], rng.random() * side[1], rng.random() * 40) for _ in range(n)]
        return masks.encode(np.stack([np.hypot(y - v, x - u) < r for v, u, r in middle]), backend="reference")

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        return (*(batch(rng) for _ in range(more)), *rest), options

    return case


def odd_runs(*rest: Any, **options: Any) -> Case:
    """Runs of no pixels, masks without pixels, and images without pixels."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        batch = RLE([[6, 5]] * 4, [5, 0, 5, 20, 30, 0, 30, 12, 3, 0, 3, 0, 12], [0, 4, 5, 7, 13])
        return (batch, *rest), options

    return case


def overlapping(rng: np.random.Generator, n: int) -> RLE:
    """Masks of which many overlap, some of them equal."""
    y, x = np.mgrid[:90, :120]
    place = rng.integers(0, 12, (n, 3, 1, 1)) * [[[7]], [[9]], [[3]]]
    dense = np.hypot(y - place[:, 0], x - place[:, 1]) < place[:, 2]
    return masks.encode(dense, backend="reference")


def scored(*rest: Any, n: int = 60, classes: int = 0, **options: Any) -> Case:
    """Masks and their scores, some of them equal."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        scores = cast(rng.integers(0, 20, n) / 20, dtype)
        keys = {"idxs": rng.integers(0, classes, n)} if classes else {}
        return (overlapping(rng, n), scores, *rest), {**keys, **options}

    return case


def labelled(shape: tuple[int, ...], connectivity: int = 8, kinds: int = 4) -> Case:
    """Coarse noise of a few labels, 0 among them."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        coarse = rng.integers(0, kinds, (*shape[:-2], -(-shape[-2] // 3), -(-shape[-1] // 2)))
        fine = coarse.repeat(3, -2).repeat(2, -1)[..., : shape[-2], : shape[-1]]
        return (np.where(rng.random(shape) < 0.1, 0, fine).astype(dtype), connectivity), {}

    return case


def polygons(size: tuple[int, int]) -> Case:
    return lambda dtype, rng: (([p for _ in range(5) for p in some_polygons(rng, *size)], size), {})


def pasted(n: int, h: int, w: int, size: tuple[int, int], threshold: float = 0.5, **options: Any) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        boxes = hostile_boxes(rng, n, size)
        values = cast(rng.choice([rng.random((n, h, w)), rng.integers(0, 3, (n, h, w)) / 2.0]), dtype)
        return (values, boxes, size, threshold), options

    return case


def processed(n: int, k: int, h: int, w: int, size: tuple[int, int], **options: Any) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        planes, weights = rng.standard_normal((k, h, w)), rng.standard_normal((n, k))
        if rng.random() < 0.5:
            weights = weights.round()  # sums of 0
        return (cast(planes.round(1), dtype), cast(weights, dtype), hostile_boxes(rng, n, size), size), options

    return case


SIDE = (90, 120)
OUTS = ("dense", "bits")
OPS: dict[str, ArrayOp] = {
    "encode": ArrayOp(
        partial(arrays, masks.encode),
        {
            "any": dense(),
            "columns": dense((3, 70, 130), columns=True),
            "one": dense((65, 9)),
            **{f"{shape}": dense(shape) for shape in ((2, 1, 200), (2, 200, 1), (0, 4, 4), (3, 0, 4), (3, 4, 0))},
            "one, columns": dense((1, 64, 64), columns=True),
            "many": dense((5, 500, 450)),
        },
        ("uint8", "bool", "int64"),
        HOST,
        threaded=("many",),
    ),
    "decode": ArrayOp(
        masks.decode,
        {
            "rows": runs(side=SIDE),
            "columns": runs(side=SIDE, columns=True),
            "odd": odd_runs(),
            "many": runs(side=(900, 700)),
        },
        ("uint8",),
        HOST,
        threaded=("many",),
    ),
    "area": ArrayOp(masks.area, {"any": runs(), "odd": odd_runs()}, ("uint8",), HOST),
    "to_boxes": ArrayOp(masks.to_boxes, {"any": runs(), "odd": odd_runs()}, ("uint8",), HOST),
    "merge": ArrayOp(
        partial(arrays, masks.merge),
        {"union": runs(side=SIDE), "both": runs(side=SIDE, intersect=True), "odd": odd_runs()},
        ("uint8",),
        HOST,
    ),
    "mask_iou": ArrayOp(
        masks.mask_iou,
        {
            "iou": runs(side=SIDE, more=2),
            "ios": runs(side=SIDE, more=2, metric="ios"),
            "odd": lambda dtype, rng: ((*odd_runs()(dtype, rng)[0] * 2, np.arange(4) % 2 == 0), {}),
            "many": lambda dtype, rng: ((overlapping(rng, 200), overlapping(rng, 200), rng.random(200) < 0.3), {}),
        },
        ("uint8",),
        HOST,
        threaded=("many",),
    ),
    "boundary": ArrayOp(
        partial(arrays, masks.boundary),
        {"any": runs(), "wide": runs(0.05, side=SIDE), "odd": odd_runs(), "many": runs(side=(1500, 1500))},
        ("uint8",),
        HOST,
        threaded=("many",),
    ),
    "mask_nms": ArrayOp(
        masks.mask_nms,
        {
            "one class": scored(0.3),
            "classes": scored(0.1, classes=3),
            "ios": scored(0.5, classes=2, metric="ios"),
            "limited": scored(0.0, score_threshold=0.3, max_output=5),
            "none": scored(0.5, n=0),
        },
        FLOATS,
        HOST,
    ),
    "matrix_nms": ArrayOp(
        masks.matrix_nms,
        {
            "gaussian": scored(),
            "linear": scored(classes=3, method="linear"),
            "limited": scored(sigma=0.5, min_score=0.2, max_output=9),
            "none": scored(n=0),
        },
        FLOATS,
        HOST,
    ),
    "connected_components": ArrayOp(
        masks.connected_components,
        {
            "8": labelled((40, 61)),
            "4": labelled((40, 61), 4),
            "maps": labelled((3, 17, 65), kinds=2),
            "a row": labelled((1, 200)),
            "no map": labelled((0, 4, 4)),
            "no pixel": labelled((0, 7)),
        },
        ("uint8", "int64"),
    ),
    "from_polygons": ArrayOp(
        partial(arrays, masks.from_polygons), {"any": polygons((80, 120)), "tall": polygons((200, 7))}, ("uint8",), HOST
    ),
    "paste_masks": ArrayOp(
        masks.paste_masks,
        {
            **{out: pasted(30, 7, 9, (70, 133), out=out) for out in OUTS},
            "one value": pasted(20, 1, 1, (40, 50)),
            "no mask": pasted(0, 4, 4, (8, 8)),
            "no pixel": pasted(3, 4, 4, (0, 8)),
        },
        ALL_FLOATS,
    ),
    "paste_masks rle": ArrayOp(
        partial(arrays, masks.paste_masks),
        {
            "rle": pasted(30, 7, 9, (70, 133), out="rle"),
            "more values than pixels": pasted(20, 40, 30, (9, 13), 0.25, out="rle"),
            "no mask": pasted(0, 4, 4, (8, 8), out="rle"),
            "no pixel": pasted(3, 4, 4, (0, 8), out="rle"),
            "many": pasted(40, 28, 28, (300, 400), out="rle"),
        },
        FLOATS,
        HOST,
        threaded=("many",),
    ),
    "process_mask": ArrayOp(
        masks.process_mask,
        {
            **{out: processed(30, 6, 9, 12, (70, 133), out=out) for out in OUTS},
            "one plane": processed(20, 1, 1, 1, (40, 50)),
            "no mask": processed(0, 4, 4, 4, (8, 8)),
            "no pixel": processed(3, 4, 4, 4, (8, 0)),
        },
        ALL_FLOATS,
    ),
    "process_mask rle": ArrayOp(
        partial(arrays, masks.process_mask),
        {
            "rle": processed(30, 6, 9, 12, (70, 133), out="rle"),
            "more values than pixels": processed(20, 5, 40, 30, (9, 13), out="rle"),
            "no mask": processed(0, 4, 4, 4, (8, 8), out="rle"),
            "no pixel": processed(3, 4, 4, 4, (8, 0), out="rle"),
            "many": processed(40, 32, 40, 40, (300, 400), out="rle"),
        },
        FLOATS,
        HOST,
        threaded=("many",),
    ),
}
