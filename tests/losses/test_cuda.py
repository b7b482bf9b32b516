"""Losses on the CUDA emulator: sizes at which kernels switch methods, wrong labels, torch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import equal

from fastdet import losses

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

SOFTMAX: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "cross_entropy": (losses.cross_entropy_with_grad, {}),
    "smoothed": (losses.cross_entropy_with_grad, {"label_smoothing": 0.3}),
    "focal": (losses.focal_loss_with_grad, {"gamma": 1.5}),
    "dice": (losses.dice_loss_with_grad, {}),
    "tversky": (losses.tversky_loss_with_grad, {"alpha": 0.3, "beta": 0.7}),
    "ohem": (losses.ohem_cross_entropy_with_grad, {"fraction": 0.3, "threshold": 2.0}),
    "lovasz": (losses.lovasz_softmax_loss_with_grad, {}),
    "lovasz by image": (losses.lovasz_softmax_loss_with_grad, {"classes": "all", "per_image": True}),
}
WEIGHT = {"cross_entropy": "weight", "smoothed": "weight", "focal": "alpha", "ohem": "weight"}  # the argument's name
REDUCED = ("cross_entropy", "smoothed", "focal")  # which take a reduction
OP = {name: function.__name__.removesuffix("_with_grad") for name, (function, _) in SOFTMAX.items()}
each_loss = pytest.mark.parametrize("name", SOFTMAX)
each_float = pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])


def sample(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> tuple[Any, Any]:
    """Logits, and a target some of whose pixels are ignored."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = -100
    return (rng.normal(size=shape) * 3).astype(dtype), target


def channels_last(x: Any) -> Any:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def check(name: str, logits: Any, target: Any, **options: Any) -> None:
    function, more = SOFTMAX[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the only pixel may be ignored
        want = function(logits, target, **more, **options, backend="cpp")
    on_device = {key: on_gpu(x) if isinstance(x, np.ndarray) else x for key, x in options.items()}
    equal(on_cpu(function(on_gpu(logits), on_gpu(target), **more, **on_device)), want)


# Results


@each_float
@each_loss
def test_sizes(emulator: emulated.Emulator, name: str, dtype: str) -> None:
    """Incomplete chunks and vectors, in both layouts."""
    for n in (1, 2, 3, 4, 31, 32, 33, 127, 128, 129, 255, 256, 257, 260, 511, 512, 1023, 1024, 1025):
        emulator.seed(n)
        logits, target = sample((2, 3, n), dtype, n)
        check(name, logits, target)
        check(name, channels_last(logits), target)


@each_float
@each_loss
@pytest.mark.parametrize("classes", [1, 2, 20, 21, 32, 33, 40, 41, 64, 65, 96, 97])
def test_classes(name: str, dtype: str, classes: int) -> None:
    """Numbers of classes around the limits of shared memory; also with NaN and infinities."""
    for shape in ((1, classes, 300), (1, classes, 9, 11)):
        logits, target = sample(shape, dtype, classes)
        weight = {WEIGHT[name]: np.arange(classes) % 3 / 2} if name in WEIGHT else {}
        check(name, logits, target, **weight)
        rng = np.random.default_rng(classes)
        for value in (np.nan, np.inf, -np.inf):
            logits[rng.random(logits.shape) < 0.5 / classes] = value
        check(name, logits, target, **weight)
        check(name, channels_last(logits), target, **weight)


@each_loss
def test_many_chunks(emulator: emulated.Emulator, name: str) -> None:
    """More chunks than one block sums."""
    for images in (1023, 1024, 1025, 2100):
        emulator.seed(images)
        check(name, *sample((images, 2, 3)))


@pytest.mark.parametrize("function", [losses.sigmoid_focal_loss, losses.giou_loss, losses.ciou_loss])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_many_blocks(function: Callable[..., Any], reduction: str) -> None:
    rng, n = np.random.default_rng(0), 1024 * 1024 + 5
    if function is losses.sigmoid_focal_loss:
        a, b = rng.normal(size=n).astype(np.float32), (rng.random(n) < 0.3).astype(np.float32)
    else:
        a, b = (rng.random((n // 4, 4)).astype(np.float32) for _ in range(2))
    want = function(a, b, reduction=reduction)
    equal(on_cpu(function(on_gpu(a), on_gpu(b), reduction=reduction)), want)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_labels_of_any_integer(dtype: str) -> None:
    """Runs of equal labels that reach beyond one thread's part, of any length."""
    rng = np.random.default_rng(0)
    for n in (1, 15, 17, 4099):
        target = np.repeat(rng.integers(0, 7, n), rng.integers(1, 40, n))[:n].astype(dtype)[None]
        logits = rng.normal(size=(1, 7, n)).astype(np.float32)
        for ignore in (-100, 3, 255):
            for reduction in ("mean", "none"):
                check("cross_entropy", logits, target, ignore_index=ignore, reduction=reduction)


@pytest.mark.parametrize("classes", [2048, 2049])
def test_labels_of_many_classes(classes: int) -> None:
    """Around the number of classes whose counts fit into shared memory."""
    logits, target = sample((70, classes))
    check("cross_entropy", logits, target, weight=np.random.default_rng(1).random(classes))
    check("dice", logits, target)


def test_one_weight_for_all() -> None:
    logits, target = sample((2, 5, 40))
    for alpha in (0.25, 0, np.float32(0.1)):
        check("focal", logits, target, alpha=alpha, reduction="sum")
    with pytest.raises(ValueError, match=r"^focal_loss: alpha must be finite and 0 or more, got -1.0 at index 0$"):
        losses.focal_loss(on_gpu(logits), on_gpu(target), -1.0)


def test_shapes() -> None:
    for shape in ((5,), (4, 5), (0, 5), (0, 5, 3), (2, 5, 0), (2, 5, 2, 3, 4)):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=shape).astype(np.float32)
        target = rng.integers(0, 5, shape[2:] if len(shape) == 1 else shape[:1] + shape[2:])
        for name in SOFTMAX:
            for reduction in ("none", "sum", "mean") if name in REDUCED else ("",):
                check(name, logits, target, **({"reduction": reduction} if reduction else {}))
    logits, target = sample((40, 5))
    check("cross_entropy", np.asfortranarray(logits), target)


def test_nothing_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdet import _cuda

    monkeypatch.setattr(_cuda, "read", None)
    logits, target = sample((2, 5, 40))
    for name in SOFTMAX:
        check(name, logits, target)


def test_offsets_are_wide() -> None:
    from fastdet import _cuda

    chunks = 1 << 36
    assert _cuda.softmax_loss_workspace(16, 2, chunks * 16) >= chunks * 8
    assert _cuda.dice_loss_workspace("f", 1, 21, 256 * chunks) >= 42 * chunks * 8
    assert _cuda.loss_sum_workspace(1024 * chunks) >= chunks * 8


# Wrong values


def wrong(target: Any) -> Any:
    target = target.copy()
    target.flat[70], target.flat[33] = 9, -5
    return target


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_wrong_label_raises_at_the_next_call(name: str, reduction: str) -> None:
    function, more = SOFTMAX[name]
    if name in REDUCED:
        more = {**more, "reduction": reduction}
    logits, target = sample((2, 5, 40))
    loss, grad = on_cpu(function(on_gpu(logits), on_gpu(wrong(target)), **more))
    assert np.isnan(loss).all()
    assert np.isnan(grad).all()
    with pytest.raises(ValueError, match=rf"^{OP[name]}: an earlier call on the GPU .* \(target at flat index 33\)"):
        function(on_gpu(logits), on_gpu(target), **more)
    check(name, logits, target)  # it raises once


@each_loss
def test_a_wrong_label_has_the_text_of_the_cpu(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from fastdet import _cuda

    function, more = SOFTMAX[name]
    logits, target = sample((2, 5, 4, 10))
    with pytest.raises(ValueError, match=r"got -5 at index \(0, 3, 3\)$") as want:
        function(logits, wrong(target), **more)
    monkeypatch.setattr(_cuda, "waits", lambda: True)
    with pytest.raises(ValueError, match="target") as got:
        function(on_gpu(logits), on_gpu(wrong(target)), **more)
    assert str(got.value) == str(want.value)
    check(name, logits, target)


def test_nothing_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning only where calls wait."""
    from fastdet import _cuda

    logits, target = sample((2, 5, 40))
    target[...] = -100
    loss, grad = losses.cross_entropy_with_grad(on_gpu(logits), on_gpu(target))
    assert loss == 0
    assert not grad.any()
    monkeypatch.setattr(_cuda, "waits", lambda: True)
    for call in (getattr(losses, op) for op in sorted(set(OP.values()))):
        with pytest.warns(RuntimeWarning, match="no pixel counts"):
            call(on_gpu(logits), on_gpu(target))
    losses.cross_entropy(on_gpu(logits), on_gpu(target), reduction="sum")


@pytest.mark.parametrize("wrong_weight", [-1.0, np.nan, np.inf])
def test_a_wrong_weight_gives_nan(wrong_weight: float) -> None:
    logits, target = sample((2, 5, 40))
    weight = np.array([1, 1, wrong_weight, 1, 1], np.float32)
    for name, argument in WEIGHT.items():
        function, more = SOFTMAX[name]
        loss, grad = on_cpu(function(on_gpu(logits), on_gpu(target), **more, **{argument: on_gpu(weight)}))
        assert np.isnan(loss)
        assert np.isnan(grad).all()


def test_errors_are_those_of_the_cpu() -> None:
    logits, target = sample((2, 5, 40))
    calls: list[Callable[[Callable[[Any], Any]], Any]] = [
        lambda to: losses.cross_entropy(to(logits), to(target[:1])),
        lambda to: losses.cross_entropy(to(logits), to(target * 1.0)),
        lambda to: losses.cross_entropy(to(logits.astype(int)), to(target)),
        lambda to: losses.cross_entropy(to(logits), to(target), to(np.ones(4))),
        lambda to: losses.cross_entropy(to(logits), to(target), reduction="max"),
        lambda to: losses.focal_loss(to(logits), to(target), gamma=-1),
        lambda to: losses.dice_loss(to(logits), to(target), eps=0),
        lambda to: losses.cross_entropy(to(logits), to(logits[:1])),
        lambda to: losses.ohem_cross_entropy(to(logits), to(target), fraction=2),
        lambda to: losses.tversky_loss(to(logits), to(target), alpha=-1),
        lambda to: losses.lovasz_softmax_loss(to(logits), to(target), classes="none"),
        lambda to: losses.lovasz_hinge_loss(to(logits), to(target)),
        lambda to: losses.giou_loss(to(np.ones((3, 4))), to(np.ones((2, 4)))),
        lambda to: losses.sigmoid_focal_loss(to(logits), to(target[:1])),
        lambda to: losses.sigmoid_focal_loss(to(logits), to(logits.astype(complex))),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)) as want:
            call(lambda x: x)
        with pytest.raises(want.type) as got:
            call(on_gpu)
        assert str(got.value) == str(want.value)
    with pytest.raises(TypeError, match="one device"):
        losses.cross_entropy(on_gpu(logits), target)
    with pytest.raises(TypeError, match="one device"):
        losses.cross_entropy(on_gpu(logits), on_gpu(target), np.ones(5))


def test_a_failed_launch_is_an_exception(emulator: emulated.Emulator) -> None:
    logits, target = (on_gpu(x) for x in sample((2, 5, 40)))
    pairs = on_gpu(np.ones((3, 4)))
    for call, text in (
        (lambda: losses.cross_entropy(logits, target), r"cross_entropy: CUDA error 700 .* for shape \(2, 5, 40\)"),
        (lambda: losses.dice_loss(logits, target), r"dice_loss: CUDA error 700 .* for shape \(2, 5, 40\)"),
        (lambda: losses.ohem_cross_entropy(logits, target), r"ohem_cross_entropy: CUDA error 700 .* \(2, 5, 40\)"),
        (lambda: losses.lovasz_softmax_loss(logits, target), r"lovasz_softmax_loss: CUDA error 700 .* \(2, 5, 40\)"),
        (lambda: losses.lovasz_hinge_loss(pairs, pairs > 0), r"lovasz_hinge_loss: CUDA error 700 .* \(1, 12\)"),
        (lambda: losses.diou_loss(pairs, pairs), r"box_loss: CUDA error 700 .* for shape \(3, 4\)"),
        (lambda: losses.sigmoid_focal_loss(logits, logits), r"sigmoid_focal_loss: CUDA error 700 .* \(400\)"),
    ):
        emulator.fail_next(700)
        with pytest.raises(RuntimeError, match=text):
            call()
        call()


# Targets of probabilities; two classes by one logit


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("classes", [1, 2, 20, 21, 32, 33, 40, 41, 65, 97])
def test_soft_targets(dtype: str, classes: int) -> None:
    """Around the limits of shared memory, in both layouts; with rows of zeros, NaN and infinities."""
    rng = np.random.default_rng(classes)
    for shape in ((1, classes, 300), (2, classes, 9, 11), (2, classes, 4), (0, classes, 3), (37, classes)):
        logits, soft = (rng.normal(size=shape) * 3).astype(dtype), rng.random(shape).astype(dtype)
        soft *= np.expand_dims(rng.random((shape[0], *shape[2:])) < 0.8, 1).astype(dtype)
        for value in (np.nan, np.inf, -np.inf):
            logits[rng.random(shape) < 0.3 / classes] = value
        for options in ({}, {"reduction": "none"}, {"reduction": "sum", "label_smoothing": 0.2}):
            weight = (np.arange(classes) % 3 / 2).astype(dtype)
            for x in (logits, channels_last(logits)) if len(shape) > 2 else (logits,):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    want = losses.cross_entropy_with_grad(x, soft, weight, **options, backend="cpp")
                    got = losses.cross_entropy_with_grad(on_gpu(x), on_gpu(soft), on_gpu(weight), **options)
                equal(on_cpu(got), want)
    bad = np.full(classes, -1, dtype)
    loss, grad = on_cpu(losses.cross_entropy_with_grad(on_gpu(logits), on_gpu(soft), on_gpu(bad)))
    assert np.isnan(loss)
    assert np.isnan(grad).all()


@each_float
def test_hinge_sizes(emulator: emulated.Emulator, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 255, 256, 257, 1023, 1024, 1025, 2500):
        emulator.seed(n)
        x, target = np.round(rng.normal(size=(2, n)), 1).astype(dtype), rng.integers(0, 2, (2, n))
        target[rng.random((2, n)) < 0.2] = -100
        for options in ({}, {"per_image": True}):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                want = losses.lovasz_hinge_loss_with_grad(x, target, **options, backend="cpp")
            equal(on_cpu(losses.lovasz_hinge_loss_with_grad(on_gpu(x), on_gpu(target), **options)), want)
    target[1, 7] = 5
    loss, grad = on_cpu(losses.lovasz_hinge_loss_with_grad(on_gpu(x), on_gpu(target)))
    assert np.isnan(loss)
    assert np.isnan(grad).all()
    with pytest.raises(ValueError, match=r"^lovasz_hinge_loss: an earlier call on the GPU .* at flat index 2507"):
        losses.lovasz_hinge_loss(on_gpu(x), on_gpu(target))


# torch, on CPU tensors whose memory the emulator can read


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return emulated.torch_on_gpu(monkeypatch)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@each_loss
def test_torch_gradients(torch: Any, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str) -> None:
    from fastdet import _cuda

    function, more = SOFTMAX[name]
    public = getattr(losses, function.__name__.removesuffix("_with_grad"))
    x, t = sample((2, 5, 6, 7))
    target = torch.from_numpy(t)
    for layout in (torch.contiguous_format, torch.channels_last):
        logits = torch.from_numpy(x).to(getattr(torch, dtype), memory_format=layout)
        loss, want = function(logits, target, **more)
        for factor in (1, 2):
            leaf = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
            with monkeypatch.context() as patch:
                patch.setattr(_cuda, "read", None)
                value = public(leaf, target, **more)
                (value * factor).backward()
            assert torch.equal(value.detach(), loss)
            assert torch.equal(leaf.grad, want * factor)
            assert leaf.grad.stride() == logits.stride()
    leaf = logits.detach().clone().requires_grad_()
    value = public(leaf, target, **more)
    for _ in range(2):
        (value * 2).backward(retain_graph=True)
    assert torch.equal(leaf.grad, want * 4)


def test_torch_reductions_and_weights(torch: Any) -> None:
    x, t = sample((2, 5, 6, 7))
    logits, target = torch.from_numpy(x).requires_grad_(), torch.from_numpy(t)
    weight = torch.arange(5) / 3.0
    upstream = torch.rand(2, 6, 7)
    each = losses.cross_entropy(logits, target, weight, reduction="none")
    (each * upstream).sum().backward()
    _, grad = losses.cross_entropy_with_grad(x, t, weight.numpy(), reduction="none", backend="cpp")
    assert torch.equal(logits.grad, torch.from_numpy(grad) * upstream[:, None])
    wrong = losses.cross_entropy(logits, torch.full_like(target, 7))
    wrong.backward()
    assert torch.isnan(wrong)
    assert torch.isnan(logits.grad).all()
    with pytest.raises(ValueError, match=r"^cross_entropy: an earlier call"):
        losses.cross_entropy(logits, target)


@pytest.mark.parametrize("metric", ["giou", "diou", "ciou"])
def test_torch_boxes(torch: Any, metric: str) -> None:
    public, with_grad = getattr(losses, f"{metric}_loss"), getattr(losses, f"{metric}_loss_with_grad")
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.random((37, 2, 2)), 1).reshape(37, 4).astype(np.float32) for _ in range(2))
    for dtype in (torch.float32, torch.bfloat16):
        p, q = (torch.from_numpy(x).to(dtype).requires_grad_() for x in (a, b))
        public(p, q, "sum").backward()
        _, grads = with_grad(p.detach().float().numpy(), q.detach().float().numpy(), "sum", backend="cpp")
        for leaf, want in zip((p, q), grads, strict=True):
            assert torch.equal(leaf.grad, torch.from_numpy(want).to(dtype))


def test_torch_sigmoid_focal(torch: Any) -> None:
    x = torch.linspace(-5, 5, 91)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        leaf = x.to(dtype, copy=True).requires_grad_()
        losses.sigmoid_focal_loss(leaf, x > 1, reduction="mean").backward()
        _, want = losses.sigmoid_focal_loss_with_grad(leaf.detach(), x > 1, reduction="mean")
        assert torch.equal(leaf.grad, want)
    assert math.isfinite(float(want.sum()))
