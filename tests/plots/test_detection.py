"""fastdet.plots: scores of a detector, what is drawn, into which axes, and errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import plots
from fastdet.detection import PRCurve, precision_recall_curve
from fastdet.plots.axes import new_axes

need("matplotlib")

CURVE = precision_recall_curve(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 1, 0]), 4)


def lines(ax: Any) -> list[Any]:
    return [line.get_xydata().tolist() for line in ax.lines]


def test_precision_recall() -> None:
    fig, ax = plots.draw_precision_recall(CURVE)
    raw, interpolated = lines(ax)
    assert raw == [[0.25, 1], [0.25, 0.5], [0.5, 2 / 3], [0.75, 0.75], [0.75, 0.6]]
    assert interpolated == [[0, 1], [0.25, 1], [0.25, 0.75], [0.75, 0.75], [0.75, 0.6], [0.75, 0.6], [0.75, 0]]
    area = sum((b[0] - a[0]) * a[1] for a, b in itertools.pairwise(interpolated))
    assert area == pytest.approx(np.sum(np.diff(CURVE.recall, prepend=0) * CURVE.interpolated))
    assert ax.get_legend() is None
    assert fig is ax.figure
    _, ax = plots.draw_precision_recall(CURVE, raw=False)
    assert lines(ax) == [interpolated]


def test_several_curves_have_colours_and_names() -> None:
    fig, axes = new_axes(2)
    figure, ax = plots.draw_precision_recall([CURVE] * 3, names=["a", "$b", "c"], title="$t", ax=axes[1])
    assert figure is fig
    assert ax is axes[1]
    assert not axes[0].lines
    assert len({line.get_color() for line in ax.lines}) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", r"\$b", "c"]
    fig.canvas.draw()  # raises if "$" starts a formula
    with pytest.raises(ValueError, match="draw_precision_recall: names must be 3, one per curve, got 1"):
        plots.draw_precision_recall([CURVE] * 3, names=["a"])


def test_curves_without_points() -> None:
    none = np.zeros(0)
    _, ax = plots.draw_precision_recall([PRCurve(none, none, none, none), CURVE], names=["none", "some"])
    assert [len(line) for line in lines(ax)] == [0, 5, 7]
    _, ax = plots.draw_precision_recall([])
    assert not ax.lines


def test_tensors_are_drawn() -> None:
    torch = need("torch")
    _, ax = plots.draw_precision_recall(PRCurve(*map(torch.from_numpy, CURVE)))
    assert lines(ax)[0] == list(map(list, zip(CURVE.recall, CURVE.precision, strict=True)))


def test_scores_by_area() -> None:
    scores = {"AP": [0.5, np.nan, 0.75], "AP50": np.array([0.625, -1, 1])}
    fig, ax = plots.draw_area_scores(scores, names=["all", "small", "$large"], counts=[9, 0, 1234])
    assert [round(bar.get_height(), 9) for bar in ax.patches] == [0.5, 0.75, 0.625, 1]
    assert [text.get_text() for text in ax.texts] == [".50", ".75", ".62", "1.00", "absent"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["all\n9", "small\n0", "\\$large\n1,234"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["AP", "AP50"]
    colours = [tuple(patch.get_facecolor()) for patch in ax.get_legend().get_patches()]
    assert colours[0] == tuple(ax.patches[0].get_facecolor()) != colours[1]
    fig.canvas.draw()
    axes = new_axes(2)[1]
    assert plots.draw_area_scores(scores, names=["a", "b", "c"], ax=axes[0])[1] is axes[0]


@pytest.mark.parametrize(
    ("scores", "options", "text"),
    [
        ({"AP": [1.0]}, {"names": ["a", "b"]}, r"scores\['AP'\] must have shape \(2,\), one per name, got \(1,\)"),
        ({"AP": [1.0]}, {"names": ["a"], "counts": [1, 2]}, "counts must be 1, one per name, got 2"),
    ],
)
def test_wrong_scores_by_area(scores: Any, options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"draw_area_scores: {text}"):
        plots.draw_area_scores(scores, **options)


def test_confusion_of_detections() -> None:
    matrix = np.array([[3, 1, 2], [0, 0, 0], [1, 0, 0]])
    _, ax = plots.draw_confusion(matrix, names=["a", "b"], num_classes=2, beyond="background")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "background"]
    assert [text.get_text() for text in ax.texts] == [".50", ".17", ".33", "1"]


def test_line_of_the_mean() -> None:
    _, ax = plots.draw_class_scores(np.array([0.2, 0.4]), mean=0.7, title="AP")
    assert ax.get_title("left") == "AP of each class, mean 0.7000"
    assert ax.lines[-1].get_xdata() == [0.7, 0.7]
    _, ax = plots.draw_class_scores(np.array([0.2, 0.4]))
    assert ax.lines[-1].get_xdata() == pytest.approx([0.3, 0.3])
