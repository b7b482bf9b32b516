"""fastdet.segmentation: worked examples, properties, errors, agreement with other packages and with real data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_maps import equal
from optional import load, need, real_data

from fastdet import segmentation as seg
from fastdet.segmentation.confusion import _resampled
from fastdet.upsample.bilinear import taps

BACKENDS = ("reference", "numba", "cpp", None)
T = np.array([[0, 0, 1, 255], [2, 2, 255, 1]], np.uint8)
P = np.array([[0, 1, 1, 0], [2, 255, 255, 2]], np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("void", "want"),
    [
        ("miss", [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]),
        ("drop", [[1, 1, 0], [0, 1, 1], [0, 0, 1]]),
        ("count", [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]),
    ],
)
def test_void(backend: str | None, void: str, want: Any) -> None:
    got = seg.confusion_matrix(T, P, 3, ignore_index=255, void=void, backend=backend)
    equal(got, np.array(want))
    assert got.flags.c_contiguous


@pytest.mark.parametrize("backend", BACKENDS)
def test_kinds_of_labels(backend: str | None) -> None:
    """Lists, booleans, no pixels, no axes, a class that is ignored, the ends of a dtype."""
    equal(seg.confusion_matrix([0, 1], [1, 1], 2, backend=backend), np.array([[0, 1], [0, 1]]))
    equal(seg.confusion_matrix(T > 1, P > 1, 2, backend=backend), np.array([[3, 1], [1, 3]]))
    equal(seg.confusion_matrix([], [], 2, backend=backend), np.zeros((2, 2), np.int64))
    equal(seg.confusion_matrix(np.int8(1), np.uint64(0), 2, backend=backend), np.array([[0, 0], [1, 0]]))
    equal(
        seg.confusion_matrix([0, 1, 0], [1, 1, 0], 2, ignore_index=0, backend=backend), np.array([[0, 0, 0], [0, 1, 0]])
    )
    for dtype in ("int8", "uint8", "int64", "uint64"):
        for edge in (np.iinfo(dtype).min, np.iinfo(dtype).max):
            label = np.array([1, edge], dtype)
            got = seg.confusion_matrix(label, [1, 0], 2, ignore_index=int(edge), backend=backend)
            equal(got, np.array([[0, 0, 0], [0, 1, 0]]))
    # an ignored label that the dtype cannot hold is in no pixel; a class beyond the dtype has none
    equal(
        seg.confusion_matrix(np.int8([1]), np.int8([0]), 300, ignore_index=255, backend=backend)[:2, :2],
        np.array([[0, 0], [1, 0]]),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_classes(backend: str | None) -> None:
    """A matrix costs the memory that is written; one that is too large is refused with its size."""
    for classes in (65535, 33000, 9000):
        label = np.array([classes - 1, classes - 1, 0], np.uint16)
        refused = ""
        try:
            got = seg.confusion_matrix(label, label[::-1], classes, backend=backend)
        except MemoryError as error:
            refused = str(error)
        if refused:
            assert classes > 9000
            assert re.match(rf"Unable to allocate \d+.*\({classes}, {classes}\)", refused)
        else:
            assert got.shape == (classes, classes)
            assert (got[-1, 0], got[-1, -1], got[0, -1]) == (1, 1, 1)


Case = tuple[Callable[[Any], Any], type[Exception], str]
L = np.zeros((2, 3, 4, 5), np.float32)
Z = np.zeros((2, 4, 5), np.uint8)
LOGITS = "confusion_matrix_from_logits"


def changed(x: Any, index: Any, value: Any, dtype: Any = None) -> Any:
    x = np.array(x, dtype)
    x[index] = value
    return x


CASES: dict[str, Case] = {
    "target": (
        lambda b: seg.confusion_matrix(changed(np.zeros((1, 6, 9)), (0, 5, 7), 23, int), np.full((1, 6, 9), -1), 19,
                                       ignore_index=255, backend=b),
        ValueError,
        "confusion_matrix: target must hold classes in [0, 19) or ignore_index 255, got 23 at index (0, 5, 7)",
    ),
    "prediction": (
        lambda b: seg.confusion_matrix(
            np.zeros(300, np.int8), changed(np.zeros(300), [70, 290], -1, np.int8), 300, backend=b
        ),
        ValueError,
        "confusion_matrix: prediction must hold classes in [0, 300), got -1 at index 70",
    ),
    "uint64": (
        lambda b: seg.confusion_matrix(np.array([2**64 - 1], np.uint64), [0], 2, ignore_index=-1, backend=b),
        ValueError,
        "confusion_matrix: target must hold classes in [0, 2) or ignore_index -1, got 18446744073709551615 at index 0",
    ),
    "void's number is no label": (
        lambda b: seg.confusion_matrix([0, 2], [0, 0], 2, ignore_index=255, backend=b),
        ValueError,
        "confusion_matrix: target must hold classes in [0, 2) or ignore_index 255, got 2 at index 1",
    ),
    "among noise": (
        lambda b: seg.confusion_matrix(changed(np.arange(9000) % 7, 8123, 7), np.zeros(9000, int), 7, backend=b),
        ValueError,
        "confusion_matrix: target must hold classes in [0, 7), got 7 at index 8123",
    ),
    "no index": (
        lambda b: seg.confusion_matrix(np.int64(7), np.int64(0), 7, backend=b),
        ValueError,
        "confusion_matrix: target must hold classes in [0, 7), got 7 at index ()",
    ),
    "shapes": (
        lambda b: seg.confusion_matrix(T, P.T, 3, backend=b),
        ValueError,
        "confusion_matrix: prediction must have target's shape (2, 4), got (4, 2)",
    ),
    "float labels": (
        lambda b: seg.confusion_matrix(T * 1.0, P, 3, backend=b),
        TypeError,
        "confusion_matrix: target must be an integer array, got float64",
    ),
    "no classes": (
        lambda b: seg.confusion_matrix(T, P, 0, backend=b),
        ValueError,
        "confusion_matrix: num_classes must be in [1, 65535], got 0",
    ),
    "classes": (
        lambda b: seg.confusion_matrix(T, P, 2.5, backend=b),
        TypeError,
        "confusion_matrix: num_classes must be an integer, got 2.5",
    ),
    "void": (
        lambda b: seg.confusion_matrix(T, P, 3, void="keep", backend=b),
        ValueError,
        "confusion_matrix: void must be one of 'miss', 'drop', 'count', got 'keep'",
    ),
    "ignore_index": (
        lambda b: seg.confusion_matrix(T, P, 3, ignore_index=1.0, backend=b),
        TypeError,
        "confusion_matrix: ignore_index must be an integer or None, got 1.0",
    ),
    "ignore_index beyond": (
        lambda b: seg.confusion_matrix(T, P, 3, ignore_index=2**64, backend=b),
        ValueError,
        "confusion_matrix: ignore_index must fit in int64 or uint64, got 18446744073709551616",
    ),
    "NaN": (
        lambda b: seg.confusion_matrix_from_logits(Z, changed(L, (1, 2, 0, 3), np.nan), backend=b),
        ValueError,
        f"{LOGITS}: logits must not hold NaN, got NaN at index (1, 2, 0, 3)",
    ),
    "NaN, channels last": (
        lambda b: seg.confusion_matrix_from_logits(
            Z, changed(L, ([0, 0], [2, 1], [0, 3], [1, 4]), np.nan).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
            backend=b,
        ),
        ValueError,
        f"{LOGITS}: logits must not hold NaN, got NaN at index (0, 1, 3, 4)",
    ),
    "label before NaN": (
        lambda b: seg.confusion_matrix_from_logits(changed(Z, (1, 3, 4), 3), L * np.nan, backend=b),
        ValueError,
        f"{LOGITS}: target must hold classes in [0, 3), got 3 at index (1, 3, 4)",
    ),
    "infinite": (
        lambda b: seg.confusion_matrix_from_logits(
            np.zeros((2, 8, 9), int), changed(L, (0, 1, 1, 0), -np.inf), size=(8, 9), backend=b
        ),
        ValueError,
        f"{LOGITS}: logits must be finite to be resampled, got -inf at index (0, 1, 1, 0)",
    ),
    "pixels": (
        lambda b: seg.confusion_matrix_from_logits(Z[:, :3], L, backend=b),
        ValueError,
        f"{LOGITS}: target must have the logits' (4, 5) pixels, got (3, 5)",
    ),
    "size": (
        lambda b: seg.confusion_matrix_from_logits(Z, L, size=(4, 6), backend=b),
        ValueError,
        f"{LOGITS}: size must be the target's (4, 5), got (4, 6)",
    ),
    "images": (
        lambda b: seg.confusion_matrix_from_logits(Z[0], L, backend=b),
        ValueError,
        f"{LOGITS}: target must have shape (2, H, W) for logits (2, 3, 4, 5), got (4, 5)",
    ),
    "axes": (
        lambda b: seg.confusion_matrix_from_logits(Z, L[0, 0], backend=b),
        ValueError,
        f"{LOGITS}: logits must have shape (N, C, H, W) or (C, H, W), got (4, 5)",
    ),
    "integer logits": (
        lambda b: seg.confusion_matrix_from_logits(Z, L.astype(int), backend=b),
        TypeError,
        f"{LOGITS}: logits must be float16, bfloat16, float32 or float64, got int64",
    ),
    "no class": (
        lambda b: seg.confusion_matrix_from_logits(Z, L[:, :0], backend=b),
        ValueError,
        f"{LOGITS}: logits must have 1 to 65535 classes, got 0 in shape (2, 0, 4, 5)",
    ),
    "no pixel": (
        lambda b: seg.confusion_matrix_from_logits(Z, L[..., :0], size=(4, 5), backend=b),
        ValueError,
        f"{LOGITS}: logits must have at least 1 pixel to be resampled, got (2, 3, 4, 0)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("call", "kind", "text"), CASES.values(), ids=CASES)
def test_errors(call: Callable[[Any], Any], kind: type[Exception], text: str, backend: str | None) -> None:
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        call(backend)


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[Any, Any, int]:
    """Target, prediction, classes: regions with noise of 0 to 100 %."""
    classes, n = draw(st.integers(1, 40)), draw(st.integers(1, 700))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.floats(0, 1))

    def one() -> Any:
        x = np.repeat(rng.integers(0, classes, n), rng.integers(1, 40, n))[:n]
        x = np.where(rng.random(n) < share, rng.integers(0, classes, n), x)
        return x.astype(draw(st.sampled_from(["uint8", "int64"])))

    return one(), one(), classes


@settings(max_examples=60, deadline=None)
@given(label_maps(), st.integers(0, 700), st.integers(0, 2**32 - 1))
def test_properties(case: tuple[Any, Any, int], cut: int, seed: int) -> None:
    target, prediction, classes = case
    whole = seg.confusion_matrix(target, prediction, classes)
    assert whole.sum() == target.size
    equal(whole, np.bincount(target * np.int64(classes) + prediction, minlength=classes**2).reshape(classes, classes))
    parts = [seg.confusion_matrix(target[s], prediction[s], classes) for s in (slice(cut), slice(cut, None))]
    equal(parts[0] + parts[1], whole)
    order = np.random.default_rng(seed).permutation(classes)
    equal(seg.confusion_matrix(order[target], order[prediction], classes)[np.ix_(order, order)], whole)
    equal(seg.confusion_matrix(prediction, target, classes), whole.T.copy())
    for void in ("miss", "drop", "count"):
        some = seg.confusion_matrix(target, prediction, classes, ignore_index=0, void=void)
        counted = {"miss": target != 0, "drop": (target != 0) & (prediction != 0), "count": target >= 0}[void]
        assert some.sum() == counted.sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.tuples(*[st.integers(1, 20)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.booleans(),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_logits_are_upsampled_and_compared(
    classes: int, of: tuple[int, int], size: tuple[int, int], align_corners: bool, seed: int
) -> None:
    """The same as the full-size scores, their argmax and its confusion matrix."""
    rng = np.random.default_rng(seed)
    logits, target = rng.standard_normal((classes, *of)).astype(np.float32), rng.integers(0, classes, size)
    full = logits
    if of != size:
        ways = [taps(n, out, align_corners, 0.0, logits.dtype) for n, out in zip(of, size, strict=True)]
        full = np.stack([_resampled(plane, *ways) for plane in logits])
    got = seg.confusion_matrix_from_logits(target, logits, size=size, align_corners=align_corners)
    equal(got, seg.confusion_matrix(target, full.argmax(0), classes))
    equal(got, seg.confusion_matrix_from_logits(target, full))


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_and_infinite_scores(backend: str | None) -> None:
    """The lower one of equal classes; infinities compare as numbers do; -0 equals 0."""
    scores = np.array([[-np.inf, 1, -np.inf, 0], [-np.inf, 1, 3, -0.0], [-1, 0, np.inf, 0]], np.float32)[:, None]
    got = seg.confusion_matrix_from_logits(np.array([[0, 1, 2, 1]]), scores, backend=backend)
    equal(got, np.array([[0, 0, 1], [2, 0, 0], [0, 0, 1]]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("target", "logits"), [((0, 4, 5), (0, 3, 4, 5)), ((2, 0, 5), (2, 3, 0, 5)), ((0, 5), (3, 0, 5))]
)
def test_no_pixels(backend: str | None, target: Any, logits: Any) -> None:
    got = seg.confusion_matrix_from_logits(
        np.zeros(target, np.uint8), np.zeros(logits), ignore_index=9, backend=backend
    )
    equal(got, np.zeros((3, 4), np.int64))
    got = seg.confusion_matrix_from_logits(
        np.zeros((2, 0, 5), int), np.zeros((2, 3, 4, 4)), size=(0, 5), backend=backend
    )
    equal(got, np.zeros((3, 3), np.int64))


def test_torch() -> None:
    """Tensors in, a tensor out; interpolate, argmax and bincount find the same."""
    torch = need("torch")
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 7, 12, 18, generator=generator)
    target = torch.randint(0, 7, (2, 48, 72), generator=generator)
    for size in ((48, 72), (31, 50)):
        for align in (False, True):
            some = target[:, : size[0], : size[1]]
            full = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=align)
            want = torch.bincount((some * 7 + full.argmax(1)).flatten(), minlength=49).reshape(7, 7)
            for x in (logits, logits.to(memory_format=torch.channels_last)):
                got = seg.confusion_matrix_from_logits(some, x, size=size, align_corners=align)
                assert isinstance(got, torch.Tensor)
                assert torch.equal(got, want)
            assert torch.equal(seg.confusion_matrix(some, full.argmax(1), 7), want)


def test_memory(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """19 x 2048 x 4096 scores would take 640 MB; a process of its own, since it is the peak that is read."""
    if sys.platform != "linux":
        pytest.skip("missing here: peak memory in KiB")
    code = """
        import resource, numpy as np
        from fastdet import segmentation
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        logits = np.random.default_rng(0).standard_normal((19, 128, 256)).astype(np.float32)
        target = np.zeros((2048, 4096), np.uint8)
        before = peak()
        segmentation.confusion_matrix_from_logits(target, logits, size=target.shape, backend="cpp")
        print(peak() - before)
    """
    assert int(python(textwrap.dedent(code)).stdout) < 32 << 10


# Truth rows: 6 of class 0, 3 of class 1, none of class 2, 1 of class 3 that was predicted as void.
M = np.array([[4, 2, 0, 0, 0], [1, 2, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]])


def test_figures() -> None:
    equal(seg.iou(M), np.array([4 / 7, 2 / 5, np.nan, 0]))
    equal(seg.dice(M), np.array([8 / 11, 4 / 7, np.nan, 0]))
    equal(seg.class_accuracy(M), np.array([4 / 6, 2 / 3, np.nan, 0]))
    assert seg.pixel_accuracy(M) == 6 / 10
    assert seg.mean_iou(M) == pytest.approx((4 / 7 + 2 / 5) / 3, abs=1e-15)
    assert seg.mean_dice(M) == pytest.approx((8 / 11 + 4 / 7) / 3, abs=1e-15)
    assert seg.mean_class_accuracy(M) == pytest.approx(4 / 9, abs=1e-15)
    assert seg.frequency_weighted_iou(M) == pytest.approx((6 * 4 / 7 + 3 * 2 / 5) / 10, abs=1e-15)


def test_figures_with_void() -> None:
    """Void truth counts against the predicted class, void in both counts nothing."""
    count = np.array([[3, 0, 1], [1, 2, 0], [0, 5, 100]])
    equal(seg.iou(count, num_classes=2), np.array([3 / 5, 2 / 8]))
    assert seg.pixel_accuracy(count, num_classes=2) == 5 / 7
    assert seg.frequency_weighted_iou(count, num_classes=2) == pytest.approx((4 * 3 / 5 + 3 * 2 / 8) / 7, abs=1e-15)


@pytest.mark.parametrize(
    "figure",
    [seg.pixel_accuracy, seg.mean_iou, seg.mean_dice, seg.mean_class_accuracy, seg.frequency_weighted_iou],
)
def test_figures_of_nothing(figure: Callable[..., float], recwarn: pytest.WarningsRecorder) -> None:
    assert np.isnan(figure(np.zeros((3, 3), int)))
    assert np.isnan(figure([[0, 0], [0, 9]], num_classes=1))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("matrix", "classes", "kind", "text"),
    [
        ([1, 2], None, ValueError, "iou: matrix must have shape (R, K) with R, K >= 1, got (2,)"),
        (np.zeros((0, 3)), None, ValueError, "iou: matrix must have shape (R, K) with R, K >= 1, got (0, 3)"),
        ([[1, -2], [0, 0]], None, ValueError, "iou: matrix must not be negative or NaN, got -2 at index (0, 1)"),
        ([[1, 2], [np.nan, 0]], None, ValueError, "iou: matrix must not be negative or NaN, got nan at index (1, 0)"),
        ([["a"]], None, TypeError, "iou: matrix must hold numbers, got <U1"),
        (M, 5, ValueError, "iou: num_classes must be at most 4 for a matrix (4, 5), got 5"),
        (M, 0, ValueError, "iou: num_classes must be in [1, 65535], got 0"),
    ],
)
def test_figures_errors(matrix: Any, classes: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        seg.iou(matrix, num_classes=classes)


def test_sklearn() -> None:
    metrics = need("sklearn.metrics")
    rng = np.random.default_rng(3)
    target, prediction = rng.integers(0, 9, (2, 5000))
    matrix = seg.confusion_matrix(target, prediction, 9)
    equal(matrix, metrics.confusion_matrix(target, prediction, labels=range(9)))
    np.testing.assert_allclose(seg.iou(matrix), metrics.jaccard_score(target, prediction, average=None), rtol=1e-15)
    np.testing.assert_allclose(seg.dice(matrix), metrics.f1_score(target, prediction, average=None), rtol=1e-15)
    assert seg.mean_class_accuracy(matrix) == pytest.approx(
        metrics.balanced_accuracy_score(target, prediction), rel=1e-15
    )


def test_torchmetrics() -> None:
    torch, metrics = need("torch"), need("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(1)
    target, prediction = torch.randint(0, 6, (2, 4000), generator=generator)
    target[::7] = 255
    want = metrics.multiclass_confusion_matrix(prediction, target, 6, ignore_index=255)
    assert torch.equal(seg.confusion_matrix(target, prediction, 6, ignore_index=255, void="drop"), want)


def test_camvid(variant: str) -> None:
    """101 photographs of CamVid's validation set, ESPNet's predictions; void is class 11, by three conventions."""
    target = load("camvid_val_espnet", "labels_360x480.npz")["labels"]
    prediction = load("camvid_val_espnet", "pred_espnet.npz")["pred"]
    expected = json.loads(real_data("camvid_val_espnet", "expected.json").read_text())
    every = np.array(expected["confusion_gt_rows_pred_cols"])
    equal(seg.confusion_matrix(target, prediction, 12, backend=variant), every)
    for void, name in [("count", "A_all_pixels_first11"), ("miss", "B_ignore_void_gt"), ("drop", "C_11x11")]:
        matrix = seg.confusion_matrix(target, prediction, 11, ignore_index=11, void=void, backend=variant)
        np.testing.assert_allclose(seg.iou(matrix, num_classes=11), expected[name]["iou"], rtol=1e-14)
        assert seg.mean_iou(matrix, num_classes=11) == pytest.approx(expected[name]["miou"], rel=1e-14)
        if void == "miss":
            assert seg.pixel_accuracy(matrix) == pytest.approx(expected["global_accuracy_ignore_void"], rel=1e-14)
            assert seg.mean_class_accuracy(matrix) == pytest.approx(expected["class_avg_accuracy"], rel=1e-14)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint32", "uint64", "float16", "float32"])
def test_figures_of_narrow_matrices(dtype: str) -> None:
    """Sums do not overflow, or round, in the dtype of the matrix."""
    value = {"uint8": 200, "int16": 30_000, "float16": 40_000, "float32": 2**24 - 1}.get(dtype, 2**30)
    matrix = np.full((3, 3), value, dtype)
    for figure in (
        seg.dice,
        seg.iou,
        seg.class_accuracy,
        seg.pixel_accuracy,
        seg.mean_dice,
        seg.frequency_weighted_iou,
    ):
        found, want = figure(matrix), figure(matrix.astype(np.float64))
        assert np.asarray(found).dtype == np.float64
        assert np.array_equal(found, want)
    assert np.allclose(seg.dice(matrix), 1 / 3)
