"""NMS, NMS for each class, and Soft-NMS: cases and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from agreements import same_kept, same_rescored
from box_cases import BoxOp, Call, Case
from gpu_cases import GpuCase, torchvision_op
from inputs import COCO, WIDE, Array, Image, boxes_clustered
from peers import Peer, tensors, threads

from fastdet import nms

CLASSES = 80


def inputs(seed: int, classes: int = 1) -> Callable[[int, Image], tuple[Array, Array, Array, Array]]:
    def make(n: int, image: Image) -> tuple[Array, Array, Array, Array]:
        boxes, scores, labels = boxes_clustered(n, seed, image, classes=classes)
        return boxes, boxes[:0], scores, labels

    return make


def ours(case: Case, backend: str | None) -> Call:
    return lambda: nms.nms(case.boxes, case.scores, case.iou_threshold, backend=backend)


def ours_batched(case: Case, backend: str | None) -> Call:
    return lambda: nms.batched_nms(case.boxes, case.scores, case.labels, case.iou_threshold, backend=backend)


def ours_soft(case: Case, backend: str | None) -> Call:
    options = {"iou_threshold": case.iou_threshold, "sigma": case.sigma, "min_score": case.min_score}
    return lambda: nms.soft_nms(case.boxes, case.scores, backend=backend, method=case.method, **options)


def truth(case: Case) -> tuple[str, Any]:
    """The right answer for more boxes than the reference can handle."""
    exact = {"torchvision": torchvision_kept, "fastdet numba": lambda c: c.ours("numba")(), "lsnms": lsnms_kept}
    if case.n > 100_000:
        del exact["torchvision"]  # quadratic: minutes
    for name, answer in exact.items():
        with suppress(ImportError, NotImplementedError, RuntimeError):  # not installed, or not for this torch
            return name, answer(case)
    raise RuntimeError(f"{case.name}: no library to check the answer with; install one of {', '.join(exact)}")


def torchvision_kept(case: Case) -> Array:
    """Exact: for so many boxes torchvision's batched_nms makes a call for each class, without an offset."""
    torch, ops = import_module("torch"), import_module("torchvision.ops")
    boxes, scores = torch.from_numpy(case.boxes), torch.from_numpy(case.scores)
    if case.op == "batched_nms":
        kept = ops.batched_nms(boxes, scores, torch.from_numpy(case.labels), case.iou_threshold)
    else:
        kept = ops.nms(boxes, scores, case.iou_threshold)
    return np.asarray(kept)


def lsnms_kept(case: Case) -> Array:
    """Exact, except that it computes in float64: an IoU very near the threshold may differ."""
    classes = {"class_ids": case.labels} if case.op == "batched_nms" else {}
    kept = import_module("lsnms").nms(case.boxes64(), case.scores64(), case.iou_threshold, 0.0, **classes)
    return np.asarray(kept)


# Peers.


def opencv() -> Any:
    """cv2.dnn, with as many threads as the others."""
    cv2 = import_module("cv2")
    cv2.setNumThreads(threads())
    return cv2.dnn


def mmcv_ops() -> Any:
    """mmcv's compiled ops, or its NMS sources built on their own as `mmcv_lite_ops`."""
    import_module("torch")  # loads the shared libraries that mmcv needs
    try:
        return import_module("mmcv._ext")
    except ImportError:
        return import_module("mmcv_lite_ops")


def offset(case: Case, step: float = 7680) -> Array:
    """The boxes moved apart by class: a common trick, which costs bits of the coordinates."""
    return case.boxes + (case.labels * step).astype(np.float32)[:, None]


def indices(result: Any) -> Array:
    return np.asarray(result).reshape(-1).astype(np.int64)


def torchvision_nms(case: Case) -> Call:
    _, boxes, scores, _ = tensors(case)
    nms = import_module("torchvision.ops").nms
    return lambda: nms(boxes, scores, case.iou_threshold)


def mmcv_nms(case: Case) -> Call:
    _, boxes, scores, _ = tensors(case)
    nms = mmcv_ops().nms
    return lambda: nms(boxes, scores, iou_threshold=case.iou_threshold, offset=0)


def cv2_nms(case: Case) -> Call:
    dnn, boxes, scores = opencv(), case.xywh64(), case.scores64()
    return lambda: dnn.NMSBoxes(boxes, scores, 0.0, case.iou_threshold)


def powerboxes_nms(function: str) -> Callable[[Case], Call]:
    def make(case: Case) -> Call:
        nms, scores = getattr(import_module("powerboxes"), function), case.scores64()
        return lambda: nms(case.boxes, scores, case.iou_threshold, 0.0)

    return make


def lsnms_nms(case: Case) -> Call:
    nms, boxes, scores = import_module("lsnms").nms, case.boxes64(), case.scores64()
    return lambda: nms(boxes, scores, case.iou_threshold, 0.0)


def ensemble_nms(case: Case) -> Call:
    nms = import_module("ensemble_boxes.ensemble_boxes_nms").nms_float_fast
    boxes, scores = case.unit64(), case.scores64()
    return lambda: nms(boxes, scores, case.iou_threshold)


def supervision_nms(case: Case) -> Call:
    nms = import_module("supervision").box_non_max_suppression
    rows = np.column_stack([case.boxes, case.scores])
    falling = np.argsort(-case.scores, kind="stable")
    return lambda: falling[nms(rows, case.iou_threshold)[falling]]


def numpy_nms(case: Case) -> Call:
    """The plain loop: take the best box, drop the boxes that overlap it, repeat."""

    def run() -> Array:
        x1, y1, x2, y2 = case.boxes.T
        area = (x2 - x1) * (y2 - y1)
        left, kept = np.argsort(-case.scores, kind="stable"), []
        while left.size:
            best, left = left[0], left[1:]
            kept.append(best)
            w = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
            h = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
            inter = np.maximum(w, 0) * np.maximum(h, 0)
            left = left[inter / (area[best] + area[left] - inter) <= case.iou_threshold]
        return np.array(kept, np.int64)

    return run


# NMS for each class
def torchvision_batched(case: Case) -> Call:
    _, boxes, scores, labels = tensors(case)
    batched_nms = import_module("torchvision.ops").batched_nms
    return lambda: batched_nms(boxes, scores, labels, case.iou_threshold)


def mmcv_batched(case: Case) -> Call:
    _, boxes, scores, labels = tensors(case)
    nms = mmcv_ops().nms

    def run() -> Any:
        apart = boxes + (labels * (boxes.max() + 1)).to(boxes)[:, None]
        return nms(apart, scores, iou_threshold=case.iou_threshold, offset=0)

    return run


def cv2_batched(case: Case) -> Call:
    dnn, boxes, scores, labels = opencv(), case.xywh64(), case.scores64(), case.labels.tolist()
    return lambda: dnn.NMSBoxesBatched(boxes, scores, labels, 0.0, case.iou_threshold)


def lsnms_batched(case: Case) -> Call:
    nms, boxes, scores = import_module("lsnms").nms, case.boxes64(), case.scores64()
    return lambda: nms(boxes, scores, case.iou_threshold, 0.0, class_ids=case.labels)


def powerboxes_batched(function: str) -> Callable[[Case], Call]:
    def make(case: Case) -> Call:
        nms, scores = getattr(import_module("powerboxes"), function), case.scores64()
        return lambda: nms(offset(case), scores, case.iou_threshold, 0.0)

    return make


# Soft-NMS
def mmcv_soft(case: Case) -> Call:
    torch, boxes, scores, _ = tensors(case)
    soft, method = mmcv_ops().softnms, {"linear": 1, "gaussian": 2}[case.method]

    def run() -> tuple[Array, Array]:
        dets = torch.empty((case.n, 5))
        kept = soft(boxes, scores, dets, iou_threshold=case.iou_threshold, sigma=case.sigma,
                    min_score=case.min_score, method=method, offset=0)  # fmt: skip
        return kept.numpy(), dets[: len(kept), 4].numpy()

    return run


def cv2_soft(case: Case) -> Call:
    dnn, rectangles = opencv(), np.round(case.xywh64()).astype(np.int64).tolist()
    method = getattr(dnn, f"SoftNMSMethod_SOFTNMS_{case.method.upper()}")
    return lambda: dnn.softNMSBoxes(rectangles, case.scores, case.min_score, case.iou_threshold, 0, case.sigma, method)


def ensemble_soft(case: Case) -> Call:
    soft = import_module("ensemble_boxes.ensemble_boxes_nms").cpu_soft_nms_float
    boxes, scores, method = case.unit64(), case.scores64(), {"linear": 1, "gaussian": 2}[case.method]
    return lambda: soft(boxes, scores.copy(), case.iou_threshold, case.sigma, case.min_score, method)


def swapped(result: Any) -> tuple[Array, Array]:
    """OpenCV's (scores, indices) as (indices, scores)."""
    return indices(result[1]), np.asarray(result[0]).reshape(-1)


def without_scores(result: Any) -> tuple[Array, Array]:
    return indices(result), np.full(len(result), np.nan)


SOFT = {
    "mmcv": Peer(mmcv_soft, tuple),
    "cv2": Peer(cv2_soft, swapped, note="whole-pixel boxes"),
    "ensemble_boxes": Peer(ensemble_soft, without_scores, note="its inner loop; no pruning"),
}

PEERS: dict[str, dict[str, Peer]] = {
    "nms": {
        "torchvision": Peer(torchvision_nms, max_n=100_000),
        "mmcv": Peer(mmcv_nms, max_n=100_000),
        "cv2": Peer(cv2_nms, indices, max_n=10_000),
        "powerboxes": Peer(powerboxes_nms("nms"), indices, max_n=100_000),
        "powerboxes R-tree": Peer(powerboxes_nms("rtree_nms"), indices),
        "lsnms": Peer(lsnms_nms, indices),
        "ensemble_boxes": Peer(ensemble_nms, indices, max_n=10_000, note="its inner loop"),
        "supervision": Peer(supervision_nms, max_n=1_000, note="N x N matrix"),
        "NumPy loop": Peer(numpy_nms, max_n=10_000, loop=True),
    },
    "batched_nms": {
        "torchvision": Peer(torchvision_batched),
        "mmcv": Peer(mmcv_batched, max_n=10_000, note="class as an offset"),
        "cv2": Peer(cv2_batched, indices, max_n=10_000),
        "powerboxes": Peer(powerboxes_batched("nms"), indices, max_n=10_000, note="class as an offset"),
        "powerboxes R-tree": Peer(powerboxes_batched("rtree_nms"), indices, note="class as an offset"),
        "lsnms": Peer(lsnms_batched, indices),
    },
    "soft_nms_linear": SOFT,
    "soft_nms_gaussian": SOFT,
}

SOFT_SIZES = {"1k": (1_000, COCO), "10k": (10_000, COCO)}
OPS: dict[str, BoxOp] = {
    "nms": BoxOp(
        {
            "10": (10, COCO),
            "100": (100, COCO),
            "1k": (1_000, COCO),
            "10k": (10_000, COCO),
            "100k": (100_000, WIDE),
            "1M": (1_000_000, WIDE),
        },
        inputs(7),
        ours,
        same_kept,
        truth,
    ),
    "batched_nms": BoxOp(
        {"10k": (10_000, COCO), "100k": (100_000, COCO)}, inputs(9, CLASSES), ours_batched, same_kept, truth
    ),
    "soft_nms_linear": BoxOp(SOFT_SIZES, inputs(11), ours_soft, same_rescored),
    "soft_nms_gaussian": BoxOp(SOFT_SIZES, inputs(11), ours_soft, same_rescored),
}
SECTIONS = {
    "overhead": [("nms", "10")],
    "nms": [("nms", size) for size in ("100", "1k", "10k", "100k", "1M")],
    "batched_nms": [("batched_nms", size) for size in OPS["batched_nms"].sizes],
    "soft_nms": [(f"soft_nms_{method}", size) for method in ("linear", "gaussian") for size in SOFT_SIZES],
}


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
    aims = {1000: 20, 10_000: 80, 100_000: 500, 1_000_000: 10_000}
    for n, aim in aims.items():

        def made(n: int = n) -> tuple[Any, ...]:
            return boxes_clustered(n, image=WIDE if n > 20_000 else (1333, 800), classes=80)

        few = n <= 100_000
        yield GpuCase(
            "nms",
            f"{n}",
            lambda made=made: made()[:2],
            lambda b, s: nms.nms(b, s, 0.5),
            20 * n,
            aim,
            {who: lambda b, s, op=op: op(b, s, 0.5) for who, op in torchvision_op("nms").items() if few},
            large=not few,
        )
        yield GpuCase(
            "batched_nms",
            f"{n}, 80 classes",
            made,
            lambda b, s, k: nms.batched_nms(b, s, k, 0.5),
            28 * n,
            aim,
            {who: lambda b, s, k, op=op: op(b, s, k, 0.5) for who, op in torchvision_op("batched_nms").items() if few},
            large=not few,
        )
    for n, groups in ((1000, 1), (30_000, 300)):
        yield GpuCase(
            "batched_soft_nms",
            f"{n} in {groups}",
            lambda n=n, groups=groups: (*boxes_clustered(n)[:2], np.arange(n) % groups),
            nms.batched_soft_nms,
            0,
            200,
        )

    def batch() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        b = np.stack([boxes_clustered(8400, i)[0] for i in range(8)])
        return b, (rng.random((8, 8400, 80)) ** 40).astype(np.float32)

    yield GpuCase(
        "multiclass_nms",
        "8 x 8400 x 80",
        batch,
        lambda b, s: nms.multiclass_nms(b, s, 0.5, score_threshold=0.25),
        8 * 8400 * 80 * 4,
    )
