"""fastdet.segmentation on the CUDA emulator: tails, tiers of memory, values out of range, SegmentationMetrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from label_maps import regions
from metric_maps import equal
from op_rows import ALL_FLOATS, cast
from samples import Array

from fastdet import segmentation
from fastdet.segmentation import SegmentationMetrics, confusion_matrix, confusion_matrix_from_logits
from fastdet.segmentation.confusion import VOID

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

LABELS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
WIDTHS = ("uint8", "int16", "uint32", "int64")


@pytest.fixture
def native() -> Any:
    from fastdet import _cuda

    assert _cuda.take_fault() is None
    return _cuda


def pair(n: int, classes: int, longest: int = 30, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng([n, classes, seed])
    target = regions(rng, n, classes, longest)
    return target, np.where(regions(rng, n, 3, longest) > 0, target, regions(rng, n, classes, longest))


def check(target: Array, prediction: Array, classes: int, **options: Any) -> None:
    want = confusion_matrix(target, prediction, classes, backend="reference", **options)
    equal(on_cpu(confusion_matrix(on_gpu(target), on_gpu(prediction), classes, **options)), want)


# Labels.


@pytest.mark.parametrize("second", WIDTHS)
@pytest.mark.parametrize("first", WIDTHS)
def test_tails(emulator: emulated.Emulator, first: str, second: str) -> None:
    """Groups of 2 to 16 pixels, chunks of 32 groups, blocks of 16 chunks: one more or less of each."""
    for n in (0, 1, 2, 3, 15, 16, 17, 31, 33, 63, 65, 127, 128, 129, 511, 513, 1023, 1025, 8191, 8193):
        emulator.seed(n)
        target, prediction = pair(n, 7)
        check(target.astype(first), prediction.astype(second), 7, ignore_index=3)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("shape", [(9, 2048), (40, 512), (33, 500), (3, 1, 1030), (700, 3), (2, 9000)])
def test_ways_through_an_image(shape: tuple[int, ...], dtype: str) -> None:
    """Rows of several chunks, of one, of a part of one; more rows than warps."""
    for longest in (1, 200):
        target, prediction = (x.reshape(shape).astype(dtype) for x in pair(int(np.prod(shape)), 5, longest))
        check(target, prediction, 5)


@pytest.mark.parametrize("classes", [1, 2, 27, 28, 38, 39, 54, 55, 77, 78, 110, 111, 240, 241, 242, 300, 3000])
def test_tiers(classes: int) -> None:
    """Copies for each warp, for several, for the block, with more memory than a block has unasked, and none."""
    target, prediction = pair(2 * classes * classes if classes < 300 else 5000, classes, 3)
    check(target.astype(np.uint16), prediction, classes)
    check(target.astype(np.uint16), prediction, classes, ignore_index=classes // 2, void="count")


@pytest.mark.parametrize("dtype", LABELS)
def test_labels_to_ignore(dtype: str) -> None:
    """Ones that the dtype holds, as a class or not, and ones that it does not hold."""
    info = np.iinfo(dtype)
    target, prediction = (x.astype(dtype) for x in pair(900, 9))
    target[50:90], prediction[70:120] = info.max, info.max
    if info.min < 0:
        target[200:210], prediction[205:230] = -1, -1
        target[target == info.max], prediction[prediction == info.max] = -1, -1
        check(target, prediction, 9, ignore_index=-1)
    else:
        check(target, prediction, 9, ignore_index=int(info.max), void="drop")
    target, prediction = (np.where((x < 0) | (x > 8), 0, x).astype(dtype) for x in (target, prediction))
    for ignore in (0, 4, -5, 2**40, 2**63 + 7):
        check(target, prediction, 9, ignore_index=ignore, void="count")


def test_more_classes_than_labels() -> None:
    """A dtype that holds no label out of range, and void beyond it."""
    target, prediction = (x.astype(np.uint8) for x in pair(3000, 256))
    check(target, prediction, 300, ignore_index=7, void="count")
    check(target > 100, prediction > 90, 2)


def test_views() -> None:
    target, prediction = (x.reshape(40, 60).astype(np.int32) for x in pair(2400, 6))
    want = confusion_matrix(target[3:, 5:].T, prediction[3:, 5:].T, 6, backend="reference")
    equal(on_cpu(confusion_matrix(on_gpu(target)[3:, 5:].T, on_gpu(prediction)[3:, 5:].T, 6)), want)


# Scores.


def scores(shape: tuple[int, ...], dtype: str, channels_last: bool = False) -> Any:
    x = np.round(np.random.default_rng(shape).standard_normal(shape) * 8) / 4
    return cast(np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if channels_last else x, dtype)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_shapes_of_scores(dtype: str, channels_last: bool) -> None:
    """Whole vectors of pixels and not, tiles of classes and pixels and one more."""
    for n, classes, height, width in (
        (1, 2, 1, 1), (3, 3, 4, 8), (2, 16, 1, 31), (1, 17, 3, 11), (2, 31, 5, 13), (1, 32, 1, 33), (1, 33, 8, 8),
        (1, 65, 16, 16), (2, 1, 5, 5),
    ):  # fmt: skip
        given = scores((n, classes, height, width), dtype, channels_last)
        target = np.random.default_rng(n).integers(0, classes, (n, height, width)).astype(np.uint8)
        want = confusion_matrix_from_logits(target, given, backend="cpp")
        equal(on_cpu(confusion_matrix_from_logits(on_gpu(target), on_gpu(given))), np.asarray(want))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_sizes_of_results(dtype: str, channels_last: bool) -> None:
    """Larger, smaller, one way each; bands of 8 rows and columns of 32, and one more or less."""
    for of, size in (
        ((1, 1), (7, 31)), ((2, 3), (8, 32)), ((4, 5), (9, 33)), ((9, 6), (3, 64)), ((3, 40), (17, 13)),
        ((5, 5), (5, 9)), ((6, 4), (61, 4)), ((30, 20), (8, 7)), ((2, 2), (64, 70)),
    ):  # fmt: skip
        for align in (False, True):
            given = scores((2, 6, *of), dtype, channels_last)
            target = np.random.default_rng(of).integers(0, 6, (2, *size)).astype(np.int16)
            options: dict[str, Any] = {"size": size, "align_corners": align, "ignore_index": 2, "void": "count"}
            want = confusion_matrix_from_logits(target, given, backend="cpp", **options)
            equal(on_cpu(confusion_matrix_from_logits(on_gpu(target), on_gpu(given), **options)), np.asarray(want))


@pytest.mark.parametrize("classes", [77, 78, 110, 111])
def test_tiers_of_scores(classes: int) -> None:
    target = np.random.default_rng(classes).integers(0, classes, (1, 120, 110)).astype(np.uint8)
    for channels_last in (False, True):
        for shape in ((120, 110), (12, 11)):
            given = scores((1, classes, *shape), "float32", channels_last)
            want = confusion_matrix_from_logits(target, given, size=(120, 110), backend="cpp")
            equal(on_cpu(confusion_matrix_from_logits(on_gpu(target), on_gpu(given), size=(120, 110))), want)


def test_infinite_and_single() -> None:
    """Infinities compare where nothing is resampled; one image without an axis for it; no pixel at all."""
    given, target = scores((5, 6, 7), "float32"), np.zeros((6, 7), np.uint8)
    given[2, 1], given[:, 2] = np.inf, -np.inf
    want = confusion_matrix_from_logits(target, given, backend="reference")
    equal(on_cpu(confusion_matrix_from_logits(on_gpu(target), on_gpu(given))), want)
    for shape in ((0, 5, 6, 7), (2, 5, 0, 7)):
        none = np.zeros((shape[0], *shape[2:]), np.uint8), np.zeros(shape, np.float16)
        equal(on_cpu(confusion_matrix_from_logits(*map(on_gpu, none))), np.zeros((5, 5), np.int64))


@pytest.mark.parametrize("of", [(20, 30), (4, 6)])
def test_order_of_threads(emulator: emulated.Emulator, of: tuple[int, int]) -> None:
    target = np.random.default_rng(1).integers(0, 6, (2, 20, 30)).astype(np.uint8)
    for channels_last in (False, True):
        given = scores((2, 6, *of), "float32", channels_last)
        want = confusion_matrix_from_logits(target, given, size=(20, 30), backend="reference")
        for seed in range(5):
            emulator.seed(seed)
            equal(on_cpu(confusion_matrix_from_logits(on_gpu(target), on_gpu(given), size=(20, 30))), want)


# Values out of range.

Call = Callable[[Callable[[Any], Any]], Any]


def bad_labels(target: dict[int, int], prediction: dict[int, int], dtype: str = "int32") -> Call:
    maps = pair(9000, 5)
    for map_, values in zip(maps, (target, prediction), strict=True):
        for at, value in values.items():
            map_[at] = value
    return lambda to: confusion_matrix(*(to(x.reshape(3, 50, 60).astype(dtype)) for x in maps), 5, ignore_index=255)


def bad_scores(of: tuple[int, int], values: dict[int, float], label: int = 0, **how: Any) -> Call:
    given, target = scores((2, 4, *of), "float32"), np.zeros((2, 16, 24), np.uint8)
    for at, value in values.items():
        given.flat[at] = value
    target[1, 3, 5] = label
    if how.pop("channels_last", False):
        given = np.moveaxis(np.ascontiguousarray(np.moveaxis(given, 1, -1)), -1, 1)
    if how.pop("half", False):
        given = given.astype(np.float16)
    return lambda to: confusion_matrix_from_logits(to(target), to(given), size=(16, 24), **how)


NAN, INF = float("nan"), float("inf")
FAULTS: dict[str, tuple[Call, int]] = {  # and the code: twice the place, plus 1 in the second array
    "target": (bad_labels({8999: 5}, {}), 2 * 8999),
    "first of two": (bad_labels({8000: 7, 4001: 9, 5000: -1}, {}), 2 * 4001),
    "prediction": (bad_labels({}, {17: -3, 9: 5}), 2 * 9 + 1),
    "target first": (bad_labels({700: 6}, {5: 6}), 2 * 700),
    "all": (bad_labels(dict.fromkeys(range(9000), 77), {}), 0),
    "uint8": (bad_labels({44: 254, 46: 254}, {}, "uint8"), 2 * 44),
    "int64": (bad_labels({8888: 2**40}, {8887: 2**33}, "int64"), 2 * 8888),
    "a NaN": (bad_scores((16, 24), {2000: NAN, 1801: NAN, 3000: NAN}), 2 * 1801 + 1),
    "a NaN among channels": (bad_scores((16, 24), {2000: NAN, 1999: NAN}, channels_last=True), 2 * 1999 + 1),
    "a NaN after a label": (bad_scores((16, 24), {5: NAN}, label=9), 2 * (16 * 24 + 3 * 24 + 5)),
    "an infinity": (bad_scores((8, 6), {100: INF, 99: -INF, 300: NAN}), 2 * 99 + 1),
    "a NaN to resample": (bad_scores((8, 6), {383: NAN}, half=True, align_corners=True), 2 * 383 + 1),
    "between channels": (bad_scores((8, 6), {200: INF, 199: NAN}, channels_last=True), 2 * 199 + 1),
    "one that is not looked at": (bad_scores((160, 240), {240 * 3 + 7: INF}), 2 * (240 * 3 + 7) + 1),
}
each_fault = pytest.mark.parametrize("name", FAULTS)


@each_fault
def test_faults_are_told_by_the_next_call(emulator: emulated.Emulator, native: Any, name: str) -> None:
    call, code = FAULTS[name]
    op = "confusion_matrix" if "labels" in call.__qualname__ else "confusion_matrix_from_logits"
    emulator.seed(code)
    call(on_gpu)
    second = "prediction" if op == "confusion_matrix" else "logits"
    where = rf"\({second if code & 1 else 'target'} at flat index {code >> 1}\)"
    with pytest.raises(ValueError, match=rf"^{op}: an earlier call on the GPU had a value out of range {where}"):
        check(*pair(50, 3), 3)
    check(*pair(50, 3), 3)


@each_fault
def test_faults_where_calls_wait(monkeypatch: pytest.MonkeyPatch, native: Any, name: str) -> None:
    monkeypatch.setattr(native, "waits", lambda: True)
    call, _ = FAULTS[name]
    with pytest.raises(ValueError, match=r"^confusion_matrix") as want:
        call(lambda x: x)
    with pytest.raises(ValueError, match=r"^confusion_matrix") as got:
        call(on_gpu)
    assert str(got.value) == str(want.value)


def test_same_text_as_on_the_cpu() -> None:
    labels, floats = np.zeros((2, 4, 5), np.uint8), np.zeros((2, 3, 4, 5), np.float32)
    calls: list[Call] = [
        lambda to: confusion_matrix(to(labels), to(labels[0]), 3),
        lambda to: confusion_matrix(to(floats), to(labels), 3),
        lambda to: confusion_matrix(to(labels), to(labels), 0),
        lambda to: confusion_matrix_from_logits(to(labels), to(floats[0])),
        lambda to: confusion_matrix_from_logits(to(labels), to(labels[:, None])),
        lambda to: confusion_matrix_from_logits(to(labels), to(floats), size=(4, 6)),
        lambda to: confusion_matrix_from_logits(to(labels), to(floats[..., :0]), size=(4, 5)),
        lambda to: segmentation.iou(to(-floats[0, 0] - 1)),
        lambda to: segmentation.iou(to(labels)),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)) as want:
            call(lambda x: x)
        with pytest.raises(want.type) as got:
            call(on_gpu)
        assert str(got.value) == str(want.value)
    for arrays in ((on_gpu(labels), labels), (labels, on_gpu(labels))):
        with pytest.raises(TypeError, match="all arrays must be on one device"):
            confusion_matrix(*arrays, 3)
        with pytest.raises(TypeError, match="all arrays must be on one device"):
            SegmentationMetrics(3).update(*arrays)


# SegmentationMetrics, and figures.


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("shape", [(3, 41, 33), (2, 16, 64), (37, 21), (0, 5, 5)])
def test_metrics(shape: tuple[int, ...], per_image: bool, native: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's state; the kernels are given the maps where they are, and only counts come to the host."""
    cpu, gpu = (SegmentationMetrics(6, ignore_index=4, per_image=per_image) for _ in range(2))
    target, prediction = (x.reshape(shape).astype(np.uint8) for x in pair(int(np.prod(shape)), 6))
    logits = scores((*shape[:-2], 6, 9, 7), "float32")
    calls = [(target, prediction, {}), (target, prediction.astype(np.int64), {})]
    calls += [(target, logits, {"size": shape[-2:]}), (target, scores((*shape[:-2], 6, *shape[-2:]), "float16"), {})]

    pointers: list[int] = []
    launch, host = native.confusion_matrix, emulated.Array.get
    monkeypatch.setattr(native, "confusion_matrix", lambda *a: (pointers.extend((a[0][2], a[1][2])), launch(*a)))
    read: list[int] = []
    monkeypatch.setattr(emulated.Array, "get", lambda self: (read.append(self.nbytes), host(self))[1])
    for truth, guess, options in calls:
        cpu.update(guess, truth, **options)
        given = on_gpu(guess), on_gpu(truth)
        gpu.update(*given, **options)
        if pointers:
            assert pointers == [x.ctypes.data for x in given[::-1]]
            pointers.clear()
        assert gpu.to_bytes() == cpu.to_bytes()
    images = shape[0] if per_image and len(shape) == 3 else 1
    assert read == [8 * (images * 7 * 7 + 1)] * len(calls)


@pytest.mark.parametrize("per_image", [False, True])
@each_fault
def test_metrics_raise_at_once(native: Any, name: str, per_image: bool) -> None:
    """With the CPU's text; nothing is counted, and nothing is left for the next call to raise."""
    seen: list[Any] = []

    def update(to: Callable[[Any], Any]) -> None:
        with pytest.MonkeyPatch.context() as patch:  # what the call is made of
            for op in ("confusion_matrix", "confusion_matrix_from_logits"):
                patch.setitem(globals(), op, lambda *args, **options: seen.append((args, options)))
            FAULTS[name][0](to)
        (target, prediction, *classes), options = seen.pop()
        metrics = SegmentationMetrics(*(classes or [4]), ignore_index=options.pop("ignore_index", None),
                                      per_image=per_image)  # fmt: skip
        before = metrics.to_bytes()
        try:
            metrics.update(prediction, target, **options)
        finally:
            assert metrics.to_bytes() == before

    with pytest.raises(ValueError, match=r"^SegmentationMetrics\.update: ") as want:
        update(lambda x: x)
    with pytest.raises(ValueError, match=r"^SegmentationMetrics\.update: ") as got:
        update(on_gpu)
    assert str(got.value) == str(want.value)
    assert native.take_fault() is None


def test_figures_of_a_matrix_on_the_gpu() -> None:
    target, prediction = pair(5000, 7)
    for void in VOID:
        matrix = confusion_matrix(target, prediction, 7, ignore_index=2, void=void)
        on_device = confusion_matrix(on_gpu(target), on_gpu(prediction), 7, ignore_index=2, void=void)
        assert (on_device.num_classes, on_device.void) == (7, void)
        for figure in (segmentation.iou, segmentation.mean_iou, segmentation.pixel_accuracy, segmentation.dice):
            equal(figure(on_gpu(matrix), num_classes=7), figure(matrix, num_classes=7))
            equal(figure(on_device), figure(matrix))


# torch: its side, on CPU tensors whose memory the emulator can read.


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return emulated.torch_on_gpu(monkeypatch)


def test_torch(torch: Any) -> None:
    target, prediction = (x.reshape(2, 30, 25).astype(np.int64) for x in pair(1500, 6))
    given = scores((2, 6, 5, 6), "bfloat16")
    want = confusion_matrix(target, prediction, 6, ignore_index=1)
    from_logits = confusion_matrix_from_logits(target, given.float().numpy(), size=(30, 25))
    for dtype in (torch.uint8, torch.int64, torch.uint16, torch.int32):
        tensors = [torch.from_numpy(x).to(dtype) for x in (target, prediction)]
        got = confusion_matrix(*tensors, 6, ignore_index=1)
        assert type(got) is torch.Tensor
        equal(got.numpy(), want)
        for logits in (given, given.to(memory_format=torch.channels_last), given.clone().requires_grad_()):
            equal(confusion_matrix_from_logits(tensors[0], logits, size=(30, 25)).numpy(), from_logits)
        metrics, like = (SegmentationMetrics(6, ignore_index=1, per_image=True) for _ in range(2))
        metrics.update(*tensors[::-1])
        metrics.update(given, tensors[0], size=(30, 25))
        like.update(prediction, target)
        like.update(given.float().numpy(), target, size=(30, 25))
        assert metrics.to_bytes() == like.to_bytes()
        assert segmentation.mean_iou(got) == segmentation.mean_iou(want)
    metrics = SegmentationMetrics(2)
    metrics.update(torch.from_numpy(prediction > 2), torch.from_numpy(target > 2))
    equal(metrics.matrix(), confusion_matrix(target > 2, prediction > 2, 2))
    given[1, 2, 3, 4] = NAN
    with pytest.raises(ValueError, match=r"predictions must not hold NaN, got NaN at index \(1, 2, 3, 4\)"):
        SegmentationMetrics(6).update(given, torch.from_numpy(target), size=(30, 25))


def test_torch_dispatcher(torch: Any) -> None:
    """vmap, and a compiled call's way through the registered op."""
    target, prediction = (torch.from_numpy(x.reshape(3, 20, 25)) for x in pair(1500, 6))
    got = torch.vmap(lambda t, p: confusion_matrix(t, p, 6))(target, prediction)
    for one, t, p in zip(got, target, prediction, strict=True):
        equal(one.numpy(), confusion_matrix(t.numpy(), p.numpy(), 6))
