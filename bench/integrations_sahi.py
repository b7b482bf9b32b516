"""Cases of sahi for bench/integrations.py: the functions on arrays, and the classes on lists of objects; 80 classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

PACKAGES = ("sahi",)
THRESHOLD = 0.5


def cases() -> Iterator[tuple[str, Any, Any]]:
    """(name, call, check): ``check`` tells two answers apart."""
    import sahi.postprocess.combine as combine
    from sahi.prediction import ObjectPrediction

    for n in (300, 1_000, 10_000):
        boxes, scores, labels = tiled(n)
        rows = np.column_stack([boxes, scores, labels]).astype(np.float32)
        for name in ("batched_nms", "batched_greedy_nmm", "batched_nmm"):
            yield (
                f"{name} {n}",
                lambda name=name, rows=rows: getattr(combine, name)(rows, "IOS", THRESHOLD),
                same,
            )
        objects = [
            ObjectPrediction(bbox=box, score=score, category_id=label, category_name=str(label))
            for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
        ]
        for cls in ("NMSPostprocess", "GreedyNMMPostprocess", "NMMPostprocess"):
            yield (
                f"{cls} {n}",
                lambda cls=cls, objects=objects: getattr(combine, cls)(THRESHOLD, "IOS", False)(list(objects)),
                lambda before, after: same([told(x) for x in before], [told(x) for x in after]),
            )


def tiled(n: int) -> tuple[Any, Any, Any]:
    """Objects of a large image, each seen about ten times, in the same density whatever n."""
    r = np.random.default_rng(n)
    count = -(-n // 10)
    middle, side = r.uniform(100, 100 + 60 * count**0.5, (count, 2)), r.uniform(10, 60, (count, 2))
    boxes = np.repeat(np.hstack([middle - side / 2, middle + side / 2]), 10, axis=0)[:n] + r.normal(0, 3, (n, 4))
    return boxes, r.uniform(0.1, 1, n), np.repeat(r.integers(0, 80, count), 10)[:n]


def told(x: Any) -> Any:
    return x.bbox.to_xyxy(), x.score.value, x.category


def same(before: Any, after: Any) -> str:
    if before != after or list(before) != list(after):
        raise AssertionError("the answers differ")
    return "same"
