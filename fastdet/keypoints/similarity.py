"""Object keypoint similarity (OKS), the overlap of two poses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_numpy
from fastdet._core.check import Array
from fastdet._core.elementary import exp_or_zero

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROWS = 1024  # of poses
Grouped = tuple[Ints, Ints, Ints, Ints]  # rows and starts of both sides: group i has rows[start[i] : start[i + 1]]

# Tenths, as pycocotools computes them: 0.35 / 10 is not 0.035.
# nose; eyes, ears, shoulders, elbows, wrists, hips, knees, ankles: left and right
COCO_SIGMAS: tuple[float, ...] = tuple(
    x / 10
    for x in (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)
)
# shoulders, elbows, wrists, hips, knees, ankles: left and right; head, neck
CROWDPOSE_SIGMAS: tuple[float, ...] = tuple(
    x / 10 for x in (0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79)
)


def oks(
    keypoints: Any,
    true_keypoints: Any,
    areas: Any,
    true_boxes: Any = None,
    *,
    sigmas: Any = COCO_SIGMAS,
    backend: str | None = None,
) -> Any:
    """Object keypoint similarity of each detected pose with each true one.

    Parameters
    ----------
    keypoints : (N, K, 2 or 3) float, pixels, x y and what may follow, which is not used
    true_keypoints : (M, K, 3) float, x y visibility; a keypoint with a visibility above 0 is visible
    areas : (M,) float >= 0, square pixels, of the true objects
    true_boxes : (M, 4) float, x1 y1 x2 y2. None: the boxes around all keypoints of a pose
    sigmas : (K,) float above 0, how far apart people place a keypoint: of COCO's 17, or `CROWDPOSE_SIGMAS`
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Returns
    -------
    similarity : (N, M) float64 in [0, 1]

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, NaN or infinity, areas below 0, sigmas that are not above 0

    Notes
    -----
    The mean of exp(-e) over visible keypoints, where e = d^2 / (2 sigma)^2 / (area + 2^-52) / 2 and d is the distance.
    Where no keypoint is visible, over all, and d is the distance to the box enlarged to three times its size.

    Source: COCO's evaluation code (pycocotools, computeOks).

    Examples
    --------
    >>> true = np.array([[[10.0, 10, 2], [20, 20, 1]]])
    >>> oks(true + np.array([3, 4, 0]), true, np.array([900.0]), sigmas=[0.1, 0.1]).round(3)
    array([[0.707]])
    """
    op = "oks"
    points, true = (_points(op, n, x) for n, x in (("keypoints", keypoints), ("true_keypoints", true_keypoints)))
    sigma = check_sigmas(op, sigmas)
    for name, x in (("keypoints", points), ("true_keypoints", true)):
        if x.shape[1] != len(sigma):
            raise ValueError(f"{op}: {name} must have {len(sigma)} keypoints, one for each of sigmas, got {x.shape[1]}")
    if true.shape[2] != 3:
        raise ValueError(f"{op}: true_keypoints must have shape (M, K, 3), x y visibility, got {true.shape}")
    size = check.real(op, "areas", to_numpy(op, "areas", areas)).astype(np.float64)
    if size.shape != (len(true),):
        raise ValueError(f"{op}: areas must have shape ({len(true)},), one for each true pose, got {size.shape}")
    _finite(op, areas=size)
    if (size < 0).any():
        raise ValueError(f"{op}: areas must be >= 0, got {size.min()} at index {int(size.argmin())}")
    if true_boxes is None:
        boxes = extent(true)
    else:
        boxes = check.boxes(op, "true_boxes", to_numpy(op, "true_boxes", true_boxes)).astype(np.float64)
        if len(boxes) != len(true):
            raise ValueError(f"{op}: true_boxes must have shape ({len(true)}, 4), got {boxes.shape}")
        _finite(op, true_boxes=boxes)
        boxes[:, 2:] -= boxes[:, :2]
    one = [np.arange(n) for n in (len(points), len(true))], [np.array([0, n]) for n in (len(points), len(true))]
    grouped = one[0][0], one[1][0], one[0][1], one[1][1]
    three = np.zeros((len(points), len(sigma), 3))
    three[..., :2] = points[..., :2]
    found = oks_of_groups(three, true, size, boxes, sigma, grouped, backend=backend)
    return like(keypoints)(found.reshape(len(points), len(true)))


def _points(op: str, name: str, x: Any) -> Floats:
    array = check.real(op, name, to_numpy(op, name, x))
    if array.ndim != 3 or array.shape[2] not in (2, 3):
        raise ValueError(f"{op}: {name} must have shape (N, K, 3) or (N, K, 2), got {array.shape}")
    array = np.ascontiguousarray(array, np.float64)
    _finite(op, **{name: array})
    return array


def _finite(op: str, **arrays: Array) -> None:
    for name, x in arrays.items():
        bad = np.argwhere(~np.isfinite(x))
        if len(bad):
            at = tuple(bad[0].tolist())
            raise ValueError(f"{op}: {name} must be finite, got {x[at]} at index {at[0] if len(at) == 1 else at}")


def check_sigmas(op: str, sigmas: Any) -> Floats:
    """(K,) finite numbers above 0."""
    try:
        values = np.array(to_numpy(op, "sigmas", sigmas), np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: sigmas must be numbers, one for each keypoint, got {check.describe(sigmas)}") from None
    if values.ndim != 1 or not values.size or not (np.isfinite(values) & (values > 0)).all():
        got = check.describe(sigmas)
        raise ValueError(f"{op}: sigmas must be finite numbers above 0, one for each keypoint, got {got}")
    return values


def extent(keypoints: Floats) -> Floats:
    """(N, 4) the box x y w h around all keypoints of each pose."""
    if not keypoints.shape[1]:
        return np.zeros((len(keypoints), 4))
    boxes = np.empty((len(keypoints), 4))
    for first in range(0, len(keypoints), _ROWS):  # a part that stays in the cache, a number of all rows at a time
        part, of_part = keypoints[first : first + _ROWS], boxes[first : first + _ROWS]
        for axis in (0, 1):
            low = part[:, 0, axis].copy()
            high = low.copy()
            for k in range(1, keypoints.shape[1]):
                np.minimum(low, part[:, k, axis], out=low)
                np.maximum(high, part[:, k, axis], out=high)
            of_part[:, axis], of_part[:, axis + 2] = low, high - low
    return boxes


def oks_of_groups(
    points: Floats, true_points: Floats, areas: Floats, boxes: Floats, sigmas: Floats, grouped: Grouped, *,
    backend: str | None = None,
) -> Floats:  # fmt: skip
    """The similarity of each pose with each true one of its group: group after group, row-major, float64.

    ``boxes``: (M, 4) x y w h. All arguments are checked.
    """
    kernel: Any = backends.choose("oks_of_groups", backend, oks_of_groups_reference)
    points, true_points = (x if len(x) else np.zeros((0, len(sigmas), 3)) for x in (points, true_points))
    plain = (np.ascontiguousarray(x, np.float64) for x in (points, true_points, areas, boxes, sigmas))
    with np.errstate(over="ignore"):
        out: Floats = kernel(*plain, *grouped)
    return out


def oks_of_groups_reference(
    points: Floats, true_points: Floats, areas: Floats, boxes: Floats, sigmas: Floats,
    rows: Ints, start: Ints, true_rows: Ints, true_start: Ints,
) -> Floats:  # fmt: skip
    variances, parts = (sigmas * 2) ** 2, [np.zeros(0)]
    for i in range(len(start) - 1):
        d, g = points[rows[start[i] : start[i + 1]]], true_rows[true_start[i] : true_start[i + 1]]
        of_group = np.zeros((len(d), len(g)))
        for j, row in enumerate(g):
            counts = true_points[row, :, 2] > 0
            dx, dy = d[..., 0] - true_points[row, :, 0], d[..., 1] - true_points[row, :, 1]
            if not counts.any():
                counts[:] = True
                x, y, w, h = boxes[row]
                dx = np.maximum(0.0, (x - w) - d[..., 0]) + np.maximum(0.0, d[..., 0] - (x + w * 2))
                dy = np.maximum(0.0, (y - h) - d[..., 1]) + np.maximum(0.0, d[..., 1] - (y + h * 2))
            e = (dx * dx + dy * dy) / variances / (areas[row] + np.spacing(1)) / 2
            of_group[:, j] = pairwise_sums(exp_or_zero(-e[:, counts])) / np.count_nonzero(counts)
        parts.append(of_group.reshape(-1))
    return np.concatenate(parts)


def pairwise_sums(x: Floats) -> Floats:
    """The sum of each row in the order of ``numpy.sum``: eight accumulators, and halves of more than 128 terms."""
    n = x.shape[1]
    if n > 128:
        half = n // 2 - n // 2 % 8
        return pairwise_sums(x[:, :half]) + pairwise_sums(x[:, half:])
    whole = n - n % 8 if n >= 8 else 0
    total = np.zeros(len(x))
    if whole:
        r = x[:, :8].copy()
        for k in range(8, whole, 8):
            r += x[:, k : k + 8]
        total = ((r[:, 0] + r[:, 1]) + (r[:, 2] + r[:, 3])) + ((r[:, 4] + r[:, 5]) + (r[:, 6] + r[:, 7]))
    for k in range(whole, n):
        total = total + x[:, k]
    return total
