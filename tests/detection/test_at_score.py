"""DetectionMetrics.at_score and best_f1: precision, recall and F1 at a score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detection_images import fill, make_images, tensors
from optional import need

from fastdet.detection import DetectionMetrics

COUNTS = ("true_positives", "false_positives", "false_negatives")


def boxes_at(*places: float) -> Any:
    """(N, 4) boxes of 10 x 10 that stand at x = 20, 40, ...; a fraction shifts the box by so many pixels times 10."""
    return np.array([[20 * int(x) + 10 * (x % 1), 0, 20 * int(x) + 10 * (x % 1) + 10, 10] for x in places]).reshape(
        -1, 4
    )


def one_image(found: list[tuple[float, float, int]], true: list[tuple[float, int]], **options: Any) -> DetectionMetrics:
    """Metrics of detections (place, score, class) and true boxes (place, class)."""
    prediction = {
        "boxes": boxes_at(*(place for place, _, _ in found)),
        "scores": np.array([score for _, score, _ in found]),
        "labels": np.array([label for _, _, label in found], int),
    }
    target = {"boxes": boxes_at(*(place for place, _ in true)), "labels": np.array([label for _, label in true], int)}
    return DetectionMetrics(**options).update([prediction], [target])


@pytest.fixture
def two_classes() -> DetectionMetrics:
    """Class 3: right 0.9, wrong 0.8, right 0.6, wrong 0.2, of three boxes. Class 7: right 0.5, of one box."""
    return one_image(
        [(0, 0.9, 3), (9, 0.8, 3), (1, 0.6, 3), (8, 0.2, 3), (4, 0.5, 7)], [(0, 3), (1, 3), (2, 3), (4, 7)]
    )


def test_at_a_score_by_hand(two_classes: DetectionMetrics) -> None:
    results = two_classes.at_score(0.6)
    assert [results[key] for key in COUNTS] == [2, 1, 2]
    assert (results["precision"], results["recall"], results["f1"]) == (2 / 3, 2 / 4, 4 / 7)
    assert results["classes"].tolist() == [3, 7]
    assert [results[f"{key}_per_class"].tolist() for key in COUNTS] == [[2, 0], [1, 0], [1, 1]]
    assert results["precision_per_class"].tolist() == [2 / 3, -1]  # class 7: no detection at 0.6
    assert results["recall_per_class"].tolist() == [2 / 3, 0]
    assert results["f1_per_class"].tolist() == [2 / 3, 0]
    assert results["macro_f1"] == 1 / 3
    assert (results["score"], results["iou"], results["score_per_class"].tolist()) == (0.6, 0.5, [0.6, 0.6])


def test_the_best_f1_by_hand(two_classes: DetectionMetrics) -> None:
    """All together: at 0.5 three of four found, one wrong: 6 / 8. Class 3: at 0.6, 4 / 6; class 7: at 0.5, 1."""
    results = two_classes.best_f1()
    assert (results["score"], results["f1"]) == (0.5, 0.75)
    assert [results[key] for key in COUNTS] == [3, 1, 1]
    assert results["score_per_class"].tolist() == [0.6, 0.5]
    assert results["f1_per_class"].tolist() == [4 / 6, 1]
    assert results["macro_f1"] == pytest.approx(5 / 6, abs=1e-15)
    again = two_classes.at_score(0.5)
    assert all(again[key] == results[key] for key in ("precision", "recall", "f1", *COUNTS))


def test_equal_scores_are_kept_together() -> None:
    """Right and wrong at 0.5: no score keeps the right one alone."""
    results = one_image([(0, 0.5, 1), (9, 0.5, 1)], [(0, 1)]).best_f1()
    assert (results["score"], results["precision"], results["recall"], results["f1"]) == (0.5, 0.5, 1, 2 / 3)


def test_of_scores_with_equal_f1_the_greatest() -> None:
    """At 0.9: 2 / 3. At 0.4: 4 / 6."""
    results = one_image([(0, 0.9, 1), (7, 0.8, 1), (8, 0.7, 1), (1, 0.4, 1)], [(0, 1), (1, 1)]).best_f1()
    assert (results["score"], results["f1"]) == (0.9, 2 / 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("score", [0.1, 0.3, 0.7, 0.9])
def test_a_score_as_written_is_kept(score: float, dtype: Any) -> None:
    box, label = boxes_at(0), np.array([1])
    metrics = DetectionMetrics(confusion_at=(0.5, score))
    metrics.update(
        [{"boxes": box, "scores": np.array([score], dtype), "labels": label}], [{"boxes": box, "labels": label}]
    )
    assert metrics.at_score(score)["true_positives"] == 1
    assert metrics.at_score(np.nextafter(np.float32(score), np.float32(1)))["true_positives"] == 0
    assert metrics.confusion_matrix().tolist() == [[1, 0], [0, 0]]
    assert metrics.at_score(metrics.best_f1()["score"])["f1"] == 1


def test_the_iou_is_chosen(two_classes: DetectionMetrics) -> None:
    """A box 2 pixels off has IoU 8 / 12."""
    metrics = one_image([(0.2, 0.9, 1)], [(0, 1)])
    assert [metrics.at_score(0.5, iou=iou)["f1"] for iou in (0.5, 0.65, 0.7)] == [1, 1, 0]
    assert [metrics.best_f1(iou=iou)["iou"] for iou in (0.5, 0.7)] == [0.5, 0.7]
    with pytest.raises(
        ValueError, match=r"^DetectionMetrics.at_score: iou must be one of iou_thresholds \(0.75\), got 0.5; make"
    ):
        one_image([(0, 0.9, 1)], [(0, 1)], iou_thresholds=[0.75]).at_score(0.5)
    with pytest.raises(ValueError, match=r"^DetectionMetrics.best_f1: iou must be one of .*, got 0.52; .*\[0.52\]$"):
        two_classes.best_f1(iou=0.52)
    assert one_image([(0.2, 0.9, 1)], [(0, 1)], iou_thresholds=[0.65, 0.7]).at_score(0, iou=0.65)["f1"] == 1


def test_a_score_in_percent_is_refused(two_classes: DetectionMetrics) -> None:
    with pytest.raises(
        ValueError, match=r"^DetectionMetrics.at_score: score must be in \[0, 1\], as the scores are, got 50$"
    ):
        two_classes.at_score(50)
    for score in (np.nan, "0.5", None, True):
        with pytest.raises((TypeError, ValueError), match=r"^DetectionMetrics.at_score: score must be"):
            two_classes.at_score(score)  # type: ignore[arg-type]
    assert one_image([(0, 73.0, 1)], [(0, 1)]).at_score(50)["f1"] == 1  # scores that are no fractions


@pytest.mark.parametrize("key", ["difficult", "ignore"])
def test_ignored_boxes_count_nowhere(key: str) -> None:
    prediction = {"boxes": boxes_at(0, 1, 2, 3), "scores": np.full(4, 0.9), "labels": np.ones(4, int)}
    target = {
        "boxes": boxes_at(0, 1, 2), "labels": np.ones(3, int), "iscrowd": np.array([0, 1, 0]),
        key: np.array([0, 0, 1]),
    }  # fmt: skip
    results = DetectionMetrics().update([prediction], [target]).at_score(0.5)
    assert [results[key] for key in COUNTS] == [1, 1, 0]


def test_a_class_without_a_true_box() -> None:
    """Its detections are false positives of all classes together; its own recall and F1 are unknown."""
    metrics = one_image([(0, 0.9, 1), (5, 0.8, 2)], [(0, 1)])
    results = metrics.at_score(0.5)
    assert (results["precision"], results["recall"], results["f1"]) == (1 / 2, 1, 2 / 3)
    assert results["precision_per_class"].tolist() == [1, 0]
    assert results["recall_per_class"].tolist() == results["f1_per_class"].tolist() == [1, -1]
    assert results["macro_f1"] == 1
    assert metrics.best_f1()["score_per_class"].tolist() == [0.9, -1]


def test_no_true_positive_at_any_score() -> None:
    results = one_image([(5, 0.9, 1)], [(0, 1)]).best_f1()
    assert (results["score"], results["precision"], results["recall"], results["f1"]) == (-1, -1, 0, 0)
    assert [results[key] for key in COUNTS] == [0, 0, 1]


def test_nothing_was_counted() -> None:
    for name, arguments in (("at_score", (0.5,)), ("best_f1", ())):
        with pytest.warns(RuntimeWarning, match=f"^DetectionMetrics.{name}: no image was counted"):
            results = getattr(DetectionMetrics(), name)(*arguments)
        assert (results["precision"], results["recall"], results["f1"], results["macro_f1"]) == (-1, -1, -1, -1)
        assert results["classes"].tolist() == results["f1_per_class"].tolist() == []


def test_the_largest_of_max_detections() -> None:
    """One detection an image and class, the best; a limit counts images by themselves."""
    found = [(0, 0.9, 1), (1, 0.8, 1)]
    assert one_image(found, [(0, 1), (1, 1)], max_detections=(1,)).at_score(0.5)["recall"] == 0.5
    assert one_image(found, [(0, 1), (1, 1)]).at_score(0.5)["recall"] == 1


@pytest.mark.parametrize("rule", ["coco", "voc"])
def test_equal_to_metrics_of_the_kept_detections(rule: str) -> None:
    """What is left out by hand before update, on images of many kinds; and no score has a better F1."""
    for seed in range(8):
        images = make_images(seed, 6, max_detections=30)
        metrics = fill(images, rule=rule)
        best = metrics.best_f1(iou=0.6)
        all_scores = np.unique(np.concatenate([p["scores"] for p, _ in images]))
        for score in all_scores[:: max(1, len(all_scores) // 12)]:
            kept = [({k: v[p["scores"] >= score] for k, v in p.items()}, t) for p, t in images]
            want, got = fill(kept, rule=rule).at_score(-1, iou=0.6), metrics.at_score(score, iou=0.6)
            assert [got[key] for key in COUNTS] == [want[key] for key in COUNTS], (seed, score)
            assert got["f1"] <= best["f1"]
            known = got["f1_per_class"] > -1
            assert (got["f1_per_class"][known] <= best["f1_per_class"][known]).all()


def test_the_order_of_images_and_states_is_of_no_effect() -> None:
    images = make_images(3, 9, max_detections=20)
    whole = fill(images, ids=list(range(9)))
    parts = sum(fill([image], ids=[i]) for i, image in reversed(list(enumerate(images))))
    assert isinstance(parts, DetectionMetrics)
    for a, b in ((whole.at_score(0.5), parts.at_score(0.5)), (whole.best_f1(), parts.best_f1())):
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[key], b[key]) for key in a)


def test_tensors_give_tensors() -> None:
    torch = need("torch")
    images = [tensors(image) for image in make_images(1, 3)]
    for results in (fill(images).at_score(0.5), fill(images).best_f1()):
        assert all(isinstance(value, torch.Tensor) for value in results.values())
