"""Max-pooling with indices, unpooling, and their gradients: cases and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from gpu_cases import COPY, GpuCase, random
from peers import Peer, functional, in_order, onnx_op
from picture_cases import Arrays, Call, Picture, PictureOp, bytes_of

from fastdet import pool


def make_pool(shape: tuple[int, ...], kernel: int, stride: int, padding: int) -> Arrays:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, shape).astype(np.float32)
    pool = import_module("fastdet.pool").max_pool2d
    values, indices = pool(x, kernel, stride, padding)
    _, compact = pool(x, kernel, stride, padding, compact=True)
    grad = rng.normal(0, 1, values.shape).astype(np.float32)
    wide = rng.normal(0, 1, shape).astype(np.float32)
    window = (kernel, stride, padding)
    return {
        "x": x,
        "values": values,
        "indices": indices,
        "compact": compact,
        "grad": grad,
        "wide": wide,
        "window": window,
    }


def our_pool(compact: bool, reuse: bool) -> Callable[[Arrays, str | None], Call]:
    def ours(a: Arrays, backend: str | None) -> Call:
        op = import_module("fastdet.pool").max_pool2d
        out = (np.ones_like(a["values"]), np.ones_like(a["compact" if compact else "indices"])) if reuse else None
        return lambda: op(a["x"], *a["window"], compact=compact, out=out, backend=backend)

    return ours


def our_pool_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.pool").max_pool2d_backward
    return lambda: op(a["grad"], a["indices"], a["x"].shape[-2:], *a["window"], backend=backend)


def our_unpool(reuse: bool) -> Callable[[Arrays, str | None], Call]:
    def ours(a: Arrays, backend: str | None) -> Call:
        op = import_module("fastdet.pool").max_unpool2d
        out = np.ones_like(a["x"]) if reuse else None
        return lambda: op(a["values"], a["indices"], *a["window"], out=out, backend=backend)

    return ours


def our_unpool_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.pool").max_unpool2d_backward
    return lambda: op(a["wide"], a["indices"], *a["window"], backend=backend)


def torch_pool(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        pool, x, window = functional().max_pool2d, case.tensor("x", last=last), case.arrays["window"]
        return lambda: pool(x, *window, return_indices=True)

    return make


def torch_pool_out(case: Picture) -> Call:
    torch, x, (kernel, stride, padding) = import_module("torch"), case.tensor("x"), case.arrays["window"]
    out = torch.ones(case.arrays["values"].shape), torch.ones(case.arrays["values"].shape, dtype=torch.int64)
    op = torch.ops.aten.max_pool2d_with_indices.out
    return lambda: op(x, [kernel] * 2, [stride] * 2, [padding] * 2, out=out[0], indices=out[1])


def torch_pool_backward(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        op = import_module("torch").ops.aten.max_pool2d_with_indices_backward
        grad, x, indices = (case.tensor(k, last=last) for k in ("grad", "x", "indices"))
        kernel, stride, padding = case.arrays["window"]
        return lambda: op(grad, x, [kernel] * 2, [stride] * 2, [padding] * 2, [1, 1], False, indices)

    return make


def torch_unpool(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        unpool, (kernel, stride, padding) = functional().max_unpool2d, case.arrays["window"]
        values, indices = case.tensor("values", last=last), case.tensor("indices", last=last)
        return lambda: unpool(values, indices, kernel, stride, padding)

    return make


def torch_unpool_backward(case: Picture) -> Call:
    torch, (kernel, stride, padding) = import_module("torch"), case.arrays["window"]
    leaf = case.tensor("values").clone().requires_grad_()
    y, wide = functional().max_unpool2d(leaf, case.tensor("indices"), kernel, stride, padding), case.tensor("wide")
    return lambda: torch.autograd.grad(y, leaf, wide, retain_graph=True)[0]


def make_values(shape: tuple[int, ...], kernel: int, stride: int, padding: int, dtype: str) -> Arrays:
    """An image as a quantised network has it, or the same numbers as float32."""
    x = np.random.default_rng(2).integers(0, 128, shape).astype(dtype)
    values = import_module("fastdet.pool").max_pool2d(x, kernel, stride, padding, return_indices=False)
    return {"x": x, "values": values, "window": (kernel, stride, padding)}


def our_values(a: Arrays, backend: str | None) -> Call:
    op, out = import_module("fastdet.pool").max_pool2d, np.ones_like(a["values"])
    return lambda: op(a["x"], *a["window"], return_indices=False, out=out, backend=backend)


def torch_values(case: Picture) -> Call:
    pool, x, window = functional().max_pool2d, case.tensor("x"), case.arrays["window"]
    return lambda: pool(x, *window)


def onnx_values(case: Picture) -> Call:
    onnx, x, (kernel, stride, padding) = import_module("onnx"), case.arrays["x"], case.arrays["window"]
    options = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
    run = onnx_op(onnx.helper.make_node("MaxPool", ["x"], ["y"], **options), x)
    return lambda: run({"x": x})


POOLS: dict[str, tuple[Any, ...]] = {
    "1x64x112x112 2x2": ((1, 64, 112, 112), 2, 2, 0),
    "2x64x224x224 2x2": ((2, 64, 224, 224), 2, 2, 0),
    "8x64x224x224 2x2": ((8, 64, 224, 224), 2, 2, 0),
    "8x64x112x112 3x3/2": ((8, 64, 112, 112), 3, 2, 1),
}
TWO = {name: size for name, size in POOLS.items() if name.endswith("2x2")}
QUANTISED = {
    f"{name} {dtype}": (*POOLS[name], dtype)
    for name in ("8x64x112x112 3x3/2", "2x64x224x224 2x2")
    for dtype in ("float32", "int8", "uint8")
}
POOL = {"torch": Peer(torch_pool(False), in_order), "torch channels_last": Peer(torch_pool(True), in_order)}
UNPOOL = {"torch": Peer(torch_unpool(False), in_order), "torch channels_last": Peer(torch_unpool(True), in_order)}
REUSED = Peer(torch_pool_out, in_order, note="out= reused")

PEERS: dict[str, dict[str, Peer]] = {
    "max_pool2d": POOL,
    "max_pool2d_out": {**POOL, "torch out=": REUSED},
    "max_pool2d_compact_out": {**POOL, "torch out=": REUSED},
    "max_pool2d_backward": {
        "torch": Peer(torch_pool_backward(False), in_order),
        "torch channels_last": Peer(torch_pool_backward(True), in_order),
    },
    "max_pool2d_values": {"torch": Peer(torch_values, in_order), "onnxruntime": Peer(onnx_values)},
    "max_unpool2d": UNPOOL,
    "max_unpool2d_out": UNPOOL,
    "max_unpool2d_backward": {"torch": Peer(torch_unpool_backward, in_order)},
}

POOLED = {"nbytes": bytes_of("x", "values", "indices"), "written": bytes_of("values", "indices")}
UNPOOLED = {"nbytes": bytes_of("x", "values", "indices"), "written": bytes_of("x")}
OPS: dict[str, PictureOp] = {
    "max_pool2d": PictureOp(POOLS, make_pool, our_pool(False, False), **POOLED),
    "max_pool2d_out": PictureOp(POOLS, make_pool, our_pool(False, True), **POOLED),
    "max_pool2d_compact_out": PictureOp(
        POOLS, make_pool, our_pool(True, True), bytes_of("x", "values", "compact"), bytes_of("values", "compact")
    ),
    "max_pool2d_values": PictureOp(QUANTISED, make_values, our_values, bytes_of("x", "values"), bytes_of("values")),
    "max_pool2d_backward": PictureOp(POOLS, make_pool, our_pool_backward, **UNPOOLED),
    "max_unpool2d": PictureOp(TWO, make_pool, our_unpool(False), **UNPOOLED),
    "max_unpool2d_out": PictureOp(TWO, make_pool, our_unpool(True), **UNPOOLED),
    "max_unpool2d_backward": PictureOp(
        TWO, make_pool, our_unpool_backward, bytes_of("wide", "indices", "grad"), bytes_of("grad")
    ),
}
SECTIONS = {"pool": [(op, size) for op, row in OPS.items() for size in row.sizes]}


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
    functional = torch.nn.functional
    image = (8, 64, 512, 512)
    values = int(np.prod(image)) // 4
    half = 2 * 4 * values
    yield GpuCase(
        "max_pool2d",
        "8x64x512x512 half, compact",
        lambda: (random(torch, image, "float16"),),
        lambda x: pool.max_pool2d(x, 2, compact=True),
        half + 3 * values,
        1.3 * (half + 3 * values) / COPY * 1e6,
        {"torch (int64 indices)": lambda x: functional.max_pool2d(x, 2, return_indices=True)},
    )

    def pooled() -> tuple[Any, ...]:
        return pool.max_pool2d(random(torch, image, "float16"), 2, compact=True)

    yield GpuCase(
        "max_unpool2d",
        "8x64x256x256 half, compact",
        pooled,
        lambda x, i: pool.max_unpool2d(x, i, 2),
        half + 3 * values,
        1.3 * (half + 3 * values) / COPY * 1e6,
    )
    yield GpuCase(
        "max_unpool2d",
        "8x64x256x256 half, int64",
        lambda: pool.max_pool2d(random(torch, image, "float16"), 2),
        lambda x, i: pool.max_unpool2d(x, i, 2),
        half + 10 * values,
        1.3 * (half + 10 * values) / COPY * 1e6,
        {"torch": lambda x, i: functional.max_unpool2d(x, i, 2)},
    )
