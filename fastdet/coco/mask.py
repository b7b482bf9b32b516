"""`pycocotools.mask` by its own names: masks as COCO's dictionaries, dense ones as (H, W, N).

Counts, texts, areas and overlaps are equal to pycocotools'. What differs, on purpose:

- Masks of sizes that differ raise ValueError in `merge` and `iou` (there: an empty mask, -1).
- Counts that do not sum to height * width, damaged texts, polygons of fewer than three points and coordinates that are
  not finite raise ValueError; there they give other masks, or end the process.
- A run of length 0 within a mask has no part in its box. `merge` gives as few runs as possible.
- `encode` takes arrays in any memory order and bool, and refuses values other than 0 and 1. `area` takes any number of
  masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastdet import masks
from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.masks import RLE

__all__ = ["area", "decode", "encode", "frPyObjects", "iou", "merge", "toBbox"]
Rle = Mapping[str, Any]


def encode(bimask: Any) -> Any:
    """Encode a dense mask, or several.

    bimask : (H, W) or (H, W, N), 0 and 1. Returns a dictionary, or a list of N.
    """
    dense = to_numpy("mask.encode", "bimask", bimask)
    if dense.ndim not in (2, 3):
        raise ValueError(f"mask.encode: bimask must have shape (H, W) or (H, W, N), got {dense.shape}")
    found = masks.encode(dense if dense.ndim == 2 else dense.transpose(2, 0, 1)).to_coco()
    return found[0] if dense.ndim == 2 else found


def decode(rleObjs: Any) -> Array:
    """Decode a dictionary to (H, W), or a list of N to (H, W, N); uint8, columns are dense."""
    dense = masks.decode(_rle(rleObjs), columns=True)
    return dense[0] if isinstance(rleObjs, Mapping) else dense.transpose(1, 2, 0)


def area(rleObjs: Any) -> Any:
    """The area of a dictionary, uint32, or of a list of N, (N,) uint32."""
    found = masks.area(_rle(rleObjs)).astype(np.uint32)
    return found[0] if isinstance(rleObjs, Mapping) else found


def toBbox(rleObjs: Any) -> Array:
    """The box x y w h of a dictionary, (4,) float64, or of a list of N, (N, 4)."""
    boxes = masks.to_boxes(_rle(rleObjs))
    boxes[:, 2:] -= boxes[:, :2]
    return boxes[0] if isinstance(rleObjs, Mapping) else boxes


def merge(rleObjs: Any, intersect: Any = 0) -> dict[str, Any]:
    """The union of a list of masks, or their intersection."""
    return masks.merge(_rle(rleObjs), intersect=bool(intersect)).to_coco()[0]


def iou(dt: Any, gt: Any, pyiscrowd: Any) -> Any:
    """The overlap of N detections with M true masks or boxes x y w h, (N, M) float64; [] where one has none.

    pyiscrowd : M flags; the overlap with a crowd is the intersection over the area of the detection.
    """
    crowd = np.asarray(pyiscrowd).astype(np.bool_).reshape(-1)
    if len(crowd) != len(gt):
        raise ValueError(f"mask.iou: pyiscrowd must have {len(gt)} flags, one for each of gt, got {len(crowd)}")
    if not len(dt) or not len(gt):
        return []
    kinds = [isinstance(x, (list, tuple)) and isinstance(x[0], Mapping) for x in (dt, gt)]
    if kinds[0] != kinds[1]:
        raise TypeError("mask.iou: dt and gt must both be masks, or both be boxes")
    if kinds[0]:
        return masks.mask_iou(_rle(dt), _rle(gt), crowd)
    return _box_iou(_boxes("dt", dt), _boxes("gt", gt), crowd)


def frPyObjects(pyobj: Any, h: int, w: int) -> Any:
    """Masks of polygons (flat lists of six coordinates or more), boxes x y w h or uncompressed dictionaries.

    A list of them gives a list of dictionaries, a single one gives a dictionary; an array (N, 4) is N boxes.
    """
    op = "mask.frPyObjects"
    if isinstance(pyobj, Mapping):
        return _packed([pyobj])[0]
    if isinstance(pyobj, np.ndarray) and pyobj.ndim == 2 and pyobj.shape[1] == 4:
        return _of_polygons(_corners(pyobj), h, w)
    if isinstance(pyobj, (list, tuple, np.ndarray)) and len(pyobj):
        first = pyobj[0]
        if isinstance(first, Mapping):
            return _packed(pyobj)
        if isinstance(first, (list, tuple, np.ndarray)):
            if len(first) == 4:
                return _of_polygons(_corners(_boxes("pyobj", pyobj)), h, w)
            return _of_polygons(pyobj, h, w)
        if len(pyobj) == 4:
            return _of_polygons(_corners(_boxes("pyobj", [pyobj])), h, w)[0]
        return _of_polygons([pyobj], h, w)[0]
    if isinstance(pyobj, (list, tuple)):
        return []
    raise TypeError(f"{op}: pyobj must be polygons, boxes or uncompressed masks, got {check.describe(pyobj)}")


def _rle(x: Any) -> RLE:
    if isinstance(x, RLE):
        return x
    return RLE.from_coco(x)


def _packed(records: Any) -> list[dict[str, Any]]:
    return RLE.from_coco(records).to_coco()


def _of_polygons(polygons: Any, h: int, w: int) -> list[dict[str, Any]]:
    return masks.from_polygons([[polygon] for polygon in polygons], (h, w)).to_coco()


def _boxes(name: str, x: Any) -> Array:
    try:
        boxes = np.asarray(x, np.float64)
    except (TypeError, ValueError, OverflowError):
        boxes = np.zeros(0)
    if boxes.ndim == 1 and len(boxes) == 4:
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise TypeError(f"mask: {name} must be masks or boxes x y w h, got {check.describe(x)}")
    return boxes


def _corners(boxes: Array) -> Array:
    x, y, w, h = boxes.astype(np.float64).T
    return np.stack([x, y, x, y + h, x + w, y + h, x + w, y], axis=1)


def _box_iou(dt: Array, gt: Array, crowd: Array) -> Array:
    """Overlaps of boxes x y w h, as pycocotools rounds them."""
    dx, dy, dw, dh = dt.T[:, :, None]
    gx, gy, gw, gh = gt.T[:, None, :]
    with np.errstate(all="ignore"):
        across = np.fmin(dw + dx, gw + gx) - np.fmax(dx, gx)
        down = np.fmin(dh + dy, gh + gy) - np.fmax(dy, gy)
        inter = np.where((across > 0) & (down > 0), across * down, 0)
        own = dw * dh
        whole = np.where(crowd[None, :], own, own + gw * gh - inter)
        return np.where(inter > 0, inter / whole, 0)
