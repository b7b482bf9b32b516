"""Quadrilaterals of `mmcv._ext`: overlap and NMS of convex ones, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from fastdet.integrations._mmcv_nms import computed

ROWS = 2**14  # pairs that are computed at a time
SMALLEST = 1e-14  # area of a quadrilateral that is one


def box_iou_quadri(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Write IoU (mode 0) or intersection over the area of bboxes1 (mode 1), of corners ``x1 y1 .. x4 y4``."""
    a, b = (computed(x).double().reshape(-1, 4, 2) for x in (bboxes1, bboxes2))
    if aligned:
        ious.copy_(_iou(a, b, mode_flag))
        return
    found = ious.view(len(a), len(b)) if len(b) else ious
    step = max(1, ROWS // max(1, len(b)))
    for first in range(0, len(a) if len(b) else 0, step):
        some = a[first : first + step]
        pairs = _iou(some.repeat_interleave(len(b), 0), b.repeat(len(some), 1, 1), mode_flag)
        found[first : first + step] = pairs.reshape(len(some), len(b))


def nms_quadri(
    dets: Tensor, scores: Tensor, order: Tensor, dets_sorted: Tensor, iou_threshold: float, multi_label: bool | int
) -> Tensor:
    """Kept indices by falling score; a box goes where its IoU is the threshold or more. Labels: see `nms_rotated`."""
    dets, scores = computed(dets), computed(scores)
    if dets.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=dets.device)
    left = scores.sort(dim=0, descending=True, stable=True)[1]
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    corners, keep = dets[:, :8].double().reshape(-1, 4, 2), []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(best)
        iou = _iou(corners[best].expand(len(left), 4, 2), corners[left], 0).to(dets.dtype)
        left = left[~(iou >= threshold)]
    return torch.stack(keep)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _area(corners: Tensor) -> Tensor:
    """Signed, of polygons (..., points, 2)."""
    return _cross(corners, corners.roll(-1, -2)).sum(-1) / 2


def _iou(a: Tensor, b: Tensor, mode: int) -> Tensor:
    middle = (a.mean(1, keepdim=True) + b.mean(1, keepdim=True)) / 2
    a, b = a - middle, b - middle
    area_a, area_b = _area(a), _area(b)
    a, b = (torch.where(area[:, None, None] < 0, x.flip(1), x) for x, area in ((a, area_a), (b, area_b)))
    area_a, area_b = area_a.abs(), area_b.abs()
    inter = _intersection(a, b)
    base = area_a if mode else area_a + area_b - inter
    return torch.where((area_a >= SMALLEST) & (area_b >= SMALLEST), inter / base, 0.0)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area of what pairs of convex quadrilaterals share: its corners are where sides cross, and corners inside."""
    side_a, side_b = a.roll(-1, 1) - a, b.roll(-1, 1) - b
    det = _cross(side_a[:, :, None], side_b[:, None])
    between = b[:, None] - a[:, :, None]
    parallel = det.abs() <= SMALLEST
    det = torch.where(parallel, 1.0, det)
    t, u = _cross(between, side_b[:, None]) / det, _cross(between, side_a[:, :, None]) / det
    crossing = ~parallel & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    crossings = a[:, :, None] + t[..., None] * side_a[:, :, None]
    points = torch.cat([crossings.flatten(1, 2), a, b], 1)
    valid = torch.cat([crossing.flatten(1), _inside(a, b, side_b), _inside(b, a, side_a)], 1)
    count = valid.sum(1)
    centre = torch.where(valid[..., None], points, 0.0).sum(1) / count.clamp(min=1)[:, None]
    points = torch.where(valid[..., None], points - centre[:, None], 0.0)
    angle = torch.where(valid, torch.atan2(points[..., 1], points[..., 0]), torch.inf)
    order = angle.argsort(1)
    points = points.gather(1, order[..., None].expand(-1, -1, 2))
    used = (torch.arange(points.shape[1], device=points.device) < count[:, None])[..., None]
    points = torch.where(used, points, points[:, :1])  # the first closes the ring
    return torch.where(count > 2, _area(points).abs(), 0.0)


def _inside(points: Tensor, corners: Tensor, sides: Tensor) -> Tensor:
    """Whether points (P, 4, 2) are in convex polygons whose corners turn one way, or on their border."""
    return (_cross(sides[:, None], points[:, :, None] - corners[:, None]) >= 0).all(2)
