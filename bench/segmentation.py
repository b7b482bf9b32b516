"""Confusion matrices, of label maps and of logits: cases and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from gpu_cases import GpuCase, random
from inputs import Array, label_maps
from peers import Peer, functional, opencv
from picture_cases import VOID, Arrays, Call, Picture, PictureOp, bytes_of

from fastdet import segmentation


def make_labels(shape: tuple[int, ...], classes: int, kind: str, dtype: str) -> Arrays:
    target, prediction = label_maps(shape, classes, kind, 3)
    return {"target": target.astype(dtype), "prediction": prediction.astype(dtype), "classes": classes}


def our_confusion(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.segmentation").confusion_matrix
    return lambda: op(a["target"], a["prediction"], a["classes"], ignore_index=VOID, void="drop", backend=backend)


def bincount_truth(a: Arrays) -> tuple[str, Any]:
    keep = a["target"] != VOID
    key = a["classes"] * a["target"][keep].astype(np.int64) + a["prediction"][keep]
    return "numpy.bincount", np.bincount(key, minlength=a["classes"] ** 2).reshape(a["classes"], -1)


def make_logits(shape: tuple[int, ...], low: tuple[int, int], classes: int) -> Arrays:
    target, _ = label_maps(shape, classes, "coherent", 3)
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1, (shape[0], classes, *low)).astype(np.float32)
    return {"target": target, "logits": logits, "classes": classes}


def our_fused(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.segmentation").confusion_matrix_from_logits
    size = a["target"].shape[1:]
    return lambda: op(a["target"], a["logits"], ignore_index=VOID, void="drop", size=size, backend=backend)


def torch_bincount(case: Picture) -> Call:
    torch, classes = import_module("torch"), case.arrays["classes"]
    target, prediction = case.tensor("target"), case.tensor("prediction")

    def run() -> Any:
        keep = target != VOID
        key = classes * target[keep].long() + prediction[keep].long()
        return torch.bincount(key, minlength=classes**2).view(classes, classes)

    return run


def numpy_bincount(case: Picture) -> Call:
    target, prediction, classes = (case.arrays[k] for k in ("target", "prediction", "classes"))

    def run() -> Array:
        keep = target != VOID
        key = classes * target[keep].astype(np.int64) + prediction[keep]
        return np.bincount(key, minlength=classes**2).reshape(classes, classes)

    return run


def torchmetrics_confusion(case: Picture) -> Call:
    metric = import_module("torchmetrics.functional.classification").multiclass_confusion_matrix
    target, prediction, classes = case.tensor("target"), case.tensor("prediction"), case.arrays["classes"]
    return lambda: metric(prediction, target, classes, ignore_index=VOID, validate_args=False)


def cv2_histogram(case: Picture) -> Call:
    if case.arrays["target"].dtype != np.uint8:
        raise TypeError("takes uint8 only")
    cv2, classes = opencv(), case.arrays["classes"]
    maps = [x.reshape(-1, x.shape[-1]) for x in (case.arrays["target"], case.arrays["prediction"])]
    return lambda: cv2.calcHist(maps, [0, 1], None, [classes] * 2, [0, classes] * 2)


def hotcoco_confusion(case: Picture) -> Call:
    count = import_module("hotcoco.metrics").pixel_confusion
    target, prediction, classes = (case.arrays[k] for k in ("target", "prediction", "classes"))
    return lambda: count(target, prediction, classes, ignore_index=VOID)


def numba_confusion(case: Picture) -> Call:
    """The plain loop."""

    def loop(target: Array, prediction: Array, classes: int) -> Array:
        out = np.zeros((classes, classes), np.int64)
        for i in range(target.size):
            if target[i] != VOID:
                out[target[i], prediction[i]] += 1
        return out

    compiled = import_module("numba").njit(loop)
    flat = case.arrays["target"].reshape(-1), case.arrays["prediction"].reshape(-1)
    return lambda: compiled(*flat, case.arrays["classes"])


def torch_chain(last: bool) -> Callable[[Picture], Call]:
    """Upsample, take the best class, count: the usual chain of ops."""

    def make(case: Picture) -> Call:
        torch, interpolate, classes = import_module("torch"), functional().interpolate, case.arrays["classes"]
        logits, target = case.tensor("logits", last=last), case.tensor("target")
        size = tuple(target.shape[1:])

        def run() -> Any:
            prediction = interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1)
            keep = target != VOID
            key = classes * target[keep].long() + prediction[keep]
            return torch.bincount(key, minlength=classes**2).view(classes, classes)

        return run

    return make


def cv2_chain(case: Picture) -> Call:
    """OpenCV's resize of one image at a time, NumPy's argmax, OpenCV's histogram."""
    cv2, classes, target = opencv(), case.arrays["classes"], case.arrays["target"]
    images = [np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in case.arrays["logits"]]

    def run() -> Any:
        total = 0
        for image, truth in zip(images, target, strict=True):
            best = cv2.resize(image, truth.shape[::-1], interpolation=cv2.INTER_LINEAR).argmax(-1).astype(np.uint8)
            total = total + cv2.calcHist([truth, best], [0, 1], None, [classes] * 2, [0, classes] * 2)
        return total

    return run


LABELS: dict[str, tuple[Any, ...]] = {
    f"{shape[0]}x{shape[1]}x{shape[2]} {classes} classes {kind} {dtype}": (shape, classes, kind, dtype)
    for shape, classes, kind, dtype in (
        ((1, 256, 512), 19, "coherent", "uint8"),
        ((1, 1024, 2048), 19, "coherent", "uint8"),
        ((8, 1024, 2048), 19, "coherent", "uint8"),
        ((1, 1024, 2048), 19, "coherent", "int64"),
        ((1, 1024, 2048), 150, "coherent", "uint8"),
        ((1, 1024, 2048), 19, "noise", "uint8"),
        ((1, 1024, 2048), 150, "noise", "uint8"),
        ((1, 1024, 2048), 19, "noise", "int64"),
    )
}
FUSED: dict[str, tuple[Any, ...]] = {
    "1x19x64x64 to 512x512": ((1, 512, 512), (64, 64), 19),
    "1x19x128x256 to 1024x2048": ((1, 1024, 2048), (128, 256), 19),
    "4x19x128x256 to 1024x2048": ((4, 1024, 2048), (128, 256), 19),
}
PEERS: dict[str, dict[str, Peer]] = {
    "confusion_matrix": {
        "torch.bincount": Peer(torch_bincount),
        "torchmetrics": Peer(torchmetrics_confusion, note="without validation"),
        "cv2.calcHist": Peer(cv2_histogram, note="float32 bins"),
        "hotcoco": Peer(hotcoco_confusion),
        "numpy.bincount": Peer(numpy_bincount, loop=True),
        "Numba loop": Peer(numba_confusion, loop=True),
    },
    "confusion_matrix_from_logits": {
        "torch": Peer(torch_chain(False)),
        "torch channels_last": Peer(torch_chain(True)),
        "cv2, NumPy": Peer(cv2_chain),
    },
}

OPS: dict[str, PictureOp] = {
    "confusion_matrix": PictureOp(
        LABELS, make_labels, our_confusion, bytes_of("target", "prediction"), truth=bincount_truth
    ),
    "confusion_matrix_from_logits": PictureOp(FUSED, make_logits, our_fused, bytes_of("target", "logits")),
}
SECTIONS = {"confusion": [(op, size) for op, row in OPS.items() for size in row.sizes]}


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
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
        yield GpuCase(
            "confusion_matrix",
            f"8x1024x2048 {dtype}",
            lambda dtype=dtype: maps(shape, dtype),
            lambda t, p: segmentation.confusion_matrix(t, p, 19, ignore_index=VOID, void="drop"),
            2 * size * pixels,
            aim,
            {"torch.bincount": bincount},
        )

    def chain(target: Any, logits: Any) -> Any:
        full = functional.interpolate(logits, size=target.shape[1:], mode="bilinear")
        return bincount(target, full.argmax(1))

    yield GpuCase(
        "confusion_matrix_from_logits",
        "8x19x128x256 to 1024x2048 uint8",
        lambda: (maps(shape, "uint8")[0], random(torch, (8, 19, 128, 256))),
        lambda t, x: segmentation.confusion_matrix_from_logits(t, x, ignore_index=VOID, void="drop", size=shape[1:]),
        pixels + 4 * 8 * 19 * 128 * 256,
        None,
        {"torch chain": chain},
    )
