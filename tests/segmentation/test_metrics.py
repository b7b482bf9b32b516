"""SegmentationMetrics: figures, backends, and errors that leave no trace."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals import basic
from metric_maps import PREDICTION, TARGET, maps, same, state
from optional import need

from fastdet import segmentation
from fastdet._core import metric
from fastdet.segmentation import SegmentationMetrics, per_image

VOIDS = ("miss", "drop", "count")


@pytest.mark.parametrize(
    ("void", "iou", "accuracy", "counts"),
    [
        # class 0: 2 right, 1 of it taken for 1. Class 1: 2 right, 1 of it void; above one void pixel taken for 1
        ("miss", [2 / 3, 2 / 4], 4 / 6, ([3, 3], [2, 3])),
        ("drop", [2 / 3, 2 / 3], 4 / 5, ([3, 2], [2, 3])),
        ("count", [2 / 3, 2 / 5], 4 / 6, ([3, 3], [2, 4])),
    ],
)
def test_worked_example(void: str, iou: list[float], accuracy: float, counts: tuple[list[int], list[int]]) -> None:
    metrics = SegmentationMetrics(2, ignore_index=9, void=void)
    metrics.update(PREDICTION, TARGET)
    got = metrics.compute()
    np.testing.assert_array_equal(got["iou"], iou)
    assert got["mean_iou"] == pytest.approx(sum(iou) / 2, abs=1e-15)
    assert got["pixel_accuracy"] == accuracy
    assert (got["target_pixels"].tolist(), got["predicted_pixels"].tolist()) == counts
    assert got["intersection"].tolist() == [2, 2]
    assert (got["images"], got["pixels"], got["void_pixels"], got["void_predictions"]) == (1, 8, 2, 1)
    for other in VOIDS:  # asked for afterwards
        fresh = SegmentationMetrics(2, ignore_index=9, void=other)
        fresh.update(PREDICTION, TARGET)
        same(metrics.compute(void=other), fresh.compute())


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize(("classes", "ignore"), [(5, None), (5, 255), (5, 2), (40, 255)])
def test_equals_the_functions(void: str, classes: int, ignore: int | None) -> None:
    """The figures are those of `fastdet.segmentation`'s functions of the one matrix, to the last bit."""
    target, prediction = maps(1, classes=classes, void=ignore)
    metrics = SegmentationMetrics(classes, ignore_index=ignore, void=void, per_image=True)
    metrics.update(prediction, target)
    got = metrics.compute()
    matrix = segmentation.confusion_matrix(target, prediction, classes, ignore_index=ignore, void=void)
    np.testing.assert_array_equal(got["confusion_matrix"], matrix)
    for name in ("iou", "class_accuracy", "dice"):
        np.testing.assert_array_equal(got[name], getattr(segmentation, name)(matrix, num_classes=classes))
        assert np.isnan(got[name][3])
    for name in ("mean_iou", "pixel_accuracy", "mean_class_accuracy", "mean_dice", "frequency_weighted_iou"):
        assert got[name] == getattr(segmentation, name)(matrix, num_classes=classes), name
    every = per_image.figures(*per_image.sums(per_image.record(metrics._matrix, classes), classes, void))
    assert every.keys() == set(per_image.FIGURES)
    for name, value in every.items():  # as they are made for many images at once
        np.testing.assert_allclose(value, got[name], rtol=1e-15)


@pytest.mark.filterwarnings("ignore:SegmentationMetrics.update. predictions hold")  # as a few pixels can
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 6), max_size=4), st.booleans(), st.sampled_from(VOIDS))
def test_grouping_does_not_matter(seed: int, cuts: list[int], per_image: bool, void: str) -> None:
    target, prediction = maps(seed, (6, 5, 7))
    options: dict[str, Any] = {"ignore_index": 255, "void": void, "per_image": per_image}
    whole, pieces, merged = (SegmentationMetrics(5, **options) for _ in range(3))
    whole.update(prediction, target)
    ends = [0, *sorted(cuts), 6]
    parts = []
    for a, b in itertools.pairwise(ends):
        pieces.update(prediction[a:b], target[a:b])
        part = SegmentationMetrics(5, **options)
        for i in range(a, b):
            part.update(prediction[i], target[i])
        parts.append(part)
    merged.merge_state(parts)
    assert state(whole) == state(pieces) == state(merged)
    same(whole.compute(), merged.compute())
    assert whole.compute()["pixels"] == target.size


@pytest.mark.filterwarnings("ignore:SegmentationMetrics.update. predictions hold")  # as a few pixels can
def test_per_image_is_each_image_by_itself() -> None:
    target, prediction = maps(2, (7, 6, 8))
    target[3] = 255  # nothing to score
    metrics = SegmentationMetrics(5, ignore_index=255, per_image=True)
    metrics.update(prediction, target)
    for void in VOIDS:
        got = metrics.compute(void=void)["per_image"]
        each = []
        for t, p in zip(target, prediction, strict=True):
            one = SegmentationMetrics(5, ignore_index=255, void=void)
            one.update(p, t)
            each.append(one.compute())
        np.testing.assert_allclose(got["mean_iou"], [one["mean_iou"] for one in each], rtol=1e-15)
        np.testing.assert_array_equal(got["pixel_accuracy"], [one["pixel_accuracy"] for one in each])
        known = got["mean_iou"][~np.isnan(got["mean_iou"])]
        assert got["scored"] == len(known) == (7 if void == "count" else 6)
        assert got["mean"] == pytest.approx(known.mean(), abs=1e-15)
        assert list(got["quantiles"]) == ["min", "5%", "25%", "median", "75%", "95%", "max"]
        assert (got["quantiles"]["min"], got["quantiles"]["max"]) == (known.min(), known.max())
        assert got["quantiles"]["median"] == np.median(known)
    assert metrics.compute()["mean_iou"] != metrics.compute()["per_image"]["mean"]


@pytest.mark.filterwarnings("ignore:SegmentationMetrics.update. predictions hold")  # as a few pixels can
def test_intervals_are_the_basic_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against images drawn and counted again one by one, from the same random numbers."""
    target, prediction = maps(3, (9, 6, 8))
    target[target == 4], prediction[prediction == 4] = 0, 0
    target[5, 0, 0] = prediction[5, 0, 0] = 4  # some resamples lack this class
    metrics = SegmentationMetrics(5, ignore_index=255, per_image=True)
    metrics.update(prediction, target)
    got = metrics.compute(ci=0.8, resamples=50, seed=7)["ci"]
    assert (got["level"], got["resamples"], got["seed"]) == (0.8, 50, 7)
    rng = np.random.default_rng(7)

    def counted(images: Any) -> dict[str, Any]:
        one = SegmentationMetrics(5, ignore_index=255, per_image=True)
        for i in images:
            one.update(prediction[i], target[i])
        result = one.compute()
        return {**result, "per_image_mean": result["per_image"]["mean"]}

    drawn = [counted(np.repeat(np.arange(9), times)) for times in rng.multinomial(9, np.full(9, 1 / 9), size=50)]
    without, every = [counted(i for i in range(9) if i != j) for j in range(9)], counted(range(9))
    for name, ends in got.items():
        if name in ("level", "resamples", "seed"):
            continue
        values, others = (np.array([one[name] for one in results]) for results in (drawn, without))
        estimate = every[name]
        if values.ndim == 2:
            assert np.isnan(ends[:, 3]).all()
            values, others, ends = (np.delete(x, 3, 1) for x in (values, others, ends))
            estimate = np.delete(estimate, 3)
        np.testing.assert_allclose(ends, basic(values, estimate, others, 0.8), rtol=0, atol=1e-12)
    monkeypatch.setattr(metric, "_CHUNK", 1)  # one resample at a time
    same(metrics.compute(ci=0.8, resamples=50, seed=7)["ci"], got)
    assert metrics.compute(ci=0.8, resamples=50, seed=8)["ci"]["mean_iou"] != got["mean_iou"]
    low, high = metrics.compute(ci=0.99)["ci"]["mean_iou"]
    assert low <= got["mean_iou"][0] <= metrics.compute()["mean_iou"] <= got["mean_iou"][1] <= high


def test_empty() -> None:
    metrics = SegmentationMetrics(3, ignore_index=255, per_image=True)
    text = r"SegmentationMetrics\.compute: no image was counted, so every figure is nan; call update\(predictions, "
    with pytest.warns(RuntimeWarning, match=text):
        got = metrics.compute(ci=0.95, resamples=10)
    assert np.isnan(got["mean_iou"])
    assert np.isnan(got["per_image"]["mean"])
    assert np.isnan(got["ci"]["mean_iou"]).all()
    assert (got["images"], got["pixels"]) == (0, 0)
    before = state(metrics)
    metrics.update(np.zeros((0, 4, 4), int), np.zeros((0, 4, 4), int))
    assert state(metrics) == before
    metrics.update(np.zeros((2, 0, 4), int), np.zeros((2, 0, 4), int))
    assert metrics.compute()["images"] == 2
    metrics.update(np.zeros((3, 3), int), np.full((3, 3), 255))  # void alone
    got = metrics.compute()
    assert np.isnan(got["mean_iou"])
    assert (got["images"], got["pixels"], got["void_pixels"], got["per_image"]["scored"]) == (3, 9, 9, 0)
    metrics.reset()
    assert state(metrics) == before


@pytest.mark.parametrize("per_image", [False, True])
def test_logits(per_image: bool) -> None:
    rng = np.random.default_rng(4)
    target, logits = rng.integers(0, 5, (3, 8, 6)), rng.standard_normal((3, 5, 8, 6)).astype(np.float32)
    target[0, 0] = 255
    a, b, c = (SegmentationMetrics(5, ignore_index=255, per_image=per_image) for _ in range(3))
    a.update(logits, target)
    b.update(logits.argmax(1), target)
    for t, x in zip(target, logits, strict=True):
        c.update(x, t)
    assert state(a) == state(b) == state(c)
    small = logits[:, :, ::2, ::2]
    a.reset()
    a.update(small, target, size=(8, 6))
    matrix = segmentation.confusion_matrix_from_logits(target, small, ignore_index=255, size=(8, 6))
    np.testing.assert_array_equal(a.matrix(), matrix)
    b.reset()
    b.update(small, target, size=(8, 6), align_corners=True)
    assert (a.matrix() != b.matrix()).any()


def test_torch() -> None:
    torch = need("torch")
    target, prediction = maps(5)
    a, b = (SegmentationMetrics(5, ignore_index=255, per_image=True) for _ in range(2))
    a.update(prediction, target)
    b.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(target))
    assert state(a) == state(b)
    logits = torch.randn(4, 5, 9, 11, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = logits.to(dtype).requires_grad_()  # as in a training loop
        a.reset()
        b.reset()
        a.update(x, torch.from_numpy(target))
        b.update(x.detach().float().argmax(1).numpy(), target)
        assert state(a) == state(b)


@pytest.mark.parametrize("backend", ["cpp", "numba", "reference"])
def test_backends(backend: str) -> None:
    target, prediction = maps(6)
    a, b = SegmentationMetrics(5, ignore_index=255, backend=backend), SegmentationMetrics(5, ignore_index=255)
    a.update(prediction, target)
    b.update(prediction, target)
    assert state(a) == state(b)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_classes": 0}, ValueError, r"num_classes must be in \[1, 65535\], got 0"),
        ({"num_classes": 65536}, ValueError, r"num_classes must be in \[1, 65535\], got 65536"),
        ({"num_classes": -1}, ValueError, "num_classes must be 0 or more, got -1"),
        ({"num_classes": 2.0}, TypeError, r"num_classes must be an integer, got 2\.0"),
        ({"ignore_index": 1.5}, TypeError, r"ignore_index must be an integer or None, got 1\.5"),
        ({"ignore_index": True}, TypeError, "ignore_index must be an integer or None, got True"),
        ({"void": "skip"}, ValueError, "void must be one of 'miss', 'drop', 'count', got 'skip'"),
        ({"class_names": "ab"}, TypeError, "class_names must be a sequence of strings, got 'ab'"),
        ({"class_names": ["a", 1]}, TypeError, "class_names must be strings, got 1"),
        ({"class_names": ["a"]}, ValueError, "class_names must hold 2 names, one per class, got 1"),
        ({"per_image": 1}, TypeError, "per_image must be True or False, got 1"),
        ({"backend": "cuda"}, ValueError, "backend must be one of 'cpp', 'numba', 'reference', got 'cuda'"),
    ],
)
def test_wrong_parameters(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        SegmentationMetrics(**{"num_classes": 2, **arguments})


ROUND = np.zeros((2, 3, 3), np.int64)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize(
    ("target", "prediction", "options", "error", "text"),
    [
        (ROUND, ROUND + 2, {}, ValueError, r"predictions must .*got 2 at index \(0, 0, 0\)"),
        (np.where(np.arange(18).reshape(2, 3, 3) == 13, 7, 0), ROUND, {}, ValueError, r"got 7 at index \(1, 1, 1\)"),
        (ROUND - 1, ROUND, {}, ValueError, r"targets must .*got -1 at index \(0, 0, 0\)"),
        (ROUND, ROUND[:1], {}, ValueError, "predictions must"),
        (ROUND, ROUND[:, :2], {}, ValueError, "predictions must"),
        (ROUND, ROUND[0], {}, ValueError, "predictions must"),
        (ROUND[0, 0], ROUND[0, 0], {}, ValueError, r"targets must have shape \(H, W\) or \(N, H, W\), got \(3,\)"),
        (
            ROUND[None],
            ROUND[None],
            {},
            ValueError,
            r"targets must have shape \(H, W\) or \(N, H, W\), got \(1, 2, 3, 3\)",
        ),
        (ROUND + 0.0, ROUND, {}, TypeError, "labels, got float64, and predictions are int64; update takes"),
        (ROUND, ROUND + 0.0, {}, ValueError, r"logits of shape \(2, 2, H, W\), got float64 of shape \(2, 3, 3\)"),
        (ROUND, np.zeros((2, 3, 3, 3)), {}, ValueError, r"\(2, 2, H, W\), got float64 of shape \(2, 3, 3, 3\)"),
        (ROUND[0], np.zeros((3, 3, 3)), {}, ValueError, r"of shape \(2, H, W\), got float64 of shape \(3, 3, 3\)"),
        (ROUND, np.full((2, 2, 3, 3), np.nan), {}, ValueError, "NaN"),
        (ROUND, np.zeros((2, 2, 2, 2)), {"size": (4, 4)}, ValueError, "4, 4|3, 3"),
        (ROUND, ROUND, {"size": (3, 3)}, ValueError, "go with logits, got predictions of int64"),
        (ROUND, ROUND, {"align_corners": True}, ValueError, "size and align_corners go with logits"),
        (ROUND, np.int64(1), {}, (TypeError, ValueError), "predictions"),
        (ROUND, "labels", {}, TypeError, "predictions must be an array, got str"),
        (ROUND, ROUND * 1j, {}, TypeError, "predictions must be"),
    ],
)
def test_an_update_that_raises_leaves_no_trace(
    per_image: bool, target: Any, prediction: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    metrics = SegmentationMetrics(2, ignore_index=255, per_image=per_image)
    metrics.update(ROUND, ROUND)
    before = state(metrics)
    with pytest.raises(error, match=text):
        metrics.update(prediction, target, **options)
    assert state(metrics) == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ci": 0.95}, "ci must go with per_image=True, got per_image=False"),
        ({"ci": 1.0}, r"ci must be in \(0, 1\), got 1.0"),
        ({"ci": float("nan")}, "ci must be a finite number"),
        ({"void": "skip"}, "void must be one of 'miss', 'drop', 'count', got 'skip'"),
    ],
)
def test_wrong_compute(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SegmentationMetrics(2).compute(**options)
    metrics = SegmentationMetrics(2, per_image=True)
    for name, value in (("resamples", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            metrics.compute(ci=0.5, **{name: value})
