"""The rules of mmcv's ops as plain loops, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

F = np.float32
Points = list[tuple[float, float]]


def overlap(a: Any, b: Any, offset: int, foreground: bool = False, limit: float = np.inf) -> Any:
    """IoU, or intersection over the area of ``a``, in float32; 0 / 0 is NaN."""
    with np.errstate(all="ignore"):
        w = min(max(F(0), min(a[2], b[2]) - max(a[0], b[0]) + F(offset)), F(limit))
        h = min(max(F(0), min(a[3], b[3]) - max(a[1], b[1]) + F(offset)), F(limit))
        areas = [(x[2] - x[0] + F(offset)) * (x[3] - x[1] + F(offset)) for x in (a, b)]
        return w * h / (areas[0] if foreground else areas[0] + areas[1] - w * h)


def by_score(scores: Any) -> list[int]:
    """NaN first, then falling; equal ones in their order."""
    return sorted(range(len(scores)), key=lambda i: (not np.isnan(scores[i]), -scores[i], i))


def groups(order: list[int], removes: Callable[[int, int], bool]) -> list[list[int]]:
    """Each kept one, with those that it removes."""
    found = []
    while order:
        best, order = order[0], order[1:]
        gone = [j for j in order if removes(best, j)]
        order = [j for j in order if j not in gone]
        found.append([best, *gone])
    return found


def nms(boxes: Any, scores: Any, threshold: float, offset: int) -> list[int]:
    return [g[0] for g in groups(by_score(scores), lambda i, j: overlap(boxes[i], boxes[j], offset) > F(threshold))]


def nms_match(dets: Any, threshold: float) -> list[list[int]]:
    return groups(by_score(dets[:, 4]), lambda i, j: overlap(dets[i], dets[j], 0) >= F(threshold))


def softnms(
    boxes: Any, scores: Any, threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> tuple[list[int], list[Any]]:
    """In place: the best is swapped to the front, a dropped one is overwritten by the last."""
    index, score = list(range(len(boxes))), [F(s) for s in scores]
    first = 0
    while first < len(index):
        best = first
        for k in range(first + 1, len(index)):
            if score[best] < score[k]:
                best = k
        for values in (index, score):
            values[first], values[best] = values[best], values[first]  # type: ignore[index]
        k = first + 1
        while k < len(index):
            iou, weight = overlap(boxes[index[first]], boxes[index[k]], offset), F(1)
            if method == 2:
                weight = F(math.exp(F(-(iou * iou) / F(sigma))))
            elif iou >= F(threshold):
                weight = F(1) - iou if method == 1 else F(0)
            score[k] *= weight
            if score[k] < F(min_score):
                index[k], score[k] = index[-1], score[-1]
                index.pop(), score.pop()
            else:
                k += 1
        first += 1
    return index, score


def taps(y: float, x: float, height: int, width: int) -> list[tuple[int, int, float]]:
    """Pixels and weights of a bilinear sample of RoIAlign."""
    if not (-1 <= y <= height and -1 <= x <= width):
        return []
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1, ly, lx = min(y0 + 1, height - 1), min(x0 + 1, width - 1), y - y0, x - x0
    return [
        (y0, x0, (1 - ly) * (1 - lx)),
        (y0, x1, (1 - ly) * lx),
        (y1, x0, ly * (1 - lx)),
        (y1, x1, ly * lx),
    ]


def samples(
    roi: Any, pooled: tuple[int, int], scale: float, ratio: int, aligned: bool, clockwise: bool | None
) -> Iterator[tuple[int, int, list[tuple[float, float]]]]:
    """Bins and their samples. ``clockwise`` None: the RoI is x1 y1 x2 y2, else cx cy w h radians."""
    shift, theta = (0.5 if aligned else 0.0), 0.0
    if clockwise is None:
        x1, y1, x2, y2 = (float(v) * scale - shift for v in roi)
        cx, cy, w, h = 0.0, 0.0, x2 - x1, y2 - y1
    else:
        cx, cy = (float(v) * scale - shift for v in roi[:2])
        w, h = (float(v) * scale for v in roi[2:4])
        theta = -float(roi[4]) if clockwise else float(roi[4])
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    if clockwise is not None:
        x1, y1 = -w / 2, -h / 2
    gh, gw = (ratio if ratio > 0 else math.ceil(side / n) for side, n in ((h, pooled[0]), (w, pooled[1])))
    for ph in range(pooled[0]):
        for pw in range(pooled[1]):
            found = []
            for iy in range(gh):
                for ix in range(gw):
                    y = y1 + (ph + (iy + 0.5) / gh) * h / pooled[0]
                    x = x1 + (pw + (ix + 0.5) / gw) * w / pooled[1]
                    c, s = math.cos(theta), math.sin(theta)
                    found.append((y * c - x * s + cy, y * s + x * c + cx))
            yield ph, pw, found


def roi_align(
    x: Any,
    rois: Any,
    pooled: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
    clockwise: bool | None,
    mean: bool,
) -> tuple[Any, Any]:
    """The result, and y and x of the maxima."""
    out = np.zeros((len(rois), x.shape[1], *pooled))
    at = np.zeros((2, *out.shape))
    for n, roi in enumerate(rois):
        for ph, pw, found in samples(roi[1:], pooled, scale, ratio, aligned, clockwise):
            values = np.zeros((len(found), x.shape[1]))
            for k, (sy, sx) in enumerate(found):
                for py, px, weight in taps(sy, sx, *x.shape[2:]):
                    values[k] += weight * x[int(roi[0]), :, py, px]
            if mean:
                out[n, :, ph, pw] = values.sum(0) / max(len(found), 1)
                continue
            if not found:  # mmcv's start
                out[n, :, ph, pw], at[:, n, :, ph, pw] = -10000, -1
                continue
            best = values.argmax(0)
            out[n, :, ph, pw] = values.max(0)
            at[:, n, :, ph, pw] = np.array(found).T[:, best]
    return out, at


def roi_pool(x: Any, rois: Any, pooled: tuple[int, int], scale: float) -> tuple[Any, Any]:
    """The maximum of each bin, and its place in the map; an inverted RoI and an empty bin have 0 and -1."""
    out, place = np.zeros((len(rois), x.shape[1], *pooled)), np.full((len(rois), x.shape[1], *pooled), -1)
    height, width = x.shape[2:]
    for n, roi in enumerate(rois):
        x1, y1, x2, y2 = roi[1] * scale, roi[2] * scale, (roi[3] + 1) * scale, (roi[4] + 1) * scale
        if x2 - x1 <= 0 or y2 - y1 <= 0:
            continue
        for ph in range(pooled[0]):
            for pw in range(pooled[1]):
                top, left = (math.floor(i * s / k + o) for i, s, k, o in _bin(ph, pw, x1, y1, x2, y2, pooled))
                end = [math.ceil((i + 1) * s / k + o) for i, s, k, o in _bin(ph, pw, x1, y1, x2, y2, pooled)]
                for c in range(x.shape[1]):
                    cells = [
                        (x[int(roi[0]), c, yy, xx], -(yy * width + xx))
                        for yy in range(max(top, 0), min(end[0], height))
                        for xx in range(max(left, 0), min(end[1], width))
                    ]
                    if cells:
                        value, minus = max(cells)
                        out[n, c, ph, pw], place[n, c, ph, pw] = value, -minus
    return out, place


def _bin(ph: int, pw: int, x1: float, y1: float, x2: float, y2: float, pooled: tuple[int, int]) -> Any:
    return (ph, y2 - y1, pooled[0], y1), (pw, x2 - x1, pooled[1], x1)


def corners(box: Any) -> Points:
    """Of cx cy w h radians, clockwise on the screen."""
    cx, cy, w, h, r = (float(v) for v in box)
    c, s = math.cos(r), math.sin(r)
    return [
        (cx + c * x - s * y, cy + s * x + c * y)
        for x, y in ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
    ]


def area(points: Points) -> float:
    return sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, points[1:] + points[:1], strict=True)) / 2


def shared(a: Points, b: Points) -> float:
    """The area of what two convex polygons share: one is cut by each side of the other."""
    a, b = (p if area(p) > 0 else p[::-1] for p in (a, b))
    for p, q in zip(b, b[1:] + b[:1], strict=True):
        side = [(q[0] - p[0]) * (v[1] - p[1]) - (q[1] - p[1]) * (v[0] - p[0]) for v in a]
        cut: Points = []
        for k, v in enumerate(a):
            last, before = side[k - 1], a[k - 1]
            if (last < 0) != (side[k] < 0):
                t = last / (last - side[k])
                cut.append((before[0] + t * (v[0] - before[0]), before[1] + t * (v[1] - before[1])))
            if side[k] >= 0:
                cut.append(v)
        a = cut
    return abs(area(a)) if a else 0.0


def polygon_iou(a: Points, b: Points, foreground: bool = False) -> float:
    both, one, two = shared(a, b), abs(area(a)), abs(area(b))
    if one < 1e-14 or two < 1e-14:
        return 0.0
    return both / (one if foreground else one + two - both)


def deform_conv(
    x: Any, w: Any, offset: Any, mask: Any, stride: int, pad: int, dilation: int, group: int, groups: int
) -> Any:
    """One output at a time. Beyond the border the input is 0, and so is a sample a pixel or more beyond it."""
    (n, channels, height, width), (outputs, _, kernel, _) = x.shape, w.shape
    out = np.zeros((n, outputs, *offset.shape[2:]))
    for b, o, i, j in np.ndindex(*out.shape):
        for c in range(channels // group):
            channel = o // (outputs // group) * (channels // group) + c
            part = channel // (channels // groups)
            for ky in range(kernel):
                for kx in range(kernel):
                    tap = (part * kernel + ky) * kernel + kx
                    y = i * stride - pad + ky * dilation + offset[b, 2 * tap, i, j]
                    xx = j * stride - pad + kx * dilation + offset[b, 2 * tap + 1, i, j]
                    value = 0.0
                    if -1 < y < height and -1 < xx < width:
                        for py in (math.floor(y), math.floor(y) + 1):
                            for px in (math.floor(xx), math.floor(xx) + 1):
                                if 0 <= py < height and 0 <= px < width:
                                    value += (1 - abs(y - py)) * (1 - abs(xx - px)) * x[b, channel, py, px]
                    out[b, o, i, j] += w[o, c, ky, kx] * value * (1 if mask is None else mask[b, tap, i, j])
    return out
