"""Cross-entropy against probabilities and of the hardest pixels, and the Tversky loss: torch, formulas, rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet import losses
from fastdet.losses.reduction import REDUCTIONS

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def sample(shape: tuple[int, ...], seed: int = 0, spread: float = 3) -> tuple[Any, Any, Any]:
    """Logits, a target some of which is -100, weights."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = -100
    return rng.normal(size=shape) * spread, target, rng.random(shape[1]) + 0.1


def probabilities(shape: tuple[int, ...], seed: int = 1) -> Any:
    t = np.random.default_rng(seed).random(shape) ** 3
    return t / t.sum(0 if len(shape) == 1 else 1, keepdims=True)


# Probabilities of classes


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_soft_targets_are_torchs(reduction: str, weighted: bool, smoothing: float) -> None:
    torch = need("torch")
    for shape in ((2, 5, 7, 40), (50, 7), (3, 1, 9), (7,), (2, 300, 3), (3, 4, 1, 1)):
        rng = np.random.default_rng(0)
        x, t = rng.normal(size=shape) * 3, probabilities(shape)
        w = rng.random(shape[len(shape) > 1]) if weighted else None
        logits = torch.tensor(x, requires_grad=True)
        weight = None if w is None else torch.tensor(w)
        want = torch.nn.functional.cross_entropy(
            logits, torch.tensor(t), weight, reduction=reduction, label_smoothing=smoothing
        )
        want.sum().backward()
        loss, grad = losses.cross_entropy_with_grad(x, t, w, -100, reduction, smoothing)
        np.testing.assert_allclose(loss, want.detach().numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(grad, logits.grad.numpy(), rtol=1e-10, atol=1e-15)
        assert losses.cross_entropy(x, t, w, -100, reduction, smoothing).tobytes() == loss.tobytes()


@each_backend
def test_soft_targets_of_one_class_are_labels(backend: str) -> None:
    """Also where the pixel is certain: 1 - p_t = 1e-15 in float32."""
    x, t, w = sample((2, 5, 9, 40))
    t[t < 0] = 0
    hot = np.moveaxis(np.eye(5)[t], -1, 1)
    for reduction in ("sum", "none"):
        soft = losses.cross_entropy_with_grad(x, hot, w, reduction=reduction, backend=backend)
        hard = losses.cross_entropy_with_grad(x, t, w, reduction=reduction, backend=backend)
        for a, b in zip(soft, hard, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    logits, exact = np.array([[0, -34.5]], np.float32), float(np.exp(-34.5))
    loss, grad = losses.cross_entropy_with_grad(logits, np.array([[1, 0]], np.float32), backend=backend)
    assert float(loss) == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose(grad[0], [-exact, exact], rtol=1e-6)


@each_backend
def test_soft_targets_of_zeros(backend: str) -> None:
    """A pixel whose probabilities are all 0 has no loss, whatever its logits are; the mean is over all pixels."""
    x, t = sample((2, 3, 50))[0], probabilities((2, 3, 50))
    t[0, :, :10] = 0
    want = losses.cross_entropy_with_grad(x, t, backend=backend)
    rest = losses.cross_entropy(x, t, reduction="sum", backend=backend)
    assert float(want[0]) == pytest.approx(float(rest) / 100, rel=1e-14)
    for value in (np.nan, np.inf, -np.inf):
        x[0, :, :10] = value
        loss, grad = losses.cross_entropy_with_grad(x, t, backend=backend)
        assert loss == want[0]
        assert np.array_equal(grad, want[1])
        assert not grad[0, :, :10].any()
    with pytest.warns(RuntimeWarning, match="no pixel counts"):
        assert losses.cross_entropy(x[:0], t[:0], backend=backend) == 0


@each_backend
def test_soft_targets_and_unusual_logits(backend: str) -> None:
    def of(logits: Any, target: Any) -> Any:
        return losses.cross_entropy_with_grad(np.array([logits], np.float32), np.array([target]), backend=backend)

    for broken in ((np.nan, 0), (0, np.nan), (np.inf, 0), (-np.inf, -np.inf)):
        loss, grad = of(broken, [0.5, 0.5])
        assert np.isnan(loss)
        assert np.isnan(grad).all()
    loss, grad = of((1, -np.inf), [1.0, 0])  # probability 0 where the target has 0
    assert loss == 0
    assert not grad.any()
    loss, grad = of((1, -np.inf), [0.5, 0.5])
    assert loss == np.inf
    np.testing.assert_array_equal(grad, [[0.5, -0.5]])
    loss, grad = of((0, 0), [np.nan, 0])
    assert np.isnan(loss)
    assert np.isnan(grad).all()


def test_soft_targets_of_every_dtype_and_layout() -> None:
    x, t = sample((2, 5, 6, 7))[0].astype(np.float32), probabilities((2, 5, 6, 7)).astype(np.float16)
    want = losses.cross_entropy_with_grad(x, t.astype(np.float32))
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    for logits in (x, last):
        for target in (t, t.astype(np.float64), np.asfortranarray(t), t.astype(">f4")):
            loss, grad = losses.cross_entropy_with_grad(logits, target)
            assert loss == want[0]
            np.testing.assert_array_equal(grad, want[1])
            assert grad.strides == logits.strides
    torch = need("torch")
    logits = torch.from_numpy(x).bfloat16()
    loss, grad = losses.cross_entropy_with_grad(logits, torch.from_numpy(t).bfloat16())
    wide = losses.cross_entropy_with_grad(logits.float(), torch.from_numpy(t).bfloat16().float())
    assert torch.equal(loss, wide[0].bfloat16())
    assert torch.equal(grad, wide[1].bfloat16())
    with pytest.raises(TypeError, match=r"^cross_entropy: target requires grad and cross_entropy keeps no graph"):
        losses.cross_entropy(logits.requires_grad_(), torch.from_numpy(t).requires_grad_())


# The hardest pixels


def hardest(x: Any, t: Any, w: Any, fraction: float, min_kept: int, threshold: float | None) -> tuple[float, Any]:
    """The definition, by sorting: the loss, and whether each pixel is kept."""
    each = losses.cross_entropy(x, t, w, reduction="none").ravel()
    counted = np.flatnonzero((t.ravel() >= 0) & (w[t.ravel().clip(0)] > 0))
    order = counted[np.argsort(-each[counted], kind="stable")]
    least = max(math.floor(fraction * len(counted)), min_kept)
    kept = np.zeros(t.size, bool)
    kept[order[:least]] = True
    if threshold is not None:
        kept[counted] |= each[counted] > threshold
    return each[kept].mean(), kept.reshape(t.shape)


@each_backend
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_ohem_is_its_definition(backend: str, data: st.DataObject) -> None:
    """Also of equal losses, of which the first are kept; the gradient is that of the kept pixels' mean."""
    classes = data.draw(st.integers(2, 6))
    x, t, w = sample((2, classes, data.draw(st.integers(1, 400))), data.draw(st.integers(0, 999)))
    if data.draw(st.booleans()):
        x = np.round(x)
    w[0] = data.draw(st.sampled_from([0.0, 1.0]))
    w[1:] = data.draw(st.sampled_from([w[1], 1.0]))
    t[0, 0] = 1
    fraction, least = data.draw(st.floats(0, 1)), data.draw(st.integers(1, 30))
    threshold = data.draw(st.sampled_from([None, 0.0, 0.7, 3.0]))
    want, kept = hardest(x, t, w, fraction, least, threshold)
    loss, grad = losses.ohem_cross_entropy_with_grad(x, t, w, -100, fraction, least, threshold, backend=backend)
    assert float(loss) == pytest.approx(want, rel=1e-13)
    assert losses.ohem_cross_entropy(x, t, w, -100, fraction, least, threshold, backend=backend) == loss
    _, summed = losses.cross_entropy_with_grad(x, np.where(kept, t, -100), w, reduction="sum", backend=backend)
    np.testing.assert_allclose(grad, summed / kept.sum(), rtol=1e-13, atol=1e-18)
    assert not np.moveaxis(grad, 1, -1)[~kept].any()


def test_ohem_is_torchs_topk() -> None:
    torch = need("torch")
    x, t, _ = sample((2, 5, 17, 40))
    t[t < 0] = 1
    logits = torch.tensor(x, requires_grad=True)
    each = torch.nn.functional.cross_entropy(logits, torch.tensor(t), reduction="none").flatten()
    each.topk(int(0.15 * t.size))[0].mean().backward()
    mine = torch.tensor(x, requires_grad=True)
    losses.ohem_cross_entropy(mine, torch.tensor(t), fraction=0.15).backward()
    torch.testing.assert_close(mine.grad, logits.grad, rtol=1e-11, atol=1e-16)


@each_backend
def test_ohem_of_all_pixels_is_a_plain_mean(backend: str) -> None:
    x, t, w = sample((2, 5, 17, 40))
    ours = losses.ohem_cross_entropy(x, t, fraction=1.0, backend=backend)
    assert float(ours) == pytest.approx(float(losses.cross_entropy(x, t, backend=backend)), rel=1e-13)
    weighted = losses.ohem_cross_entropy(x, t, w, fraction=1.0, backend=backend)
    total = losses.cross_entropy(x, t, w, reduction="sum", backend=backend)
    assert float(weighted) == pytest.approx(float(total) / (t >= 0).sum(), rel=1e-13)


@each_backend
def test_ohem_of_unusual_pixels(backend: str) -> None:
    """A NaN is among the highest; ignored pixels are not kept whatever they hold; nothing that counts gives 0."""
    x, t, _ = sample((1, 3, 40))
    t[:] = 1
    want = losses.ohem_cross_entropy(x, t, fraction=0.1, backend=backend)
    t[0, :5] = -100
    x[0, :, :5] = np.nan
    loss, grad = losses.ohem_cross_entropy_with_grad(x, t, fraction=0.1, backend=backend)
    assert np.isfinite(loss)
    assert np.isfinite(grad).all()
    x[0, 2, 20] = np.nan
    loss, grad = losses.ohem_cross_entropy_with_grad(x, t, fraction=0.1, backend=backend)
    assert np.isnan(loss)
    assert np.isnan(grad[0, :, 20]).all()
    assert np.isfinite(np.delete(grad, 20, 2)).all()
    x[0, :, 20] = [-0.0, -np.inf, 0]
    assert losses.ohem_cross_entropy(x, t, fraction=0.1, backend=backend) == np.inf
    assert np.isfinite(want)
    for nothing in ({"target": np.full((1, 40), -100)}, {"target": t, "weight": [0, 0, 0]}):
        with pytest.warns(RuntimeWarning, match=r"^ohem_cross_entropy_with_grad: no pixel counts"):
            loss, grad = losses.ohem_cross_entropy_with_grad(x, backend=backend, **nothing)
        assert loss == 0
        assert not grad.any()


# Tversky


@each_backend
def test_tversky_is_its_formula(backend: str) -> None:
    x, t, _ = sample((2, 5, 9, 40))
    p = np.exp(x - x.max(1, keepdims=True))
    p = np.moveaxis(p / p.sum(1, keepdims=True), 1, -1)[t >= 0]
    hot = np.eye(5)[t[t >= 0]]
    for alpha, beta, eps in ((0.3, 0.7, 1.0), (1.0, 1.0, 1e-5), (0.0, 2.0, 0.5)):
        tp, fp, fn = (p * hot).sum(0), (p * (1 - hot)).sum(0), ((1 - p) * hot).sum(0)
        want = 1 - ((tp + eps) / (tp + alpha * fp + beta * fn + eps)).mean()
        loss = losses.tversky_loss(x, t, alpha, beta, eps=eps, backend=backend)
        assert float(loss) == pytest.approx(want, rel=1e-12)
    dice = losses.dice_loss_with_grad(x, t, eps=2.0, backend=backend)
    half = losses.tversky_loss_with_grad(x, t, 0.5, 0.5, eps=1.0, backend=backend)
    assert float(half[0]) == pytest.approx(float(dice[0]), rel=1e-13)
    np.testing.assert_allclose(half[1], dice[1], rtol=1e-11, atol=1e-17)


@each_backend
@pytest.mark.parametrize("name", ["soft", "ohem", "tversky"])
def test_numerical_gradient(name: str, backend: str) -> None:
    x, t, w = sample((2, 3, 5), spread=2)
    soft = probabilities(x.shape)
    call = {
        "soft": lambda x: losses.cross_entropy_with_grad(x, soft, w, label_smoothing=0.2, backend=backend),
        "ohem": lambda x: losses.ohem_cross_entropy_with_grad(x, t, w, fraction=0.5, backend=backend),
        "tversky": lambda x: losses.tversky_loss_with_grad(x, t, 0.3, 0.7, backend=backend),
    }[name]
    _, grad = call(x)
    step = 1e-5
    for at in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * step
            ends.append(float(call(moved)[0]))
        assert grad[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-9)


ERRORS: tuple[tuple[str, dict[str, Any], type[Exception], str], ...] = (
    ("cross_entropy", {"target": np.zeros(2)}, ValueError,
     "target must have shape (2, 3), that of the logits, where it holds probabilities, got (2,)"),
    ("cross_entropy", {"target": np.zeros((2, 3)), "ignore_index": 255}, ValueError,
     "ignore_index must be -100, its default, where the target holds probabilities, got 255; "
     "a pixel whose probabilities are all 0 has no loss"),
    ("cross_entropy", {"target": np.zeros((2, 3), complex)}, TypeError,
     "target must be an integer array, got complex128"),
    ("cross_entropy", {"target": np.zeros((2, 3)), "weight": [1, 2]}, ValueError, "weight must have shape (3,)"),
    ("cross_entropy", {"target": np.zeros((2, 3)), "label_smoothing": -1}, ValueError,
     "label_smoothing must be in [0, 1]"),
    ("focal_loss", {"target": np.zeros((2, 3))}, TypeError, "target must be an integer array, got float64"),
    ("ohem_cross_entropy", {"target": np.zeros((2, 3))}, TypeError, "target must be an integer array, got float64"),
    ("ohem_cross_entropy", {"target": np.array([0, 3])}, ValueError,
     "classes 0 to 2 or ignore_index, got 3 at index 1"),
    ("ohem_cross_entropy", {"fraction": 1.5}, ValueError, "fraction must be in [0, 1], got 1.5"),
    ("ohem_cross_entropy", {"fraction": math.nan}, ValueError, "fraction must be a finite number, got nan"),
    ("ohem_cross_entropy", {"min_kept": 0}, ValueError, "min_kept must be 1 or more, got 0"),
    ("ohem_cross_entropy", {"min_kept": 2.0}, TypeError, "min_kept must be an integer, got 2.0"),
    ("ohem_cross_entropy", {"threshold": -0.1}, ValueError, "threshold must be 0 or more, got -0.1"),
    ("ohem_cross_entropy", {"threshold": math.inf}, ValueError, "threshold must be a finite number, got inf"),
    ("ohem_cross_entropy", {"weight": [1, -2, 3]}, ValueError,
     "weight must be finite and 0 or more, got -2 at index 1"),
    ("tversky_loss", {"alpha": -1}, ValueError, "alpha must be 0 or more, got -1.0"),
    ("tversky_loss", {"beta": math.inf}, ValueError, "beta must be a finite number, got inf"),
    ("tversky_loss", {"eps": 0}, ValueError, "eps must be above 0, got 0.0"),
    ("tversky_loss", {"target": np.array([0, 3])}, ValueError, "classes 0 to 2 or ignore_index, got 3 at index 1"),
)  # fmt: skip


@each_backend
@pytest.mark.parametrize(("op", "options", "error", "text"), ERRORS)
def test_errors(op: str, options: dict[str, Any], error: type[Exception], text: str, backend: str) -> None:
    for name in (op, f"{op}_with_grad"):
        with pytest.raises(error) as caught:
            getattr(losses, name)(
                **{"logits": np.ones((2, 3)), "target": np.array([0, 1]), "backend": backend, **options}
            )
        assert str(caught.value).startswith(f"{name}: ")
        assert text in str(caught.value)


def test_native_functions_check_their_arguments() -> None:
    """For memory safety alone: the public functions have checked already."""
    from fastdet import _cpp

    native: Any = _cpp
    x, t, w = np.zeros((2, 3, 4), np.float32), np.zeros((2, 4), np.int64), np.ones(3, np.float32)
    soft = np.zeros_like(x)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("soft_cross_entropy", (x, False, soft[:1], w, "mean", 0.0, True)),
        ("soft_cross_entropy", (x, False, soft.astype(np.float64), w, "mean", 0.0, True)),
        ("soft_cross_entropy", (x, False, soft[..., ::2], w, "mean", 0.0, True)),
        ("soft_cross_entropy", (x, False, soft, w[:2], "mean", 0.0, True)),
        ("soft_cross_entropy", (x, False, soft, w.astype(np.float64), "mean", 0.0, True)),
        ("soft_cross_entropy", (x, True, soft, w, "mean", 0.0, True)),
        ("soft_cross_entropy", (x, False, soft, w, "max", 0.0, True)),
        ("ohem_cross_entropy", (x, False, t[:1], w, -100, 0.5, 1, 1.0, True)),
        ("ohem_cross_entropy", (x, False, t, w[:2], -100, 0.5, 1, 1.0, True)),
        ("ohem_cross_entropy", (x, False, t, w, -100, 1.5, 1, 1.0, True)),
        ("ohem_cross_entropy", (x, False, t, w, -100, math.nan, 1, 1.0, True)),
        ("ohem_cross_entropy", (x, False, t, w, -100, 0.5, 0, 1.0, True)),
        ("ohem_cross_entropy", (x, False, t, w, -100, 0.5, 1, math.nan, True)),
        ("tversky_loss", (x[0], False, t, -100, 0.5, 0.5, 1.0, True)),
        ("tversky_loss", (x, False, t[:, :2], -100, 0.5, 0.5, 1.0, True)),
        ("lovasz_softmax_loss", (x, False, t.astype(np.float32), -100, True, False, True)),
        ("lovasz_softmax_loss", (x.astype(int), False, t, -100, True, False, True)),
        ("lovasz_hinge_loss", (x[0], t, -100, False, True)),
        ("lovasz_hinge_loss", (x, t, -100, False, True)),
        ("lovasz_hinge_loss", (x[0, :, ::2], t, -100, False, True)),
    ]
    for name, arguments in calls:
        with pytest.raises((TypeError, ValueError)):
            getattr(native, name)(*arguments)
