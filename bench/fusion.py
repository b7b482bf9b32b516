"""Box fusion: cases and peers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from agreements import Agreement, same_kept, same_numbers
from box_cases import BoxOp, Call, Case
from inputs import COCO, Array, Image, boxes_clustered
from peers import Peer

from fastdet import fusion

MODELS = 3  # the boxes are dealt out to so many
CLASSES = 80


def inputs(n: int, image: Image) -> tuple[Array, Array, Array, Array]:
    boxes, scores, labels = boxes_clustered(n, 11, image, classes=CLASSES)
    return boxes, boxes[:0], scores, labels


def dealt(x: Array) -> list[Array]:
    return [x[m::MODELS] for m in range(MODELS)]


def ours_weighted(case: Case, backend: str | None) -> Call:
    boxes, scores, labels = dealt(case.boxes), dealt(case.scores), dealt(case.labels)
    fuse, threshold = fusion.weighted_boxes_fusion, case.iou_threshold
    return lambda: fuse(boxes, scores, labels, iou_thr=threshold, backend=backend)


def ours_merged(case: Case, backend: str | None) -> Call:
    return lambda: fusion.merge_boxes(case.boxes, case.scores, case.iou_threshold, backend=backend)


def same_boxes(want: Any, got: Any) -> Agreement:
    """Compare the fused boxes, row by row."""
    return same_numbers(want[0], got[0])


def ours_grouped(op: str) -> Any:
    """Non-maximum merging as sahi calls it by default: intersection over the smaller box, class by class."""

    def make(case: Case, backend: str | None) -> Call:
        merge = getattr(fusion, op)
        return lambda: merge(
            case.boxes, case.scores, case.iou_threshold, idxs=case.labels, metric="ios", backend=backend
        )

    return make


def group_numbers(result: Any) -> Array:
    """Of each box the best one of its group."""
    return np.asarray(result.keep[result.groups] if hasattr(result, "keep") else result)


def same_groups(want: Any, got: Any) -> Agreement:
    return same_kept(group_numbers(want), group_numbers(got))


def sahi_grouped(op: str, backend: str) -> Any:
    """sahi's own function, of one of its backends, and its dictionary as the best box of each box."""

    def make(case: Case) -> Call:
        backends = import_module("sahi.postprocess.backends")
        merge = getattr(import_module("sahi.postprocess.combine"), f"batched_{op}")
        if backend == "numba":
            import_module("numba")
        rows = np.column_stack([case.boxes, case.scores, case.labels]).astype(np.float32)

        def call() -> Any:
            backends.set_postprocess_backend(backend)
            return merge(rows, "IOS", case.iou_threshold)

        return call

    return make


def keepers(found: Any) -> Array:
    best = {i: keep for keep, others in found.items() for i in (keep, *others)}
    return np.array([best[i] for i in range(len(best))], np.int64)


def ensemble_weighted(case: Case) -> Call:
    fuse = import_module("ensemble_boxes").weighted_boxes_fusion
    boxes, scores, labels = dealt(case.unit64()), dealt(case.scores64()), dealt(case.labels)
    return lambda: fuse(boxes, scores, labels, iou_thr=case.iou_threshold, skip_box_thr=0.0)


def unscaled(result: Any) -> tuple[Array, Array, Array]:
    """ensemble-boxes's answer in pixels of a COCO image."""
    boxes, scores, labels = result
    return (boxes * np.asarray(COCO * 2)).astype(np.float32), scores, labels


OPS: dict[str, BoxOp] = {
    "weighted_boxes_fusion": BoxOp({"1k": (1_000, COCO), "10k": (10_000, COCO)}, inputs, ours_weighted, same_boxes),
    "merge_boxes": BoxOp({"1k": (1_000, COCO)}, inputs, ours_merged, same_boxes),
    **{
        op: BoxOp({"1k": (1_000, COCO), "10k": (10_000, COCO)}, inputs, ours_grouped(op), same_groups)
        for op in ("nmm", "greedy_nmm")
    },
}

PEERS: dict[str, dict[str, Peer]] = {
    "weighted_boxes_fusion": {"ensemble-boxes": Peer(ensemble_weighted, unscaled)},
    "merge_boxes": {},
    **{
        op: {f"sahi {backend}": Peer(sahi_grouped(op, backend), keepers) for backend in ("numpy", "numba")}
        for op in ("nmm", "greedy_nmm")
    },
}

SECTIONS: dict[str, list[tuple[str, str]]] = {
    "fusion": [("weighted_boxes_fusion", "1k"), ("weighted_boxes_fusion", "10k"), ("merge_boxes", "1k")],
    "merging": [(op, size) for op in ("nmm", "greedy_nmm") for size in ("1k", "10k")],
}
