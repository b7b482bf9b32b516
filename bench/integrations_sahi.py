"""sahi's own calls, as `bench/integrations.py` times them before and after: 80 classes, tiles that overlap by a fifth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from inputs import COCO, boxes_clustered

THRESHOLD = 0.5


def cases() -> Iterator[tuple[str, Any, Any]]:
    """(name, call, check): ``check`` tells two answers apart."""
    import sahi.postprocess.combine as combine
    from sahi.prediction import ObjectPrediction

    for n in (300, 1_000, 10_000):
        boxes, scores, labels = boxes_clustered(n, 11, COCO, classes=80)
        boxes = np.maximum(boxes, 0)
        rows = np.column_stack([boxes, scores, labels]).astype(np.float32)
        for name in ("batched_nms", "batched_greedy_nmm", "batched_nmm"):
            yield (
                f"{name} {n}",
                lambda name=name, rows=rows: getattr(combine, name)(rows, "IOS", THRESHOLD),
                lambda a, b: a == b and list(a) == list(b),
            )
        objects = [
            ObjectPrediction(bbox=box, score=score, category_id=label, category_name=str(label))
            for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
        ]
        for cls in ("NMSPostprocess", "GreedyNMMPostprocess", "NMMPostprocess"):
            yield (
                f"{cls} {n}",
                lambda cls=cls, objects=objects: getattr(combine, cls)(THRESHOLD, "IOS", False)(list(objects)),
                lambda a, b: [told(x) for x in a] == [told(x) for x in b],
            )


def told(x: Any) -> Any:
    return x.bbox.to_xyxy(), x.score.value, x.category
