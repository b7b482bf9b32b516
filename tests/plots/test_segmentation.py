"""fastdet.plots: figures of segmentation."""

from __future__ import annotations

import numpy as np
import pytest
from metric_maps import maps

from fastdet import plots
from fastdet.plots.axes import new_axes
from fastdet.segmentation import SegmentationMetrics


def test_plots() -> None:
    target, prediction = maps(10)
    metrics = SegmentationMetrics(5, ignore_index=255, class_names=["a$b", "b", "c", "d", "e"])
    metrics.update(prediction, target)
    figure, ax = metrics.plot()
    assert [t.get_text() for t in ax.get_xticklabels()] == [r"a\$b", "b", "c", "d", "e", "void"]
    assert [t.get_text() for t in ax.get_yticklabels()] == [r"a\$b", "b", "c", "d", "e"]
    shares = np.asarray(ax.images[0].get_array())
    assert shares.shape == (5, 6)
    np.testing.assert_allclose(shares[[0, 1, 2, 4]].sum(1), 1)
    assert len(ax.patches) == 1  # the absent class
    figure.canvas.draw()
    figure, ax = metrics.plot("iou", void="drop")
    assert "mean 0." in ax.get_title(loc="left")
    assert "absent" in [t.get_text() for t in ax.texts]
    figure.canvas.draw()
    axes = new_axes(2)[1]
    assert metrics.plot("dice", ax=axes[1])[1] is axes[1]
    assert metrics.plot("class_accuracy", ax=axes[0])[0] is axes[0].figure
    SegmentationMetrics(2).plot("iou")[0].canvas.draw()  # nothing counted yet
    SegmentationMetrics(2).plot()[0].canvas.draw()
    with pytest.raises(ValueError, match="kind must be one of 'confusion', 'iou', 'class_accuracy', 'dice', got 'x'"):
        metrics.plot("x")


def test_plots_of_arrays() -> None:
    many = plots.draw_confusion(np.eye(150, dtype=np.int64))[1]
    assert len(many.get_xticks()) <= 100
    coco = plots.draw_confusion(np.eye(81, dtype=np.int64))[1]
    assert len(coco.get_xticks()) == 81  # each of COCO's classes, and the background
    assert len(plots.draw_class_scores(np.linspace(0, 1, 150))[1].get_yticks()) == 150
    with pytest.raises(ValueError, match="draw_confusion: names must be 3, one per class, got 2"):
        plots.draw_confusion(np.eye(3), names=["a", "b"])
    with pytest.raises(ValueError, match=r"draw_confusion: matrix must have shape \(R, K\)"):
        plots.draw_confusion(np.zeros(3))
    with pytest.raises(ValueError, match=r"draw_class_scores: intervals must have shape \(2, 3\) .*, got \(3,\)"):
        plots.draw_class_scores(np.zeros(3), intervals=np.zeros(3))
