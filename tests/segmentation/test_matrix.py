"""ConfusionMatrix: a matrix that was counted with void keeps its convention, whatever is done with it."""

from __future__ import annotations

import copy
import functools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_maps import maps
from optional import need

from fastdet import segmentation as seg
from fastdet.segmentation import ConfusionMatrix, SegmentationMetrics

VOIDS = ("miss", "drop", "count")
FIGURES = (
    seg.mean_iou, seg.pixel_accuracy, seg.mean_class_accuracy, seg.mean_dice, seg.frequency_weighted_iou,
    seg.iou, seg.class_accuracy, seg.dice,
)  # fmt: skip
TARGET, PREDICTION = maps(3, (4, 20, 30), classes=3)
# 4 classes, the last one void: the figures of 0.6555 and 0.4916
COUNTS = np.array([[45, 10, 5, 2], [8, 60, 6, 1], [4, 5, 73, 3], [3, 2, 4, 0]])


def counted(void: str, part: slice = slice(None)) -> ConfusionMatrix:
    matrix = seg.confusion_matrix(TARGET[part], PREDICTION[part], 3, ignore_index=255, void=void)
    assert type(matrix) is ConfusionMatrix
    return matrix


def same_figures(matrix: Any, plain: Any, classes: int = 3) -> None:
    """Every figure of ``matrix`` is that of the plain counts with ``num_classes``."""
    for figure in FIGURES:
        np.testing.assert_array_equal(figure(matrix), figure(np.array(plain), num_classes=classes), figure.__name__)


def test_the_last_row_is_known_to_be_void() -> None:
    """The figure that was wrong: a matrix of C classes and void is no matrix of C + 1 classes."""
    matrix = ConfusionMatrix(COUNTS, 3, "count")
    assert round(seg.mean_iou(matrix), 4) == 0.6555
    assert round(seg.mean_iou(COUNTS), 4) == 0.4916  # a plain array: four classes
    assert seg.mean_iou(matrix) == seg.mean_iou(COUNTS, num_classes=3)
    assert seg.iou(matrix).shape == (3,)
    assert seg.mean_iou(matrix, num_classes=4) == seg.mean_iou(COUNTS)  # what the caller says comes first


@pytest.mark.parametrize("void", VOIDS)
def test_every_figure_of_every_convention(void: str) -> None:
    matrix = counted(void)
    assert (matrix.num_classes, matrix.void) == (3, void)
    assert matrix.shape == {"miss": (3, 4), "drop": (3, 3), "count": (4, 4)}[void]
    same_figures(matrix, matrix)
    logits = np.eye(3)[np.where(PREDICTION == 255, 0, PREDICTION)].transpose(0, 3, 1, 2).copy()
    other = seg.confusion_matrix_from_logits(TARGET, logits, ignore_index=255, void=void)
    assert (type(other), other.num_classes, other.void) == (ConfusionMatrix, 3, void)
    same_figures(other, other)
    none = seg.confusion_matrix(TARGET % 3, PREDICTION % 3, 3, void=void)
    assert (none.shape, none.num_classes, none.void) == ((3, 3), 3, None)
    same_figures(none, none)


@pytest.mark.parametrize("void", VOIDS)
def test_sums(void: str) -> None:
    whole, parts = counted(void), [counted(void, slice(i, i + 1)) for i in range(4)]
    total = np.zeros_like(parts[0])
    grown = parts[0].copy()
    for part in parts:
        total += part
    for part in parts[1:]:
        grown += part
    a, b, c, d = parts
    sums = [sum(parts), sum(parts[1:], a), functools.reduce(np.add, parts), total, grown, a + b + (c + d),
            np.zeros(whole.shape, int) + whole, whole - a + a]  # fmt: skip
    for one in (*sums, whole * 2, whole / 2, 2 * whole):
        assert (type(one), one.num_classes, one.void) == (ConfusionMatrix, 3, void)
        same_figures(one, one)
    for one in sums:
        np.testing.assert_array_equal(one, whole)
        same_figures(one, whole)


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize(
    "kept",
    [
        lambda m: m.copy(), copy.copy, copy.deepcopy, np.copy, lambda m: m.astype(np.float64), lambda m: m.view(),
        lambda m: pickle.loads(pickle.dumps(m)), lambda m: pickle.loads(pickle.dumps(m, protocol=2)),
        lambda m: ConfusionMatrix(np.asarray(m), m.num_classes, m.void),
    ],
)  # fmt: skip
def test_copies(kept: Callable[[Any], Any], void: str) -> None:
    matrix = counted(void)
    other = kept(matrix)
    assert (type(other), other.num_classes, other.void) == (ConfusionMatrix, 3, void)
    same_figures(other, matrix)


def test_what_is_made_of_it_is_plain() -> None:
    """Slices and reductions are arrays of numbers; a changed shape takes the convention away."""
    matrix = counted("count")
    for plain in (matrix[:3], matrix[::-1], matrix[:3, :3], matrix[0], matrix[matrix > 3], matrix == matrix,
                  matrix.sum(0), np.sum(matrix, axis=1), np.array(matrix), np.asarray(matrix), matrix @ matrix,
                  np.sum([matrix, matrix], axis=0), np.add.reduce([matrix, matrix])):  # fmt: skip
        assert type(plain) is np.ndarray
    assert type(matrix.sum()) is np.int64
    assert matrix[1, 2] == np.asarray(matrix)[1, 2]
    for lost in (matrix.reshape(2, 8), matrix.ravel(), counted("miss").T, matrix.diagonal()):
        assert getattr(lost, "num_classes", None) is None
    assert seg.mean_iou(counted("miss").T) == seg.mean_iou(np.array(counted("miss").T))
    assert (matrix.T.num_classes, matrix.T.void) == (3, "count")
    assert "ConfusionMatrix([[" in repr(matrix)


def test_unlike_matrices_are_not_added() -> None:
    three, four = ConfusionMatrix(COUNTS, 3, "count"), ConfusionMatrix(COUNTS, 4)
    before = three.copy()
    text = "ConfusionMatrix: matrices must have the same convention, got num_classes="
    for add in (lambda: three + four, lambda: four + three, lambda: three.__iadd__(four), lambda: sum([three, four])):
        with pytest.raises(ValueError, match=text):
            add()
    np.testing.assert_array_equal(three, before)
    one = ConfusionMatrix(np.ones((1, 2), int), 1, "miss"), ConfusionMatrix(np.ones((1, 1), int), 1, "drop")
    with pytest.raises(ValueError, match="void='miss' and num_classes=1, void='drop'"):  # NumPy would broadcast
        one[0] + one[1]
    drop = ConfusionMatrix(np.ones((2, 2), int), 2) + ConfusionMatrix(np.ones((2, 2), int), 2, "drop")
    assert drop.void == "drop"


def test_a_plain_sum_is_warned_of() -> None:
    total = np.zeros((4, 4), np.int64)
    with pytest.warns(RuntimeWarning, match="plain array, which loses the convention; pass num_classes=3"):
        total += counted("count")
    assert type(total) is np.ndarray
    for void in ("miss", "drop"):  # whose shape says all
        matrix = counted(void)
        total = np.zeros(matrix.shape, np.int64)
        total += matrix
        same_figures(total, matrix)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((COUNTS, 3), ValueError, "counts must have shape (3, 3) for void None, got (4, 4)"),
        ((COUNTS, 3, "miss"), ValueError, "counts must have shape (3, 4) for void 'miss', got (4, 4)"),
        ((COUNTS, 4, "count"), ValueError, "counts must have shape (5, 5) for void 'count', got (4, 4)"),
        ((COUNTS, 3, "all"), ValueError, "void must be one of 'miss', 'drop', 'count', got 'all'"),
        ((COUNTS, 0), ValueError, "num_classes must be in [1, 65535], got 0"),
        ((COUNTS, 3.0), TypeError, "num_classes must be an integer, got 3.0"),
    ],
)
def test_wrong_arguments(arguments: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(f"ConfusionMatrix: {text}")):
        ConfusionMatrix(*arguments)


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize("how", ["updated", "merged", "added", "loaded", "unpickled"])
def test_metrics(how: str, void: str, tmp_path: Path) -> None:
    """The object's matrix, also of merged states and of states from a file, has the object's figures."""
    parts = [
        SegmentationMetrics(3, ignore_index=255, void=void).update(PREDICTION[i], TARGET[i]) for i in range(4)
    ]  # fmt: skip
    metrics = SegmentationMetrics(3, ignore_index=255, void=void).update(PREDICTION, TARGET)
    if how == "merged":
        metrics = parts[0].merge_state(parts[1:])
    elif how == "added":
        metrics = sum(parts)  # type: ignore[assignment]
    elif how == "loaded":
        (tmp_path / "state").write_bytes(metrics.to_bytes())
        metrics = SegmentationMetrics.from_bytes((tmp_path / "state").read_bytes())
    elif how == "unpickled":
        metrics = pickle.loads(pickle.dumps(metrics))
    figures = metrics.compute()
    for matrix in (metrics.matrix(), figures["confusion_matrix"], sum(part.matrix() for part in parts[:1])):
        assert (type(matrix), matrix.num_classes, matrix.void) == (ConfusionMatrix, 3, void)
    for figure in FIGURES:
        np.testing.assert_array_equal(figure(metrics.matrix()), figures[figure.__name__])
    for other in VOIDS:
        same_figures(metrics.matrix(other), counted(other))
    metrics.matrix()[:] = 0  # a copy
    same_figures(metrics.matrix(), counted(void))


@pytest.mark.parametrize("void", VOIDS)
def test_tensors_carry_it_as_attributes(void: str) -> None:
    torch = need("torch")
    target, prediction = torch.from_numpy(TARGET), torch.from_numpy(PREDICTION)
    logits = torch.randn(4, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    matrix = seg.confusion_matrix(target, prediction, 3, ignore_index=255, void=void)
    of_logits = seg.confusion_matrix_from_logits(target, logits.requires_grad_(), ignore_index=255, void=void)
    for one in (matrix, of_logits):
        assert type(one) is torch.Tensor
        assert (one.num_classes, one.void) == (3, void)
        same_figures(one, one.numpy())
    total = matrix + matrix  # which torch makes: it does not know
    if void == "miss":  # but its shape says it
        same_figures(total, total.numpy())
        return
    side = len(total)
    for figure in FIGURES:
        with pytest.raises(
            ValueError, match=f"{figure.__name__}: num_classes must be passed for a square Tensor .* {side}, or"
        ):
            figure(total)
        np.testing.assert_array_equal(figure(total, num_classes=3), figure(matrix))


def test_torch_dispatcher_and_compiler() -> None:
    """Modes of dispatch keep the attributes; what a compiler makes has none, and asks for the number of classes."""
    torch = need("torch")
    target, prediction = torch.from_numpy(TARGET).long(), torch.from_numpy(PREDICTION).long()

    def count(t: Any, p: Any) -> Any:
        return seg.confusion_matrix(t, p, 3, ignore_index=255, void="count")

    want = count(target, prediction)
    with torch.autocast("cpu"):
        dispatched = count(target, prediction)
    assert (dispatched.num_classes, seg.mean_iou(dispatched)) == (3, seg.mean_iou(want))
    compiled = torch.compile(count, fullgraph=True, backend="eager")(target, prediction)
    assert torch.equal(compiled, want)
    assert seg.mean_iou(compiled, num_classes=3) == seg.mean_iou(want)
    with pytest.raises(ValueError, match="num_classes must be passed for a square Tensor"):
        seg.mean_iou(compiled)


def test_plots_know_it_too() -> None:
    need("matplotlib")
    from fastdet import plots

    _, ax = plots.draw_confusion(counted("count"), names=["a", "b", "c"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c", "void"]
