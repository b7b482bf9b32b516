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


def make_soft(shape: tuple[int, ...], classes: int) -> Arrays:
    """Probabilities: another network's answer."""
    made = make_loss(shape, classes)
    other = np.exp(np.random.default_rng(1).normal(size=made["logits"].shape)).astype(np.float32)
    made["onehot"] = other / other.sum(1, keepdims=True)
    return made


def our_soft(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").cross_entropy_with_grad
    return lambda: op(a["logits"], a["onehot"], a["weight"], backend=backend)


def our_ohem(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").ohem_cross_entropy_with_grad
    return lambda: op(a["logits"], a["target"], None, VOID, 0.15, backend=backend)


def our_tversky(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").tversky_loss_with_grad
    return lambda: op(a["logits"], a["target"], 0.3, 0.7, VOID, backend=backend)


def our_lovasz(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").lovasz_softmax_loss_with_grad
    return lambda: op(a["logits"], a["target"], VOID, "all", backend=backend)


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


def soft(x: Any, case: Picture) -> Any:
    return functional().cross_entropy(x, case.tensor("onehot"), case.tensor("weight"))


def ohem(x: Any, case: Picture) -> Any:
    """The hardest 15 % of the pixels that count."""
    target = case.tensor("target")
    each = functional().cross_entropy(x, target, ignore_index=VOID, reduction="none").flatten()
    return each.topk(int(0.15 * int((case.arrays["target"] != VOID).sum())), sorted=False)[0].mean()


def counted(x: Any, case: Picture) -> tuple[Any, Any]:
    """Probabilities and one-hot targets, (classes, pixels), 0 for void."""
    classes, target = case.arrays["classes"], case.tensor("target").flatten()
    here = target != VOID
    p = x.softmax(1).transpose(0, 1).flatten(1) * here
    return p, functional().one_hot(target.clamp(max=classes - 1), classes).T * here


def tversky(x: Any, case: Picture) -> Any:
    p, hot = counted(x, case)
    both, either, own = (p * hot).sum(1), p.sum(1), hot.sum(1)
    return 1 - ((both + 1) / (both + 0.3 * (either - both) + 0.7 * (own - both) + 1)).mean()


def lovasz(x: Any, case: Picture) -> Any:
    """The published code, all classes at once; void has error 0 and is no class's."""
    torch = import_module("torch")
    p, hot = counted(x, case)
    errors, order = (hot - p).abs().sort(1, descending=True)
    found = hot.gather(1, order).cumsum(1)
    total, rank = found[:, -1:], torch.arange(1, found.shape[1] + 1)
    jaccard = 1 - (total - found) / (total + rank - found)
    return (errors * torch.diff(jaccard, dim=1, prepend=torch.zeros(len(found), 1))).sum(1).mean()


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
    "soft_cross_entropy": with_gradient(soft),
    "ohem_cross_entropy": with_gradient(ohem),
    "tversky_loss": with_gradient(tversky),
    "lovasz_softmax_loss": {"torch": Peer(torch_loss(lovasz, False), in_order)},
}

OPS: dict[str, PictureOp] = {
    "cross_entropy": PictureOp(BATCHES, make_loss, our_cross_entropy, _twice, bytes_of("logits"), close=1e-6),
    "focal_loss": PictureOp(BATCHES, make_loss, our_focal, _twice, bytes_of("logits"), close=1e-6),
    "sigmoid_focal_loss": PictureOp(
        BATCHES, make_onehot, our_sigmoid_focal, lambda a: 3 * a["logits"].nbytes, bytes_of("logits"), close=1e-6
    ),
    "soft_cross_entropy": PictureOp(
        BATCHES, make_soft, our_soft, lambda a: 3 * a["logits"].nbytes, bytes_of("logits"), close=1e-6
    ),
    "ohem_cross_entropy": PictureOp(BATCHES, make_loss, our_ohem, _twice, bytes_of("logits"), close=1e-6),
    "tversky_loss": PictureOp(BATCHES, make_loss, our_tversky, _twice, bytes_of("logits"), close=1e-6),
    "lovasz_softmax_loss": PictureOp(BATCHES, make_loss, our_lovasz, _twice, bytes_of("logits"), close=1e-5),
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
