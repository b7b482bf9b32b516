"""DetectionMetrics: results, order of images and merging, bytes, errors that leave it as it was, several processes."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

import fastdet
from fastdet.detection import DetectionMetrics, average_precision, match_detections
from fastdet.detection.records import Columns

Pair = tuple[dict[str, Any], dict[str, Any]]
HERE = Path(__file__).parent


def make_images(seed: int, count: int, *, most: int = 20, classes: int = 3, crowds: bool = True) -> list[Pair]:
    """Images with small integer boxes and rounded scores: ties within and between images, some images empty."""
    r = np.random.default_rng(seed)

    def boxes(n: int) -> np.ndarray:
        corner = r.integers(0, 40, (n, 2))
        return np.concatenate([corner, corner + r.integers(1, 60, (n, 2))], axis=1).astype(np.float32)

    images = []
    for _ in range(count):
        m = int(r.integers(0, 6))
        true_boxes = boxes(m)
        n = int(r.integers(0, most))
        found = boxes(n)
        if m:
            near = true_boxes[r.integers(0, m, n)] + r.integers(-4, 5, (n, 4))
            found = np.where(r.random((n, 1)) < 0.7, near, found).astype(np.float32)
            found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        target = {"boxes": true_boxes, "labels": r.integers(0, classes, m)}
        if crowds:
            target["iscrowd"] = (r.random(m) < 0.15).astype(np.int64)
        scores = np.round(r.random(n), 1).astype(np.float32)
        images.append(({"boxes": found, "scores": scores, "labels": r.integers(0, classes, n)}, target))
    return images


def tensors(image: Pair) -> Pair:
    torch = need("torch")
    return tuple({k: torch.from_numpy(v) for k, v in x.items()} for x in image)  # type: ignore[return-value]


def fill(images: list[Pair], ids: Any = None, batch: int = 1, **options: Any) -> DetectionMetrics:
    metrics = DetectionMetrics(**options)
    for i in range(0, len(images), batch):
        part = images[i : i + batch]
        metrics.update([p for p, _ in part], [t for _, t in part], None if ids is None else ids[i : i + batch])
    return metrics


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


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


def pycocotools_results(images: list[Pair], most: list[int]) -> tuple[Any, Any]:
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
        evaluation.params.maxDets = most
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"], evaluation.eval["scores"]


@pytest.mark.parametrize("most", [(1, 10, 100), (2, 5)])
def test_every_cell_equals_pycocotools(most: tuple[int, ...]) -> None:
    for seed in range(20):
        images = make_images(seed, 1 + seed % 7, most=30)
        if not any(len(p["labels"]) for p, _ in images):
            continue
        for got, want in zip(
            fill(images, max_detections=most).curves(), pycocotools_results(images, list(most)), strict=True
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


def test_bytes_of_a_detection() -> None:
    """Under 16 with COCO's thresholds and areas, and what is given can be changed after."""
    r = np.random.default_rng(0)
    images = []
    for _ in range(300):
        corner = r.random((100, 2)) * 500
        boxes = np.concatenate([corner, corner + r.random((100, 2)) * 100], axis=1).astype(np.float32)
        labels = (80 * r.random(100) ** 3).astype(int)
        prediction = {"boxes": boxes, "scores": r.random(100).astype(np.float32), "labels": labels}
        images.append((prediction, {"boxes": boxes[:7], "labels": labels[:7]}))
    metrics = fill(images)
    want = metrics.compute()
    assert metrics.nbytes / 30000 < 16
    metrics = DetectionMetrics()
    for prediction, target in copy.deepcopy(images):
        metrics.update([prediction], [target])
        for x in (*prediction.values(), *target.values()):
            x[:] = 0
    assert same(metrics.compute(), want)


# Order and merging


def test_any_order_of_images_and_of_merging_is_the_same() -> None:
    images, ids = make_images(6, 24), [3 * i - 20 for i in range(24)]
    whole = fill(images, ids, confusion_at=(0.5, 0.2))
    r = np.random.default_rng(0)
    for _ in range(10):
        order = r.permutation(24)
        parts = [
            fill([images[i] for i in part], [ids[i] for i in part], batch=2, confusion_at=(0.5, 0.2))
            for part in np.array_split(order, 4)
        ]
        merged = parts[0].merge_state(parts[i] for i in r.permutation([1, 2, 3]))
        assert merged.to_bytes() == whole.to_bytes()
        assert same(merged.compute(), whole.compute())
        assert len(merged) == 24
    assert whole.image_ids.tolist() == ids


def test_numbered_images_are_dealt_out() -> None:
    """Image i of process r is number i * world + r, so that the processes together are the single one."""
    images = make_images(7, 11)
    parts = [fill(images[rank::3], rank=rank, world=3) for rank in range(3)]
    merged = parts[2].merge_state([parts[0], parts[1]])
    assert same(merged.compute(), fill(images).compute())
    with pytest.raises(
        ValueError, match=r"image ids must be seen once, got 0 twice; give rank and world, or image_ids"
    ):
        fill(images[:2]).merge_state(fill(images[2:]))
    with pytest.raises(ValueError, match=r"got 0 twice; give rank and world"):  # they are not the same image
        fill(images[:2], on_duplicate="first").merge_state(fill(images[2:]))
    merged.update([images[0][0]], [images[0][1]])
    assert len(merged) == 12


def test_an_image_seen_twice() -> None:
    images = make_images(8, 5)
    metrics = fill(images, range(5))
    before = metrics.to_bytes()
    for call in (
        lambda m: m.update([images[0][0]] * 2, [images[0][1]] * 2, [7, 7]),
        lambda m: m.update([images[0][0]] * 2, [images[0][1]] * 2, [7, 3]),
        lambda m: m.merge_state([fill(images[:1], [9]), fill(images[3:], [3, 4])]),
    ):
        with pytest.raises(ValueError, match=r"image ids must be seen once, got [37] twice; on_duplicate=\"first\""):
            call(metrics)
        assert metrics.to_bytes() == before
    want = fill(images, range(5), confusion_at=(0.5, 0.1))
    first = fill([*images, *images[:2]], [0, 1, 2, 3, 4, 1, 0], batch=4, on_duplicate="first", confusion_at=(0.5, 0.1))
    assert first.to_bytes() != want.to_bytes()  # the settings differ
    assert same(first.compute(), want.compute())
    assert np.array_equal(first.confusion_matrix(), want.confusion_matrix())
    padded = fill(images[:3], [0, 1, 2], on_duplicate="first", confusion_at=(0.5, 0.1))
    padded.merge_state(fill([*images[2:], images[0]], [2, 3, 4, 0], confusion_at=(0.5, 0.1)))
    assert same(padded.compute(), want.compute())
    assert np.array_equal(padded.confusion_matrix(), want.confusion_matrix())


def test_columns_are_dictionaries() -> None:
    """Whole columns give the state that image by image gives, also with unknown order of rows."""
    images, r = make_images(9, 10), np.random.default_rng(0)

    def columns(which: int) -> Columns:
        parts = [x[which] for x in images]
        sizes = [len(x["labels"]) for x in parts]
        boxes = np.concatenate([x["boxes"] for x in parts]).astype(float)
        boxes[:, 2:] -= boxes[:, :2]
        none = np.zeros(0)
        return Columns(
            np.repeat(np.arange(10) * 5, sizes), np.concatenate([x["labels"] for x in parts]), boxes,
            boxes[:, 2] * boxes[:, 3], none if which else np.concatenate([x["scores"] for x in parts]).astype(float),
            np.concatenate([x["iscrowd"] for x in parts]).astype(np.uint8) if which else none.astype(np.uint8),
            none.astype(np.int64),
        )  # fmt: skip

    detections, truth = columns(0), columns(1)
    metrics = DetectionMetrics()
    order = r.permutation(len(truth.label))
    truth = Columns(*(x[order] if len(x) else x for x in truth))
    metrics.update_columns(detections, truth, np.arange(10) * 5)
    assert metrics.to_bytes() == fill(images, range(0, 50, 5)).to_bytes()
    before = metrics.to_bytes()
    bad = detections._replace(image=detections.image + 1000)
    with pytest.raises(ValueError, match=r"detections.image must be among image_ids, got 1000 in row 0"):
        metrics.update_columns(bad, truth, np.arange(10) * 5 + 1)
    with pytest.raises(ValueError, match="got 45 twice"):
        metrics.update_columns(detections, truth, [45])
    scores = detections.scores.copy()
    scores[3] = np.nan
    with pytest.raises(ValueError, match=r"detections.scores must not hold NaN, got NaN at index 3"):
        metrics.update_columns(detections._replace(scores=scores), truth, [1])
    assert metrics.to_bytes() == before


# Bytes


def test_bytes_there_and_back() -> None:
    metrics = fill(make_images(10, 8), range(8), confusion_at=(0.5, 0.2), max_detections=(3, None), rule="voc")
    data = metrics.to_bytes()
    other = DetectionMetrics.from_bytes(data)
    assert other.to_bytes() == data
    assert same(other.compute(), metrics.compute())
    other.update([{"boxes": [], "scores": [], "labels": []}], [{"boxes": [], "labels": []}], [8])
    assert len(other) == 9
    for copied in (pickle.loads(pickle.dumps(metrics)), copy.deepcopy(metrics)):
        assert copied.to_bytes() == data


def test_bytes_that_are_damaged() -> None:
    data = fill(make_images(11, 3), range(3)).to_bytes()
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"DetectionMetrics.from_bytes: data must be"):
            DetectionMetrics.from_bytes(data[:size])
    r = np.random.default_rng(0)
    for _ in range(500):
        wrong = bytearray(data)
        wrong[r.integers(0, len(data))] ^= 1 << r.integers(0, 8)
        with pytest.raises(ValueError, match=r"DetectionMetrics.from_bytes: data must "):
            DetectionMetrics.from_bytes(bytes(wrong))
    with pytest.raises(ValueError, match=r"damaged or truncated"):
        DetectionMetrics.from_bytes(data + b"x")
    with pytest.raises(ValueError, match=r"data must have version 1, got 2"):
        DetectionMetrics.from_bytes(data[:8] + b"\2" + data[9:])
    with pytest.raises(TypeError, match=r"data must be bytes, got str"):
        DetectionMetrics.from_bytes("fastdet")  # type: ignore[arg-type]


def forge(body: bytes, header: bytes) -> bytes:
    """Bytes whose digest is right, whatever the body is."""
    return header + hashlib.blake2b(body, digest_size=16).digest() + body


@pytest.mark.parametrize(
    "options",
    [
        {"confusion_at": (0.5, 0.2)},
        {"rule": "voc", "iou_thresholds": [0.5], "areas": {"all": (0, float("inf"))}, "max_detections": [None]},
    ],
)
def test_bytes_that_are_forged(options: dict[str, Any]) -> None:
    """With a right digest whatever is inside: a state that can be used, or a ValueError."""
    data = fill(make_images(12, 4), range(4), **options).to_bytes()
    header, body, loaded = data[:20], data[36:], 0
    assert forge(body, header) == data
    r = np.random.default_rng(0)
    for case in range(1500):
        wrong = bytearray(body)
        for _ in range(1 + case % 3):
            wrong[r.integers(0, len(wrong))] = r.choice([0, 1, 32, 48, 57, 91, 255, int(r.integers(0, 256))])
        metrics, text = None, "DetectionMetrics.from_bytes: data must"
        try:
            metrics = DetectionMetrics.from_bytes(forge(bytes(wrong), header))
        except ValueError as error:
            text = str(error)
        assert text.startswith("DetectionMetrics.from_bytes: data must")
        if metrics is not None:
            loaded += 1
            metrics.compute()
            if metrics._parameters.confusion_at:
                metrics.confusion_matrix()
    assert loaded  # scores and ids can be any


def test_states_that_are_unlike() -> None:
    one, other = DetectionMetrics(), DetectionMetrics(iou_thresholds=[0.5])
    with pytest.raises(ValueError, match=r"merge_state: states must have equal parameters, got iou_thresholds \(0.5, "):
        one.merge_state(DetectionMetrics.from_bytes(other.to_bytes()))
    with pytest.raises(ValueError, match=r"got inclusive False and True"):
        one.merge_state(DetectionMetrics(inclusive=True))
    with pytest.raises(TypeError, match=r"other must be a DetectionMetrics, got int"):
        one.merge_state([3])  # type: ignore[list-item]
    images = make_images(1, 2)
    with pytest.raises(ValueError, match=r"image_ids must be given to all states or to none"):
        fill(images[:1]).merge_state(fill(images[1:], [5]))
    with pytest.raises(ValueError, match=r"image_ids must be given to all states or to none"):
        DetectionMetrics().merge_state([fill(images[:1]), fill(images[1:], [5])])
    # the format of boxes is of the input alone
    DetectionMetrics().merge_state(DetectionMetrics(box_format="xywh"))


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
    with pytest.raises(ValueError, match="label must be a class of an image, got 77"):
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


# Errors


def wrong_images() -> dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], type[Exception], str]]:
    def put(which: int, key: str, value: Any) -> Callable[..., None]:
        return lambda *image: image[which].__setitem__(key, value)

    two = [[0, 0, 1, 1], [0, 0, 1, 1.0]]
    return {
        "NaN box": (put(0, "boxes", [two[0], [0, 0, np.nan, 1]]), ValueError,
                    "predictions[1]['boxes'] must not hold NaN, got NaN at index (1, 2)"),
        "infinite box": (put(1, "boxes", [[0, 0, np.inf, 1], two[0]]), ValueError,
                         "targets[1]['boxes'] must be finite, got inf at index (0, 2)"),
        "NaN score": (put(0, "scores", [0.5, np.nan]), ValueError,
                      "predictions[1]['scores'] must not hold NaN, got NaN at index 1"),
        "infinite score": (put(0, "scores", [-np.inf, 1]), ValueError,
                           "predictions[1]['scores'] must be finite, got -inf at index 0"),
        "sides": (put(0, "boxes", np.array([two[0], [-3e38, 0, 3e38, 1]], np.float32)), ValueError, "finite sides"),
        "scores": (put(0, "scores", [0.5]), ValueError,
                   "predictions[1]['scores'] must have shape (2,), one per box, got (1,)"),
        "labels": (put(1, "labels", [0.5, 1]), TypeError, "targets[1]['labels'] must be an integer array, got float64"),
        "crowd": (put(1, "iscrowd", [0, 2]), ValueError, "targets[1]['iscrowd'] must hold only 0 and 1, got 0 to 2"),
        "area": (put(1, "area", [1, np.nan]), ValueError, "targets[1]['area'] must not hold NaN, got NaN at index 1"),
        "shape": (put(1, "boxes", [[0, 0, 1], [0, 0, 1]]), ValueError,
                  "targets[1]['boxes'] must have shape (N, 4), got (2, 3)"),
        "missing": (lambda p, t: p.pop("scores"), ValueError,
                    "predictions[1] must have 'scores', got ['boxes', 'labels']"),
    }  # fmt: skip


@pytest.mark.parametrize("case", wrong_images())
def test_an_error_takes_nothing_of_the_batch(case: str) -> None:
    spoil, kind, text = wrong_images()[case]
    images = make_images(15, 3)
    metrics = fill(images, range(3))
    before = metrics.to_bytes()
    box = np.array([[0, 0, 5, 5.0], [0, 0, 6, 6]])
    prediction = {"boxes": box, "scores": np.array([0.5, 0.6]), "labels": np.array([0, 1])}
    target = {"boxes": box, "labels": np.array([0, 1])}
    spoil(prediction, target)
    with pytest.raises(kind) as error:
        metrics.update([images[0][0], prediction], [images[0][1], target], [10, 11])
    assert str(error.value).startswith("DetectionMetrics.update: ")
    assert text in str(error.value)
    assert metrics.to_bytes() == before
    metrics.update([images[0][0]], [images[0][1]], [10])


def test_batches_that_are_wrong() -> None:
    metrics, (prediction, target) = DetectionMetrics(), make_images(0, 1)[0]
    for args, kind, text in (
        ((prediction, [target]), TypeError, "predictions must be a list of dictionaries, got dict"),
        (([prediction], [target] * 2), ValueError, "targets must be as many as predictions, got 2 and 1"),
        (([3], [target]), TypeError, "predictions[0] must be a dictionary, got int"),
        (([prediction], [target], [1, 2]), ValueError, "image_ids must be one for each image, got 2 for 1"),
        (([prediction], [target], ["a"]), TypeError, "image_ids must be integers, got 'a'"),
        (([prediction], [target], [2**70]), ValueError, "image_ids must be within 62 bits"),
    ):
        with pytest.raises(kind) as error:
            metrics.update(*args)
        assert text in str(error.value)
    metrics.update([prediction], [target])
    with pytest.raises(ValueError, match=r"image_ids must be given always or never"):
        metrics.update([prediction], [target], [1])
    assert len(metrics) == 1


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"box_format": "yxyx"}, ValueError, "box_format must be one of 'xyxy', 'xywh', 'cxcywh', got 'yxyx'"),
        ({"iou_thresholds": []}, ValueError, "iou_thresholds must not be empty"),
        ({"iou_thresholds": [1.5]}, ValueError, "iou_thresholds must be in (0, 1], got 1.5"),
        ({"iou_thresholds": 0.5}, TypeError, "iou_thresholds must be a sequence of numbers, got 0.5"),
        ({"rec_thresholds": [0.5, 0.5]}, ValueError, "rec_thresholds must rise within [0, 1], got [0.5, 0.5]"),
        ({"max_detections": (10, 1)}, ValueError, "max_detections must rise from 1 or more, got [10, 1]"),
        ({"areas": {"all": (2, 1)}}, ValueError, "areas must have least <= greatest"),
        ({"areas": [1]}, TypeError, "areas must be a dictionary of (least, greatest), got [1]"),
        ({"rule": "x"}, ValueError, "rule must be one of 'coco', 'voc', got 'x'"),
        ({"method": "x"}, ValueError, "method must be one of"),
        ({"confusion_at": 0.5}, TypeError, "confusion_at must be (iou, score), got 0.5"),
        ({"on_duplicate": "last"}, ValueError, "on_duplicate must be one of 'raise', 'first', got 'last'"),
        ({"rank": 2, "world": 2}, ValueError, "rank must be below world, got 2 of 2"),
        ({"backend": "x"}, ValueError, "backend must be one of"),
    ],
)
def test_parameters_that_are_wrong(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        DetectionMetrics(**options)
    assert str(error.value).startswith(f"DetectionMetrics: {text}")


# Several processes

WORKER = """
import sys
import torch
import torch.distributed as dist
from test_detection_metrics import fill, make_images, tensors
from fastdet.detection import DetectionMetrics

rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
images = [tensors(x) for x in make_images(20, 13)]
ids = list(range(13)) + [0, 1, 2][: -13 % world]  # padded, as a distributed sampler does
mine = ids[rank::world]
named = fill([images[i] for i in mine], mine, on_duplicate="first").sync()
numbered = fill(images[rank::world]).sync()
try:
    DetectionMetrics(iou_thresholds=[(rank + 1) / 8]).sync()
except ValueError as error:
    unlike = str(error)
assert "equal parameters" in unlike
assert isinstance(named.compute()["map"], torch.Tensor)
with open(f"{out}.{rank}", "wb") as file:
    for data in (named.to_bytes(), numbered.to_bytes()):
        file.write(len(data).to_bytes(8, "little") + data)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("world", [2, 4])
def test_processes_of_torch_distributed(world: int, tmp_path: Path) -> None:
    """Each rank has the result of the single process, from ids with padding and from numbers dealt out."""
    need("torch.distributed")
    if sys.platform == "win32":
        pytest.skip("gloo over a file needs a POSIX system")
    paths = os.pathsep.join([str(Path(fastdet.__file__).parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":  # a host name need not lead to an address
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(world), str(tmp_path / "store"), str(tmp_path / "out")],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    images = make_images(20, 13)
    want = [fill(images, range(13), on_duplicate="first").to_bytes(), fill(images).to_bytes()]
    for rank in range(world):
        data, found = (tmp_path / f"out.{rank}").read_bytes(), []
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(data[8 : 8 + size])
            data = data[8 + size :]
        assert found == want


def test_sync_without_processes() -> None:
    with pytest.raises(RuntimeError, match=r"torch.distributed must be initialized"):
        DetectionMetrics().sync()


@pytest.mark.parametrize("name", ["50", "75", "per_class", "100_per_class", "100", "small_ci"])
def test_areas_have_keys_of_their_own(name: str) -> None:
    with pytest.raises(ValueError, match="DetectionMetrics: areas must have names that are no other key's"):
        DetectionMetrics(areas={"all": (0, 1e10), name: (200, 300)})
    DetectionMetrics(areas={name: (0, 1e10)})  # the first is in no key


def test_ids_and_seeds_are_checked() -> None:
    metrics = DetectionMetrics()
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, np.int64)}
    with pytest.raises(TypeError, match="image_ids must be a sequence of integers, got 3"):
        metrics.update([empty], [empty], image_ids=3)
    metrics.update([empty], [empty])
    for seed, error in ((-1, ValueError), ("x", TypeError)):
        with pytest.raises(error, match=r"DetectionMetrics.compute: seed must be"):
            metrics.compute(ci=0.9, seed=seed)
