"""Cross-entropy, focal and sigmoid focal loss, each with its gradient: cases and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from gpu_cases import GpuCase, random
from inputs import label_maps
from peers import Peer, functional, in_order
from picture_cases import VOID, Arrays, Call, Picture, PictureOp, bytes_of

from fastdet import losses


def make_loss(shape: tuple[int, ...], classes: int) -> Arrays:
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(0, 1, (shape[0], classes, *shape[1:])).astype(np.float32)
    target, _ = label_maps(shape, classes, "coherent", 3)
    weight = (rng.random(classes) + 0.5).astype(np.float32)
    return {"logits": logits, "target": target.astype(np.int64), "weight": weight, "classes": classes}


def our_cross_entropy(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").cross_entropy_with_grad
    return lambda: op(a["logits"], a["target"], a["weight"], VOID, backend=backend)


def our_focal(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").focal_loss_with_grad
    return lambda: op(a["logits"], a["target"], None, 2.0, VOID, backend=backend)


def make_onehot(shape: tuple[int, ...], classes: int) -> Arrays:
    made = make_loss(shape, classes)
    made["onehot"] = np.moveaxis(
        np.eye(classes + 1, classes, dtype=np.float32)[np.minimum(made["target"], classes)], -1, 1
    ).copy()
    return made


def our_sigmoid_focal(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").sigmoid_focal_loss_with_grad
    return lambda: op(a["logits"], a["onehot"], reduction="mean", backend=backend)


Loss = Callable[[Any, Picture], Any]


def cross_entropy(x: Any, case: Picture) -> Any:
    return functional().cross_entropy(x, case.tensor("target"), case.tensor("weight"), ignore_index=VOID)


def focal(x: Any, case: Picture, gamma: float = 2.0) -> Any:
    """The usual composition of torch's ops."""
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
            import_module("torch._dynamo").reset()  # torch stops compiling a function after eight different inputs
        f = torch.compile(forward, dynamic=False) if compiled else forward

        def run() -> Any:
            value = f(leaf)
            return value, torch.autograd.grad(value, leaf)[0]

        return run

    return make


def with_gradient(loss: Loss) -> dict[str, Peer]:
    return {"torch": Peer(torch_loss(loss, False), in_order), "torch.compile": Peer(torch_loss(loss, True), in_order)}


def _twice(a: Arrays) -> int:
    return 2 * a["logits"].nbytes + a["target"].nbytes


BATCHES: dict[str, tuple[Any, ...]] = {
    f"{n}x19x{side}x{side}": ((n, side, side), 19) for n, side in ((1, 128), (1, 512), (8, 512))
}
PEERS: dict[str, dict[str, Peer]] = {
    "cross_entropy": with_gradient(cross_entropy),
    "focal_loss": with_gradient(focal),
    "sigmoid_focal_loss": with_gradient(sigmoid_focal),
}

OPS: dict[str, PictureOp] = {
    "cross_entropy": PictureOp(BATCHES, make_loss, our_cross_entropy, _twice, bytes_of("logits"), close=1e-6),
    "focal_loss": PictureOp(BATCHES, make_loss, our_focal, _twice, bytes_of("logits"), close=1e-6),
    "sigmoid_focal_loss": PictureOp(
        BATCHES, make_onehot, our_sigmoid_focal, lambda a: 3 * a["logits"].nbytes, bytes_of("logits"), close=1e-6
    ),
}
SECTIONS = {"losses": [(op, size) for op, row in OPS.items() for size in row.sizes]}


@lru_cache(maxsize=1)
def compiled(torch: Any, function: Call) -> Call:
    return torch.compile(function)


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
    functional = torch.nn.functional
    high = (8, 21, 1024, 1024)

    def scored() -> tuple[Any, ...]:
        target, _ = label_maps((8, 1024, 1024), 21, "coherent", 3)
        return random(torch, high, "bfloat16"), torch.from_numpy(target.astype(np.int64))

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
        yield GpuCase(
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
