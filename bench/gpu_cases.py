"""The cases that are timed on a GPU: inputs, fastdet's call, its peers, the bytes that have to move, and the aim.

One call serves both devices: the arrays decide. Peers are torch's own ops and torchvision's. Aims are those of an H200.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from inputs import WIDE, boxes_clustered, label_maps

from fastdet import boxes, losses, nms, pool, segmentation, upsample

COPY = 4.3e12  # bytes read and written a second, of a large copy on an H200

VOID = 255
Call = Callable[..., Any]


@dataclass
class Case:
    op: str
    size: str
    make: Callable[[], tuple[Any, ...]]  # arrays on the CPU, NumPy's or torch's
    ours: Call  # of the arrays
    nbytes: float  # read and written once; 0 where latency is what it costs
    aim_us: float | None = None
    peers: dict[str, Call] = field(default_factory=dict)  # of the arrays on the GPU
    cpu: bool = True  # also timed on the CPU
    large: bool = False  # left out of a quick run

    @property
    def name(self) -> str:
        return f"{self.op} {self.size}"

    @property
    def floor_us(self) -> float:
        return self.nbytes / COPY * 1e6


def cases(torch: Any) -> Iterator[Case]:
    yield from of_boxes(torch)
    yield from of_images(torch)


def _torchvision(name: str) -> dict[str, Call]:
    try:
        ops = import_module("torchvision.ops")
    except Exception:  # absent, or built for another torch
        return {}
    return {"torchvision": getattr(ops, name)}


@lru_cache(maxsize=1)
def compiled(torch: Any, function: Call) -> Call:
    return torch.compile(function)


def of_boxes(torch: Any) -> Iterator[Case]:
    for n in (1000, 5000, 10_000):
        yield Case(
            "box_iou",
            f"{n} x {n}",
            lambda n=n: (boxes_clustered(n, 1)[0], boxes_clustered(n, 2)[0]),
            boxes.box_iou,
            4 * n * n + 32 * n,
            1.25 * 93 if n == 10_000 else None,
            _torchvision("box_iou"),
            cpu=n <= 5000,
        )
    aims = {1000: 20, 10_000: 80, 100_000: 500, 1_000_000: 10_000}
    for n, aim in aims.items():

        def made(n: int = n) -> tuple[Any, ...]:
            return boxes_clustered(n, image=WIDE if n > 20_000 else (1333, 800), classes=80)

        few = n <= 100_000
        yield Case(
            "nms",
            f"{n}",
            lambda made=made: made()[:2],
            lambda b, s: nms.nms(b, s, 0.5),
            20 * n,
            aim,
            {who: lambda b, s, op=op: op(b, s, 0.5) for who, op in _torchvision("nms").items() if few},
            large=not few,
        )
        yield Case(
            "batched_nms",
            f"{n}, 80 classes",
            made,
            lambda b, s, k: nms.batched_nms(b, s, k, 0.5),
            28 * n,
            aim,
            {who: lambda b, s, k, op=op: op(b, s, k, 0.5) for who, op in _torchvision("batched_nms").items() if few},
            large=not few,
        )
    for n, groups in ((1000, 1), (30_000, 300)):
        yield Case(
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

    yield Case(
        "multiclass_nms",
        "8 x 8400 x 80",
        batch,
        lambda b, s: nms.multiclass_nms(b, s, 0.5, score_threshold=0.25),
        8 * 8400 * 80 * 4,
    )


def of_images(torch: Any) -> Iterator[Case]:
    functional = torch.nn.functional

    def maps(shape: tuple[int, ...], dtype: str) -> tuple[Any, ...]:
        return tuple(torch.from_numpy(x.astype(dtype)) for x in label_maps(shape, 19, "coherent", 3))

    def bincount(target: Any, prediction: Any) -> Any:
        keep = target != VOID
        key = 19 * target[keep].long() + prediction[keep].long()
        return torch.bincount(key, minlength=361).reshape(19, 19)

    shape = (8, 1024, 2048)
    pixels = int(np.prod(shape))
    for dtype, size, aim in (("uint8", 1, 15), ("int64", 8, 80)):
        yield Case(
            "confusion_matrix",
            f"8x1024x2048 {dtype}",
            lambda dtype=dtype: maps(shape, dtype),
            lambda t, p: segmentation.confusion_matrix(t, p, 19, ignore_index=VOID, void="drop"),
            2 * size * pixels,
            aim,
            {"torch.bincount": bincount},
        )

    def random(shape: tuple[int, ...], dtype: str = "float32") -> Any:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))

    def chain(target: Any, logits: Any) -> Any:
        full = functional.interpolate(logits, size=target.shape[1:], mode="bilinear")
        return bincount(target, full.argmax(1))

    yield Case(
        "confusion_matrix_from_logits",
        "8x19x128x256 to 1024x2048 uint8",
        lambda: (maps(shape, "uint8")[0], random((8, 19, 128, 256))),
        lambda t, x: segmentation.confusion_matrix_from_logits(t, x, ignore_index=VOID, void="drop", size=shape[1:]),
        pixels + 4 * 8 * 19 * 128 * 256,
        None,
        {"torch chain": chain},
    )

    low, high = (8, 21, 128, 128), (8, 21, 1024, 1024)
    moved = 4 * (int(np.prod(low)) + int(np.prod(high)))
    yield Case(
        "upsample_bilinear",
        "8x21x128x128 to 1024x1024",
        lambda: (random(low),),
        lambda x: upsample.upsample_bilinear(x, 1024),
        moved,
        1.25 * 166,
        {"torch": lambda x: functional.interpolate(x, size=1024, mode="bilinear")},
    )
    yield Case(
        "upsample_bilinear_backward",
        "8x21x1024x1024 to 128x128",
        lambda: (random(high),),
        lambda g: upsample.upsample_bilinear_backward(g, 128),
        moved,
        1.25 * 166,
        {"torch": lambda g: torch.ops.aten.upsample_bilinear2d_backward(g, [1024, 1024], list(low), False)},
    )

    image = (8, 64, 512, 512)
    values = int(np.prod(image)) // 4
    half = 2 * 4 * values
    yield Case(
        "max_pool2d",
        "8x64x512x512 half, compact",
        lambda: (random(image, "float16"),),
        lambda x: pool.max_pool2d(x, 2, compact=True),
        half + 3 * values,
        1.3 * (half + 3 * values) / COPY * 1e6,
        {"torch (int64 indices)": lambda x: functional.max_pool2d(x, 2, return_indices=True)},
    )

    def pooled() -> tuple[Any, ...]:
        return pool.max_pool2d(random(image, "float16"), 2, compact=True)

    yield Case(
        "max_unpool2d",
        "8x64x256x256 half, compact",
        pooled,
        lambda x, i: pool.max_unpool2d(x, i, 2),
        half + 3 * values,
        1.3 * (half + 3 * values) / COPY * 1e6,
    )
    yield Case(
        "max_unpool2d",
        "8x64x256x256 half, int64",
        lambda: pool.max_pool2d(random(image, "float16"), 2),
        lambda x, i: pool.max_unpool2d(x, i, 2),
        half + 10 * values,
        1.3 * (half + 10 * values) / COPY * 1e6,
        {"torch": lambda x, i: functional.max_unpool2d(x, i, 2)},
    )

    def scored() -> tuple[Any, ...]:
        target, _ = label_maps((8, 1024, 1024), 21, "coherent", 3)
        return random(high, "bfloat16"), torch.from_numpy(target.astype(np.int64))

    def with_grad(loss: Call) -> Call:
        def run(x: Any, target: Any) -> Any:
            x = x.detach().requires_grad_()
            value = loss(x, target)
            value.backward()
            return value, x.grad

        return run

    def entropy(x: Any, target: Any) -> Any:
        return functional.cross_entropy(x, target, ignore_index=VOID)

    moved = 2 * 2 * int(np.prod(high)) + 8 * 8 * 1024 * 1024
    for op in ("cross_entropy", "focal_loss"):
        call = getattr(losses, f"{op}_with_grad")
        yield Case(
            f"{op}_with_grad",
            "8x21x1024x1024 bfloat16",
            scored,
            lambda x, t, call=call: call(x, t, ignore_index=VOID),
            moved,
            1.3 * 164 if op == "cross_entropy" else None,
            {"torch": with_grad(entropy), "torch.compile": with_grad(lambda x, t: compiled(torch, entropy)(x, t))}
            if op == "cross_entropy"
            else {},
        )
