"""Rows of the table of ops: fastdet.proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import proposals

Array = np.ndarray[Any, Any]


def some_boxes(count: int, rng: np.random.Generator, size: float = 64.0) -> Array:
    """(count, 4) boxes whose corners are whole numbers, with a width and a height."""
    corner = rng.integers(0, int(size), (count, 2))
    return np.concatenate([corner, corner + rng.integers(1, int(size), (count, 2))], axis=1).astype(np.float64)


def encoding(count: int, weights: Sequence[float] = (1, 1, 1, 1)) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        boxes, anchors = some_boxes(count, rng), some_boxes(count, rng)
        boxes[: count // 8, 2] = boxes[: count // 8, 0]  # without a width: log 0
        boxes[count // 8 : count // 4, 3] -= 70  # upside down
        return (cast(boxes, dtype), cast(anchors, dtype), weights), {}

    return case


def decoding(
    shape: tuple[int, ...], weights: Sequence[float] = (1, 1, 1, 1), infinite: bool = False, **options: Any
) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        deltas = rng.standard_normal((*shape, 4)) * 2
        wild = rng.random(deltas.shape) < 0.1
        deltas[wild] = rng.choice([0, 100, -100, 4.135, 1e4, -1e4], int(wild.sum()))
        if infinite:
            deltas[wild] = rng.choice([np.inf, -np.inf], int(wild.sum()))
        return (cast(deltas, dtype), cast(some_boxes(shape[0], rng), dtype), weights), options

    return case


def overlaps(rows: int, columns: int, low_quality: bool, steps: int = 8) -> Case:
    """Few different values, so that there are ties and values equal to the thresholds."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        iou = rng.integers(0, steps + 1, (rows, columns)) / steps * (rng.random((rows, columns)) < 0.5)
        return (cast(iou, dtype), 0.75, 0.25), {"allow_low_quality": low_quality}

    return case


def labels(count: int, total: int, fraction: float, values: Sequence[int] = (-1, 0, 0, 0, 1, 2)) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        return (rng.choice(values, count).astype(dtype), total, fraction), {"seed": count * 2**40 + total}

    return case


def levels(
    maps: Sequence[tuple[int, int]], images: int, pre: int, post: int, wild: bool = False, **options: Any
) -> Case:
    """Logits of few different values, so that there are ties at every cut."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        height, width = maps[0][0] * 8, maps[0][1] * 8
        anchors = [proposals.grid_anchors(24 * 2**k, [0.5, 1.0, 2.0], size, 8 * 2**k) for k, size in enumerate(maps)]
        scores = [rng.integers(-9, 9, (images, len(a))) / 2 for a in anchors]
        deltas = [np.round(rng.standard_normal((images, len(a), 4)) * 4) / 8 for a in anchors]
        if wild:
            for s, d in zip(scores, deltas, strict=True):
                some = rng.random(d.shape) < 0.1
                d[some] = rng.choice([np.inf, -np.inf, 100, -100, 1e4], int(some.sum()))
                hot = rng.random(s.shape) < 0.2
                s[hot] = rng.choice([np.inf, -np.inf, 100, -100, -0.0], int(hot.sum()))
        sizes = rng.integers([height // 2, width // 2], [height, width], (images, 2), endpoint=True).tolist()
        top = {"pre_nms_top_n": pre, "post_nms_top_n": post}
        return (*([cast(x, dtype) for x in xs] for xs in (scores, deltas, anchors)), sizes), top | options

    return case


SMALL, LARGE = [(12, 20), (6, 10), (3, 5)], [(40, 60), (20, 30), (10, 15), (5, 8)]
OPS: dict[str, ArrayOp] = {
    "encode_boxes": ArrayOp(
        proposals.encode_boxes,
        {
            "some": encoding(70),
            "weights": encoding(203, (10, 10, 5, 5)),
            "one": encoding(1),
            "none": encoding(0),
            "large": encoding(40_001),
        },
        dtypes=ALL_FLOATS,
        threaded=("large",),
    ),
    "decode_boxes": ArrayOp(
        proposals.decode_boxes,
        {
            "some": decoding((70,)),
            "classes": decoding((37, 5), (10, 10, 5, 5)),
            "limit": decoding((203,), max_log_ratio=0.5),
            "widest": decoding((203,), max_log_ratio=87),
            "infinite": decoding((203,), infinite=True),
            "none": decoding((0,)),
            "no class": decoding((3, 0)),
            "large": decoding((8001, 5)),
        },
        dtypes=ALL_FLOATS,
        threaded=("large",),
    ),
    "match_boxes": ArrayOp(
        proposals.match_boxes,
        {
            f"{name}{' low quality' if low else ''}": overlaps(rows, columns, low)
            for name, rows, columns in (
                ("some", 7, 70),
                ("one", 1, 1),
                ("one box", 1, 203),
                ("no box", 0, 9),
                ("no candidate", 3, 0),
                ("large", 60, 5003),
            )
            for low in (False, True)
        },
        dtypes=ALL_FLOATS,
        threaded=("large", "large low quality"),
    ),
    "sample_balanced": ArrayOp(
        proposals.sample_balanced,
        {
            "some": labels(203, 64, 0.25),
            "all": labels(50, 1000, 0.5),
            "none": labels(50, 0, 0.5),
            "no label": labels(0, 10, 0.5),
            "negative": labels(50, 10, 0.5, (-1, 0)),
            "positive": labels(50, 10, 0.5, (1, 90)),
            "large": labels(30_001, 512, 0.25),
        },
        dtypes=("int64", "int32", "uint8"),
        backends=("numba", "cpp"),
    ),
    "generate_proposals": ArrayOp(
        proposals.generate_proposals,
        {
            "some": levels(SMALL, 2, 100, 50),
            "all": levels(SMALL, 3, 10_000, 10_000),
            "few": levels(SMALL, 2, 7, 5, iou_threshold=0.3),
            "wild": levels(SMALL, 2, 300, 300, wild=True),
            "filtered": levels(SMALL, 2, 300, 300, min_size=12.0, score_threshold=0.5),
            "none left": levels(SMALL, 2, 30, 30, score_threshold=1.5),
            "everything survives": levels(SMALL, 1, 100, 200, iou_threshold=1.0),
            "one level": levels([(3, 3)], 1, 5, 5),
            "empty level": levels([(4, 6), (0, 0), (1, 2)], 2, 50, 50),
            "no image": levels([(4, 6)], 0, 5, 5),
            "large": levels(LARGE, 3, 1000, 600),
        },
        dtypes=ALL_FLOATS,
        threaded=("large",),
    ),
}
