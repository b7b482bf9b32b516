"""Plots of a detector's scores: precision over recall, and scores by size of the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.plots.axes import PALETTE, new_axes, plain, plain_words, ramp

if TYPE_CHECKING:
    from fastdet.detection.curves import PRCurve


def draw_precision_recall(
    curves: PRCurve | Sequence[PRCurve],
    *,
    names: Sequence[str] | None = None,
    raw: bool = True,
    title: str = "",
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw precision over recall: interpolated as a strong line of steps, raw as a fine line of the same colour.

    Parameters
    ----------
    curves : one, or several, from `precision_recall_curve` or `DetectionMetrics.precision_recall_curves`
    names : of the curves, for the legend; None for no legend
    raw : draw the raw precision too
    title : text above the axes
    ax : matplotlib axes to draw into; None for a new figure

    Returns
    -------
    fig, ax : several curves are coloured from blue over green to red; each ends at its maximum recall
    """
    op = "draw_precision_recall"
    all_curves = [curves] if hasattr(curves, "interpolated") else list(curves)
    if names is not None and len(names) != len(all_curves):
        raise ValueError(f"{op}: names must be {len(all_curves)}, one per curve, got {len(names)}")
    if ax is None:
        _, ax = new_axes(width=6.4, height=5.0)
    for i, (curve, colour) in enumerate(zip(all_curves, ramp(len(all_curves)), strict=True)):
        recall, precision, interpolated = (to_numpy(op, "curves", x) for x in curve[:3])
        if raw and len(recall):
            ax.plot(recall, precision, color=colour, linewidth=0.8, alpha=0.5, zorder=2)
        x, y = steps(recall, interpolated)
        ax.plot(x, y, color=colour, linewidth=1.7, zorder=3, label=None if names is None else plain_words(names[i]))
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
    ax.set_title(plain_words(title), fontsize=12, loc="left")
    plain(ax, "both")
    if names is not None and all_curves:
        place = {"loc": "lower left"} if len(all_curves) <= 3 else {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
        ax.legend(fontsize=9, frameon=False, handlelength=1.4, **place)
    return ax.figure, ax


def steps(recall: Array, interpolated: Array) -> tuple[Array, Array]:
    """Corners of interpolated precision: between two points it is that of the next one, and 0 after the last."""
    if not len(recall):
        return np.zeros(0), np.zeros(0)
    last = np.flatnonzero(np.append(interpolated[1:] != interpolated[:-1], True))  # the last point of each level
    ends, levels = recall[last], interpolated[last]
    x = np.stack([np.append(0.0, ends[:-1]), ends], axis=1).reshape(-1)
    return np.append(x, ends[-1]), np.append(np.repeat(levels, 2), 0.0)


def draw_area_scores(
    scores: Mapping[str, Any],
    *,
    names: Sequence[str],
    counts: Sequence[int] | None = None,
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw scores by size of the objects: a group of bars for each area range.

    Parameters
    ----------
    scores : dictionary of names and scores (A,) float in [0, 1]; NaN or -1: there is no object of that size
    names : (A,) names of the area ranges
    counts : (A,) numbers of objects of each range, to be shown below the names; None to leave them out
    ax : matplotlib axes to draw into; None for a new figure

    Returns
    -------
    fig, ax
    """
    op = "draw_area_scores"
    values = {name: to_numpy(op, "scores", x).astype(np.float64) for name, x in scores.items()}
    for name, x in values.items():
        if x.shape != (len(names),):
            raise ValueError(f"{op}: scores[{name!r}] must have shape ({len(names)},), one per name, got {x.shape}")
    if counts is not None and len(counts) != len(names):
        raise ValueError(f"{op}: counts must be {len(names)}, one per name, got {len(counts)}")
    if ax is None:
        _, ax = new_axes(width=max(5.0, 1.6 * len(names) + 0.6), height=4.2)
    from matplotlib.patches import Patch

    width, handles = 0.8 / max(len(values), 1), []
    for i, (name, x) in enumerate(values.items()):
        at = np.arange(len(x)) + (i - (len(values) - 1) / 2) * width
        present = x >= 0
        colour = PALETTE[(1, 2, 4, 3)[i % 4]]
        ax.bar(at[present], x[present], 0.92 * width, color=colour, alpha=0.88)
        handles.append(Patch(color=colour, alpha=0.88, label=plain_words(name)))
        for place, value in zip(at[present], x[present], strict=True):
            ax.text(place, value + 0.012, f"{value:.2f}".lstrip("0"), ha="center", fontsize=8.5, color="#24364b")
        for place in at[~present] if i == len(values) // 2 else ():
            ax.text(place, 0.012, "absent", ha="center", fontsize=9, color="#8a9099", style="italic")
    words = [plain_words(name) for name in names]
    if counts is not None:
        words = [f"{word}\n{count:,}" for word, count in zip(words, counts, strict=True)]
    ax.set_xticks(np.arange(len(names)), words)
    top = max((float(np.fmax.reduce(x, initial=0)) for x in values.values()), default=0)
    ax.set(ylim=(0, min(1.1, max(0.3, 1.15 * top))), xlim=(-0.6, len(names) - 0.4))
    ax.set_title("by size of the objects" + (", and how many there are" if counts is not None else ""), fontsize=12,
                 loc="left")  # fmt: skip
    ax.tick_params(axis="x", length=0)
    plain(ax, "y")
    if values:
        style = {"fontsize": 9, "frameon": False, "handlelength": 1.0, "handleheight": 1.0}
        ax.legend(handles=handles, ncols=len(values), loc="upper right", **style)
    return ax.figure, ax
