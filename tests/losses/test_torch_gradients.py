"""Gradients of the losses as torch takes them: batched, in forward mode, under hooks of saved tensors, once only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import losses

# torch scripts its own derivatives when forward mode first needs one.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")

Call = Callable[..., Any]
PIXELS = ("cross_entropy", "focal_loss")
WHOLE = ("dice_loss", "tversky_loss", "ohem_cross_entropy", "lovasz_softmax_loss")  # one loss for all pixels
BOXES = ("giou_loss", "diou_loss", "ciou_loss")


@pytest.fixture
def torch() -> Any:
    return need("torch")


def case(name: str) -> tuple[Call, tuple[Any, ...]]:
    """A loss of one or two inputs and the inputs; the name is the function's and the reduction's."""
    torch, rng = need("torch"), np.random.default_rng(3)
    op, _, reduction = name.partition(" ")
    function = getattr(losses, op, None)
    logits = torch.from_numpy(rng.normal(size=(3, 4, 5)))
    target = torch.from_numpy(np.where(rng.random((3, 5)) < 0.2, -100, rng.integers(0, 4, (3, 5))))
    if op in PIXELS:
        return lambda x: function(x, target, reduction=reduction), (logits,)
    if op == "soft_cross_entropy":
        soft = torch.from_numpy(rng.dirichlet(np.ones(4), (3, 5))).movedim(-1, 1)
        return lambda x: losses.cross_entropy(x, soft, reduction=reduction), (logits,)
    if op in WHOLE:
        return lambda x: function(x, target), (logits,)
    if op == "lovasz_hinge_loss":
        binary = torch.from_numpy(rng.integers(0, 2, (3, 4, 5)))
        return lambda x: function(x, binary), (logits,)
    if op == "sigmoid_focal_loss":
        soft = torch.from_numpy(rng.random((3, 4, 5)))
        return lambda x: function(x, soft, reduction=reduction), (logits,)
    corner, side = rng.random((2, 6, 2)), 1 + rng.random((2, 6, 2))
    return lambda a, b: function(a, b, reduction), tuple(torch.from_numpy(np.concatenate([corner, corner + side], 2)))


CASES = [
    *(
        f"{op} {reduction}"
        for op in (*PIXELS, "soft_cross_entropy", "sigmoid_focal_loss", *BOXES)
        for reduction in ("none", "mean", "sum")
    ),
    *WHOLE,
    "lovasz_hinge_loss",
]
each_case = pytest.mark.parametrize("name", CASES)


def rows(torch: Any, call: Call, inputs: tuple[Any, ...]) -> Any:
    """The Jacobian for the first input, one loss after the other."""
    return torch.autograd.functional.jacobian(lambda x: call(x, *inputs[1:]), inputs[0])


@each_case
def test_batched_gradients(torch: Any, name: str) -> None:
    """`is_grads_batched`, and `jacobian` vectorized in both modes, give the rows of the loop."""
    call, inputs = case(name)
    want = rows(torch, call, inputs)
    jacobian = torch.autograd.functional.jacobian
    for strategy in ("reverse-mode", "forward-mode"):
        got = jacobian(lambda x: call(x, *inputs[1:]), inputs[0], vectorize=True, strategy=strategy)
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-15)
    x = inputs[0].clone().requires_grad_()
    loss = call(x, *inputs[1:])
    basis = torch.eye(loss.numel(), dtype=loss.dtype).reshape(-1, *loss.shape)
    (got,) = torch.autograd.grad(loss, x, basis, is_grads_batched=True)
    assert torch.equal(got.reshape(want.shape), want)


@each_case
def test_forward_mode(torch: Any, name: str) -> None:
    """`torch.func.jvp`, `jacfwd`, dual numbers and a compiled call: the Jacobian times the tangent."""
    call, inputs = case(name)
    want = rows(torch, call, inputs)
    tangents = tuple(torch.from_numpy(np.random.default_rng(9).normal(size=x.shape)) for x in inputs)
    value, got = torch.func.jvp(lambda x: call(x, *inputs[1:]), inputs[:1], tangents[:1])
    assert torch.equal(value, call(*inputs))
    axes = tuple(range(value.ndim, want.ndim))
    torch.testing.assert_close(got, (want * tangents[0]).sum(axes), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(torch.func.jacfwd(call)(*inputs), want, rtol=1e-13, atol=1e-15)
    _, along_both = torch.func.jvp(call, inputs, tangents)
    parts = [
        torch.func.jvp(lambda x, i=i: call(*inputs[:i], x, *inputs[i + 1 :]), (inputs[i],), (tangents[i],))[1]
        for i in range(len(inputs))
    ]
    torch.testing.assert_close(along_both, sum(parts), rtol=1e-12, atol=1e-14)
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(call(*map(forward_ad.make_dual, inputs, tangents)))
        assert torch.equal(dual.primal, value)
        assert torch.equal(dual.tangent, along_both)
        assert forward_ad.unpack_dual(call(*inputs)).tangent is None
    compiled = torch.compile(lambda *x: torch.func.jvp(call, x, tangents)[1], backend="eager")
    assert torch.equal(compiled(*inputs), along_both)


@pytest.mark.parametrize("name", [name for name in CASES if "ciou" not in name])  # alpha is a constant to its gradient
def test_gradcheck_of_every_mode(torch: Any, name: str) -> None:
    call, inputs = case(name)
    assert torch.autograd.gradcheck(
        call,
        tuple(x.clone().requires_grad_() for x in inputs),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


@pytest.mark.parametrize("name", ["cross_entropy none", "dice_loss", "sigmoid_focal_loss none", "giou_loss none"])
def test_tangents_of_a_batch(torch: Any, name: str) -> None:
    """vmap outside and inside of jvp."""
    call, inputs = case(name)
    batch = tuple(torch.stack([x, 1.5 * x]) for x in inputs)
    tangents = tuple(x.flip(0) for x in batch)
    want = torch.stack(
        [torch.func.jvp(call, tuple(x[i] for x in batch), tuple(x[i] for x in tangents))[1] for i in range(2)]
    )
    one = torch.func.vmap(lambda *x: torch.func.jvp(call, x[: len(batch)], x[len(batch) :])[1])
    assert torch.equal(one(*batch, *tangents), want)
    assert torch.equal(torch.func.jvp(torch.func.vmap(call), batch, tangents)[1], want)


@pytest.mark.parametrize("name", ["cross_entropy none", "focal_loss mean", "dice_loss", "giou_loss none"])
def test_no_second_derivative_in_any_mode(torch: Any, name: str) -> None:
    call, inputs = case(name)
    function, hessian = torch.func, torch.autograd.functional.hessian
    op = name.split()[0]

    def total(x: Any) -> Any:
        return (call(x, *inputs[1:]) ** 2).sum()

    modes = (function.jacfwd, function.jacrev)
    calls: list[Call] = [lambda x, f=f, g=g: f(g(total))(x) for f in modes for g in modes]
    calls += [
        lambda x: hessian(total, x, vectorize=True),
        lambda x: hessian(total, x, vectorize=True, outer_jacobian_strategy="forward-mode"),
    ]
    for second in calls:
        with pytest.raises(NotImplementedError, match=f"^{op}: has no second derivative$"):
            second(inputs[0])


def test_a_tangent_of_weights_is_refused(torch: Any) -> None:
    _, (x,) = case("cross_entropy mean")
    target, weight = torch.zeros(3, 5, dtype=torch.long), torch.ones(4, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"^cross_entropy: weight requires grad and cross_entropy keeps no graph"):
        torch.func.jvp(lambda w: losses.cross_entropy(x, target, w), (weight,), (weight,))


@each_case
@pytest.mark.parametrize("way", ["default", "registered"])
@pytest.mark.parametrize("factor", [1, 3])
def test_a_hook_keeps_what_it_got(torch: Any, name: str, way: str, factor: int) -> None:
    """The backward pass neither writes to a tensor that a hook kept nor returns its memory."""
    call, inputs = case(name)
    kept: list[tuple[Any, Any]] = []

    def pack(x: Any) -> Any:
        kept.append((x, x.clone()))
        return x

    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    if way == "default":
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = call(*leaves)
    else:
        loss = call(*leaves)
        for saved in loss.grad_fn._raw_saved_tensors:
            saved.register_hooks(pack, lambda x: x)
    (loss.sum() * factor).backward()
    assert len(kept) == len(inputs)
    for x in leaves:
        x.grad.add_(1)
    for now, before in kept:
        assert torch.equal(now, before)
    want = torch.autograd.grad(call(*leaves).sum() * factor, leaves)
    for x, grad in zip(leaves, want, strict=True):
        assert torch.equal(x.grad, grad + 1)


@pytest.mark.parametrize("name", ["cross_entropy mean", "giou_loss sum"])
def test_gradients_that_someone_holds_stay(torch: Any, name: str) -> None:
    """Those read from the graph, the results of the op itself, and those of a graph that is kept."""
    call, inputs = case(name)
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    for factor in (1, 3):
        loss = call(*leaves)
        held = loss.grad_fn.saved_tensors
        before = [x.clone() for x in held]
        for grad in torch.autograd.grad(loss * factor, leaves):
            grad.add_(1)
        assert all(map(torch.equal, held, before))

        loss = call(*leaves)
        first = torch.autograd.grad(loss * factor, leaves, retain_graph=True)
        copies = [x.clone() for x in first]
        for grad in first:
            grad.zero_()
        assert all(map(torch.equal, torch.autograd.grad(loss * factor, leaves), copies))
    a, b = case("giou_loss sum")[1]
    loss, *grads = torch.ops.fastdet.giou_loss_with_grad(a.requires_grad_(), b, "sum", 1e-7, None)
    before = [x.clone() for x in grads]
    (loss * 3).backward()
    assert all(map(torch.equal, grads, before))


def test_checkpoint(torch: Any) -> None:
    from torch.utils.checkpoint import checkpoint

    for name in ("cross_entropy mean", "giou_loss sum"):
        call, inputs = case(name)
        leaves = tuple(x.clone().requires_grad_() for x in inputs)
        got = torch.autograd.grad(checkpoint(call, *leaves, use_reentrant=False) * 2, leaves)
        want = torch.autograd.grad(call(*leaves) * 2, leaves)
        assert all(map(torch.equal, got, want))
