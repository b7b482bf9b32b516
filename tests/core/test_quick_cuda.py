"""The quick calls of the CUDA backend: equal to the long way, in answers and errors; and what they decline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulated import quick_calls_on_gpu, torch_on_gpu

from fastdet import boxes, losses, nms, pool, segmentation, upsample
from fastdet._core import device_arrays

pytestmark = pytest.mark.emulator
HALVES = ["float32", "float64", "float16", "bfloat16"]


class Gpu:
    """torch, whose tensors are taken for a GPU's; counts the quick calls, those that gave None too."""

    def __init__(self, torch: Any, quick: Any) -> None:
        self.torch, self._quick = torch, quick
        self.answered, self.declined = 0, 0
        self.off = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._quick, name)

        def counted(*arguments: Any) -> Any:
            answer = None if self.off else call(*arguments)
            self.answered += answer is not None
            self.declined += answer is None
            return answer

        return counted


@pytest.fixture
def gpu(emulator: Any, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    torch = torch_on_gpu(monkeypatch)
    gpu = Gpu(torch, quick_calls_on_gpu(monkeypatch, torch))
    monkeypatch.setattr(device_arrays, "quick_calls", lambda: gpu)
    return gpu


def both(gpu: Gpu, call: Callable[[], Any]) -> Any:
    """The answer of the quick call, which is that of the long way, with its dtypes and shapes."""
    before = gpu.answered
    quick = call()
    assert gpu.answered == before + 1, "declined"
    gpu.off = True
    long = call()
    gpu.off = False
    for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (quick, long)), strict=True):
        if a is None or b is None:
            assert a is b
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.is_contiguous()
        assert gpu.torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
    return quick


def some_boxes(torch: Any, n: int, dtype: str) -> tuple[Any, Any, Any]:
    """Boxes, scores with ties, and keys."""
    rng = np.random.default_rng(n)
    place = rng.random((n, 2)) * 30
    corners = np.concatenate([place, place + rng.random((n, 2)) * 20], axis=1)
    b, s = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in (corners, rng.integers(0, 50, n) / 50))
    return b, s, torch.from_numpy(rng.integers(-2, 2, n) * 2**40)


@pytest.mark.parametrize("n", [0, 1, 33, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nms(gpu: Gpu, n: int, dtype: str) -> None:
    b, s, keys = some_boxes(gpu.torch, n, dtype)
    for options in ({}, {"score_threshold": 0.3}, {"max_output": 5}, {"metric": "ios"}, {"max_output": 0}):
        for threshold in (0.0, 0.5, 1.0):
            keep = both(gpu, lambda o=options, t=threshold: nms.nms(b, s, t, **o))
            assert keep.tolist() == nms.nms(b.numpy(), s.numpy(), threshold, **options).tolist()
            both(gpu, lambda o=options, t=threshold: nms.batched_nms(b, s, keys, t, **o))
    both(gpu, lambda: nms.nms(b, s.double(), 0.5))
    for options in ({}, {"method": "gaussian", "sigma": 0.3}, {"min_score": 0.0}, {"max_output": 3}):
        both(gpu, lambda o=options: nms.soft_nms(b, s, **o))
        both(gpu, lambda o=options: nms.batched_soft_nms(b, s, keys, iou_threshold=0.1, **o))


def test_a_short_result_of_many_boxes_keeps_little_memory(gpu: Gpu) -> None:
    n = 20_000
    b, s = gpu.torch.tensor([[0.0, 0, 1, 1]]).repeat(n, 1), gpu.torch.linspace(0, 1, n)
    assert both(gpu, lambda: nms.nms(b, s, 0.5)).untyped_storage().nbytes() < 1 << 16


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 0), (17, 40)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_box_iou(gpu: Gpu, shape: tuple[int, int], dtype: str) -> None:
    a, b = (some_boxes(gpu.torch, n, dtype)[0] for n in shape)
    for metric in ("iou", "ios"):
        both(gpu, lambda m=metric: boxes.box_iou(a, b, metric=m))
    both(gpu, lambda: boxes.generalized_box_iou(a, b))
    both(gpu, lambda: boxes.distance_box_iou(a, b, 1e-3))
    both(gpu, lambda: boxes.complete_box_iou(a, b))


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 5, 9)])
@pytest.mark.parametrize("ignore", [None, 255, 1, -100])
def test_confusion_matrix(gpu: Gpu, shape: tuple[int, ...], ignore: int | None) -> None:
    torch, rng = gpu.torch, np.random.default_rng(0)
    for dtypes in (("int64", "uint8"), ("uint8", "int16"), ("int32", "int64")):
        maps = [torch.from_numpy(np.array(rng.integers(0, 4, shape), dtype)) for dtype in dtypes]
        for void in ("miss", "count"):
            both(gpu, lambda m=maps, v=void: segmentation.confusion_matrix(*m, 4, ignore_index=ignore, void=v))
    matrix = segmentation.confusion_matrix(*maps, 4, ignore_index=ignore)
    assert (matrix.num_classes, matrix.void) == (4, None if ignore is None else "miss")


@pytest.mark.parametrize("dtype", [*HALVES, "uint8", "int8"])
def test_upsample_bilinear(gpu: Gpu, dtype: str) -> None:
    x = (gpu.torch.rand(2, 3, 5, 7) * 100).to(getattr(gpu.torch, dtype))
    for options in ({"size": (9, 4)}, {"scale_factor": 2}, {"scale_factor": (1.5, 3), "align_corners": True}):
        both(gpu, lambda o=options: upsample.upsample_bilinear(x, **o))


@pytest.mark.parametrize("dtype", [*HALVES, "uint8", "int8", "int32", "int64"])
def test_max_pool2d(gpu: Gpu, dtype: str) -> None:
    x = (gpu.torch.randn(2, 3, 8, 9) * 50).to(getattr(gpu.torch, dtype))
    for more in ({}, {"stride": (1, 2), "padding": 1, "kernel_size": 3}, {"ceil_mode": True}, {"compact": True}):
        options = {"kernel_size": 2, **more}
        both(gpu, lambda o=options: pool.max_pool2d(x, **o))
        both(gpu, lambda o=options: pool.max_pool2d(x, **o, return_indices=False))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (5, 1), (2, 3, 4, 6), (2, 3, 1, 1), (1, 5, 7)])
def test_cross_entropy(gpu: Gpu, dtype: str, shape: tuple[int, ...]) -> None:
    torch = gpu.torch
    logits = torch.randn(*shape).to(getattr(torch, dtype))
    for labels in ("int64", "uint8", "int32"):
        target = torch.randint(0, shape[1], (shape[0], *shape[2:])).to(getattr(torch, labels))
        for ignore in (-100, 0, 300):
            for reduction in ("mean", "sum", "none"):
                options = {"ignore_index": ignore, "reduction": reduction, "label_smoothing": 0.1}
                both(gpu, lambda t=target, o=options: losses.cross_entropy_with_grad(logits, t, **o))
        both(gpu, lambda t=target: losses.cross_entropy(logits, t))


def test_what_is_unusual_takes_the_long_way(gpu: Gpu) -> None:
    torch = gpu.torch
    b, s, keys = some_boxes(torch, 8, "float32")
    logits, labels = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
    declined: list[Callable[[], Any]] = [
        lambda: nms.nms(b.T.contiguous().T, s, 0.5),
        lambda: nms.nms(b.half(), s, 0.5),
        lambda: nms.nms(b, s, 0.5, max_output=np.int64(3)),
        lambda: nms.nms(b, s, 1),
        lambda: nms.batched_nms(b, s, keys.int(), 0.5),
        lambda: nms.soft_nms(b, s.double()),
        lambda: boxes.box_iou(b, b.double()),
        lambda: segmentation.confusion_matrix(labels.bool(), labels, 3),
        lambda: segmentation.confusion_matrix(labels.expand(2, 2, 4, 4)[:, 0], labels[:, 0:1].expand(2, 4, 4), 3),
        lambda: upsample.upsample_bilinear(logits.to(memory_format=torch.channels_last), scale_factor=2),
        lambda: pool.max_pool2d(logits[:, :, ::2], 2),
        lambda: losses.cross_entropy(logits, torch.softmax(logits, 1)),
        lambda: losses.cross_entropy(logits, labels, label_smoothing=0),
    ]
    unasked: list[Callable[[], Any]] = [
        lambda: nms.nms(b, s, 0.5, backend="cuda"),
        lambda: boxes.box_iou(b, b, aligned=True),
        lambda: boxes.box_iou(b, b, out=torch.empty(8, 8)),
        lambda: nms.soft_nms(b, s, offset=1.0),
        lambda: losses.cross_entropy(logits, labels, torch.ones(3)),
    ]
    for calls, want in ((declined, (1, 0)), (unasked, (0, 0))):
        for i, call in enumerate(calls):
            gpu.declined = gpu.answered = 0
            call()
            assert (gpu.declined, gpu.answered) == want, i


def test_errors_are_those_of_the_long_way(gpu: Gpu) -> None:
    torch = gpu.torch
    b, s, keys = some_boxes(torch, 8, "float32")
    logits, labels = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
    nan = s.clone()
    nan[5] = float("nan")
    for call, text in (
        (lambda: nms.nms(b, nan, 0.5), "nms: scores must not hold NaN, got NaN at index 5"),
        (lambda: nms.soft_nms(b, nan), "soft_nms: scores must not hold NaN, got NaN at index 5"),
        (lambda: nms.nms(b, s[:7], 0.5), "nms: scores must have shape"),
        (lambda: nms.nms(b, s, 1.5), "nms: iou_threshold must be in"),
        (lambda: nms.nms(b, s, 0.5, max_output=-1), "nms: max_output must be"),
        (lambda: nms.nms(b, s, 0.5, metric="giou"), "nms: metric must be"),
        (lambda: nms.batched_nms(b, s, keys[:3], 0.5), "batched_nms: idxs must have shape"),
        (lambda: nms.soft_nms(b, s, sigma=0.0), "soft_nms: sigma must be"),
        (lambda: nms.soft_nms(b, s, method="cubic"), "soft_nms: method must be"),
        (lambda: boxes.box_iou(b, b[:, :3]), "box_iou: boxes2 must have shape"),
        (lambda: segmentation.confusion_matrix(labels, labels[:1], 3), "confusion_matrix: prediction must have"),
        (lambda: upsample.upsample_bilinear(logits, (0, 4)), "upsample_bilinear: size must be"),
        (lambda: pool.max_pool2d(logits, 9), "max_pool2d: kernel_size must be at most"),
        (lambda: pool.max_pool2d(torch.zeros(1, 1, 20, 20), 17, compact=True), "max_pool2d: kernel_size must have at"),
        (lambda: losses.cross_entropy(logits, labels[:1]), "cross_entropy: target must have shape"),
        (lambda: losses.cross_entropy(logits, labels, label_smoothing=2.0), "cross_entropy: label_smoothing must"),
        (lambda: losses.cross_entropy(logits, labels, reduction="max"), "cross_entropy: reduction must be"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def test_a_fault_of_an_earlier_call_is_raised(gpu: Gpu) -> None:
    torch = gpu.torch
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[1, 2, 3] = 9
    segmentation.confusion_matrix(labels, labels, 3)
    with pytest.raises(ValueError, match="an earlier call on the GPU had a value out of range"):
        boxes.box_iou(torch.zeros(1, 4), torch.zeros(1, 4))
    assert boxes.box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [[0]]


def test_no_memory_is_an_error_of_the_long_way(gpu: Gpu) -> None:
    a = gpu.torch.zeros(2**24, 4)
    gpu.declined = 0
    with pytest.raises((MemoryError, RuntimeError)):
        boxes.box_iou(a, a)  # 2^50 bytes
    assert gpu.declined == 1
