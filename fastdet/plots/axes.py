"""What all plots share: colours, figures without pyplot, plain axes."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from fastdet._core.check import describe
from fastdet._core.plain_text import printable

# Distinct also for readers who cannot tell red from green; the colours repeat after ten classes.
PALETTE = (
    "#d1495b", "#2176ae", "#2a9d6f", "#7b4fb5", "#e08e1b",
    "#00a6b4", "#c2569f", "#6b7f1e", "#8c5a3c", "#5a6472",
)  # fmt: skip
_MAX_WORDS = 60  # characters of a name
_RAMP = ("#2176ae", "#00a6b4", "#2a9d6f", "#e08e1b", "#d1495b")


def ramp(count: int) -> list[str]:
    """``count`` colours from blue over green to red, visible on white and on black."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _RAMP])
    positions = np.linspace(0, len(anchors) - 1, count) if count > 1 else np.zeros(count)
    rgb = np.stack([np.interp(positions, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    return ["#" + "".join(f"{round(x):02x}" for x in row) for row in rgb.tolist()]


def plain_words(text: object) -> str:
    """A name as matplotlib draws it: in one line, cut where it is long, and a dollar sign starts no formula."""
    words = printable(text if isinstance(text, str) else describe(text))
    words = words if len(words) <= _MAX_WORDS else f"{words[:_MAX_WORDS]}..."
    return words.replace("$", r"\$")


def png(figure: Any) -> bytes:
    """The picture of a figure. Letters that the font lacks become boxes, without a warning; long names have no room."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing|constrained_layout not applied")
        figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def new_axes(columns: int = 1, width: float = 7.0, height: float = 6.0) -> tuple[Any, Any]:
    """A figure without pyplot and its axes: one, or an array of several side by side. Sizes are in inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "fastdet[cli]"') from None
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def plain(ax: Any, grid: str) -> None:
    """Axes with a light grid ("x", "y" or "both") behind the data, without the other lines of the frame."""
    for side in ("top", "right", *(["left"] if grid == "x" else ["bottom"] if grid == "y" else [])):
        ax.spines[side].set_visible(False)
    ax.grid(axis=grid, color="#e4e6ea", linewidth=0.8)
    ax.set_axisbelow(True)
