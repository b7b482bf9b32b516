"""Subclasses of tensors and single boxes: what the losses take beside plain tensors and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import losses


@pytest.fixture
def torch() -> Any:
    return need("torch")


def subclasses(torch: Any) -> dict[str, Any]:
    """One that keeps its class, with metadata, and one whose results are plain tensors."""

    class Kept(torch.Tensor):  # type: ignore[misc, name-defined, unused-ignore]
        affine = "metadata"

    class Plain(torch.Tensor):  # type: ignore[misc, name-defined, unused-ignore]
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))

    return {"kept": Kept, "plain": Plain}


def arguments(torch: Any, op: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.normal(size=(2, 3, 4, 5)))
    target = torch.from_numpy(rng.integers(0, 3, (2, 4, 5)))
    if "sigmoid" in op:
        return x, (x > 0).double()
    if "hinge" in op:
        return x, (x > 0).long()
    if "iou" in op:
        return tuple(torch.from_numpy(np.concatenate([c, c + 1], 1)) for c in rng.random((2, 6, 2)))
    if any(word in op for word in ("dice", "tversky", "lovasz")):
        return x, target
    return x, target, torch.from_numpy(rng.random(3))


OPS = [name for name in losses.__all__ if name != "median_frequency_weights"]


def flat(x: Any) -> list[Any]:
    return [y for part in x for y in flat(part)] if isinstance(x, tuple) else [x]


@pytest.mark.parametrize("kind", ["kept", "plain"])
@pytest.mark.parametrize("op", OPS)
def test_subclasses_of_tensors(torch: Any, op: str, kind: str) -> None:
    """Any argument may be of a subclass, alone or with others: the numbers are those of plain tensors."""
    function, args, cls = getattr(losses, op), arguments(torch, op), subclasses(torch)[kind]
    want = flat(function(*args))
    chosen = [{i} for i in range(len(args))] + [set(range(len(args)))]
    for which in chosen:
        given = [x.as_subclass(cls) if i in which else x for i, x in enumerate(args)]
        for got, plain in zip(flat(function(*given)), want, strict=True):
            assert isinstance(got, torch.Tensor)
            assert kind == "kept" or type(got) is torch.Tensor
            assert torch.equal(got.as_subclass(torch.Tensor), plain)
        if op.endswith("_with_grad"):
            continue
        for first in (True, False):
            leaf = args[0].clone().requires_grad_()
            given[0] = leaf.as_subclass(cls) if first else leaf
            (function(*given).sum() * 2).backward()
            again = args[0].clone().requires_grad_()
            (function(again, *args[1:]).sum() * 2).backward()
            assert torch.equal(leaf.grad.as_subclass(torch.Tensor), again.grad)


def test_targets_of_a_subclass_beside_arrays(torch: Any) -> None:
    x, target, _ = arguments(torch, "cross_entropy")
    for cls in subclasses(torch).values():
        got = losses.cross_entropy(x.numpy(), target.as_subclass(cls))
        np.testing.assert_array_equal(np.asarray(got), losses.cross_entropy(x.numpy(), target.numpy()))
    counts = torch.tensor([10, 20, 80])
    got = losses.median_frequency_weights(counts.as_subclass(subclasses(torch)["kept"]))
    assert type(got) is torch.Tensor
    assert got.tolist() == [2, 1, 0.25]


def test_tensors_without_memory_are_refused(torch: Any) -> None:
    """A subclass that computes for itself has no memory to read."""
    from torch.testing._internal.two_tensor import TwoTensor

    x = torch.zeros(2, 3)
    with pytest.raises(
        TypeError, match=r"^cross_entropy_with_grad: logits must be a plain torch.Tensor, got TwoTensor"
    ):
        losses.cross_entropy_with_grad(TwoTensor(x, x), torch.zeros(2, dtype=torch.long))


BOX_LOSSES = ("giou_loss", "diou_loss", "ciou_loss")


@pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
@pytest.mark.parametrize("op", BOX_LOSSES)
def test_single_boxes(op: str, backend: str) -> None:
    """(4,) and (4,) are one pair: a loss without axes, gradients of shape (4,)."""
    a, b = np.array([0, 0, 2, 3.0]), np.array([1, 1, 4, 3.0])
    function, with_grad = getattr(losses, op), getattr(losses, f"{op}_with_grad")
    want, wanted = with_grad(a[None], b[None], backend=backend)
    for reduction in ("none", "mean", "sum"):
        loss, grads = with_grad(a, b, reduction, backend=backend)
        assert loss.shape == function(a, b, reduction, backend=backend).shape == ()
        assert loss == function(a, b, reduction, backend=backend) == want[0]
        for grad, row in zip(grads, wanted, strict=True):
            assert grad.shape == (4,)
            np.testing.assert_array_equal(grad, row[0])
    for other in (b[None], np.stack([b, b]), np.zeros((0, 4))):
        with pytest.raises(ValueError) as caught:
            function(a, other, backend=backend)
        assert str(caught.value) == f"{op}: boxes2 must have shape (4,) as boxes1, got {other.shape}"
        with pytest.raises(ValueError) as caught:
            function(other, b, backend=backend)
        assert str(caught.value) == f"{op}: boxes2 must have shape {other.shape} as boxes1, got (4,)"


@pytest.mark.parametrize("op", BOX_LOSSES)
def test_single_boxes_of_tensors(torch: Any, op: str) -> None:
    function = getattr(losses, op)
    a, b = torch.tensor([0, 0, 2, 3.0]), torch.tensor([1, 1, 4, 3.0])
    rows = a.clone()[None].requires_grad_()
    function(rows, b[None]).sum().backward()
    for compiled in (False, True):
        call = torch.compile(function, fullgraph=True, backend="aot_eager") if compiled else function
        x = a.clone().requires_grad_()
        loss = call(x, b)
        assert loss.shape == ()
        loss.backward()
        assert torch.equal(x.grad, rows.grad[0])
    none = torch.zeros(0, requires_grad=True)  # an empty list of boxes
    function(none, torch.zeros(0, 4), "sum").backward()
    assert none.grad.shape == (0,)
