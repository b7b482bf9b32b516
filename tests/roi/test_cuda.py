"""RoI ops on the CUDA emulator: bins without a table, faults, the caller's memory, torch."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import equal

from fastdet import roi

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with FASTDET_SYNC=1."""
    from fastdet._core import cuda

    monkeypatch.setattr(cuda.native, "waits", lambda: True)


def some(seed: int, shape: tuple[int, ...] = (2, 3, 9, 30), count: int = 7) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-5, 30, (count, 4))
    corner[:4, 2:] = corner[:4, :2] + rng.random((4, 2)) * 20
    return rng.standard_normal(shape).astype(np.float32), np.hstack([rng.integers(0, 2, (count, 1)), corner])


@pytest.mark.parametrize("size", [(300, 2), (2, 300), (1, 70), (40, 3)])
def test_many_bins(size: tuple[int, int]) -> None:
    """More bins than tables hold, or more pixels a bin."""
    x, boxes = some(0)
    for options in ((1.0, 2, True), (1.0, -1, False)):
        want = roi.roi_align(x, boxes, size, *options, backend="cpp")
        equal(on_cpu(roi.roi_align(on_gpu(x), on_gpu(boxes), size, *options)), want)
        back = roi.roi_align_backward(want, boxes, x.shape, *options, backend="cpp")
        equal(on_cpu(roi.roi_align_backward(on_gpu(want), on_gpu(boxes), x.shape, *options)), back)
    wide = np.random.default_rng(1).standard_normal((1, 1, 5, 1200)).astype(np.float32)
    boxes = np.array([[0, 0, 0, 1200, 5.0], [0, 1199, 4, 2, 1]])
    for last in (True, False):
        want = roi.roi_align(wide, boxes, 1, 1.0, -1, last, backend="cpp")
        equal(on_cpu(roi.roi_align(on_gpu(wide), on_gpu(boxes), 1, 1.0, -1, last)), want)


def test_places_that_meet() -> None:
    """Bins with one place, and more bins than a block holds."""
    rng = np.random.default_rng(2)
    for size in (3, 40):
        grad, boxes = some(3, (7, 3, size, size))
        places = rng.integers(-1, 6, grad.shape)
        want = roi.roi_pool_backward(grad, places, boxes, (2, 3, 4, 5), backend="cpp")
        got = roi.roi_pool_backward(on_gpu(grad), on_gpu(places), on_gpu(boxes), (2, 3, 4, 5))
        equal(on_cpu(got), want)


def calls(x: Any, boxes: Any) -> dict[str, Any]:
    pooled = np.zeros((len(boxes), 4, 2, 2), np.float32)
    one = np.zeros((len(boxes), 1, 2, 2), np.float32)
    return {
        "roi_align": lambda to, b: roi.roi_align(to(x), b, 2),
        "roi_align_backward": lambda to, b: roi.roi_align_backward(to(pooled), b, x.shape),
        "roi_pool": lambda to, b: roi.roi_pool(to(x), b, 2),
        "roi_pool_backward": lambda to, b: roi.roi_pool_backward(to(pooled), to(pooled.astype(int)), b, x.shape),
        "ps_roi_align": lambda to, b: roi.ps_roi_align(to(x), b, 2),
        "ps_roi_align_backward": lambda to, b: roi.ps_roi_align_backward(to(one), b, x.shape),
        "ps_roi_pool": lambda to, b: roi.ps_roi_pool(to(x), b, 2),
        "ps_roi_pool_backward": lambda to, b: roi.ps_roi_pool_backward(to(one), b, x.shape),
    }


X, BAD = some(4, (2, 4, 6, 7))
BAD[3, 0], BAD[5, 2] = 2, np.nan


@pytest.mark.parametrize("name", calls(X, BAD))
def test_bad_boxes_raise_at_the_next_call(name: str) -> None:
    calls(X, BAD)[name](on_gpu, on_gpu(BAD))
    with pytest.raises(ValueError, match=rf"^{name}: an earlier call .* \(boxes at row 3\)"):
        roi.roi_align(on_gpu(X), on_gpu(BAD[:1]), 1)
    roi.roi_align(on_gpu(X), on_gpu(BAD[:1]), 1)


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("name", calls(X, BAD))
def test_bad_boxes_raise_at_once_where_calls_wait(name: str) -> None:
    """The text is the CPU's."""
    for boxes in (BAD, BAD[4:]):
        with pytest.raises(ValueError, match=f"^{name}: boxes must ") as want:
            calls(X, boxes)[name](lambda a: a, boxes)
        with pytest.raises(ValueError, match=f"^{name}: boxes must ") as got:
            calls(X, boxes)[name](on_gpu, on_gpu(boxes))
        assert str(got.value) == str(want.value)


@pytest.mark.usefixtures("waiting")
def test_bad_places() -> None:
    grad, boxes = some(5, (7, 3, 2, 2))
    places = np.zeros(grad.shape, np.int64)
    places[4, 1, 1, 0] = 20
    with pytest.raises(ValueError, match=r"indices must be in \[-1, 20\), got 20 at index \(4, 1, 1, 0\)"):
        roi.roi_pool_backward(on_gpu(grad), on_gpu(places), on_gpu(boxes), (2, 3, 4, 5))


def test_boxes_by_image_and_devices() -> None:
    x, boxes = some(6)
    split = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    want = roi.roi_align(x, split, 3, backend="cpp")
    equal(on_cpu(roi.roi_align(on_gpu(x), [on_gpu(part) for part in split], 3)), want)
    for mixed in ((on_gpu(x), boxes), (x, on_gpu(boxes))):
        with pytest.raises(TypeError, match=r"^roi_align: all arrays must be on one device"):
            roi.roi_align(*mixed, 2)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return emulated.torch_on_gpu(monkeypatch)


def test_torch(torch: Any) -> None:
    """Gradients through the registrations, in both memory orders."""
    x, boxes = some(7, (2, 8, 9, 11))
    for order in (torch.contiguous_format, torch.channels_last):
        for function in (roi.roi_align, roi.roi_pool, roi.ps_roi_align, roi.ps_roi_pool):
            leaf = torch.from_numpy(x).contiguous(memory_format=order).requires_grad_()
            y = function(leaf, torch.from_numpy(boxes).float(), 2)
            grad = torch.randn(y.shape)
            y.backward(grad)
            own = x.astype(np.float32)
            equal(y.detach().numpy(), function(own, boxes.astype(np.float32), 2, backend="cpp"))
            assert leaf.grad.shape == leaf.shape
