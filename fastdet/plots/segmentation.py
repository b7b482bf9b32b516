"""Plots of a segmentation's scores: the confusion matrix, and a bar for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.plots.axes import PALETTE, new_axes, plain, plain_words


def draw_confusion(
    matrix: Any,
    *,
    names: Sequence[str] | None = None,
    num_classes: int | None = None,
    beyond: str = "void",
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw a confusion matrix as a heat map: the share of each true class that was predicted as each class.

    Parameters
    ----------
    matrix : (R, K) integer, rows are the truth
    names : the name of each class; None: its number
    num_classes : number of classes, which come first in rows and columns; None: what a
        `fastdet.segmentation.ConfusionMatrix` knows, for other matrices the minimum of R and K
    beyond : name of rows and columns beyond the classes
    ax : matplotlib axes to draw into; None for a new figure

    Returns
    -------
    fig, ax : each row sums to 1; the row of a class that the truth lacks is hatched
    """
    op = "draw_confusion"
    counts = to_numpy(op, "matrix", matrix)
    if counts.ndim != 2 or counts.dtype.kind not in "iuf":
        raise ValueError(f"{op}: matrix must have shape (R, K) and hold counts, got {counts.shape} {counts.dtype}")
    rows, columns = counts.shape
    num_classes = getattr(matrix, "num_classes", None) if num_classes is None else num_classes
    classes = min(rows, columns) if num_classes is None else check.count(op, "num_classes", num_classes)
    if classes > min(rows, columns):
        got = check.describe(num_classes)
        raise ValueError(f"{op}: num_classes must be at most {min(rows, columns)}, the rows and columns, got {got}")
    words = _class_words(op, names, classes) + [beyond] * (max(rows, columns) - classes)
    side_count = max(rows, columns)
    if ax is None:
        side = min(max(5.5, 2.6 + 0.36 * side_count), 16)
        _, ax = new_axes(width=side + 0.8, height=side)
    from matplotlib.patches import Rectangle

    totals = counts.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = counts / totals
    shown = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    for row in np.flatnonzero(totals[:, 0] == 0):
        style: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#c8ccd2", "hatch": "////", "linewidth": 0}
        box = Rectangle((-0.5, row - 0.5), columns, 1, **style)
        ax.add_patch(box)
    if side_count <= 25:
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            text = "1" if share > 0.995 else f"{share:.2f}"[1:]
            colour = "white" if share > 0.55 else "#24364b"
            size = 9 if side_count <= 14 else 7
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    for ticks, count, angle in ((ax.set_xticks, columns, 60), (ax.set_yticks, rows, 0)):
        step = -(-count // 100)
        where = np.arange(0, count, step)
        place = {"ha": "right", "rotation_mode": "anchor"} if angle else {}
        ticks(where, [words[i] for i in where], rotation=angle, fontsize=9 if count <= 25 else 6.5, **place)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title("share of each true class", fontsize=12, loc="left")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_color("#c8ccd2")
    bar = ax.figure.colorbar(shown, ax=ax, fraction=0.046, pad=0.02, aspect=min(max(20, 0.5 * side_count), 45))
    bar.outline.set_visible(False)
    return ax.figure, ax


def draw_class_scores(
    scores: Any,
    *,
    names: Sequence[str] | None = None,
    title: str = "IoU",
    intervals: Any = None,
    mean: float | None = None,
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw a bar for each class, and the mean as a line.

    Parameters
    ----------
    scores : (C,) float in [0, 1]; NaN: the class is absent
    names : the name of each class; None: its number
    title : name of the score
    intervals : (2, C) float, lower and upper end of each bar's whisker; None: no whiskers
    mean : position of the line; None: the mean of the scores
    ax : matplotlib axes to draw into; None for a new figure

    Returns
    -------
    fig, ax
    """
    op = "draw_class_scores"
    values = to_numpy(op, "scores", scores).astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"{op}: scores must have shape (C,), got {values.shape}")
    count = len(values)
    words, title = _class_words(op, names, count), plain_words(title)
    ends = None if intervals is None else _intervals(op, intervals, count)
    mean = None if mean is None else check.number(op, "mean", mean)
    if ax is None:
        _, ax = new_axes(width=7.5, height=min(max(2.5, 1.2 + 0.3 * count), 40))
    present = ~np.isnan(values)
    at = np.arange(count)
    ax.barh(at[present], values[present], height=0.72, color=PALETTE[1], alpha=0.85)
    right = values.copy()
    if ends is not None and present.any():
        spread = np.nan_to_num(np.abs(ends - values)[:, present])
        ax.errorbar(
            values[present], at[present], xerr=spread, fmt="none", ecolor="#24364b", elinewidth=1.2, capsize=2.5
        )
        right = np.fmax(values, ends[1])
    size = 9 if count <= 120 else 6
    for i in range(count):
        if present[i]:
            behind = {
                "facecolor": "white",
                "edgecolor": "none",
                "alpha": 0.85,
                "pad": 0.6,
            }  # covers the line of the mean
            place = {"va": "center", "fontsize": size, "color": "#24364b", "zorder": 4, "bbox": behind}
            ax.text(right[i] + 0.01, i, f"{values[i]:.3f}", **place)
        else:
            ax.text(0.01, i, "absent", va="center", fontsize=size, color="#8a9099", style="italic")
    if present.any():
        mean = float(values[present].mean()) if mean is None else mean
        ax.axvline(mean, color=PALETTE[0], linewidth=1.4, linestyle=(0, (4, 3)), zorder=3)
        title = f"{title} of each class, mean {mean:.4f}"
    ax.set_yticks(at, words, fontsize=size)
    ax.set(xlim=(0, 1.1), ylim=(count - 0.4, -0.6), xticks=np.linspace(0, 1, 6))
    ax.set_title(title, fontsize=12, loc="left")
    ax.tick_params(axis="y", length=0)
    plain(ax, "x")
    return ax.figure, ax


def _intervals(op: str, intervals: Any, count: int) -> Array:
    ends = to_numpy(op, "intervals", intervals)
    if ends.shape != (2, count) or ends.dtype.kind not in "iuf":
        got = f"{ends.shape} {ends.dtype}"
        raise ValueError(f"{op}: intervals must have shape (2, {count}) and hold numbers, got {got}")
    return ends.astype(np.float64)


def _class_words(op: str, names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{op}: names must be {count}, one per class, got {len(names)}")
    return [plain_words(name) for name in names]
