"""Plots of boxes: on an image, and several sets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.plots.axes import PALETTE, new_axes, plain_words


def draw_boxes(
    boxes: Any,
    labels: Any = None,
    scores: Any = None,
    *,
    image: Any = None,
    names: Sequence[str] | None = None,
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw boxes, coloured by class; the higher the score, the more opaque the box.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    labels : (N,) integer, the class of each box; None for one class
    scores : (N,) float; opacity rises with the score from 0 to 1; the best boxes are drawn last. None: all opaque
    image : (H, W), (H, W, 3) or (H, W, 4) array to draw behind the boxes, as for `Axes.imshow`
    names : the name of each class, for the legend; None for no legend
    ax : matplotlib axes to draw into; None for a new figure

    Returns
    -------
    fig, ax : matplotlib Figure and Axes; y points down, one unit is one pixel

    Raises
    ------
    TypeError    dtype
    ValueError   shape
    ImportError  matplotlib is not installed
    """
    op = "draw_boxes"
    corners = check.boxes(op, "boxes", to_numpy(op, "boxes", boxes))
    n = len(corners)
    classes = np.zeros(n, np.int64) if labels is None else check.keys(op, "labels", to_numpy(op, "labels", labels), n)
    score = np.ones(n) if scores is None else check.scores(op, to_numpy(op, "scores", scores), n)
    if ax is None:
        _, ax = new_axes()
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    if image is not None:
        ax.imshow(image)
    order = np.argsort(score, kind="stable")
    x1, y1, x2, y2 = corners[order].T
    outlines = np.stack([np.stack(c, -1) for c in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))], 1)
    colours = np.array([to_rgba(_colour(k)) for k in classes[order]]).reshape(n, 4)
    fills = colours.copy()
    opacity = np.clip(score[order], 0, 1)
    crowd = 1 / (1 + n / 100)  # many boxes get finer lines and paler fills, so that the image stays visible
    colours[:, 3], fills[:, 3] = 0.1 + 0.9 * opacity**0.7, 0.12 * crowd**2 * opacity
    widths = (0.5 + 2.2 * opacity) * np.sqrt(crowd)
    shapes: Any = outlines
    ax.add_collection(PolyCollection(shapes, edgecolors=colours, facecolors=fills, linewidths=widths, zorder=5))
    ax.set_aspect("equal")
    if image is None and not ax.yaxis_inverted():
        ax.autoscale_view()
        ax.invert_yaxis()
    if names is not None:
        legend(ax, names, classes)
    return ax.figure, ax


def legend(ax: Any, names: Sequence[str], labels: Array) -> None:
    """Add a legend of the classes that occur, each with its number of boxes."""
    from matplotlib.patches import Patch

    present, counts = np.unique(labels, return_counts=True)
    known = [(k, c) for k, c in zip(present.tolist(), counts.tolist(), strict=True) if 0 <= k < len(names)]
    handles = [Patch(color=_colour(k), label=f"{plain_words(names[k])} ({c})") for k, c in known]
    if handles:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01), "ncols": min(len(handles), 5)}
        ax.legend(handles=handles, fontsize=10, frameon=False, handlelength=1.0, handleheight=1.0, **place)


def compare(
    panels: Sequence[tuple[str, Array, Array, Array]],
    *,
    names: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    backdrop: Any = None,
    missed: Sequence[Array | None] | None = None,
    note: str = "",
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw the same scene with several sets of boxes, side by side.

    Parameters
    ----------
    panels : for each panel (title, boxes (N, 4), labels (N,), scores (N,))
    names : the name of each class, for the legends; None for no legends
    size : (height, width) of the scene, pixels; None: the extent of the boxes
    backdrop : function ``f(ax)`` that draws the scene
    missed : for each panel (M, 4) boxes to mark as missed, with dashed lines; or None
    note : small text below the panels
    ax : one matplotlib axes for each panel; None for a new figure

    Returns
    -------
    fig, ax : the figure and the array of axes
    """
    height = 4.05 if size is None else 6.4 * size[0] / size[1]
    figure, axes = (
        new_axes(len(panels), 6.4, height + 0.9 + 0.3 * note.count("\n"))
        if ax is None
        else (np.ravel(ax)[0].figure, ax)
    )
    for i, (panel, (title, boxes, labels, scores)) in enumerate(zip(np.ravel(axes), panels, strict=True)):
        if size is not None:
            panel.set(xlim=(0, size[1]), ylim=(size[0], 0))
        if backdrop is not None:
            backdrop(panel)
        draw_boxes(boxes, labels, scores, names=names, ax=panel)
        absent = None if missed is None else missed[i]
        if absent is not None:
            _mark(panel, absent)
        panel.set_title(plain_words(title), fontsize=13.5, loc="left", pad=8)
        panel.set(xticks=[], yticks=[])
        for spine in panel.spines.values():
            spine.set_color("#c8ccd2")
    if note:
        figure.get_layout_engine().set(h_pad=0.1)
        figure.supxlabel(note, fontsize=9.5, color="#666c75")
    return figure, axes


def _mark(ax: Any, boxes: Array) -> None:
    from matplotlib.patches import Rectangle

    for x1, y1, x2, y2 in boxes:
        for colour, width in (("white", 3.0), ("#111111", 1.6)):
            dashes = "solid" if colour == "white" else (0, (3, 2))
            ax.add_patch(
                Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=width, linestyle=dashes, zorder=7)
            )


def _colour(label: Any) -> str:
    return PALETTE[int(label) % len(PALETTE)]
