"""Bilinear resampling and its gradient: cases and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from gpu_cases import GpuCase, random
from inputs import Array
from peers import Peer, functional, in_order, onnx_op, opencv
from picture_cases import Arrays, Call, Picture, PictureOp, bytes_of

from fastdet import upsample


def make_image(out: tuple[int, ...], low: tuple[int, int], dtype: str = "float32") -> Arrays:
    rng = np.random.default_rng(0)
    shape = (*out[:2], *low)
    byte = dtype in ("int8", "uint8")
    x = rng.integers(0, 256, shape, np.uint8).view(dtype) if byte else rng.normal(0, 1, shape).astype(dtype)
    return {"x": x, "size": out[2:], "shape": out}


def our_upsample(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.upsample").upsample_bilinear
    return lambda: op(a["x"], a["size"], backend=backend)


def our_upsample_out(a: Arrays, backend: str | None) -> Call:
    op, out = import_module("fastdet.upsample").upsample_bilinear, np.ones(a["shape"], a["x"].dtype)
    return lambda: op(a["x"], a["size"], out=out, backend=backend)


def make_gradient(out: tuple[int, ...], low: tuple[int, int]) -> Arrays:
    grad = np.random.default_rng(1).normal(0, 1, out).astype(np.float32)
    return {"grad": grad, "low": low}


def our_upsample_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.upsample").upsample_bilinear_backward
    return lambda: op(a["grad"], a["low"], backend=backend)


def torch_upsample(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        interpolate, x, size = functional().interpolate, case.tensor("x", last=last), tuple(case.arrays["size"])
        return lambda: interpolate(x, size, mode="bilinear", align_corners=False)

    return make


def torch_upsample_out(case: Picture) -> Call:
    torch, x = import_module("torch"), case.tensor("x")
    out, op = torch.ones(case.arrays["shape"], dtype=x.dtype), torch.ops.aten.upsample_bilinear2d.out
    return lambda: op(x, list(case.arrays["size"]), False, out=out)


def cv2_upsample(case: Picture) -> Call:
    cv2, (height, width) = opencv(), case.arrays["size"]
    images = [np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in case.arrays["x"]]
    return lambda: [cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR) for x in images]


def onnx_upsample(case: Picture) -> Call:
    onnx, x, size = import_module("onnx"), case.arrays["x"], case.arrays["size"]
    sizes = onnx.numpy_helper.from_array(np.array([*x.shape[:2], *size], np.int64))
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    resize = onnx.helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **options)
    run = onnx_op(resize, x, {"sizes": sizes})
    return lambda: run({"x": x})


def of_images(result: Any) -> Array:
    return np.stack([np.moveaxis(x, -1, 0) for x in result])


def torch_upsample_backward(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        op = import_module("torch").ops.aten.upsample_bilinear2d_backward
        grad, low = case.tensor("grad", last=last), list(case.arrays["low"])
        shape = [*grad.shape[:2], *low]
        return lambda: op(grad, list(grad.shape[2:]), shape, False)

    return make


def _upsampled(a: Arrays) -> int:
    return int(np.prod(a["shape"])) * a["x"].itemsize


IMAGES: dict[str, tuple[Any, ...]] = {
    "1x64x128x128 to 256x256": ((1, 64, 256, 256), (128, 128)),
    "1x64x128x128 to 200x333": ((1, 64, 200, 333), (128, 128)),
    "8x3x224x224 to 448x448": ((8, 3, 448, 448), (224, 224)),
    "1x19x128x256 to 1024x2048": ((1, 19, 1024, 2048), (128, 256)),
}
BYTES: dict[str, tuple[Any, ...]] = {
    f"8x3x224x224 to 448x448 {dtype}": ((8, 3, 448, 448), (224, 224), dtype) for dtype in ("uint8", "int8")
}
UPSAMPLE = {
    "torch": Peer(torch_upsample(False), in_order),
    "torch channels_last": Peer(torch_upsample(True), in_order),
    "cv2 HWC": Peer(cv2_upsample, of_images),
    "onnxruntime": Peer(onnx_upsample, note="uint8 and int8: cuts off"),
}
PEERS: dict[str, dict[str, Peer]] = {
    "upsample_bilinear": UPSAMPLE,
    "upsample_bilinear_out": {**UPSAMPLE, "torch out=": Peer(torch_upsample_out, in_order)},
    "upsample_bilinear_backward": {
        "torch": Peer(torch_upsample_backward(False), in_order),
        "torch channels_last": Peer(torch_upsample_backward(True), in_order),
    },
}

OPS: dict[str, PictureOp] = {
    "upsample_bilinear": PictureOp(
        {**IMAGES, **BYTES}, make_image, our_upsample, lambda a: a["x"].nbytes + _upsampled(a), _upsampled
    ),
    "upsample_bilinear_out": PictureOp(
        {**IMAGES, **BYTES}, make_image, our_upsample_out, lambda a: a["x"].nbytes + _upsampled(a), _upsampled
    ),
    "upsample_bilinear_backward": PictureOp(IMAGES, make_gradient, our_upsample_backward, bytes_of("grad")),
}
SECTIONS = {"upsample": [(op, size) for op, row in OPS.items() for size in row.sizes]}


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
    functional = torch.nn.functional
    low, high = (8, 21, 128, 128), (8, 21, 1024, 1024)
    moved = 4 * (int(np.prod(low)) + int(np.prod(high)))
    yield GpuCase(
        "upsample_bilinear",
        "8x21x128x128 to 1024x1024",
        lambda: (random(torch, low),),
        lambda x: upsample.upsample_bilinear(x, 1024),
        moved,
        1.25 * 166,
        {"torch": lambda x: functional.interpolate(x, size=1024, mode="bilinear")},
    )
    yield GpuCase(
        "upsample_bilinear_backward",
        "8x21x1024x1024 to 128x128",
        lambda: (random(torch, high),),
        lambda g: upsample.upsample_bilinear_backward(g, 128),
        moved,
        1.25 * 166,
        {"torch": lambda g: torch.ops.aten.upsample_bilinear2d_backward(g, [1024, 1024], list(low), False)},
    )
