"""fastdet.plots: boxes drawn on an image."""

from __future__ import annotations

import numpy as np
import pytest

from fastdet import plots
from fastdet.plots.axes import new_axes


def test_plots_draw_into_the_callers_axes() -> None:
    figure, axes = new_axes(2)
    back, ax = plots.draw_boxes([[0, 0, 4, 4], [1, 1, 6, 6]], np.array([0, 12]), [0.1, 0.9], names=["one"], ax=axes[1])
    assert back is figure
    assert ax is axes[1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one (1)"]
    figure, ax = plots.draw_boxes(np.zeros((0, 4)), image=np.zeros((5, 5, 3)))
    assert ax.figure is figure
    with pytest.raises(ValueError, match=r"draw_boxes: labels must have shape \(1,\), one per box, got \(2,\)"):
        plots.draw_boxes([[0, 0, 1, 1]], [1, 2])
