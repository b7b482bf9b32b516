"""Whom fastdet is measured against, and how each is called.

`PEERS[op][name]` builds the call: `make(case)` imports the library and returns a function of no arguments. What
the library needs in a form of its own (tensors, float64, xywh) is made there, outside the timing. A library
that cannot be imported is reported as absent, with the reason; see `ready`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from cases import Call, Case, touched
from inputs import Array


@dataclass(frozen=True)
class Peer:
    """One entry. norm: the peer's answer in fastdet's form, not timed. max_n: larger cases take minutes."""

    make: Callable[[Case], Call]
    norm: Callable[[Any], Any] = np.asarray
    max_n: int = 10_000_000
    loop: bool = False  # a few lines of anybody's code, no library
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """A peer that does not run, and why."""

    reason: str


def ready(peer: Peer, case: Any) -> tuple[Call, Any] | Absent:
    """The peer's call on `case` and its answer in fastdet's form, or why there is none.

    It has been called once: what it compiles is compiled, its threads have started.
    """
    if isinstance(case, Case) and case.n > peer.max_n:
        return Absent(f"not run: above {peer.max_n} boxes it takes too long or too much memory")
    try:
        call = peer.make(case)
        answer = peer.norm(call())
    except Exception as error:  # whatever an optional library raises is shown
        first_line = (str(error).strip().splitlines() or [""])[0]
        return Absent(f"{type(error).__name__}: {first_line[:160]}")
    return call, answer


def threads() -> int:
    """How many threads this process may use; compare.py sets the variable."""
    return int(os.environ.get("FASTDET_NUM_THREADS") or len(os.sched_getaffinity(0)))


def tensors(case: Case) -> tuple[Any, Any, Any, Any]:
    """torch, boxes, scores, labels."""
    torch = import_module("torch")
    torch.set_num_threads(threads())
    return torch, torch.from_numpy(case.boxes), torch.from_numpy(case.scores), torch.from_numpy(case.labels)


def opencv() -> Any:
    """cv2.dnn, using as many threads as everybody else."""
    cv2 = import_module("cv2")
    cv2.setNumThreads(threads())
    return cv2.dnn


def mmcv_ops() -> Any:
    """mmcv's compiled ops, or its NMS sources built on their own as `mmcv_lite_ops`."""
    import_module("torch")  # its shared libraries are needed first
    try:
        return import_module("mmcv._ext")
    except ImportError:
        return import_module("mmcv_lite_ops")


def offset(case: Case, step: float = 7680) -> Array:
    """The boxes moved apart by class: the trick that costs bits of the coordinates."""
    return case.boxes + (case.labels * step).astype(np.float32)[:, None]


def indices(result: Any) -> Array:
    return np.asarray(result).reshape(-1).astype(np.int64)


def from_distance(result: Any) -> Array:
    return 1 - np.asarray(result)


# ------------------------------------------------------------------------------------------------ NMS
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
    """The loop that everybody writes first: take the best, drop what overlaps it, repeat."""

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


# ------------------------------------------------------------------------------------ NMS for each class
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


# -------------------------------------------------------------------------------------------- Soft-NMS
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
    """OpenCV's (scores, indices)."""
    return indices(result[1]), np.asarray(result[0]).reshape(-1)


def without_scores(result: Any) -> tuple[Array, Array]:
    return indices(result), np.full(len(result), np.nan)


# ------------------------------------------------------------------------------------------------- IoU
def torchvision_iou(case: Case) -> Call:
    torch, boxes, _, _ = tensors(case)
    box_iou, boxes2 = import_module("torchvision.ops").box_iou, torch.from_numpy(case.boxes2)
    return lambda: box_iou(boxes, boxes2)


def compiled_iou(case: Case) -> Call:
    torch, boxes, _, _ = tensors(case)
    box_iou, boxes2 = import_module("torchvision.ops").box_iou, torch.from_numpy(case.boxes2)
    compiled = torch.compile(box_iou, dynamic=False)
    return lambda: compiled(boxes, boxes2)


def powerboxes_iou(function: str) -> Callable[[Case], Call]:
    def make(case: Case) -> Call:
        distance = getattr(import_module("powerboxes"), function)
        return lambda: distance(case.boxes, case.boxes2)

    return make


def supervision_iou(case: Case) -> Call:
    box_iou = import_module("supervision").box_iou_batch
    return lambda: box_iou(case.boxes, case.boxes2)


def numpy_iou(case: Case) -> Call:
    """Broadcasting by columns: half the temporaries of the usual (N, M, 2) form."""

    def run() -> Array:
        ax1, ay1, ax2, ay2 = case.boxes.T[:, :, None]
        bx1, by1, bx2, by2 = case.boxes2.T
        inter: Array = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
        inter *= np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0)
        union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
        union -= inter
        inter /= union
        return inter

    return run


def numba_iou(*, reuse: bool) -> Callable[[Case], Call]:
    """A plain loop given to Numba, with fast-math and prange: the bar that ten lines reach."""

    def make(case: Case) -> Call:
        numba = import_module("numba")
        zero, prange = np.float32(0), numba.prange

        def loop(a: Array, b: Array, out: Array) -> None:
            bt = np.ascontiguousarray(b.T)
            area_b = (bt[2] - bt[0]) * (bt[3] - bt[1])
            for i in prange(len(a)):
                x1, y1, x2, y2 = a[i, 0], a[i, 1], a[i, 2], a[i, 3]
                area = (x2 - x1) * (y2 - y1)
                for j in range(len(b)):
                    w = max(min(x2, bt[2, j]) - max(x1, bt[0, j]), zero)
                    h = max(min(y2, bt[3, j]) - max(y1, bt[1, j]), zero)
                    out[i, j] = w * h / (area + area_b[j] - w * h)

        compiled = numba.njit(parallel=True, fastmath=True)(loop)
        out = touched(case) if reuse else None

        def run() -> Array:
            target = np.empty((case.n, case.n), np.float32) if out is None else out
            compiled(case.boxes, case.boxes2, target)
            return target

        return run

    return make


IOU_LIBRARIES = {
    "torchvision": Peer(torchvision_iou),
    "torch.compile(torchvision)": Peer(compiled_iou),
    "powerboxes": Peer(powerboxes_iou("iou_distance"), from_distance, note="1 - IoU in float64"),
    "powerboxes parallel": Peer(powerboxes_iou("parallel_iou_distance"), from_distance, note="1 - IoU in float64"),
    "supervision": Peer(supervision_iou, note="float64 inside"),
    "NumPy": Peer(numpy_iou, loop=True),
}
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
    "box_iou": {**IOU_LIBRARIES, "Numba loop": Peer(numba_iou(reuse=False), loop=True)},
    # libraries without an out= get memory back from malloc that already has its pages
    "box_iou_out": {**IOU_LIBRARIES, "Numba loop": Peer(numba_iou(reuse=True), loop=True)},
}
