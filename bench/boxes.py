"""Pairwise box IoU, into fresh memory and into a buffer that is used again: cases and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from agreements import same_numbers
from box_cases import BoxOp, Call, Case, touched
from gpu_cases import GpuCase, torchvision_op
from inputs import COCO, Array, Image, boxes_clustered, boxes_uniform
from peers import Peer, tensors

from fastdet import boxes


def inputs(n: int, image: Image) -> tuple[Array, Array, Array, Array]:
    nothing = np.empty(0, np.float32)
    return boxes_uniform(n, 1, image), boxes_uniform(n, 2, image), nothing, nothing


def ours(case: Case, backend: str | None) -> Call:
    return lambda: boxes.box_iou(case.boxes, case.boxes2, backend=backend)


def ours_out(case: Case, backend: str | None) -> Call:
    out = touched(case)
    return lambda: boxes.box_iou(case.boxes, case.boxes2, out=out, backend=backend)


def from_distance(result: Any) -> Array:
    return 1 - np.asarray(result)


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
    """A plain loop compiled by Numba, with fast-math and prange: the speed of ten lines."""

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


PEERS: dict[str, dict[str, Peer]] = {
    "box_iou": {**IOU_LIBRARIES, "Numba loop": Peer(numba_iou(reuse=False), loop=True)},
    # libraries without an out= get memory from malloc whose pages exist already
    "box_iou_out": {**IOU_LIBRARIES, "Numba loop": Peer(numba_iou(reuse=True), loop=True)},
}

OPS: dict[str, BoxOp] = {
    "box_iou": BoxOp(
        {"10x10": (10, COCO), "1000x1000": (1_000, COCO), "5000x5000": (5_000, COCO)}, inputs, ours, same_numbers
    ),
    "box_iou_out": BoxOp({"1000x1000": (1_000, COCO), "5000x5000": (5_000, COCO)}, inputs, ours_out, same_numbers),
}
SECTIONS = {
    "overhead": [("box_iou", "10x10")],  # the cost of a call on ten boxes, its Python part included
    "box_iou": [(op, size) for op in ("box_iou", "box_iou_out") for size in ("1000x1000", "5000x5000")],
}
LAST = ("box_iou",)  # the reused buffers change how malloc behaves for the rest of the process


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
    for n in (1000, 5000, 10_000):
        yield GpuCase(
            "box_iou",
            f"{n} x {n}",
            lambda n=n: (boxes_clustered(n, 1)[0], boxes_clustered(n, 2)[0]),
            boxes.box_iou,
            4 * n * n + 32 * n,
            1.25 * 93 if n == 10_000 else None,
            torchvision_op("box_iou"),
            cpu=n <= 5000,
        )
