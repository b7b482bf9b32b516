"""Rows of the table of ops: fastdet.yolo."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import inference


def outputs(shape: tuple[int, int, int], planes: bool, extras: int = 0, **options: Any) -> Case:
    """(N, P, channels) of few different scores, so that there are ties and scores equal to the threshold."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        x = rng.integers(0, 9, shape) / 8
        x[rng.random(shape) < 0.8] /= 8
        x[..., :4] = np.round(rng.uniform(0, 640, (*shape[:2], 4)) * 4) / 4
        if options.get("objectness"):
            x[..., 4] = rng.integers(0, 9, shape[:2]) / 8
        if extras:  # behind the classes any value may stand
            x[..., -extras:] = rng.choice([np.nan, np.inf, -7.5, 0.25, 600.0], (*shape[:2], extras))
            options["classes"] = shape[2] - extras - (5 if options.get("objectness") else 4)
        x = np.ascontiguousarray(x.transpose(0, 2, 1)) if planes else x
        return (cast(x, dtype), 0.5), {"candidates_last": planes, **options}

    return case


def empty(dtype: str, rng: np.random.Generator) -> Arguments:
    return (cast(np.zeros((2, 0, 9)), dtype), 0.5), {"candidates_last": False}


def infinite(dtype: str, rng: np.random.Generator) -> Arguments:
    x = np.array([[[1, 2, 3, 4, 0, 0], [9, 8, np.inf, 6, 0, 1], [5, -np.inf, 2, np.inf, 0.5, 1]]])
    return (cast(x, dtype), -1e300), {"candidates_last": False, "classes": 2}


def end_to_end(planes: bool, extras: int = 0) -> Case:
    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        x = np.round(rng.uniform(0, 640, (2, 50, 6 + extras)) * 4) / 4
        x[..., 2:4] += x[..., :2]
        x[..., 4], x[..., 5] = rng.integers(0, 9, (2, 50)) / 8, rng.integers(0, 80, (2, 50))
        x = np.ascontiguousarray(x.transpose(0, 2, 1)) if planes else x
        layout = "end_to_end_pose" if extras else "end_to_end"
        return (cast(x, dtype), 0.5), {"candidates_last": planes, "classes": 80, "layout": layout}

    return case


BOTH = {"multi_label": True, "objectness": True}
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
                ("segment", (2, 61, 4 + 3 + 32), {"extras": 32, "layout": "segment"}),
                ("pose", (2, 61, 4 + 1 + 51), {"extras": 51, "layout": "pose"}),
                ("segment multi", (2, 61, 5 + 19 + 2), {"extras": 2, "layout": "segment", **BOTH}),
            )
            for planes in (False, True)
        }
        | {"none": empty, "infinite": infinite}
        | {"end to end": end_to_end(False), "end to end planes": end_to_end(True), "extras": end_to_end(True, 6)},
        dtypes=ALL_FLOATS,
        threaded=("large", "large planes"),
    ),
}
