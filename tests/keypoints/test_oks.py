"""Similarity of poses: by hand, against pycocotools, and errors."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.keypoints import COCO_SIGMAS, CROWDPOSE_SIGMAS, oks
from fastdet.keypoints.similarity import pairwise_sums

POSE = np.array([[[10.0, 10, 2], [20, 20, 1], [30, 30, 0]]])
SIGMAS = [0.1, 0.2, 0.3]


def test_by_hand() -> None:
    moved = POSE + np.array([3, 4, 0])  # five pixels; the third keypoint is not visible
    e = 25 / (2 * np.array([0.1, 0.2])) ** 2 / 900 / 2
    np.testing.assert_allclose(oks(moved, POSE, [900.0], sigmas=SIGMAS), np.exp(-e).mean().reshape(1, 1), rtol=1e-15)
    moved[0, 2] = 1e6, -1e6, 0
    np.testing.assert_allclose(oks(moved, POSE, [900.0], sigmas=SIGMAS), np.exp(-e).mean().reshape(1, 1), rtol=1e-15)
    assert oks(POSE, POSE, [0.0], sigmas=SIGMAS).tolist() == [[1.0]]


def test_without_a_visible_keypoint() -> None:
    """The distance is to the box enlarged to three times its size: from -10 to 50 here."""
    hidden = POSE * [1, 1, 0]
    box = np.array([[10.0, 10, 30, 30]])
    inside, beside = np.full((1, 3, 2), 50.0), np.full((1, 3, 2), 30.0)
    beside[..., 0] = 53
    e = 9 / (2 * np.array(SIGMAS)) ** 2 / 400 / 2
    found = oks(np.concatenate([inside, beside]), hidden, [400.0], box, sigmas=SIGMAS)
    np.testing.assert_allclose(found[:, 0], [1, np.exp(-e).mean()], rtol=1e-15)


def test_the_sum_is_in_numpys_order() -> None:
    rng = np.random.default_rng(0)
    for n in [*range(1, 40), 127, 128, 129, 136, 137, 255, 300]:
        x = rng.random((5, n))
        assert pairwise_sums(x).tolist() == [np.sum(row.copy()) for row in x]


def test_sigmas() -> None:
    assert len(COCO_SIGMAS) == 17
    assert len(CROWDPOSE_SIGMAS) == 14
    params: Any = need("pycocotools.cocoeval").Params("keypoints")
    assert tuple(params.kpt_oks_sigmas) == COCO_SIGMAS


def test_equal_to_pycocotools() -> None:
    """To 2 ulp: NumPy's exp differs by processor. Values below 1e-300 are 0 here."""
    coco, cocoeval = need("pycocotools.coco"), need("pycocotools.cocoeval")
    rng = np.random.default_rng(1)
    for _ in range(20):
        n, m = int(rng.integers(1, 9)), int(rng.integers(1, 6))
        true = np.concatenate([rng.normal(60, 30, (m, 17, 2)).round(1), rng.integers(0, 3, (m, 17, 1))], axis=2)
        true[0, :, 2] *= rng.integers(0, 2)
        found = true[rng.integers(0, m, n)] + rng.normal(0, 5, (n, 17, 3)).round(2)
        boxes, areas = rng.random((m, 4)).round(2) * 50, rng.random(m) * 2000
        both = []
        for poses, more in ((true, {}), (found, {"score": 1.0})):
            data = coco.COCO()
            data.dataset = {
                "images": [{"id": 1}], "categories": [{"id": 1}],
                "annotations": [
                    {
                        "id": i + 1, "image_id": 1, "category_id": 1, "keypoints": pose.reshape(-1).tolist(), **more,
                        "num_keypoints": int((pose[:, 2] > 0).sum()), "iscrowd": 0,
                        "bbox": boxes[i % m].tolist(), "area": float(areas[i % m]),
                    } for i, pose in enumerate(poses)
                ],
            }  # fmt: skip
            with contextlib.redirect_stdout(io.StringIO()):
                data.createIndex()
            both.append(data)
        theirs = cocoeval.COCOeval(*both, "keypoints")
        theirs._prepare()
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        got = oks(found, true, areas, corners)
        np.testing.assert_allclose(got, theirs.computeOks(1, 1), rtol=4.5e-16, atol=1e-300)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: oks(POSE[0], POSE, [1.0]), ValueError,
     "oks: keypoints must have shape (N, K, 3) or (N, K, 2), got (3, 3)"),
    (lambda: oks(POSE, POSE, [1.0]), ValueError,
     "oks: keypoints must have 17 keypoints, one for each of sigmas, got 3"),
    (lambda: oks(POSE, POSE[..., :2], [1.0], sigmas=SIGMAS), ValueError,
     "oks: true_keypoints must have shape (M, K, 3), x y visibility, got (1, 3, 2)"),
    (lambda: oks(POSE * np.nan, POSE, [1.0], sigmas=SIGMAS), ValueError,
     "oks: keypoints must be finite, got nan at index (0, 0, 0)"),
    (lambda: oks(POSE, POSE, [1.0, 2], sigmas=SIGMAS), ValueError,
     "oks: areas must have shape (1,), one for each true pose, got (2,)"),
    (lambda: oks(POSE, POSE, [-1.0], sigmas=SIGMAS), ValueError, "oks: areas must be >= 0, got -1.0 at index 0"),
    (lambda: oks(POSE, POSE, [np.inf], sigmas=SIGMAS), ValueError, "oks: areas must be finite, got inf at index 0"),
    (lambda: oks(POSE, POSE, [1.0], np.zeros((2, 4)), sigmas=SIGMAS), ValueError,
     "oks: true_boxes must have shape (1, 4), got (2, 4)"),
    (lambda: oks(POSE, POSE, [1.0], sigmas=[0.1, 0, 0.1]), ValueError,
     "oks: sigmas must be finite numbers above 0, one for each keypoint, got [0.1, 0, 0.1]"),
    (lambda: oks(POSE, POSE, [1.0], sigmas="abc"), TypeError,
     "oks: sigmas must be numbers, one for each keypoint, got 'abc'"),
    (lambda: oks(POSE.astype(complex), POSE, [1.0], sigmas=SIGMAS), TypeError,
     "oks: keypoints must be float16, float32, float64 or integer, got complex128"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), ERRORS)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == text
