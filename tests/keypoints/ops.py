"""Rows of the table of ops: fastdet.keypoints."""

from __future__ import annotations

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import keypoints


def poses(n: int, m: int, k: int, *, boxes: bool = True) -> Case:
    """Detected and true poses; the first true one has no visible keypoint, the second only one."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        true = np.concatenate([rng.normal(100, 50, (m, k, 2)), rng.integers(0, 3, (m, k, 1))], axis=2)
        true[:1, :, 2] = 0
        true[1:2, 1:, 2] = 0
        found = true[rng.integers(0, max(m, 1), n)] + rng.normal(0, 6, (n, k, 3)) if m else rng.normal(0, 9, (n, k, 3))
        corners = np.sort(rng.normal(100, 50, (m, 2, 2)), axis=1).reshape(m, 4)
        arrays = [cast(x, dtype) for x in (found, true, rng.random(m) * 9000, corners)]
        options = {"sigmas": rng.random(k) * 0.1 + 0.01}
        return tuple(arrays if boxes else arrays[:3]), options

    return case


OPS: dict[str, ArrayOp] = {
    "oks": ArrayOp(
        keypoints.oks,
        {
            **{f"{k} keypoints": poses(7, 5, k) for k in (1, 7, 8, 14, 17, 23, 133, 300)},
            "no boxes": poses(4, 3, 17, boxes=False),
            "no detections": poses(0, 3, 17),
            "no truth": poses(3, 0, 17),
        },
        dtypes=(*ALL_FLOATS, "int32"),
        backends=("numba", "cpp"),
    ),
}
