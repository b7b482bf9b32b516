"""`DetectionMetrics` of masks, boundaries and keypoints, of several kinds at once, and by LVIS's rule."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from fastdet import masks
from fastdet.detection import DetectionMetrics
from fastdet.detection.federated import Federated
from fastdet.detection.records import Columns
from fastdet.keypoints import CROWDPOSE_SIGMAS

Images = tuple[list[dict[str, Any]], list[dict[str, Any]]]
BACKENDS = ("reference", "numba", "cpp")


def discs(seed: int, count: int) -> Images:
    """Images of 40 x 60 with discs, and detections of them that are moved."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :60]
    predictions, targets = [], []
    for _ in range(count):
        n = int(r.integers(0, 6))
        middles, radius = r.random((n, 2)) * [40, 60], r.random(n) * 12 + 2
        true = np.array([np.hypot(y - v, x - u) < s for (v, u), s in zip(middles, radius, strict=True)])
        moved = [(v + r.normal(0, 2), u + r.normal(0, 2), s + r.normal(0, 1)) for (v, u), s in
                 zip(middles, radius, strict=True) for _ in range(int(r.integers(0, 3)))]  # fmt: skip
        found = np.array([np.hypot(y - v, x - u) < s for v, u, s in moved])
        found, true = (m.reshape(-1, 40, 60).astype(bool) for m in (found, true))
        d, g = masks.encode(found), masks.encode(true)
        predictions.append({
            "boxes": masks.to_boxes(d), "masks": found, "scores": r.random(len(d)).round(1),
            "labels": r.integers(0, 3, len(d)),
        })  # fmt: skip
        targets.append({
            "boxes": masks.to_boxes(g), "masks": true, "labels": r.integers(0, 3, n),
            "iscrowd": r.integers(0, 5, n) == 0,
        })  # fmt: skip
    return predictions, targets


def poses(seed: int, count: int, k: int = 17) -> Images:
    r = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(count):
        n, m = (int(x) for x in r.integers(0, 6, 2))
        true = np.concatenate([r.normal(100, 60, (m, k, 2)), r.integers(0, 3, (m, k, 1))], axis=2)
        true[:1, :, 2] *= r.integers(0, 2)
        found = true[r.integers(0, m, n)] + r.normal(0, 4, (n, k, 3)) if m else r.normal(90, 40, (n, k, 3))
        predictions.append({"keypoints": found, "scores": r.random(n).round(1), "labels": np.zeros(n, np.int64)})
        targets.append({"keypoints": true, "labels": np.zeros(m, np.int64), "area": r.random(m) * 20000})
    return predictions, targets


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_masks_by_hand() -> None:
    """IoU 0.8 of masks in boxes of IoU 1: a match at seven of ten thresholds."""
    true = np.zeros((1, 10, 10), bool)
    true[0, :, 0], true[0, 0, :] = True, True
    true[0, 9, 9] = True  # 20 pixels
    found = true.copy()
    found[0, 0, 1:5] = False  # 16 of them
    detected, target = {"masks": found, "scores": [0.9], "labels": [1]}, {"masks": true, "labels": [1]}
    results = DetectionMetrics(iou_type="segm").update([detected], [target]).compute()
    assert results["map"] == pytest.approx(0.7)
    assert results["map_small"] == pytest.approx(0.7)
    several = DetectionMetrics(iou_type=("bbox", "segm"))
    boxes = {"boxes": [[0.0, 0, 10, 10]]}
    results = several.update([{**detected, **boxes}], [{**target, **boxes}]).compute()
    assert (results["bbox_map"], results["segm_map"]) == (pytest.approx(1.0), pytest.approx(0.7))
    assert results["classes"].tolist() == [1]


@pytest.mark.parametrize("kind", ["segm", "boundary", "keypoints"])
def test_backends_are_equal(kind: str) -> None:
    data = poses(1, 8) if kind == "keypoints" else discs(1, 8)
    at = (0.1, 0.5)
    every = [DetectionMetrics(iou_type=kind, iou_thresholds=at, backend=b).update(*data) for b in BACKENDS]
    for metric in every[1:]:
        assert metric.to_bytes() == every[0].to_bytes()
        same(metric.compute(), every[0].compute())
    assert 0 < every[0].compute()["map"] < 1


def test_forms_of_masks_are_equal() -> None:
    """Dense masks, 0 and 1, `RLE`, COCO's dictionaries, and without boxes."""
    predictions, targets = discs(2, 12)
    want = DetectionMetrics(iou_type="segm").update(predictions, targets).compute()
    for form in (
        lambda m: m.astype(np.uint8),
        masks.encode,
        lambda m: masks.encode(m).to_coco(),
        lambda m: masks.encode(m).to_coco(compressed=False),
    ):
        changed = [[{**x, "masks": form(x["masks"])} for x in side] for side in (predictions, targets)]
        same(DetectionMetrics(iou_type="segm").update(*changed).compute(), want)
    bare = [[{key: v for key, v in x.items() if key != "boxes"} for x in side] for side in (predictions, targets)]
    same(DetectionMetrics(iou_type="segm").update(*bare).compute(), want)


def test_several_kinds_are_those_of_each() -> None:
    predictions, targets = discs(3, 20)
    kinds = ("segm", "bbox", "boundary")
    several = DetectionMetrics(iou_type=kinds).update(predictions[:9], targets[:9])
    several = several.merge_state(DetectionMetrics(iou_type=kinds, rank=0).update([], []))
    more = DetectionMetrics(iou_type=kinds).update(predictions, targets, range(20))
    results = more.compute(ci=0.9, resamples=20)
    for kind in kinds:
        one = DetectionMetrics(iou_type=kind).update(predictions, targets, range(20))
        alone = one.compute(ci=0.9, resamples=20)
        for key, value in alone.items():
            np.testing.assert_array_equal(results[key if key == "classes" else f"{kind}_{key}"], value, err_msg=key)
        same(more.of_type(kind).compute(ci=0.9, resamples=20), alone)
        np.testing.assert_array_equal(more.of_type(kind).average_precision(), one.average_precision())
    assert pickle.loads(pickle.dumps(more)).to_bytes() == more.to_bytes()
    halves = [
        DetectionMetrics(iou_type=kinds).update(predictions[i::2], targets[i::2], range(i, 20, 2)) for i in (0, 1)
    ]
    assert (halves[1] + halves[0]).to_bytes() == more.to_bytes()
    with pytest.raises(ValueError, match=r"average_precision: choose one of iou_type .*of_type\('segm'\)"):
        more.average_precision()
    with pytest.raises(ValueError, match="of_type: iou_type must be one of 'segm', 'bbox', 'boundary', got 'x'"):
        more.of_type("x")


def test_some_images_alone() -> None:
    predictions, targets = discs(4, 12)
    whole = DetectionMetrics(iou_type="segm").update(predictions, targets, range(12))
    want = DetectionMetrics(iou_type="segm").update(predictions[3:7], targets[3:7], range(3, 7)).compute()
    got = whole.of_images([6, 3, 4, 5]).compute()
    for key in want:  # classes that only other images have stay, without figures
        if np.ndim(want[key]) == 0:
            assert got[key] == want[key], key
    with pytest.raises(ValueError, match="image_ids must be of images that were counted, got 99"):
        whole.of_images([3, 99])


def test_keypoints_have_their_own_defaults() -> None:
    metric = DetectionMetrics(iou_type="keypoints").update(*poses(5, 10))
    assert [key for key in metric.compute() if "class" not in key] == [
        "map", "map_50", "map_75", "map_medium", "map_large", "mar_20", "mar_medium", "mar_large"
    ]  # fmt: skip
    crowd = DetectionMetrics(iou_type="keypoints", sigmas=CROWDPOSE_SIGMAS, use_area=False)
    assert crowd.update(*poses(6, 10, 14)).compute()["map"] >= 0


def test_a_pose_without_a_visible_keypoint_is_ignored() -> None:
    pose = np.random.default_rng(0).normal(50, 20, (1, 17, 3))
    pose[..., 2] = 2
    hidden = pose * [1, 1, 0]
    found = {"keypoints": pose, "scores": [0.5], "labels": [0]}
    result = DetectionMetrics(iou_type="keypoints").update([found], [{"keypoints": hidden, "labels": [0]}]).compute()
    assert result["map"] == -1
    both = {"keypoints": np.concatenate([hidden, pose]), "labels": [0, 0]}
    assert DetectionMetrics(iou_type="keypoints").update([found], [both]).compute()["map"] == pytest.approx(1)


BOX = np.array([[0.0, 0, 10, 10]])


def test_lvis_by_hand() -> None:
    """A class that an image was not searched for is left out; where objects are not all marked, nothing is false."""
    found = [{"boxes": np.concatenate([BOX, BOX + 50]), "scores": [0.9, 0.95], "labels": [1, 1]}]
    true = {"boxes": BOX, "labels": [1]}
    lvis = DetectionMetrics(rule="lvis").update(found, [true])
    assert lvis.compute()["map"] == pytest.approx(0.5)
    open_class = DetectionMetrics(rule="lvis").update(found, [{**true, "not_exhaustive_category_ids": [1]}])
    assert open_class.compute()["map"] == pytest.approx(1)
    elsewhere = [*found, {"boxes": BOX, "scores": [0.99], "labels": [1]}]
    empty = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64)}
    unknown = DetectionMetrics(rule="lvis").update(elsewhere, [true, empty])
    assert unknown.compute()["map"] == pytest.approx(0.5)
    negative = DetectionMetrics(rule="lvis").update(elsewhere, [true, {**empty, "neg_category_ids": [1]}])
    assert negative.compute()["map"] == pytest.approx(1 / 3)
    assert list(lvis.compute())[6] == "mar_300"


def test_lvis_limits_an_image_over_all_classes() -> None:
    n = 6
    boxes = np.arange(n)[:, None] * 20.0 + BOX
    found = {"boxes": boxes, "scores": np.linspace(0.9, 0.4, n), "labels": np.arange(n) % 2}
    true = {"boxes": boxes, "labels": np.arange(n) % 2}
    assert DetectionMetrics(rule="lvis", max_detections=[4]).update([found], [true]).compute()[
        "mar_4"
    ] == pytest.approx(2 / 3)
    assert DetectionMetrics(max_detections=[4]).update([found], [true]).compute()["mar_4"] == pytest.approx(1)


def test_lvis_columns_are_dictionaries() -> None:
    r = np.random.default_rng(7)
    predictions, targets, negative, not_exhaustive = [], [], [], []
    for i in range(20):
        n, m = (int(x) for x in r.integers(1, 9, 2))
        corners = [np.concatenate([x, x + 10], axis=1) for x in (r.integers(0, 4, (n, 2)), r.integers(0, 4, (m, 2)))]
        predictions.append({"boxes": corners[0] * 1.0, "scores": r.random(n).round(1), "labels": r.integers(0, 5, n)})
        lists = r.integers(0, 5, (2, 2))
        targets.append({
            "boxes": corners[1] * 1.0, "labels": r.integers(0, 2, m), "neg_category_ids": lists[0].tolist(),
            "not_exhaustive_category_ids": set(lists[1].tolist()),
        })  # fmt: skip
        negative += [(i * 3, k) for k in lists[0]]
        not_exhaustive += [(i * 3, k) for k in lists[1]]

    def columns(side: list[dict[str, Any]], scores: bool) -> Columns:
        boxes = np.concatenate([x["boxes"] for x in side])
        boxes[:, 2:] -= boxes[:, :2]
        none = np.zeros(0)
        return Columns(
            np.repeat(np.arange(20) * 3, [len(x["labels"]) for x in side]),
            np.concatenate([x["labels"] for x in side]), boxes, boxes[:, 2] * boxes[:, 3],
            np.concatenate([x["scores"] for x in side]) if scores else none,
            np.zeros(0 if scores else len(boxes), np.uint8), none.astype(np.int64),
        )  # fmt: skip

    want = DetectionMetrics(rule="lvis", max_detections=[5]).update(predictions, targets, np.arange(20) * 3)
    got = DetectionMetrics(rule="lvis", max_detections=[5]).update_columns(
        columns(predictions, True), columns(targets, False), np.arange(20) * 3,
        Federated(np.array(negative), np.array(not_exhaustive)),
    )  # fmt: skip
    assert got.to_bytes() == want.to_bytes()


MASK = np.ones((1, 4, 5), bool)
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: DetectionMetrics(iou_type="mask"), ValueError,
     "DetectionMetrics: iou_type must be one of 'bbox', 'segm', 'boundary', 'keypoints', 'rotated', got 'mask'"),
    (lambda: DetectionMetrics(iou_type=("segm", "segm")), ValueError,
     "DetectionMetrics: iou_type must name each kind once, got ('segm', 'segm')"),
    (lambda: DetectionMetrics(iou_type=("segm", "keypoints")), ValueError,
     "DetectionMetrics: iou_type must be 'keypoints' alone, got ('segm', 'keypoints'): keypoints have other limits and "
     "areas; make another object for them"),
    (lambda: DetectionMetrics(iou_type=()), TypeError,
     "DetectionMetrics: iou_type must be a name or a sequence of names, got ()"),
    (lambda: DetectionMetrics(sigmas=[0.1]), ValueError,
     "DetectionMetrics: sigmas go with iou_type 'keypoints', got iou_type 'bbox'"),
    (lambda: DetectionMetrics(iou_type="segm").update([{"scores": [0.5], "labels": [1]}], [{}]), ValueError,
     "DetectionMetrics.update: predictions[0] must have 'masks', got ['labels', 'scores']"),
    (lambda: DetectionMetrics(iou_type="segm").update(
        [{"masks": MASK, "scores": [0.5], "labels": [1]}], [{"masks": MASK[:, :3], "labels": [1]}]), ValueError,
     "DetectionMetrics.update: targets[0]['masks'] must have the size of predictions[0]['masks'] (4, 5), got (3, 5)"),
    (lambda: DetectionMetrics(iou_type="segm").update(
        [{"masks": MASK * 2, "scores": [0.5], "labels": [1]}], [{}]), ValueError,
     "DetectionMetrics.update: predictions[0]['masks']: encode: masks must hold 0 and 1 alone, got 2 at (0, 0, 0)"),
    (lambda: DetectionMetrics(iou_type="segm").update(
        [{"masks": MASK, "boxes": np.zeros((2, 4)), "scores": [0.5, 1], "labels": [1, 2]}], [{}]), ValueError,
     "DetectionMetrics.update: predictions[0]['masks'] must be as many as boxes (2), got 1"),
    (lambda: DetectionMetrics(iou_type="keypoints").update(
        [{"keypoints": np.zeros((1, 16, 3)), "scores": [0.5], "labels": [1]}], [{}]), ValueError,
     "DetectionMetrics.update: predictions[0]['keypoints'] must have shape (N, 17, 3), 17 as sigmas, got (1, 16, 3)"),
    (lambda: DetectionMetrics(iou_type="keypoints").update(
        [{"keypoints": np.full((1, 17, 3), np.nan), "scores": [0.5], "labels": [1]}], [{}]), ValueError,
     "DetectionMetrics.update: predictions[0]['keypoints'] must not hold NaN, got NaN at index (0, 0, 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), ERRORS)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == text
