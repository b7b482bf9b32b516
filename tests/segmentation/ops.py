"""Rows of the table of ops: fastdet.segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from label_maps import regions
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import segmentation


def maps(shape: tuple[int, ...], classes: int, longest: int, ignore: int | None, **options: Any) -> Case:
    """A target and a prediction that agree in about half of the pixels."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        n = int(np.prod(shape))
        target = regions(rng, n, classes, longest)
        prediction = np.where(regions(rng, n, 2, longest) == 1, target, regions(rng, n, classes, longest))
        if ignore is not None:
            target[regions(rng, n, 6, longest) == 0] = ignore
            prediction[regions(rng, n, 9, longest) == 0] = ignore
        args = target.reshape(shape).astype(dtype), prediction.reshape(shape).astype(dtype), classes
        return args, {"ignore_index": ignore, **options}

    return case


def mixed(dtype: str, rng: np.random.Generator) -> Arguments:
    (target, prediction, classes), options = maps((5, 37), 9, 30, None)(dtype, rng)
    return (target, prediction.astype(np.int32), classes), options


def logits(
    n: int, classes: int, of: tuple[int, int], size: tuple[int, int], channels_last: bool = False, **options: Any
) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        scores = np.round(rng.standard_normal((n, classes, *of)) * 8) / 4  # some are equal
        if channels_last:
            scores = np.moveaxis(np.ascontiguousarray(np.moveaxis(scores, 1, -1)), -1, 1)
        target = rng.integers(0, classes, (n, *size)).astype(np.uint8)
        return (target, cast(scores, dtype)), {**options, **({} if of == size else {"size": size})}

    return case


OPS: dict[str, ArrayOp] = {
    "confusion_matrix": ArrayOp(
        segmentation.confusion_matrix,
        {
            "regions": maps((3, 40, 70), 12, 50, 100),
            "noise": maps((40, 70), 12, 1, None),
            "both": maps((2, 5000), 19, 6, 100, void="drop"),
            "one row": maps((4160,), 3, 40, 3, void="count"),
            "ignored class": maps((1000,), 7, 9, 0),
            "many classes": maps((3000,), 100, 9, 127, void="count"),
            "empty": maps((0, 4), 5, 1, 120),
            "one pixel": maps((), 5, 1, None),
            "mixed dtypes": mixed,
            "large": maps((640, 1000), 11, 90, 11),
        },
        dtypes=("uint8", "int8", "uint16", "int64"),
        threaded=("large",),
    ),
    "confusion_matrix_from_logits": ArrayOp(
        segmentation.confusion_matrix_from_logits,
        {
            "as they are": logits(2, 5, (13, 37), (13, 37)),
            "channels last": logits(2, 5, (13, 37), (13, 37), True),
            "twice": logits(2, 19, (9, 21), (18, 42), ignore_index=3, void="count"),
            "eight times": logits(1, 3, (5, 40), (40, 320), align_corners=True),
            "smaller": logits(1, 4, (50, 90), (17, 21)),
            "channels last, odd": logits(2, 6, (7, 11), (20, 75), True),
            "one column": logits(1, 2, (4, 1), (9, 70)),
            "one class": logits(1, 1, (4, 5), (8, 10)),
            "many classes": logits(1, 300, (3, 4), (5, 6)),
            "large": logits(3, 5, (60, 70), (290, 310), ignore_index=255),
        },
        dtypes=ALL_FLOATS,
        threaded=("large",),
    ),
}
