"""NMS and Soft-NMS against other libraries, where they are installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need
from samples import sample

from fastdet import boxes, nms

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@each_backend
@pytest.mark.parametrize("t", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchvision_nms(backend: str, t: float, dtype: str) -> None:
    """Equal: no overlap of these boxes lies between the threshold in float32 and in float64."""
    ops, torch = need("torchvision.ops"), need("torch")
    data = sample("clustered", 2000, dtype)
    b, s, k = (torch.from_numpy(x.copy()) for x in (data.boxes, data.scores, data.idxs))
    assert torch.equal(nms.nms(b, s, t, backend=backend), ops.nms(b, s, t))
    small = torch.unique(k, return_inverse=True)[1]
    one_by_one = [torch.where(small == c)[0] for c in range(int(small.max()) + 1)]
    union = torch.cat([mine[ops.nms(b[mine], s[mine], t)] for mine in one_by_one])
    want = union[s[union].argsort(descending=True)]
    assert torch.equal(nms.batched_nms(b, s, k, t, backend=backend), want)


@each_backend
@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
def test_mmcv_soft_nms(backend: str, method: str, offset: int) -> None:
    """The same order; scores within 1e-6 (its exp is the C library's, in float32)."""
    mmcv, torch = need("mmcv.ops"), need("torch")
    data = sample("clustered", 500)
    b, s = torch.from_numpy(data.boxes.copy()), torch.from_numpy(data.scores.copy())
    options: dict[str, Any] = {"iou_threshold": 0.3, "sigma": 0.5, "min_score": 0.01, "method": method}
    dets, order = mmcv.soft_nms(b, s, **options, offset=offset)
    keep, score = nms.soft_nms(b, s, **options, offset=offset, backend=backend)
    assert torch.equal(keep, order)
    torch.testing.assert_close(score, dets[:, 4], rtol=1e-6, atol=1e-6)


@each_backend
@pytest.mark.parametrize("method", [1, 2], ids=["linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
def test_authors_soft_nms(backend: str, method: int, offset: int) -> None:
    """The authors' loop of 2017, which swaps boxes in place; here in Python. Scores within 1e-12."""
    data = sample("clustered", 120, "float64")
    rows, order = authors_soft_nms(data.boxes, data.scores, method, 0.3, 0.5, 0.01, offset)
    keep, score = nms.soft_nms(
        data.boxes, data.scores, method=["linear", "gaussian"][method - 1], iou_threshold=0.3, sigma=0.5,
        min_score=0.01, offset=offset, backend=backend,
    )  # fmt: skip
    assert keep.tolist() == order
    np.testing.assert_allclose(score, rows[:, 4], rtol=1e-12)


def authors_soft_nms(
    corners: Any, scores: Any, method: int, nt: float, sigma: float, threshold: float, plus: float
) -> tuple[Any, list[int]]:
    """Soft-NMS as its authors' code goes: the best box is swapped to the front, a fallen one replaced by the last."""
    rows = np.hstack([corners, scores[:, None], np.arange(len(corners))[:, None]])
    n, i = len(rows), 0
    while i < n:
        best = i + int(np.argmax(rows[i:n, 4]))
        rows[[i, best]] = rows[[best, i]]
        x1, y1, x2, y2 = rows[i, :4]
        pos = i + 1
        while pos < n:
            u1, v1, u2, v2 = rows[pos, :4]
            w, h = min(x2, u2) - max(x1, u1) + plus, min(y2, v2) - max(y1, v1) + plus
            if w > 0 and h > 0:
                area, other = (x2 - x1 + plus) * (y2 - y1 + plus), (u2 - u1 + plus) * (v2 - v1 + plus)
                iou = w * h / (area + other - w * h)
                linear = 1 - iou if iou > nt else 1.0
                rows[pos, 4] *= linear if method == 1 else np.exp(-(iou * iou) / sigma)
                if rows[pos, 4] < threshold:
                    rows[pos] = rows[n - 1]
                    n, pos = n - 1, pos - 1
            pos += 1
        i += 1
    return rows[:n], rows[:n, 5].astype(int).tolist()


@each_backend
@pytest.mark.parametrize("t", [0.3, 0.5, 0.7])
def test_cv2(backend: str, t: float) -> None:
    """Equal on boxes without exact ties; cv2 takes x y w h."""
    cv2 = need("cv2")
    data = sample("clustered", 400, "float64")
    xywh = boxes.box_convert(data.boxes, "xyxy", "xywh", backend=backend)
    want = cv2.dnn.NMSBoxes(xywh.tolist(), data.scores.tolist(), 0.0, t)
    assert nms.nms(data.boxes, data.scores, t, backend=backend).tolist() == np.ravel(want).tolist()


@each_backend
@pytest.mark.parametrize("t", [0.3, 0.5, 0.7])
def test_lsnms(backend: str, t: float) -> None:
    """Equal on boxes without exact ties, which lsnms suppresses at >=."""
    peer = need("lsnms")
    data = sample("clustered", 2000, "float64")
    rows = data.boxes - data.boxes.min()
    want = peer.nms(rows, data.scores, iou_threshold=t, score_threshold=0.0)
    assert nms.nms(rows, data.scores, t, backend=backend).tolist() == np.ravel(want).tolist()


@each_backend
@pytest.mark.parametrize("t", [0.3, 0.5, 0.7])
def test_powerboxes(backend: str, t: float) -> None:
    """Equal on boxes without exact ties."""
    peer = need("powerboxes")
    data = sample("clustered", 2000, "float64")
    want = peer.nms(data.boxes.copy(), data.scores.copy(), t, 0.0)
    assert nms.nms(data.boxes, data.scores, t, backend=backend).tolist() == np.ravel(want).tolist()
