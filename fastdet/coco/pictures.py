"""`COCO.showAnns`: annotations as pycocotools draws them, with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastdet.coco import mask

_CROWD = np.array([2.0, 166.0, 101.0]) / 255  # the colour of crowds


def show(coco: Any, anns: Sequence[Mapping[str, Any]], draw_bbox: bool) -> int | None:
    """Draw annotations into pyplot's current axes."""
    if len(anns) == 0:
        return 0
    first = anns[0]
    if "segmentation" in first or "keypoints" in first:
        _draw(coco, anns, draw_bbox)
    elif "caption" in first:
        for ann in anns:
            print(ann["caption"])
    else:
        raise ValueError("COCO.showAnns: anns must have segmentation, keypoints or caption, got none of them")
    return None


def _draw(coco: Any, anns: Sequence[Mapping[str, Any]], draw_bbox: bool) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Polygon

    ax = plt.gca()
    ax.set_autoscale_on(False)
    polygons, colors = [], []
    for ann in anns:
        color = (_random() * 0.6 + 0.4).tolist()
        shapes: list[Any] = []
        segmentation = ann.get("segmentation", [])
        if isinstance(segmentation, list | tuple):
            shapes += [np.array(corners, np.float64).reshape(-1, 2) for corners in segmentation]
        else:
            ax.imshow(_overlay(mask.decode(coco.annToRLE(ann)), bool(ann.get("iscrowd", 0))))
        if isinstance(ann.get("keypoints"), list | tuple):
            _draw_pose(ax, coco, ann, color)
        if draw_bbox:
            x, y, w, h = ann["bbox"]
            shapes.append(np.array([[x, y], [x, y + h], [x + w, y + h], [x + w, y]]))
        polygons += [Polygon(corners) for corners in shapes]
        colors += [color] * len(shapes)
    ax.add_collection(PatchCollection(polygons, facecolor=colors, linewidths=0, alpha=0.4))
    ax.add_collection(PatchCollection(polygons, facecolor="none", edgecolors=colors, linewidths=2))


def _random() -> Any:
    """Three numbers below 1, by the generator whose seed a script may set, as in pycocotools."""
    return np.random.random(3)  # noqa: NPY002


def _overlay(dense: Any, crowd: bool) -> Any:
    """(H, W, 4) an image of one colour that is half transparent in the mask, and wholly outside."""
    picture = np.empty((*dense.shape, 4))
    picture[..., :3] = _CROWD if crowd else _random()
    picture[..., 3] = dense * 0.5
    return picture


def _draw_pose(ax: Any, coco: Any, ann: Mapping[str, Any], color: Any) -> None:
    """Lines between the visible ends of the skeleton's bones, and a dot at each visible keypoint."""
    x, y, v = np.array(ann["keypoints"], np.float64).reshape(-1, 3).T
    for bone in np.array(coco.loadCats(ann["category_id"])[0]["skeleton"], np.int64).reshape(-1, 2) - 1:
        if (v[bone] > 0).all():
            ax.plot(x[bone], y[bone], linewidth=3, color=color)
    dot: dict[str, Any] = {"markersize": 8, "markerfacecolor": color, "markeredgewidth": 2}
    ax.plot(x[v > 0], y[v > 0], "o", markeredgecolor="k", **dot)
    ax.plot(x[v > 1], y[v > 1], "o", markeredgecolor=color, **dot)
