"""Lovász losses: the published definition with torch's gradient, the sets that the loss extends, rules, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet import losses

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def sample(shape: tuple[int, ...], seed: int = 0, spread: float = 2) -> tuple[Any, Any]:
    """Logits, and a target some of which is -100."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = -100
    return rng.normal(size=shape) * spread, target


def extension(torch: Any, errors: Any, own: Any) -> Any:
    """The Lovász extension of the Jaccard distance, as the paper's Algorithm 1 has it."""
    errors, order = errors.sort(dim=0, descending=True, stable=True)
    found = own[order].double().cumsum(0)
    total, taken = found[-1], torch.arange(1, len(errors) + 1)
    jaccard = 1 - (total - found) / (total + taken - found)
    return (errors * torch.diff(jaccard, prepend=torch.zeros(1))).sum()


def softmax_loss(torch: Any, x: Any, t: Any, classes: str = "present", per_image: bool = False) -> Any:
    if per_image:
        return torch.stack([softmax_loss(torch, x[i : i + 1], t[i : i + 1], classes) for i in range(len(x))]).mean()
    p, count = x.softmax(1).movedim(1, -1)[t != -100], x.shape[1]
    t = t[t != -100]
    if not len(t):
        return (x * 0).sum()
    chosen = [c for c in range(count) if classes == "all" or (t == c).any()]
    return torch.stack([extension(torch, ((t == c).double() - p[:, c]).abs(), t == c) for c in chosen]).mean()


def hinge_loss(torch: Any, x: Any, t: Any, per_image: bool = False) -> Any:
    if per_image:
        return torch.stack([hinge_loss(torch, a, b) for a, b in zip(x, t, strict=True)]).mean()
    x, t = x[t != -100], t[t != -100]
    return extension(torch, (1 - x * (2.0 * t - 1)).relu(), t == 1) if len(t) else (x * 0).sum()


@each_backend
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["present", "all"])
def test_softmax_is_its_definition(classes: str, per_image: bool, backend: str) -> None:
    torch = need("torch")
    for shape in ((3, 5, 7, 9), (4, 3, 400), (30, 4), (1, 1, 20), (2, 40, 3)):
        x, t = sample(shape)
        if len(x) > 1:
            t[-1] = -100  # an image of which no pixel counts
        t[0] = np.where(t[0] == 0, 1 % shape[1], t[0])  # and one without class 0
        logits = torch.tensor(x, requires_grad=True)
        want = softmax_loss(torch, logits, torch.tensor(t), classes, per_image)
        want.backward()
        loss, grad = losses.lovasz_softmax_loss_with_grad(x, t, -100, classes, per_image, backend=backend)
        assert float(loss) == pytest.approx(want.item(), rel=1e-12)
        np.testing.assert_allclose(grad, logits.grad.numpy(), rtol=1e-9, atol=1e-15)
        assert losses.lovasz_softmax_loss(x, t, -100, classes, per_image, backend=backend) == loss


@each_backend
@pytest.mark.parametrize("per_image", [False, True])
def test_hinge_is_its_definition(per_image: bool, backend: str) -> None:
    torch = need("torch")
    rng = np.random.default_rng(1)
    for shape in ((3, 7, 9), (4, 400), (30,)):
        x, t = rng.normal(size=shape) * 2, rng.integers(0, 2, shape)
        t[rng.random(shape) < 0.2] = -100
        t[-1] = -100
        t[0] = 0
        logits = torch.tensor(x, requires_grad=True)
        want = hinge_loss(torch, logits, torch.tensor(t), per_image)
        want.backward()
        loss, grad = losses.lovasz_hinge_loss_with_grad(x, t, -100, per_image, backend=backend)
        assert float(loss) == pytest.approx(want.item(), rel=1e-12)
        np.testing.assert_allclose(grad, logits.grad.numpy(), rtol=1e-12, atol=1e-16)
        assert losses.lovasz_hinge_loss(x, t, -100, per_image, backend=backend) == loss
    hard = rng.integers(0, 2, 30)
    want = losses.lovasz_hinge_loss(x, hard, backend=backend)
    for dtype in ("bool", "int8", "uint8", "uint64"):
        assert losses.lovasz_hinge_loss(x, hard.astype(dtype), backend=backend) == want


@each_backend
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_certain_answers_give_the_jaccard_distance(backend: str, data: st.DataObject) -> None:
    """Where every probability is 0 or 1 the loss is the mean of 1 - IoU over the classes that there are."""
    classes, n = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    said, true = rng.integers(0, classes, n), rng.integers(0, classes, n)
    x = np.where(np.arange(classes) == said[:, None], 0.0, -1e4)
    distances = [1 - ((said == c) & (true == c)).sum() / ((said == c) | (true == c)).sum() for c in np.unique(true)]
    loss = losses.lovasz_softmax_loss(x, true, backend=backend)
    assert float(loss) == pytest.approx(np.mean(distances), rel=1e-13, abs=1e-15)
    hinge = losses.lovasz_hinge_loss(np.where(said > 0, 1.0, -1.0), true > 0, backend=backend)  # errors 0 and 2
    one, other = said > 0, true > 0
    union = (one | other).sum()
    assert float(hinge) == pytest.approx(2 * (1 - (one & other).sum() / union) if union else 0, rel=1e-13, abs=1e-15)


@each_backend
def test_order_of_pixels(backend: str) -> None:
    """The loss is the same in any order of the pixels, also of equal errors; ignored pixels may hold anything."""
    rng = np.random.default_rng(2)
    x, t = np.round(rng.normal(size=(1, 3, 500))), rng.integers(0, 3, (1, 500))
    want = float(losses.lovasz_softmax_loss(x, t, backend=backend))
    turn = rng.permutation(500)
    assert float(losses.lovasz_softmax_loss(x[..., turn], t[:, turn], backend=backend)) == pytest.approx(
        want, rel=1e-13
    )
    t[0, :50] = -100
    loss, grad = losses.lovasz_softmax_loss_with_grad(x, t, backend=backend)
    for value in (np.nan, np.inf, -np.inf):
        x[0, :, :50] = value
        again = losses.lovasz_softmax_loss_with_grad(x, t, backend=backend)
        assert again[0] == loss
        assert np.array_equal(again[1], grad)
        assert not again[1][..., :50].any()
    x[0, 1, 60] = np.nan
    loss, grad = losses.lovasz_softmax_loss_with_grad(x, t, backend=backend)
    assert np.isnan(loss)
    assert np.isnan(grad[0, :, 60]).all()
    assert np.isfinite(np.delete(grad, 60, 2)).all()


@each_backend
@pytest.mark.parametrize("name", ["softmax", "by image", "hinge"])
def test_numerical_gradient(name: str, backend: str) -> None:
    rng = np.random.default_rng(3)
    x, t = sample((2, 3, 5), spread=1)
    binary = rng.integers(0, 2, x.shape)
    call = {
        "softmax": lambda x: losses.lovasz_softmax_loss_with_grad(x, t, backend=backend),
        "by image": lambda x: losses.lovasz_softmax_loss_with_grad(
            x, t, classes="all", per_image=True, backend=backend
        ),
        "hinge": lambda x: losses.lovasz_hinge_loss_with_grad(x, binary, backend=backend),
    }[name]
    _, grad = call(x)
    step = 1e-6
    for at in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * step
            ends.append(float(call(moved)[0]))
        assert grad[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-8)


@each_backend
def test_nothing_counts(backend: str) -> None:
    x = np.ones((2, 3, 4), np.float32)
    for per_image in (False, True):
        for logits, target in (
            (x, np.full((2, 4), -100)),
            (x[:0], np.zeros((0, 4), int)),
            (x[..., :0], np.zeros((2, 0), int)),
        ):
            with pytest.warns(RuntimeWarning, match=r"^lovasz_softmax_loss_with_grad: no pixel counts") as caught:
                loss, grad = losses.lovasz_softmax_loss_with_grad(logits, target, per_image=per_image, backend=backend)
            assert caught[0].filename == __file__
            assert loss == 0
            assert loss.dtype == np.float32
            assert grad.shape == logits.shape
            assert not grad.any()
            with pytest.warns(RuntimeWarning, match=r"^lovasz_hinge_loss_with_grad: no pixel counts") as caught:
                loss, grad = losses.lovasz_hinge_loss_with_grad(
                    logits[:, 0], target, per_image=per_image, backend=backend
                )
            assert caught[0].filename == __file__
            assert loss == 0
            assert not grad.any()


def test_layouts_and_halves() -> None:
    torch = need("torch")
    x, t = sample((2, 5, 6, 7))
    for per_image in (False, True):
        for memory in (torch.contiguous_format, torch.channels_last):
            logits = torch.tensor(x, dtype=torch.bfloat16).contiguous(memory_format=memory)
            loss, grad = losses.lovasz_softmax_loss_with_grad(logits, torch.tensor(t), per_image=per_image)
            wide = losses.lovasz_softmax_loss_with_grad(logits.float(), torch.tensor(t), per_image=per_image)
            assert grad.stride() == logits.stride()
            assert torch.equal(loss, wide[0].bfloat16())
            assert torch.equal(grad, wide[1].bfloat16())
    halves = x[:, 0].astype(np.float16)
    for got, want in zip(
        losses.lovasz_hinge_loss_with_grad(halves, t == 1),
        losses.lovasz_hinge_loss_with_grad(halves.astype(np.float32), t == 1),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want.astype(np.float16))


SOFTMAX_ERRORS: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"classes": "some"}, ValueError, "classes must be one of 'present', 'all', got 'some'"),
    ({"classes": None}, ValueError, "classes must be one of 'present', 'all', got None"),
    ({"per_image": 1}, TypeError, "per_image must be True or False, got 1"),
    ({"target": np.array([0, 3])}, ValueError, "target must hold classes 0 to 2 or ignore_index, got 3 at index 1"),
    ({"target": np.zeros((2, 3))}, TypeError, "target must be an integer array, got float64"),
)
HINGE_ERRORS: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"per_image": "yes"}, TypeError, "per_image must be True or False, got 'yes'"),
    (
        {"targets": np.array([[0, 1], [1, 2]])},
        ValueError,
        "targets must hold 0, 1 or ignore_index, got 2 at index (1, 1)",
    ),
    (
        {"targets": np.array([[0, 1], [1, -1]])},
        ValueError,
        "targets must hold 0, 1 or ignore_index, got -1 at index (1, 1)",
    ),
    ({"targets": np.zeros((2, 2))}, TypeError, "targets must be a boolean or integer array, got float64"),
    ({"targets": np.zeros((2, 3), int)}, ValueError, "targets must have shape (2, 2) as inputs, got (2, 3)"),
    ({"inputs": np.zeros((2, 2), int)}, TypeError, "inputs must be float16, bfloat16, float32 or float64, got int64"),
    ({"ignore_index": 0.5}, TypeError, "ignore_index must be an integer, got 0.5"),
)


@each_backend
@pytest.mark.parametrize(
    ("op", "options", "error", "text"),
    [
        *(("lovasz_softmax_loss", *row) for row in SOFTMAX_ERRORS),
        *(("lovasz_hinge_loss", *row) for row in HINGE_ERRORS),
    ],
)
def test_errors(op: str, options: dict[str, Any], error: type[Exception], text: str, backend: str) -> None:
    right = (
        {"logits": np.ones((2, 3)), "target": np.array([0, 1])}
        if "softmax" in op
        else {"inputs": np.ones((2, 2)), "targets": np.ones((2, 2), int)}
    )
    for name in (op, f"{op}_with_grad"):
        with pytest.raises(error) as caught:
            getattr(losses, name)(**{**right, "backend": backend, **options})
        assert str(caught.value) == f"{name}: {text}"
