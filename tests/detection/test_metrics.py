"""DetectionMetrics: its figures, against pycocotools, torchmetrics and cases worked by hand."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pytest
from detection_images import Pair, fill, make_images, same, tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet.detection import DetectionMetrics, average_precision, match_detections

# Results


def test_one_image_by_hand() -> None:
    """One of two boxes found: precision 1 up to recall 0.5, 51 of 101 levels."""
    prediction = {"boxes": np.array([[0, 0, 40, 40.0]]), "scores": np.array([0.9]), "labels": np.array([7])}
    target = {"boxes": np.array([[0, 0, 40, 40], [50, 50, 60, 60.0]]), "labels": np.array([7, 7])}
    results = fill([(prediction, target)]).compute()
    for key in ("map", "map_50", "map_75"):
        assert results[key] == pytest.approx(51 / 101, abs=1e-12)
    assert (results["map_small"], results["map_medium"], results["map_large"]) == (0, pytest.approx(1), -1)
    assert (results["mar_1"], results["mar_10"], results["mar_100"], results["mar_large"]) == (0.5, 0.5, 0.5, -1)
    assert results["classes"].tolist() == [7]
    assert results["map_per_class"] == pytest.approx([51 / 101], abs=1e-12)
    assert results["mar_100_per_class"].tolist() == [0.5]


def pycocotools_results(images: list[Pair], limits: list[int]) -> tuple[Any, Any]:
    """(precision, recall) of pycocotools."""
    need("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for i, (prediction, target) in enumerate(images):
        for box, label, crowd in zip(target["boxes"], target["labels"], target["iscrowd"], strict=True):
            x, y, w, h = map(float, (*box[:2], *(box[2:] - box[:2])))
            truth.append({
                "id": len(truth) + 1, "image_id": i, "category_id": int(label), "bbox": [x, y, w, h], "area": w * h,
                "iscrowd": int(crowd),
            })  # fmt: skip
        for box, label, score in zip(prediction["boxes"], prediction["labels"], prediction["scores"], strict=True):
            x, y, w, h = map(float, (*box[:2], *(box[2:] - box[:2])))
            found.append({"image_id": i, "category_id": int(label), "bbox": [x, y, w, h], "score": float(score)})
    classes = sorted({a["category_id"] for a in truth + found})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(images))],
            "categories": [{"id": k} for k in classes],
            "annotations": truth,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"], evaluation.eval["scores"]


@pytest.mark.parametrize("limits", [(1, 10, 100), (2, 5)])
def test_every_cell_equals_pycocotools(limits: tuple[int, ...]) -> None:
    for seed in range(20):
        images = make_images(seed, 1 + seed % 7, max_detections=30)
        if not any(len(p["labels"]) for p, _ in images):
            continue
        for got, want in zip(
            fill(images, max_detections=limits).curves(), pycocotools_results(images, list(limits)), strict=True
        ):
            assert np.array_equal(got, want), seed


def test_results_equal_torchmetrics() -> None:
    torch = need("torch")
    need("pycocotools")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = need("torchmetrics.detection").MeanAveragePrecision(class_metrics=True)
        images = [tensors(x) for x in make_images(5, 40)]
        for prediction, target in images:
            peer.update([prediction], [target])
        want = peer.compute()
    levels = {  # torchmetrics' are rounded to float32
        "iou_thresholds": torch.linspace(0.5, 0.95, 10).tolist(), "rec_thresholds": torch.linspace(0, 1, 101).tolist(),
    }  # fmt: skip
    got = fill(images, **levels).compute()
    assert got.keys() == want.keys()
    for key, value in want.items():
        assert isinstance(got[key], torch.Tensor)
        assert np.allclose(got[key], value, rtol=0, atol=1e-6), key


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_backends_give_equal_states(backend: str) -> None:
    images = make_images(1, 12)
    want, got = (fill(images, backend=b, confusion_at=(0.5, 0.3)) for b in ("cpp", backend))
    assert got.to_bytes() == want.to_bytes()
    assert same(got.compute(), want.compute())


def test_voc_rule_by_its_steps() -> None:
    """VOC's average precision from `match_detections` and `average_precision`, class by class."""
    images = make_images(2, 15, crowds=False)
    r = np.random.default_rng(0)
    for _, target in images:
        target["difficult"] = r.random(len(target["labels"])) < 0.3
    options = {"iou_thresholds": [0.5], "areas": {"all": (0, float("inf"))}, "max_detections": [None], "rule": "voc"}
    for method in ("voc2007", "area"):
        results = fill(images, method=method, inclusive=True, **options).compute()
        scores, outcomes, labels, counted = [], [], [], np.zeros(3, np.int64)
        for prediction, target in images:
            for k in range(3):
                mine, theirs = prediction["labels"] == k, target["labels"] == k
                matches = match_detections(
                    prediction["boxes"][mine], prediction["scores"][mine], target["boxes"][theirs], inclusive=True,
                    ignore=target["difficult"][theirs], rule="voc", max_detections=None,
                )  # fmt: skip
                scores.append(prediction["scores"][mine][matches.order])
                outcomes.append(matches.outcome[:, 0, 0])
                labels.append(np.full(len(matches.order), k))
                counted[k] += matches.counted[0]
        ap = average_precision(
            *map(np.concatenate, (scores, outcomes)), counted, labels=np.concatenate(labels), method=method
        )
        assert np.allclose(results["map_per_class"], ap, rtol=0, atol=1e-15)
        assert results["map"] == pytest.approx(ap.mean(), abs=1e-12)
        assert results["map_50"] == results["map"]
        assert results["map_75"] == -1
        assert "mar_all" in results


def test_more_than_a_hundred_detections_count_where_asked() -> None:
    """The 150th by score is the one that hits."""
    boxes = np.tile([[100, 100, 120, 120.0]], (150, 1))
    boxes[149] = [0, 0, 20, 20]
    prediction = {"boxes": boxes, "scores": np.linspace(1, 0.1, 150), "labels": np.zeros(150, int)}
    image = prediction, {"boxes": np.array([[0, 0, 20, 20.0]]), "labels": np.array([0])}
    results = fill([image], max_detections=(100, 149, 150)).compute()
    assert (results["mar_100"], results["mar_149"], results["mar_150"]) == (0, 0, 1)
    assert results["map"] == pytest.approx(1 / 150)


def test_areas_are_the_targets_where_given() -> None:
    image = make_images(3, 1)[0]
    target = {"boxes": np.array([[0, 0, 10, 10.0]] * 2), "labels": np.array([0, 0]), "area": np.array([5000, 0.0])}
    _, _, classes = (metrics := fill([(image[0], target)])).records
    records, of_class, _ = metrics.records
    group = of_class[np.searchsorted(classes, 0)]
    assert records.counted[group].tolist() == [2, 1, 1, 0]  # 0: width times height


def test_no_images_and_no_boxes() -> None:
    text = r"DetectionMetrics\.compute: no image was counted, so every figure is -1; call update\(predictions, "
    with pytest.warns(RuntimeWarning, match=text):
        results = DetectionMetrics().compute()
    assert results["map"] == results["mar_100"] == -1
    assert len(results["classes"]) == len(results["map_per_class"]) == 0
    none = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, int)}
    metrics = fill([(none, none)])
    assert len(metrics) == 1
    assert metrics.compute()["map"] == -1
    truth = {"boxes": np.array([[0, 0, 10, 10.0]]), "labels": np.array([0])}
    assert fill([(none, truth)]).compute()["map"] == 0
    found = {**truth, "scores": np.array([0.5])}
    assert fill([(found, none)]).compute()["map"] == -1


def test_numbers_in_numpy_and_in_torch() -> None:
    images = make_images(4, 6)
    numpy_results, torch_results = fill(images).compute(), fill([tensors(x) for x in images]).compute()
    torch = need("torch")
    assert type(numpy_results["map"]) is float
    for key, value in numpy_results.items():
        assert isinstance(torch_results[key], torch.Tensor)
        assert np.array_equal(torch_results[key].numpy(), value)


def test_float64_scores_that_float32_cannot_tell_apart() -> None:
    """Kept as they are: rounded they would tie, and the false one come first."""
    boxes = np.array([[50, 50, 60, 60], [0, 0, 10, 10.0]])
    prediction = {"boxes": boxes, "scores": np.array([0.5, 0.5 + 1e-12]), "labels": np.zeros(2, int)}
    target = {"boxes": boxes[1:], "labels": np.zeros(1, int)}
    assert fill([(prediction, target)]).compute()["map"] == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4))
def test_compute_at_any_time_and_any_batch(seed: int, count: int, batch: int) -> None:
    images = make_images(seed, count)
    metrics = DetectionMetrics()
    for i, (prediction, target) in enumerate(images):
        metrics.update([prediction], [target])
        assert same(metrics.compute(), fill(images[: i + 1], batch=batch).compute())
    metrics.reset()
    assert metrics.to_bytes() == DetectionMetrics().to_bytes()


# More results


def test_confusion_matrix_by_hand() -> None:
    """Truth in rows: one right, one of another class, one missed, one on nothing, one below the score."""
    a, b, c, d = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]
    prediction = {
        "boxes": np.array([a, b, d, c], float), "scores": np.array([0.9, 0.8, 0.7, 0.1]),
        "labels": np.array([3, 3, 5, 5]),
    }  # fmt: skip
    target = {"boxes": np.array([a, b, c], float), "labels": np.array([3, 5, 5])}
    image = prediction, target
    assert fill([image], confusion_at=(0.5, 0.5)).confusion_matrix().tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert fill([image], confusion_at=(0.5, 0.1)).confusion_matrix().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    target["iscrowd"] = np.array([0, 1, 1])
    assert fill([image], confusion_at=(0.5, 0.5)).confusion_matrix().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match=r"made with confusion_at"):
        DetectionMetrics().confusion_matrix()


def test_intervals_of_the_bootstrap() -> None:
    """They hold the value, narrow with more images, and are the same for the same seed; equal images leave no doubt."""
    images = make_images(13, 60)
    few, many = fill(images[:10]), fill(images)
    result, again = few.compute(ci=0.9, resamples=60), few.compute(ci=0.9, resamples=60)
    assert same(result, again)
    assert not np.array_equal(result["map_ci"], few.compute(ci=0.9, resamples=60, seed=1)["map_ci"])
    wide, narrow = (np.diff(x["map_ci"])[0] for x in (result, many.compute(ci=0.9, resamples=60)))
    assert 0 < narrow < wide
    low, high = result["map_ci"]
    assert low <= result["map"] <= high
    assert {k.removesuffix("_ci") for k in result if k.endswith("_ci")} == {
        k for k, v in result.items() if type(v) is float
    }
    equal = fill(images[:1] * 5).compute(ci=0.95, resamples=20)
    assert np.allclose(equal["map_ci"], equal["map"])
    for wrong in (0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match=r"compute: ci must be"):
            few.compute(ci=wrong)


def test_plot() -> None:
    need("matplotlib")
    metrics = fill(make_images(14, 10))
    fig, ax = metrics.plot()
    assert len(ax.lines) == 20  # raw and interpolated
    assert metrics.plot(ax=ax) == (fig, ax)
    assert len(ax.lines) == 40
    _, one = metrics.plot(label=2)
    ap = metrics.average_precision()[0, metrics.compute()["classes"].tolist().index(2), 0]
    assert one.get_legend().get_texts()[0].get_text() == f"IoU 0.50   AP {ap:.3f}"
    _, empty = DetectionMetrics().plot()
    assert not empty.lines
    with pytest.raises(ValueError, match="label must be a class of some image, got 77"):
        metrics.plot(label=77)


@pytest.mark.parametrize("method", ["coco101", "voc2007", "area"])
def test_average_precision_of_each_class(method: str) -> None:
    metrics = fill(make_images(15, 12), method=method, iou_thresholds=[0.5, 0.75], max_detections=[1, None])
    found, results = metrics.average_precision(), metrics.compute()
    assert found.shape == (2, len(results["classes"]), 4)
    assert found[..., 0].mean(axis=0) == pytest.approx(results["map_per_class"], abs=1e-15)
    for k, label in enumerate(results["classes"].tolist()):
        for t, curve in enumerate(metrics.precision_recall_curves(label)):
            if method == "area":
                rises = np.diff(curve.recall, prepend=0)
                assert np.sum(rises * curve.interpolated) == pytest.approx(found[t, k, 0], abs=1e-12)
            else:
                levels = np.linspace(0, 1, 101 if method == "coco101" else 11)
                best = [curve.precision[curve.recall >= level].max(initial=0) for level in levels]
                assert np.mean(best) == pytest.approx(found[t, k, 0], abs=1e-12)


def test_mean_of_the_curves() -> None:
    metrics = fill(make_images(16, 12))
    curves = metrics.precision_recall_curves()
    precision = metrics.curves()[0][..., 0, -1]
    known = (precision > -1).all(axis=(0, 1))
    for t, curve in enumerate(curves):
        assert curve.interpolated == pytest.approx(precision[t][:, known].mean(axis=1), abs=1e-12)
        assert (curve.precision <= curve.interpolated + 1e-12).all()
    assert DetectionMetrics().precision_recall_curves() == []
