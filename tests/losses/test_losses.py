"""Losses of a softmax: comparison with torch, exact values, numerical gradients, the rules of the docstrings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet import losses
from fastdet._core.elementary import exp_or_zero, log1p_positive, log_positive
from fastdet.losses.reduction import REDUCTIONS

BACKENDS = ("cpp", "numba", "reference")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
WITH_GRAD = (losses.cross_entropy_with_grad, losses.focal_loss_with_grad, losses.dice_loss_with_grad)
each_loss = pytest.mark.parametrize("f", WITH_GRAD, ids=lambda f: f.__name__)


def sample(shape: tuple[int, ...], seed: int = 0, spread: float = 3, ignored: float = 0.2) -> tuple[Any, Any, Any]:
    """Logits, a target with -100 where it is ignored, and weights."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < ignored] = -100
    return rng.normal(size=shape) * spread, target, rng.random(shape[1]) + 0.1


# exp and log


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("ours", "exact", "ulp"), [(exp_or_zero, np.exp, 2), (log_positive, np.log, 1), (log1p_positive, np.log1p, 2)]
)
def test_functions_are_exact_to_a_few_ulp(dtype: str, ours: Any, exact: Any, ulp: float) -> None:
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("no longer float to compare with")
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    x = np.ldexp(1 + rng.random(20000), rng.integers(info.minexp - info.nmant, info.maxexp - 1, 20000)).astype(dtype)
    x[:5000] = 0.5 + 1.5 * rng.random(5000)
    if ours is exp_or_zero:
        x = -(rng.random(20000) * (86 if dtype == "float32" else 700)).astype(dtype)
    got, want = ours(x), exact(x.astype(np.longdouble))
    assert np.all(np.abs(got - want) <= ulp * np.spacing(np.abs(got)))


def test_functions_at_the_ends() -> None:
    x = np.array([0, np.inf, np.nan, 1], np.float32)
    np.testing.assert_array_equal(log_positive(x), [-np.inf, np.inf, np.nan, 0])
    np.testing.assert_array_equal(exp_or_zero(-x[:3]), [1, 0, np.nan])
    np.testing.assert_array_equal(log1p_positive(x[:3]), [0, np.inf, np.nan])


# known values


@each_backend
def test_worked_example(backend: str) -> None:
    """Two pixels with probabilities 1/4 3/4 and 1/2 1/2."""
    logits, target = np.log([[1.0, 3.0], [2.0, 2.0]]), np.array([0, 1])
    a, b = math.log(4), math.log(2)
    loss, grad = losses.cross_entropy_with_grad(logits, target, backend=backend)
    assert float(loss) == pytest.approx((a + b) / 2, rel=1e-15)
    np.testing.assert_allclose(grad, [[-0.375, 0.375], [0.25, -0.25]], rtol=1e-15)
    weighted = losses.cross_entropy(logits, target, [1, 3], backend=backend)
    assert float(weighted) == pytest.approx((a + 3 * b) / 4, rel=1e-15)
    focal = losses.focal_loss(logits, target, reduction="none", backend=backend)
    np.testing.assert_allclose(focal, [a * 9 / 16, b / 4], rtol=1e-14)
    dice = losses.dice_loss(logits, target, eps=1, backend=backend)  # sums of p: 3/4, 5/4; own: 1/4, 1/2
    assert float(dice) == pytest.approx(1 - (1.5 / 2.75 + 2 / 3.25) / 2, rel=1e-14)


@each_backend
def test_certain_pixels_keep_their_relative_precision(backend: str) -> None:
    """Where 1 - p_t = 1e-15, neither -log p_t nor its gradient is 0. torch gives 0 for both in float32."""
    logits = np.array([[0, -34.5]], np.float32)
    exact = float(np.exp(-34.5))
    loss, grad = losses.cross_entropy_with_grad(logits, np.array([0]), backend=backend)
    assert float(loss) == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose(grad[0], [-exact, exact], rtol=1e-6)
    loss, grad = losses.focal_loss_with_grad(logits, np.array([0]), gamma=1, backend=backend)
    assert float(loss) == pytest.approx(exact**2, rel=1e-6)
    np.testing.assert_allclose(grad[0], [-2 * exact**2, 2 * exact**2], rtol=1e-6)


def test_equal_logits() -> None:
    for classes in (1, 2, 19, 1000):
        loss, grad = losses.cross_entropy_with_grad(np.full((3, classes), 7.0), np.zeros(3, int))
        assert float(loss) == pytest.approx(math.log(classes), rel=1e-15, abs=0)
        np.testing.assert_allclose(grad[:, 1:], 1 / (3 * classes), rtol=1e-14)


# torch


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_is_torchs(reduction: str, weighted: bool, smoothing: float) -> None:
    torch = need("torch")
    for shape in ((2, 5, 7, 40), (50, 7), (3, 1, 9), (2, 300, 3), (3, 4, 1, 1)):
        x, t, w = sample(shape)
        w = w if weighted else None
        logits = torch.tensor(x, requires_grad=True)
        weight = None if w is None else torch.tensor(w)
        want = torch.nn.functional.cross_entropy(
            logits, torch.tensor(t), weight, reduction=reduction, label_smoothing=smoothing
        )
        want.sum().backward()
        loss, grad = losses.cross_entropy_with_grad(x, t, w, -100, reduction, smoothing)
        np.testing.assert_allclose(loss, want.detach().numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(grad, logits.grad.numpy(), rtol=1e-11, atol=1e-15)
        assert losses.cross_entropy(x, t, w, -100, reduction, smoothing).tobytes() == loss.tobytes()


@each_loss
def test_tensors(f: Callable[..., Any]) -> None:
    """Tensors give tensors, with the layout of the logits; bfloat16 is computed in float32."""
    torch = need("torch")
    x, t, _ = sample((2, 5, 6, 7))
    for memory in (torch.contiguous_format, torch.channels_last):
        logits = torch.tensor(x, dtype=torch.bfloat16).contiguous(memory_format=memory)
        loss, grad = f(logits, torch.tensor(t))
        wide_loss, wide_grad = f(logits.float(), torch.tensor(t))
        assert loss.dtype == grad.dtype == torch.bfloat16
        assert loss.shape == ()
        assert grad.stride() == logits.stride()
        assert torch.equal(loss, wide_loss.bfloat16())
        assert torch.equal(grad, wide_grad.bfloat16())


# precision


@pytest.mark.parametrize("f", WITH_GRAD[:2], ids=lambda f: f.__name__)
def test_single_precision(f: Callable[..., Any]) -> None:
    """Within a few ulp of float64, plus the effect of rounding the difference of two logits on the exponential."""
    x, t, w = sample((2, 19, 50, 60), spread=5)
    single = x.astype(np.float32)
    loss, grad = f(single, t, w.astype(np.float32), reduction="none")
    exact, slope = f(single.astype(np.float64), t, w.astype(np.float32), reduction="none")
    bound = (16 + np.ptp(single, axis=1)) * 2**-24
    assert np.all(np.abs(loss - exact) <= bound * np.abs(exact) + 1e-37)
    assert np.all(np.abs(grad - slope) <= bound[:, None] * np.abs(slope) + 1e-37)


@each_loss
@each_backend
def test_numerical_gradient(f: Callable[..., Any], backend: str) -> None:
    x, t, _ = sample((2, 3, 5), spread=2)
    _, grad = f(x, t, backend=backend)
    step = 1e-5
    for at in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * step
            ends.append(float(f(moved, t, backend=backend)[0]))
        assert grad[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-9)


# properties


@each_backend
def test_focal_without_focus_is_cross_entropy(backend: str) -> None:
    x, t, w = sample((2, 5, 9, 40))
    for reduction in REDUCTIONS:
        a = losses.focal_loss_with_grad(x, t, w, 0, reduction=reduction, backend=backend)
        b = losses.cross_entropy_with_grad(x, t, w, reduction=reduction, backend=backend)
        assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_focal_comes_near_cross_entropy() -> None:
    """A small gamma takes the path with powers, 0 that of cross-entropy; their results are nearly equal."""
    x, t, w = sample((2, 5, 9, 40))
    for a, b in zip(losses.focal_loss_with_grad(x, t, w, 1e-12), losses.cross_entropy_with_grad(x, t, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("gamma", [0.5, 1, 2, 3.7, 5])
def test_focal_is_its_formula(gamma: float) -> None:
    x, t, a = sample((2, 5, 9, 40), ignored=0)
    p = np.exp(x - x.max(1, keepdims=True))
    p = np.take_along_axis(p / p.sum(1, keepdims=True), t[:, None], 1)[:, 0]
    want = -a[t] * (1 - p) ** gamma * np.log(p)
    np.testing.assert_allclose(losses.focal_loss(x, t, a, gamma, reduction="none"), want, rtol=1e-9)
    assert float(losses.focal_loss(x, t, a, gamma)) == pytest.approx(want.sum() / a[t].sum(), rel=1e-12)
    assert float(losses.focal_loss(x, t, 0.25, gamma, reduction="sum")) == pytest.approx(
        0.25 * (want / a[t]).sum(), rel=1e-12
    )


def test_dice_is_its_formula() -> None:
    x, t, _ = sample((2, 5, 9, 40))
    p = np.exp(x - x.max(1, keepdims=True))
    p = np.moveaxis(p / p.sum(1, keepdims=True), 1, -1)[t >= 0]
    one_hot = np.eye(5)[t[t >= 0]]
    score = (2 * (p * one_hot).sum(0) + 0.5) / ((p + one_hot).sum(0) + 0.5)
    assert float(losses.dice_loss(x, t, eps=0.5)) == pytest.approx(1 - score.mean(), rel=1e-12)


def test_dice_of_absent_classes() -> None:
    """All pixels are certain and right: the classes without pixels score 1."""
    logits = np.full((1, 4, 6), -1e4)
    logits[0, 2] = 1e4
    loss, grad = losses.dice_loss_with_grad(logits, np.full((1, 6), 2))
    assert float(loss) == 0
    assert not grad.any()


@each_loss
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_properties(f: Callable[..., Any], data: st.DataObject) -> None:
    """The gradient of a pixel sums to 0. A constant added to its logits, or the order of the classes, changes nothing.
    Ignored pixels have gradient 0, whatever their logits are."""
    classes, pixels = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 600))
    x, t, _ = sample((1, classes, pixels), data.draw(st.integers(0, 999)), data.draw(st.floats(0, 100)))
    t[0, 0] = 0
    loss, grad = f(x, t)
    np.testing.assert_allclose(grad.sum(1), 0, atol=1e-13)
    assert not np.moveaxis(grad, 1, -1)[t == -100].any()
    np.testing.assert_allclose(f(x + np.float64(64), t)[0], loss, rtol=1e-9, atol=1e-12)
    order = np.random.default_rng(1).permutation(classes)
    where = np.argsort(order)
    turned = f(x[:, order], np.where(t < 0, t, where[t.clip(0)]))
    np.testing.assert_allclose(turned[0], loss, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(turned[1], grad[:, order], rtol=1e-9, atol=1e-13)
    np.moveaxis(x, 1, -1)[t == -100] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e300]))
    again = f(x, t)
    assert again[0] == loss
    assert np.array_equal(again[1], grad)


def test_median_frequency_weights() -> None:
    np.testing.assert_allclose(losses.median_frequency_weights([10, 20, 70]), [2, 1, 2 / 7], rtol=1e-15)
    np.testing.assert_allclose(losses.median_frequency_weights([10, 0, 30, 60]), [3, 0, 1, 0.5], rtol=1e-15)
    # class 1 is in the second image only: 20 of its 40 pixels
    np.testing.assert_allclose(losses.median_frequency_weights([[60, 0], [20, 20]]), [0.65 / 0.8, 0.65 / 0.5])
    assert not losses.median_frequency_weights([0, 0]).any()
    with pytest.raises(
        ValueError, match=r"counts must have shape \(C,\) or \(images, C\) with C of 1 or more, got \(0,\)"
    ):
        losses.median_frequency_weights([])
    with pytest.raises(ValueError, match=r"counts must be finite and 0 or more, got -1.0$"):
        losses.median_frequency_weights([1, -1])
    with pytest.raises(ValueError, match=r"counts must have shape \(C,\) or \(images, C\) with C of 1 .*, got \(\)"):
        losses.median_frequency_weights(np.array(3))


# unusual input


@each_loss
@each_backend
def test_nothing_counts(f: Callable[..., Any], backend: str) -> None:
    x = np.ones((2, 3, 4), np.float32)
    for shape, target in (
        (x, np.full((2, 4), -100)),
        (x[:0], np.zeros((0, 4), int)),
        (x[..., :0], np.zeros((2, 0), int)),
    ):
        with pytest.warns(RuntimeWarning, match=f"{f.__name__}: no pixel counts"):
            loss, grad = f(shape, target, backend=backend)
        assert loss == 0
        assert loss.dtype == np.float32
        assert not grad.any()
        assert grad.shape == shape.shape


@each_backend
def test_weights_of_zero(backend: str) -> None:
    x, t, _ = sample((2, 3, 50))
    with pytest.warns(RuntimeWarning, match="sum to 0"):
        loss, grad = losses.cross_entropy_with_grad(x, t, np.zeros(3), backend=backend)
    assert loss == 0
    assert not grad.any()
    weight = np.array([0, 1, 2.0])
    got = losses.cross_entropy_with_grad(x, t, weight, backend=backend)
    want = losses.cross_entropy_with_grad(x, np.where(t == 0, -100, t), weight, backend=backend)
    assert got[0] == want[0]
    assert np.array_equal(got[1], want[1])


@each_backend
def test_no_warning_without_a_mean(backend: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reduction in ("sum", "none"):
            loss, _ = losses.cross_entropy_with_grad(
                np.ones((2, 3)), np.array([-100, -100]), reduction=reduction, backend=backend
            )
            assert not loss.any()


@each_loss
@each_backend
def test_infinities_and_nan(f: Callable[..., Any], backend: str) -> None:
    def of(*logits: float) -> Any:
        return f(np.array([logits], np.float32), np.array([0]), backend=backend)

    for broken in ((np.nan, 0), (0, np.nan), (np.inf, 0), (0, np.inf), (-np.inf, -np.inf)):
        loss, grad = of(*broken)
        assert np.isnan(loss)
        assert np.isnan(grad).all()
    loss, grad = of(1, -np.inf)
    if f is not losses.dice_loss_with_grad:
        assert loss == 0
        assert not grad.any()
        assert of(-np.inf, 1)[0] == np.inf
    assert np.isfinite(of(1e4, -1e4)[0])
    assert np.isfinite(of(-1e4, 1e4)[0])
    if f is losses.cross_entropy_with_grad:
        np.testing.assert_array_equal(of(-1e4, 1e4)[0], np.float32(2e4))
        np.testing.assert_array_equal(of(-1e4, 1e4)[1], [[-1, 1]])


def test_one_pixel() -> None:
    loss, grad = losses.cross_entropy_with_grad([1.0, 2.0, 3.0], np.array(2))
    np.testing.assert_allclose(loss, -math.log(math.e**2 / (1 + math.e + math.e**2)), rtol=1e-14)
    assert loss.shape == ()
    assert grad.shape == (3,)
    assert losses.cross_entropy([1.0, 2.0, 3.0], np.array(2), reduction="none").shape == ()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@each_backend
def test_targets_of_any_integer(dtype: str, backend: str) -> None:
    x, t, w = sample((2, 5, 30))
    ignored = int(np.iinfo(dtype).max)
    t[t == -100] = -1
    want = losses.cross_entropy(x, t, w, -1, backend="reference")
    target = np.where(t < 0, np.array(ignored, dtype), t.clip(0).astype(dtype))
    assert losses.cross_entropy(x, target, w, ignored, backend=backend) == want
    with pytest.raises(ValueError, match=rf"classes 0 to 4 or ignore_index, got {ignored} at index"):
        losses.cross_entropy(x, target, w, 300 if dtype == "int8" else -(2**70), backend=backend)


@each_loss
def test_many_images_and_few_pixels(f: Callable[..., Any]) -> None:
    """(N, C, 1, 1) and (N, C) give the same results, in any memory order."""
    x, t, _ = sample((700, 6))
    want = f(x, t)
    for other in (x[..., None, None], np.asfortranarray(x)):
        loss, grad = f(other, t.reshape(other.shape[:1] + other.shape[2:]))
        assert loss == want[0]
        np.testing.assert_array_equal(grad.reshape(x.shape), want[1])


ERRORS: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"logits": np.ones((2, 3), int)}, TypeError, "logits must be float16, bfloat16, float32 or float64, got int64"),
    ({"logits": np.ones(())}, ValueError, "logits must have shape (N, C, ...) with C of 1 or more, got ()"),
    ({"logits": np.ones((2, 0))}, ValueError, "logits must have shape (N, C, ...) with C of 1 or more, got (2, 0)"),
    ({"target": np.zeros(2, complex)}, TypeError, "target must be an integer array, got complex128"),
    ({"target": np.zeros(2, bool)}, TypeError, "target must be an integer array, got bool"),
    ({"target": np.zeros(3, int)}, ValueError, "target must have shape (2,), that of the logits without their classes"),
    ({"target": np.array([0, 3])}, ValueError, "classes 0 to 2 or ignore_index, got 3 at index 1"),
    ({"target": np.array([-1, 0])}, ValueError, "classes 0 to 2 or ignore_index, got -1 at index 0"),
    ({"ignore_index": 1.5}, TypeError, "ignore_index must be an integer, got 1.5"),
    ({"ignore_index": True}, TypeError, "ignore_index must be an integer, got True"),
    ({"weight": [1, 2]}, ValueError, "weight must have shape (3,), one per class, got (2,)"),
    ({"weight": [1, -2, 3]}, ValueError, "weight must be finite and 0 or more, got -2 at index 1"),
    ({"weight": [1, 2, math.nan]}, ValueError, "weight must be finite and 0 or more, got nan at index 2"),
    ({"weight": ["a", "b", "c"]}, TypeError, "weight must be a float array, got <U1"),
    ({"reduction": "avg"}, ValueError, "reduction must be one of 'none', 'mean', 'sum', got 'avg'"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be in [0, 1], got 1.5"),
    ({"gamma": -1}, ValueError, "gamma must be 0 or more, got -1.0"),
    ({"gamma": math.inf}, ValueError, "gamma must be a finite number, got inf"),
    ({"alpha": -1}, ValueError, "alpha must be finite and 0 or more, got -1.0 at index 0"),
    ({"eps": 0}, ValueError, "eps must be above 0, got 0.0"),
    ({"backend": "cuda"}, ValueError, "backend must be one of 'cpp', 'numba', 'reference', got 'cuda'"),
)


@each_backend
@pytest.mark.parametrize(("options", "error", "text"), ERRORS)
def test_errors(options: dict[str, Any], error: type[Exception], text: str, backend: str) -> None:
    functions = (losses.cross_entropy, losses.focal_loss, losses.dice_loss)
    accepted = [f for f in functions if set(options) <= set(f.__kwdefaults__) | set(f.__code__.co_varnames)]
    assert accepted
    for f in accepted:
        with pytest.raises(error) as caught:
            f(**{"logits": np.ones((2, 3)), "target": np.array([0, 1]), "backend": backend, **options})
        assert str(caught.value).startswith(f"{f.__name__}: ")
        assert text in str(caught.value)


def test_label_position_in_an_image() -> None:
    target = np.zeros((2, 300, 400), np.uint8)
    target[1, 7, 9] = 200
    with pytest.raises(ValueError, match=r"got 200 at index \(1, 7, 9\)"):
        losses.dice_loss(np.zeros((2, 3, 300, 400), np.float32), target)
