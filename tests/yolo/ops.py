"""Rows of the table of ops: fastdet.yolo."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import inference


def outputs(shape: tuple[int, int, int], planes: bool, **options: Any) -> Case:
    """(N, P, channels) of few different scores, so that there are ties and scores equal to the threshold."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        x = rng.integers(0, 9, shape) / 8
        x[rng.random(shape) < 0.8] /= 8
        x[..., :4] = np.round(rng.uniform(0, 640, (*shape[:2], 4)) * 4) / 4
        if options.get("objectness"):
            x[..., 4] = rng.integers(0, 9, shape[:2]) / 8
            x[0, ::5, 4], x[0, ::5, 5:] = np.inf, rng.choice([0, 0.5, -1.0], x[0, ::5, 5:].shape)  # inf * 0
        x = np.ascontiguousarray(x.transpose(0, 2, 1)) if planes else x
        return (cast(x, dtype), 0.5), {"candidates_last": planes, **options}

    return case


def empty(dtype: str, rng: np.random.Generator) -> Arguments:
    return (cast(np.zeros((2, 0, 9)), dtype), 0.5), {"candidates_last": False}


def infinite(dtype: str, rng: np.random.Generator) -> Arguments:
    x = np.array([[[1, 2, 3, 4, -np.inf, -np.inf], [9, 8, np.inf, 6, -np.inf, np.inf], [5, 5, 2, 2, -3, -1]]])
    return (cast(x, dtype), -1e300), {"candidates_last": False}


OPS: dict[str, ArrayOp] = {
    "yolo_candidates": ArrayOp(
        inference.yolo_candidates,
        {
            f"{name}{' planes' if planes else ''}": outputs(shape, planes, **options)
            for name, shape, options in (
                ("best", (2, 70, 84), {}),
                ("sizes no vector divides", (1, 1027, 4 + 19), {}),
                ("objectness", (3, 41, 5 + 35), {"objectness": True}),
                ("one class", (2, 50, 5), {}),
                ("multi", (2, 70, 84), {"multi_label": True}),
                ("multi objectness", (2, 33, 5 + 20), {"multi_label": True, "objectness": True}),
                ("large", (3, 5000, 84), {}),
            )
            for planes in (False, True)
        }
        | {"none": empty, "infinite": infinite},
        dtypes=ALL_FLOATS,
        threaded=("large", "large planes"),
    ),
}
