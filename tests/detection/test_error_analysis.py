"""Errors by kind, what they cost, and the calibration of scores."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from optional import real_data

from fastdet import masks
from fastdet.detection import DetectionMetrics, error_analysis

BOX = [0.0, 0, 10, 10]
FAR = [50.0, 50, 60, 60]
KINDS = ("classification", "localization", "both", "duplicate", "background", "missed")


def analyze(
    detections: list[tuple[list[float], float, int]], objects: list[tuple[list[float], int]], **options: Any
) -> Any:
    boxes, scores, labels = zip(*detections, strict=True) if detections else ((), (), ())
    true, true_labels = zip(*objects, strict=True) if objects else ((), ())
    prediction = {
        "boxes": np.reshape(np.array(boxes, float), (-1, 4)), "scores": np.array(scores, float),
        "labels": np.array(labels, int),
    }  # fmt: skip
    target = {"boxes": np.reshape(np.array(true, float), (-1, 4)), "labels": np.array(true_labels, int)}
    results = [error_analysis([prediction], [target], **options, backend=b) for b in ("reference", "numba", "cpp")]
    assert results[0] == results[1] == results[2]
    return results[0]


def counts(results: Any) -> dict[str, int]:
    return {kind: results[f"{kind}_count"] for kind in KINDS if results[f"{kind}_count"]}


ONE = [(BOX, 1)]


@pytest.mark.parametrize(
    ("detections", "objects", "want"),
    [
        ([(BOX, 0.9, 1)], ONE, {}),
        ([(BOX, 0.9, 2)], ONE, {"classification": 1}),
        ([([0, 0, 10, 4], 0.9, 1)], ONE, {"localization": 1}),
        ([([0, 0, 10, 4], 0.9, 2)], ONE, {"both": 1, "missed": 1}),
        ([(BOX, 0.9, 1), (BOX, 0.8, 1)], ONE, {"duplicate": 1}),
        ([(FAR, 0.9, 1)], ONE, {"background": 1, "missed": 1}),
        ([([0, 0, 10, 0.9], 0.9, 1)], ONE, {"background": 1, "missed": 1}),
        ([([0, 0, 10, 1], 0.9, 1)], ONE, {"localization": 1}),  # IoU 0.1 is on the object
        ([([0, 0, 10, 5], 0.9, 1)], ONE, {}),  # IoU 0.5 matches
        ([([0, 0, 10, 4], 0.9, 1)], [(BOX, 1), ([0.0, 0, 10, 4.5], 2)], {"localization": 1, "missed": 1}),
        ([], ONE, {"missed": 1}),
        ([(BOX, 0.9, 2), (BOX, 0.8, 3)], ONE, {"classification": 2}),
    ],
)  # fmt: skip
def test_kinds(detections: Any, objects: Any, want: dict[str, int]) -> None:
    assert counts(analyze(detections, objects)) == want


def test_what_errors_cost() -> None:
    """Of two objects of one class, one is found twice, one as another class; and one detection is on nothing."""
    found = [(BOX, 0.9, 1), (BOX, 0.8, 1), (FAR, 0.7, 2), ([90.0, 0, 99, 9], 0.95, 1)]
    results = analyze(found, [(BOX, 1), (FAR, 1)])
    assert counts(results) == {"classification": 1, "duplicate": 1, "background": 1}
    half = 51 / 101  # recalls 0 to 0.5
    assert results["ap"] == pytest.approx(half * 0.5)  # precision 1 / 2
    assert results["background_dap"] == pytest.approx(half * 0.5)
    assert results["duplicate_dap"] == 0
    assert results["classification_dap"] == pytest.approx((0.5 * 51 + 0.5 * 50) / 101 - half * 0.5)
    assert results["missed_dap"] == 0  # the classification error is on it
    assert results["false_negatives_dap"] == pytest.approx(0.5 - half * 0.5)
    assert results["false_positives_dap"] == pytest.approx(half * 0.5)


def test_one_error_is_mended_for_each_object() -> None:
    """The better of two; the other is taken away. An object that is found already mends nothing."""
    results = analyze([(BOX, 0.9, 2), (BOX, 0.8, 3)], ONE)
    assert results["ap"] == 0
    assert results["classification_dap"] == pytest.approx(1)
    found = analyze([(BOX, 0.9, 1), (BOX, 0.95, 2)], [(BOX, 1), (FAR, 2)])
    assert counts(found) == {"classification": 1, "missed": 1}
    assert found["ap"] == pytest.approx(0.5)
    assert found["classification_dap"] == 0
    assert found["missed_dap"] == pytest.approx(0)  # class 2 keeps a false positive


def test_crowds_and_ignored_objects_count_nowhere() -> None:
    prediction = {"boxes": np.array([BOX, FAR]), "scores": np.array([0.9, 0.8]), "labels": np.array([1, 1])}
    target = {"boxes": np.array([BOX, FAR]), "labels": np.array([1, 1]), "iscrowd": np.array([0, 1])}
    results = error_analysis([prediction], [target])
    assert counts(results) == {}
    assert results["ap"] == pytest.approx(1)
    only = error_analysis([prediction], [{**target, "iscrowd": np.array([1, 1])}])
    assert (only["ap"], only["missed_count"], only["background_dap"]) == (-1, 0, -1)
    assert error_analysis([], [])["ap"] == -1


@pytest.mark.parametrize(("kind", "want"), [
    ("bbox", {"classification": 83, "localization": 1, "duplicate": 1, "missed": 97}),
    ("segm", {"classification": 76, "localization": 82, "both": 7, "background": 4, "missed": 109}),
])  # fmt: skip
def test_counts_of_tide(kind: str, want: dict[str, int]) -> None:
    """As the paper's own code counts them on the sample."""
    names = "instances_val2014_100.json", f"instances_val2014_fake{kind}100_results.json"
    data, results = (json.loads(real_data("coco_val2014_100", name).read_text()) for name in names)
    predictions, targets = [], []
    for image in data["images"]:
        sides = []
        for records in (results, data["annotations"]):
            mine = [r for r in records if r["image_id"] == image["id"]]
            side: dict[str, Any] = {"labels": np.array([r["category_id"] for r in mine], int)}
            if kind == "bbox":
                side["boxes"] = np.array([r["bbox"] for r in mine], float).reshape(-1, 4)
            else:
                size = image["height"], image["width"]
                side["masks"] = masks.RLE.concatenate([
                    masks.from_polygons([r["segmentation"]], size) if isinstance(r["segmentation"], list)
                    else masks.RLE.from_coco(r["segmentation"]) for r in mine
                ])  # fmt: skip
            side["scores"] = np.array([r.get("score", 0) for r in mine], float)
            side["iscrowd"] = np.array([r.get("iscrowd", 0) for r in mine], int)
            sides.append(side)
        predictions.append(sides[0])
        del sides[1]["scores"]
        targets.append(sides[1])
    found = error_analysis(predictions, targets, box_format="xywh", iou_type=kind)
    assert counts(found) == want
    metric = DetectionMetrics(box_format="xywh", iou_type=kind, iou_thresholds=[0.5], areas={"all": (0, 1e10)})
    assert found["ap"] == pytest.approx(metric.update(predictions, targets).compute()["map"], rel=1e-12)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: error_analysis([], [], background=0.6), ValueError,
     "error_analysis: background must be in (0, foreground), got 0.6 of 0.5"),
    (lambda: error_analysis([{}], []), ValueError, "error_analysis: targets must be as many as predictions (1), got 0"),
    (lambda: error_analysis([], [], iou_type="mask"), ValueError,
     "error_analysis: iou_type must be one of 'bbox', 'segm', 'boundary', 'keypoints', 'rotated', got 'mask'"),
    (lambda: error_analysis([{"boxes": [BOX]}], [{}]), ValueError,
     "error_analysis: predictions[0] must have 'scores', got ['boxes']"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), ERRORS)
def test_wrong_arguments(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == text


# ------------------------------------------------------------------------------------------------ calibration
def metric(scores: list[float], right: list[bool], labels: list[int] | None = None) -> DetectionMetrics:
    """Detections each on an object of its own, or on nothing."""
    n = len(scores)
    boxes = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(n)]).reshape(-1, 4)
    label = np.array(labels or [0] * n)
    prediction = {"boxes": boxes, "scores": np.array(scores), "labels": label}
    return DetectionMetrics().update([prediction], [{"boxes": boxes[right], "labels": label[right]}])


def test_calibration_by_hand() -> None:
    results = metric([0.1, 0.2, 0.55, 0.95, 1.0], [False, True, True, True, False]).calibration(2)
    np.testing.assert_array_equal(results["count"], [2, 3])
    np.testing.assert_allclose(results["confidence"], [0.15, 2.5 / 3])
    np.testing.assert_allclose(results["precision"], [0.5, 2 / 3])
    assert results["ece"] == pytest.approx(0.4 * 0.35 + 0.6 * 0.5 / 3)
    assert results["mce"] == pytest.approx(0.35)
    assert results["edges"].tolist() == [0, 0.5, 1]


def test_edges_of_bins() -> None:
    """0.5 is in the second bin; 1 in the last."""
    assert metric([0.5, 1.0, 0.0], [True] * 3).calibration(2)["count"].tolist() == [1, 2]
    empty = metric([0.9], [True]).calibration(3)
    assert empty["precision"].tolist() == [-1, -1, 1]


def test_calibration_of_classes() -> None:
    results = metric([0.9, 0.4], [True, False], [3, 7]).calibration(1)
    np.testing.assert_allclose(results["ece_per_class"], [0.1, 0.4])
    assert results["mean_ece"] == pytest.approx(0.25)
    assert results["ece"] == pytest.approx(0.15)


def test_calibration_refuses() -> None:
    with pytest.raises(ValueError, match=r"calibration: scores must be in \[0, 1\], got 3"):
        metric([3.0], [True]).calibration()
    with pytest.raises(ValueError, match="calibration: bins must be 1 or more, got 0"):
        metric([0.5], [True]).calibration(0)
    with pytest.raises(ValueError, match="calibration: bins must be at most 10000, got 10001"):
        metric([0.5], [True]).calibration(10001)
    with pytest.raises(ValueError, match="calibration: iou must be one of iou_thresholds"):
        metric([0.5], [True]).calibration(iou=0.1)
