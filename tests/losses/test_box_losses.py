"""Losses of boxes and the sigmoid focal loss: worked examples, torchvision, numerical gradients, properties, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from optional import need
from samples import FAMILIES, Array, missing

from fastdet import box_losses
from fastdet._core.elementary import arctan
from fastdet._core.half import BFLOAT16
from fastdet._core.sums import ordered_sum
from fastdet.boxes import complete_box_iou
from fastdet.losses.sigmoid_focal import MAX_GAMMA
from fastdet.sigmoid_focal import sigmoid_focal_loss, sigmoid_focal_loss_with_grad

BACKENDS = ("reference", "numba", "cpp")
METRICS = ("giou", "diou", "ciou")
PEERS = {"giou": "generalized_box_iou_loss", "diou": "distance_box_iou_loss", "ciou": "complete_box_iou_loss"}
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_metric = pytest.mark.parametrize("metric", METRICS)


def value(metric: str) -> Callable[..., Any]:
    return getattr(box_losses, f"{metric}_loss")


def with_grad(metric: str) -> Callable[..., Any]:
    return getattr(box_losses, f"{metric}_loss_with_grad")


def near(got: Array, want: Array, tolerance: float) -> None:
    """Within ``tolerance`` of max(1, |want|); NaN and infinity at the same places."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    with np.errstate(invalid="ignore"):
        far = ~((got == want) | np.isnan(want) | (abs(got - want) <= tolerance * np.maximum(1, abs(want))))
    assert not far.any(), (np.argwhere(far)[:5].tolist(), got[far][:5], want[far][:5])


A = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 2, 1]], np.float64)
B = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 3, 1], [0, 0, 1, 2]], np.float64)
TURN = 4 / np.pi**2 * (np.arctan(0.5) - np.arctan(2)) ** 2
KNOWN = {
    "giou": [0, 1 - 1 / 7 + 2 / 9, 1 + 1 / 3, 1 - 1 / 3 + 1 / 4],
    "diou": [0, 1 - 1 / 7 + 2 / 18, 1 + 4 / 10, 1 - 1 / 3 + 0.5 / 8],
    "ciou": [0, 1 - 1 / 7 + 2 / 18, 1 + 4 / 10, 1 - 1 / 3 + 0.5 / 8 + TURN * TURN / (1 - 1 / 3 + TURN)],
}


@each_backend
@each_metric
def test_known(metric: str, backend: str) -> None:
    loss = value(metric)(A, B, eps=1e-12, backend=backend)
    np.testing.assert_allclose(loss, KNOWN[metric], rtol=0, atol=1e-7)  # the diagonal of ciou has 1e-7
    for reduction, want in (("sum", np.sum(KNOWN[metric])), ("mean", np.mean(KNOWN[metric]))):
        reduced = value(metric)(A, B, reduction, 1e-12, backend=backend)
        assert reduced.shape == ()
        np.testing.assert_allclose(reduced, want, rtol=0, atol=1e-7)


@each_backend
def test_known_gradient(backend: str) -> None:
    """A square and the same one moved right by s: I = 1 - s, U = 1 + s, H = 1 + s, so giou is I / U."""
    s = 0.25
    a, b = np.array([[0, 0, 1, 1.0]]), np.array([[s, 0, 1 + s, 1.0]])
    loss, (grad1, grad2) = box_losses.giou_loss_with_grad(a, b, eps=0.0, backend=backend)
    np.testing.assert_allclose(loss, [1 - (1 - s) / (1 + s)], rtol=1e-15)
    by_shift = 2 / (1 + s) ** 2  # of the second box
    np.testing.assert_allclose(grad2[0, 0] + grad2[0, 2], by_shift, rtol=1e-14)
    np.testing.assert_allclose(grad1[0, 0] + grad1[0, 2], -by_shift, rtol=1e-14)
    np.testing.assert_array_equal(grad1[0, 1::2] + grad2[0, 3::-2], 0)  # the tie's halves, top and bottom mirrored


POINT, FLAT, TALL, BOX = [0, 0, 0, 0], [1, 1, 3, 1], [1, 1, 1, 3], [0, 0, 2, 1]


@each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_without_area(backend: str, dtype: Any) -> None:
    """Losses and gradients of points and lines are finite; the complete loss has `complete_box_iou`'s angles."""
    kinds = [POINT, [2, 2, 2, 2], FLAT, TALL, BOX]
    a = np.array([x for x in kinds for _ in kinds], dtype)
    b = np.array([y for _ in kinds for y in kinds], dtype)
    for metric in METRICS:
        for reduction in ("none", "mean"):
            loss, grads = with_grad(metric)(a, b, reduction, backend=backend)
            assert np.isfinite(loss).all()
            assert all(np.isfinite(grad).all() for grad in grads)
    wide = a.astype(np.float64), b.astype(np.float64)
    want = 1 - complete_box_iou(*wide, aligned=True)
    np.testing.assert_allclose(box_losses.ciou_loss(a, b, backend=backend), want, rtol=0, atol=2e-6)
    both = np.array([POINT], dtype)
    loss, grads = box_losses.ciou_loss_with_grad(both, both, backend=backend)
    assert loss.tolist() == [1]
    assert not any(grad.any() for grad in grads)


@each_backend
def test_gradient_of_a_flat_box_is_its_limit(backend: str) -> None:
    """Of a box whose height goes to 0 the gradient of the angle's term goes to that of height 0."""
    other = np.array([BOX], np.float64)
    for flat in (FLAT, [1, 1, -1, 1]):
        low = np.array([flat], np.float64)
        low[0, 3] += 1e-9
        near_it = with_grad("ciou")(low, other, backend=backend)[1]
        exact = with_grad("ciou")(np.array([flat], np.float64), other, backend=backend)[1]
        without = (
            with_grad("diou")(low, other, backend=backend)[1],
            with_grad("diou")([flat], other, backend=backend)[1],
        )
        for k in range(2):  # less the other terms, whose gradient jumps where boxes touch
            np.testing.assert_allclose(exact[k] - without[1][k], near_it[k] - without[0][k], rtol=0, atol=1e-7)


@each_metric
@pytest.mark.parametrize(
    ("backend", "family"),
    [*((b, f) for b in ("reference", "cpp") for f in [*FAMILIES, "missing"]), ("numba", "degenerate")],
)
def test_torchvision(metric: str, backend: str, family: str) -> None:
    """Values and gradients within 1e-10 of max(1, |value|), also of touching, inverted, infinite and empty boxes.

    But where the complete loss of a box of height 0 is NaN there and finite here.
    """
    ops, torch = need("torchvision.ops"), need("torch")
    rng = np.random.default_rng([*family.encode()])
    make = missing if family == "missing" else FAMILIES[family]
    a, b = make(300, rng), make(300, rng)
    same = rng.random(a.shape) < 0.3
    b[same] = a[same]
    if metric == "ciou":
        a, b = (x[(a[:, 1] != a[:, 3]) & (b[:, 1] != b[:, 3])] for x in (a, b))
        assert len(a) > 100
    peer = getattr(ops, PEERS[metric])
    for reduction, eps in (("none", 1e-7), ("none", 0.5), ("mean", 1e-7), ("sum", 1e-7)):
        if reduction != "none" and family in ("missing", "infinite", "brink", "huge", "vast"):
            continue  # a sum in another order may overflow, or cancel, elsewhere
        ta, tb = (torch.from_numpy(x.copy()).requires_grad_() for x in (a, b))
        want = peer(ta, tb, reduction, eps)
        want.sum().backward()
        loss, grads = with_grad(metric)(a, b, reduction, eps, backend=backend)
        near(loss, want.detach().numpy(), 1e-10)
        near(grads[0], ta.grad.numpy(), 1e-10)
        near(grads[1], tb.grad.numpy(), 1e-10)


@each_backend
@each_metric
def test_numerical_gradient(metric: str, backend: str) -> None:
    """Central differences, with alpha of ciou kept constant: within 1e-6 of the largest gradient."""
    rng = np.random.default_rng(5)
    corner = rng.random((40, 2)) * 3
    a = np.hstack([corner, corner + rng.uniform(1, 4, (40, 2))])
    b = a + rng.normal(0, 0.4, a.shape)
    _, grads = with_grad(metric)(a, b, backend=backend)
    step = 1e-6

    def loss(x: Array, y: Array) -> Array:
        if metric != "ciou":
            return value(metric)(x, y, backend=backend)
        iou = 1 - value("diou")(a, b) + _centres(a, b)
        v = _turn(a, b)
        return value("diou")(x, y, backend=backend) + v / (1 - iou + v + 1e-7) * _turn(x, y)

    for second, grad in enumerate(grads):
        for k in range(4):
            shift = np.eye(4)[k] * step
            up, down = ((a, b + s) if second else (a + s, b) for s in (shift, -shift))
            numerical = (loss(*up) - loss(*down)) / (2 * step)
            np.testing.assert_allclose(grad[:, k], numerical, rtol=0, atol=1e-6 * max(1, abs(numerical).max()))


def _turn(a: Array, b: Array) -> Array:
    angle_a, angle_b = (np.arctan((x[:, 2] - x[:, 0]) / (x[:, 3] - x[:, 1])) for x in (a, b))
    return 4 / np.pi**2 * (angle_b - angle_a) ** 2


def _centres(a: Array, b: Array) -> Array:
    hull = np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2])
    between = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    return (between**2).sum(1) / ((hull**2).sum(1) + 1e-7)


boxes = arrays.arrays(np.float64, (7, 4), elements=st.integers(0, 40).map(lambda i: i / 4)).map(
    lambda x: np.hstack([x[:, :2], x[:, :2] + x[:, 2:] + 0.25])
)


@settings(max_examples=60, deadline=None)
@given(boxes, boxes, st.integers(-64, 64))
def test_properties(a: Array, b: Array, shift: int) -> None:
    for metric in METRICS:
        loss, (grad1, grad2) = with_grad(metric)(a, b)
        assert (loss >= -1e-6).all()
        assert (loss <= (3 if metric == "ciou" else 2)).all()
        swapped, (swapped1, swapped2) = with_grad(metric)(b, a)
        np.testing.assert_allclose(swapped, loss, rtol=0, atol=1e-12)  # symmetric
        np.testing.assert_allclose(swapped2, grad1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(swapped1, grad2, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(value(metric)(a + shift, b + shift), loss)  # quarters: shifted without rounding
        # shifting both changes nothing, so that the gradients of x, and of y, add up to 0
        total = grad1 + grad2
        np.testing.assert_allclose(total[:, 0] + total[:, 2], 0, atol=1e-11)
        np.testing.assert_allclose(total[:, 1] + total[:, 3], 0, atol=1e-11)
        own, (own1, _) = with_grad(metric)(a, a)
        np.testing.assert_allclose(own, 0, atol=1e-5)  # eps against the smallest area of 1 / 16
        np.testing.assert_array_equal(value(metric)(a, b), loss)
        assert np.isfinite(own1).all()


@each_backend
@each_metric
def test_edges(metric: str, backend: str) -> None:
    none = np.zeros((0, 4), np.float32)
    for reduction, shape in (("none", (0,)), ("mean", ()), ("sum", ())):
        loss, (grad1, grad2) = with_grad(metric)(none, none, reduction, backend=backend)
        assert loss.shape == shape
        assert loss.dtype == np.float32
        assert not loss.any()
        assert grad1.shape == grad2.shape == (0, 4)
    for k in range(8):  # NaN goes through, of any coordinate, to its own pair alone
        pair = np.array([[[0, 0, 2, 2], [0, 0, 2, 2]], [[1, 1, 3, 3], [1, 1, 3, 3]]], np.float32)
        pair[k // 4, 1, k % 4] = np.nan
        loss, grads = with_grad(metric)(*pair, backend=backend)
        assert np.isnan(loss).tolist() == [False, True]
        for grad in grads:
            assert np.isnan(grad[1]).all()
            assert not np.isnan(grad[0]).any()
        assert np.isnan(value(metric)(*pair, "mean", backend=backend))
    for dtype, want in (("float16", np.float32), ("int16", np.float32), ("int64", np.float64), ("float64", np.float64)):
        loss, (grad1, _) = with_grad(metric)(A.astype(dtype), B.astype(dtype), backend=backend)
        assert loss.dtype == grad1.dtype == want
    assert value(metric)(A.astype(np.float32), B, backend=backend).dtype == np.float64


@each_metric
def test_torch_tensors(metric: str) -> None:
    torch = need("torch")
    a, b = torch.from_numpy(A).float(), torch.from_numpy(B).float()
    loss, (grad1, grad2) = with_grad(metric)(a, b, "mean")
    assert isinstance(loss, torch.Tensor)
    assert loss.shape == ()
    assert grad1.dtype == grad2.dtype == torch.float32
    same = with_grad(metric)(a.requires_grad_(), b, "mean")
    assert not same[0].requires_grad
    assert torch.equal(same[1][0], grad1)


def test_arctan() -> None:
    """Within 3 ulp (float32) and 2 ulp (float64) of NumPy's in wider numbers."""
    for dtype, ulp in ((np.float32, 3), (np.float64, 2)):
        x = np.concatenate([np.linspace(-4, 4, 20001), np.logspace(-20, 20, 2001), [0, np.inf, -np.inf]]).astype(dtype)
        want = np.arctan(x.astype(np.longdouble))
        assert (abs(arctan(x) - want) <= ulp * np.spacing(abs(want).astype(dtype))).all()


@pytest.mark.parametrize("n", [0, 1, 2, 1023, 1024, 1025, 1024**2 + 5])
def test_ordered_sum(n: int) -> None:
    x = np.random.default_rng(n).integers(-1000, 1000, n).astype(np.float32)
    assert ordered_sum(x) == x.sum(dtype=np.int64)


X = np.array([0, 2, -2, 1.5], np.float64)
T = np.array([1, 0, 1, 0.25], np.float64)


@each_backend
def test_sigmoid_known(backend: str) -> None:
    """Numbers from the definition."""
    p = 1 / (1 + np.exp(-X))
    bce = -(T * np.log(p) + (1 - T) * np.log(1 - p))
    wrong = 1 - (p * T + (1 - p) * (1 - T))
    for alpha, gamma in ((0.25, 2), (0.25, 0), (0.6, 1), (1.0, 0.5), (-1.0, 3.5)):
        weight = alpha * T + (1 - alpha) * (1 - T) if alpha >= 0 else 1
        want = weight * wrong**gamma * bce
        np.testing.assert_allclose(sigmoid_focal_loss(X, T, alpha, gamma, backend=backend), want, rtol=1e-13)
        for reduction, total in (("sum", want.sum()), ("mean", want.mean())):
            got = sigmoid_focal_loss(X, T, alpha, gamma, reduction, backend=backend)
            assert got.shape == ()
            np.testing.assert_allclose(got, total, rtol=1e-13)
    half = sigmoid_focal_loss(np.zeros(1), np.ones(1), backend=backend)
    np.testing.assert_allclose(half, 0.25 * 0.25 * np.log(2), rtol=1e-15)


@each_backend
@pytest.mark.parametrize("targets", ["hard", "soft"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.7, 2.0, 3.0])
def test_sigmoid_torchvision(backend: str, targets: str, gamma: float) -> None:
    """Within 1e-12 of max(1, |value|), except where torchvision's gradient is NaN (0 to a negative power)."""
    ops, torch = need("torchvision.ops"), need("torch")
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, 500) * 10.0 ** rng.integers(-3, 5, 500)
    t = (rng.random(500) < 0.4) * 1.0 if targets == "hard" else rng.random(500)
    for alpha, reduction in ((0.25, "none"), (-1.0, "none"), (0.5, "mean"), (0.5, "sum")):
        tx, tt = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(t)
        want = ops.sigmoid_focal_loss(tx, tt, alpha, gamma, reduction)
        want.sum().backward()
        loss, grad = sigmoid_focal_loss_with_grad(x, t, alpha, gamma, reduction, backend=backend)
        near(loss, want.detach().numpy(), 1e-12)
        assert np.isfinite(grad).all()
        slope = tx.grad.numpy()
        holes = np.isnan(slope)
        assert gamma < 1 or not holes.any()
        near(grad[~holes], slope[~holes], 1e-12)


def test_sigmoid_small_losses() -> None:
    """Full relative accuracy where the prediction is right; a difference from 1 would lose it."""
    x = np.array([3, 8, 15, 25, 28], np.float32)
    p = np.exp(-x.astype(np.float64)) / (1 + np.exp(-x.astype(np.float64)))  # the other class
    want = 0.25 * p**2 * np.log1p(np.exp(-x.astype(np.float64)))
    for backend in BACKENDS:
        np.testing.assert_allclose(sigmoid_focal_loss(x, np.ones(5), backend=backend), want, rtol=3e-6)
        mirrored = sigmoid_focal_loss(-x, np.zeros(5), 0.75, backend=backend)
        np.testing.assert_allclose(mirrored, want, rtol=3e-6)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float64, 9, elements=st.floats(-30, 30)),
    arrays.arrays(np.float64, 9, elements=st.floats(0, 1)),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.5]),
)
def test_sigmoid_properties(x: Array, t: Array, gamma: float) -> None:
    loss, grad = sigmoid_focal_loss_with_grad(x, t, 0.3, gamma)
    assert (loss >= 0).all()
    mirrored, back = sigmoid_focal_loss_with_grad(-x, 1 - t, 0.7, gamma)
    np.testing.assert_allclose(mirrored, loss, rtol=1e-9, atol=1e-15)  # the classes change places
    np.testing.assert_allclose(back, -grad, rtol=1e-9, atol=1e-13)
    step = 1e-6
    numerical = (sigmoid_focal_loss(x + step, t, 0.3, gamma) - sigmoid_focal_loss(x - step, t, 0.3, gamma)) / (2 * step)
    np.testing.assert_allclose(grad, numerical, rtol=0, atol=1e-6)


@each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_limits(dtype: Any, backend: str) -> None:
    x = np.array([np.inf, np.inf, -np.inf, -np.inf, 1e4, 1e4, -1e4, -1e4, 1e38], dtype)
    t = np.array([1, 0, 0, 1, 1, 0, 0, 1, 0], dtype)
    for gamma in (0.0, 0.5, 1.0, 2.0, 2.5):
        loss, grad = sigmoid_focal_loss_with_grad(x, t, -1, gamma, backend=backend)
        np.testing.assert_array_equal(loss, np.array([0, np.inf, 0, np.inf, 0, 1e4, 0, 1e4, 1e38], dtype))
        np.testing.assert_array_equal(grad, [0, 1, 0, -1, 0, 1, 0, -1, 1])
        for holed in ((np.array([np.nan, 0], dtype), np.zeros(2, dtype)), (np.zeros(2, dtype), [np.nan, 0])):
            loss, grad = sigmoid_focal_loss_with_grad(*holed, -1, gamma, backend=backend)
            assert np.isnan(loss).tolist() == np.isnan(grad).tolist() == [True, False]


@each_backend
def test_sigmoid_dtypes(backend: str) -> None:
    """Results have the inputs' dtype, half precision is rounded once; targets are of any dtype."""
    x = np.linspace(-6, 6, 30).reshape(2, 3, 5)
    t = x > 1
    for dtype in ("float16", "float32", "float64"):
        want = sigmoid_focal_loss(x.astype(dtype).astype(np.float32), t, backend=backend)
        for target in ("bool", "int8", "int64", "uint8", "float16", "float32", "float64"):
            loss, grad = sigmoid_focal_loss_with_grad(x.astype(dtype), t.astype(target), backend=backend)
            assert loss.dtype == grad.dtype == dtype
            assert loss.shape == grad.shape == x.shape
            if dtype != "float64":
                np.testing.assert_array_equal(loss, want.astype(dtype))
    torch = need("torch")
    tx, tt = torch.from_numpy(x).bfloat16(), torch.from_numpy(t)
    loss = sigmoid_focal_loss(tx, tt, backend=backend)
    assert loss.dtype == torch.bfloat16
    assert torch.equal(loss, sigmoid_focal_loss(tx.float(), tt, backend=backend).bfloat16())
    total = sigmoid_focal_loss(tx, tt, reduction="sum", backend=backend)
    assert total.dtype == torch.bfloat16
    assert total.shape == ()
    empty = sigmoid_focal_loss(np.zeros((0, 2), np.float32), np.zeros((0, 2)), reduction="mean", backend=backend)
    assert empty.shape == ()
    assert empty == 0


Case = tuple[str, Callable[[Any], Any], type[Exception], str]
ERRORS: list[Case] = [
    ("shape", lambda b: box_losses.giou_loss(np.zeros((3, 5)), A, backend=b), ValueError,
     "giou_loss: boxes1 must have shape (N, 4), got (3, 5)"),
    ("count", lambda b: box_losses.diou_loss_with_grad(A, B[:2], backend=b), ValueError,
     "diou_loss_with_grad: boxes2 must have shape (4, 4) as boxes1, got (2, 4)"),
    ("dtype", lambda b: box_losses.ciou_loss(A, B.astype(complex), backend=b), TypeError,
     "ciou_loss: boxes2 must be float16, float32, float64 or integer, got complex128"),
    ("reduction", lambda b: box_losses.giou_loss(A, B, "max", backend=b), ValueError,
     "giou_loss: reduction must be one of 'none', 'mean', 'sum', got 'max'"),
    ("eps", lambda b: box_losses.giou_loss(A, B, eps=-1e-7, backend=b), ValueError,
     "giou_loss: eps must be 0 or more, got -1e-07"),
    ("eps NaN", lambda b: box_losses.giou_loss(A, B, eps=float("nan"), backend=b), ValueError,
     "giou_loss: eps must be a finite number, got nan"),
    ("no array", lambda b: box_losses.giou_loss(None, B, backend=b), TypeError,
     "giou_loss: boxes1 must be an array, got NoneType"),
    ("integer logits", lambda b: sigmoid_focal_loss(np.zeros(3, int), np.zeros(3), backend=b), TypeError,
     "sigmoid_focal_loss: inputs must be float16, bfloat16, float32 or float64, got int64"),
    ("targets' shape", lambda b: sigmoid_focal_loss(np.zeros((3, 1)), np.zeros(3), backend=b), ValueError,
     "sigmoid_focal_loss: targets must have shape (3, 1) as inputs, got (3,)"),
    ("targets' dtype", lambda b: sigmoid_focal_loss_with_grad(np.zeros(3), np.zeros(3, complex), backend=b), TypeError,
     "sigmoid_focal_loss_with_grad: targets must be boolean, integer or float, got complex128"),
    ("alpha", lambda b: sigmoid_focal_loss(X, T, 1.5, backend=b), ValueError,
     "sigmoid_focal_loss: alpha must be at most 1, got 1.5"),
    ("gamma", lambda b: sigmoid_focal_loss(X, T, gamma=-1, backend=b), ValueError,
     "sigmoid_focal_loss: gamma must be 0 or more, got -1.0"),
    ("large gamma", lambda b: sigmoid_focal_loss(X, T, gamma=1e9, backend=b), ValueError,
     "sigmoid_focal_loss: gamma must be at most 1000.0, got 1000000000.0"),
    ("gamma text", lambda b: sigmoid_focal_loss(X, T, gamma="2", backend=b), TypeError,
     "sigmoid_focal_loss: gamma must be a number, got '2'"),
    ("sum of what", lambda b: sigmoid_focal_loss(X, T, reduction=None, backend=b), ValueError,
     "sigmoid_focal_loss: reduction must be one of 'none', 'mean', 'sum', got None"),
]  # fmt: skip


@pytest.mark.parametrize("backend", [*BACKENDS, None])
@pytest.mark.parametrize(("call", "error", "text"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_errors(call: Callable[[Any], Any], error: type[Exception], text: str, backend: str | None) -> None:
    with pytest.raises(error) as caught:
        call(backend)
    assert str(caught.value) == text


def test_native_functions_check_their_arguments() -> None:
    from fastdet import _cpp

    loss: Any = _cpp.box_loss
    for a, b, metric, reduction in (
        (A, B[:3], "giou", "none"),
        (A, B.astype(np.float32), "giou", "none"),
        (A[:, :3].copy(), B, "giou", "none"),
        (A.T, B.T, "giou", "none"),
        (A, B, "iou", "none"),
        (A, B, "giou", "max"),
        (A.astype(">f8"), B, "giou", "none"),
    ):
        with pytest.raises((TypeError, ValueError)):
            loss(a, b, metric, 1e-7, 1e-7, reduction, True)
    focal: Any = _cpp.sigmoid_focal_loss
    for x, t in (
        (X, T[:3]),
        (X, T.astype(np.float32)),
        (X.astype(np.float32), T),
        (X.astype(int), T),
        (X[::2], T[::2]),
        (X.astype(np.float16), T.astype(np.float16).view(BFLOAT16)),
    ):
        with pytest.raises((TypeError, ValueError)):
            focal(x, t, 0.25, 2.0, "none", True)
    assert MAX_GAMMA == 1000
