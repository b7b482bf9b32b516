"""Whom segmentation is measured against; `peers.py` says what a peer is.

torch's channels-last memory is a peer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from images import VOID, Call, Picture
from inputs import Array
from peers import Peer, threads


def functional() -> Any:
    return import_module("torch.nn.functional")


def in_order(result: Any) -> Any:
    """Tensors as C-contiguous NumPy arrays."""
    if isinstance(result, tuple):
        return tuple(map(in_order, result))
    return np.asarray(result.detach().numpy())


def opencv(case: Picture) -> Any:
    cv2 = import_module("cv2")
    cv2.setNumThreads(threads())
    return cv2


# ------------------------------------------------------------------------------------------ label maps
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
    cv2, classes = opencv(case), case.arrays["classes"]
    maps = [x.reshape(-1, x.shape[-1]) for x in (case.arrays["target"], case.arrays["prediction"])]
    return lambda: cv2.calcHist(maps, [0, 1], None, [classes] * 2, [0, classes] * 2)


def hotcoco_confusion(case: Picture) -> Call:
    count = import_module("hotcoco.metrics").pixel_confusion
    target, prediction, classes = (case.arrays[k] for k in ("target", "prediction", "classes"))
    return lambda: count(target, prediction, classes, ignore_index=VOID)


def numba_confusion(case: Picture) -> Call:
    """The loop that everybody would write."""

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
    """Upsample, take the best class, count: what everybody does today."""

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
    cv2, classes, target = opencv(case), case.arrays["classes"], case.arrays["target"]
    images = [np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in case.arrays["logits"]]

    def run() -> Any:
        total = 0
        for image, truth in zip(images, target, strict=True):
            best = cv2.resize(image, truth.shape[::-1], interpolation=cv2.INTER_LINEAR).argmax(-1).astype(np.uint8)
            total = total + cv2.calcHist([truth, best], [0, 1], None, [classes] * 2, [0, classes] * 2)
        return total

    return run


# ------------------------------------------------------------------------------------------ resampling
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
    cv2, (height, width) = opencv(case), case.arrays["size"]
    images = [np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in case.arrays["x"]]
    return lambda: [cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR) for x in images]


def of_images(result: Any) -> Array:
    return np.stack([np.moveaxis(x, -1, 0) for x in result])


def torch_upsample_backward(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        op = import_module("torch").ops.aten.upsample_bilinear2d_backward
        grad, low = case.tensor("grad", last=last), list(case.arrays["low"])
        shape = [*grad.shape[:2], *low]
        return lambda: op(grad, list(grad.shape[2:]), shape, False)

    return make


# --------------------------------------------------------------------------------------------- pooling
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


# ---------------------------------------------------------------------------------------------- losses
Loss = Callable[[Any, Picture], Any]


def cross_entropy(x: Any, case: Picture) -> Any:
    return functional().cross_entropy(x, case.tensor("target"), case.tensor("weight"), ignore_index=VOID)


def focal(x: Any, case: Picture, gamma: float = 2.0) -> Any:
    """Composed of torch's ops, as it is everywhere written."""
    target = case.tensor("target")
    log_p = functional().log_softmax(x, 1).gather(1, target.clamp(max=case.arrays["classes"] - 1)[:, None])[:, 0]
    counted = (target != VOID).float()
    return -(((1 - log_p.exp()) ** gamma) * log_p * counted).sum() / counted.sum()


def sigmoid_focal(x: Any, case: Picture) -> Any:
    return import_module("torchvision.ops").sigmoid_focal_loss(x, case.tensor("onehot"), reduction="mean")


def torch_loss(loss: Loss, compiled: bool) -> Callable[[Picture], Call]:
    """Loss and gradient. The inputs of the compiled form are looked up outside it."""

    def make(case: Picture) -> Call:
        torch = import_module("torch")
        leaf = case.tensor("logits").clone().requires_grad_()
        for name in ("target", "weight", "onehot"):
            if name in case.arrays:
                case.tensor(name)

        def forward(x: Any) -> Any:
            return loss(x, case)

        if compiled:
            import_module("torch._dynamo").reset()  # else torch gives up compiling after eight inputs of one function
        f = torch.compile(forward, dynamic=False) if compiled else forward

        def run() -> Any:
            value = f(leaf)
            return value, torch.autograd.grad(value, leaf)[0]

        return run

    return make


def with_gradient(loss: Loss) -> dict[str, Peer]:
    return {"torch": Peer(torch_loss(loss, False), in_order), "torch.compile": Peer(torch_loss(loss, True), in_order)}


UPSAMPLE = {
    "torch": Peer(torch_upsample(False), in_order),
    "torch channels_last": Peer(torch_upsample(True), in_order),
    "cv2 HWC": Peer(cv2_upsample, of_images),
}
POOL = {"torch": Peer(torch_pool(False), in_order), "torch channels_last": Peer(torch_pool(True), in_order)}
UNPOOL = {"torch": Peer(torch_unpool(False), in_order), "torch channels_last": Peer(torch_unpool(True), in_order)}
REUSED = Peer(torch_pool_out, in_order, note="out= reused")

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
    "upsample_bilinear": UPSAMPLE,
    "upsample_bilinear_out": {**UPSAMPLE, "torch out=": Peer(torch_upsample_out, in_order)},
    "upsample_bilinear_backward": {
        "torch": Peer(torch_upsample_backward(False), in_order),
        "torch channels_last": Peer(torch_upsample_backward(True), in_order),
    },
    "max_pool2d": POOL,
    "max_pool2d_out": {**POOL, "torch out=": REUSED},
    "max_pool2d_compact_out": {**POOL, "torch out=": REUSED},
    "max_pool2d_backward": {
        "torch": Peer(torch_pool_backward(False), in_order),
        "torch channels_last": Peer(torch_pool_backward(True), in_order),
    },
    "max_unpool2d": UNPOOL,
    "max_unpool2d_out": UNPOOL,
    "max_unpool2d_backward": {"torch": Peer(torch_unpool_backward, in_order)},
    "cross_entropy": with_gradient(cross_entropy),
    "focal_loss": with_gradient(focal),
    "sigmoid_focal_loss": with_gradient(sigmoid_focal),
}
