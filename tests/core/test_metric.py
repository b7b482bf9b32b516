"""What every metric object shares: order of arguments, merging, bytes, pickles, empty results, repr, intervals."""

from __future__ import annotations

import copy
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from intervals import basic
from panoptic_maps import CATEGORIES, image

from fastdet._core import metric
from fastdet._core.metric import Metric
from fastdet.detection import DetectionMetrics
from fastdet.segmentation import BoundaryMetrics, PanopticMetrics, SegmentationMetrics


@dataclass(frozen=True)
class Kind:
    """A class of metric objects, and how to fill one with some of eight images."""

    name: str
    make: Callable[..., Any]
    fill: Callable[..., Any]
    unlike: Callable[[], Any]
    parameter: str  # in which the one of ``unlike`` differs
    figure: str
    absent: float


def segmentation(images: list[int], **options: Any) -> Any:
    metrics = SegmentationMetrics(4, per_image=True, **options)
    for i in images:
        rng = np.random.default_rng(i)
        target = rng.integers(0, 4, (6, 7))
        metrics.update(np.where(rng.random((6, 7)) < 0.7, target, rng.integers(0, 4, (6, 7))), target)
    return metrics


def detection(images: list[int], **options: Any) -> Any:
    metrics = DetectionMetrics(**options)
    for i in images:
        rng = np.random.default_rng(i)
        corner = rng.integers(0, 50, (6, 2)).astype(np.float64)
        truth = np.concatenate([corner, corner + rng.integers(5, 60, (6, 2))], axis=1)
        boxes = truth + rng.integers(-3, 4, (6, 4))
        found = {"boxes": boxes, "scores": rng.random(6), "labels": np.arange(6) % 3}
        metrics.update([found], [{"boxes": truth, "labels": np.arange(6) % 3}], [i])
    return metrics


def panoptic(images: list[int], **options: Any) -> Any:
    metrics = PanopticMetrics(CATEGORIES, **options)
    for i in images:
        prediction, target = image(i)
        metrics.update([prediction], [target])
    return metrics


def boundary(images: list[int], **options: Any) -> Any:
    metrics = BoundaryMetrics(4, tolerance=1.5, distance=2, **options)
    for i in images:
        rng = np.random.default_rng(i)
        target = np.kron(rng.integers(0, 4, (3, 3)), np.ones((6, 7), int))
        metrics.update(np.roll(target, int(rng.integers(1, 4)), axis=1), target)
    return metrics


KINDS = [
    Kind("SegmentationMetrics", lambda: segmentation([]), segmentation, lambda: SegmentationMetrics(5, per_image=True),
         "num_classes", "mean_iou", float("nan")),
    Kind("DetectionMetrics", DetectionMetrics, detection, lambda: DetectionMetrics(iou_thresholds=[0.5]),
         "iou_thresholds", "map", -1.0),
    Kind("PanopticMetrics", lambda: panoptic([]), panoptic, lambda: PanopticMetrics(CATEGORIES[:2]),
         "categories", "pq", float("nan")),
    Kind("BoundaryMetrics", lambda: boundary([]), boundary, lambda: BoundaryMetrics(4, tolerance=2, distance=2),
         "tolerance", "mean_boundary_f", float("nan")),
]  # fmt: skip
each = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each
def test_update_returns_the_object(kind: Kind) -> None:
    metrics, empty = kind.make(), np.zeros((0, 2, 2), int)
    assert isinstance(metrics, Metric)
    assert (
        metrics.update(*([], []) if kind.name in ("DetectionMetrics", "PanopticMetrics") else (empty, empty)) is metrics
    )
    assert len(metrics) == 0
    assert len(kind.fill([0, 1, 2])) == 3


@each
def test_merging_has_one_meaning(kind: Kind) -> None:
    whole, one, other, third = (kind.fill(list(range(*ends))) for ends in ((8,), (0, 3), (3, 6), (6, 8)))
    before = [x.to_bytes() for x in (one, other, third)]
    new = one + other
    assert new is not one
    assert (new + third).to_bytes() == whole.to_bytes()
    assert sum([one, other, third]).to_bytes() == whole.to_bytes()
    assert [x.to_bytes() for x in (one, other, third)] == before  # operands are as they were
    grown = kind.make()
    same = grown
    grown += one
    grown += other
    assert grown is same
    assert grown.merge_state(iter([third])) is grown
    assert grown.to_bytes() == whole.to_bytes()
    assert kind.make().merge_state([one, other, third]).to_bytes() == whole.to_bytes()
    assert kind.make().merge_state([]).to_bytes() == kind.make().to_bytes()
    assert [x.to_bytes() for x in (one, other, third)] == before
    assert len(new.reset() or new) == 0


@each
def test_what_is_unlike_is_not_merged(kind: Kind) -> None:
    metrics = kind.fill([0, 1])
    before = metrics.to_bytes()
    stranger = KINDS[kind is KINDS[0]].make()
    for wrong in (3, None, "ab", [kind.make(), None], stranger, [stranger]):
        with pytest.raises(TypeError, match=f"{kind.name}.merge_state: other must be a {kind.name}, or an iterable"):
            metrics.merge_state(wrong)
    for wrong in (kind.unlike(), [kind.fill([5]), kind.unlike()]):
        with pytest.raises(ValueError, match=f"{kind.name}.merge_state: other must have {kind.parameter} .*, got "):
            metrics.merge_state(wrong)
    with pytest.raises(ValueError, match=f"other must have {kind.parameter}"):
        metrics + kind.unlike()
    for wrong in (3, 1.0, None, [metrics]):
        with pytest.raises(TypeError, match="unsupported operand"):
            metrics + wrong
        with pytest.raises(TypeError, match="unsupported operand"):
            wrong + metrics if not isinstance(wrong, list) else metrics.__add__(3) + 1
    assert metrics.to_bytes() == before


@each
def test_bytes_are_of_one_format(kind: Kind) -> None:
    """Magic, version, length of the JSON, JSON, arrays, SHA-256; whatever is wrong is a ValueError that says so."""
    metrics = kind.fill(list(range(8)))
    data = metrics.to_bytes()
    magic, version, length = struct.unpack("<8sIQ", data[:20])
    assert (magic, version, data[20:21], data[19 + length : 20 + length]) == (b"fastdet\n", 1, b"{", b"}")
    back = type(metrics).from_bytes(data)
    assert (type(back), back.to_bytes()) == (type(metrics), data)
    for copied in (pickle.loads(pickle.dumps(metrics)), copy.copy(metrics), copy.deepcopy(metrics)):
        assert (copied.to_bytes(), copied.backend) == (data, metrics.backend)
        copied.reset()
        assert metrics.to_bytes() == data
    stranger = KINDS[kind is KINDS[0]]
    for wrong, text in (
        (b"", "data must be a state from to_bytes"), (b"fastdet segments" + data, "data must be a state from to_bytes"),
        (data[:30], "30 bytes: truncated"), (data[:-1], "damaged or truncated"), (data + b"\0", "damaged or truncated"),
        (data[:8] + b"\2" + data[9:], "data must be of version 1, got 2"),
        (data[:90] + bytes([data[90] ^ 1]) + data[91:], "damaged or truncated"),
        (stranger.make().to_bytes(), f"an inconsistent one: it is a state of '{stranger.name}'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{kind.name}.from_bytes: .*{re.escape(text)}"):
            type(metrics).from_bytes(wrong)
    with pytest.raises(TypeError, match=f"{kind.name}.from_bytes: data must be bytes, got list"):
        type(metrics).from_bytes([1])
    assert type(metrics).from_bytes(data, backend="numba").backend == "numba"


@each
def test_no_images(kind: Kind) -> None:
    metrics = kind.make()
    with pytest.warns(
        RuntimeWarning, match=rf"{kind.name}.compute: no image was counted.*call update\(predictions, tar"
    ):
        value = metrics.compute()[kind.figure]
    np.testing.assert_equal(value, kind.absent)
    kind.fill([0]).compute()  # does not warn


@each
def test_repr(kind: Kind) -> None:
    assert re.fullmatch(rf"<{kind.name}\(.*\): 0 images, .*>", repr(kind.make()))
    assert re.fullmatch(rf"<{kind.name}\(.*\): 1 image, .*>", repr(kind.fill([0])))
    text = repr(kind.fill([0, 1, 2]))
    wanted = {
        "SegmentationMetrics": "<SegmentationMetrics(num_classes=4, per_image=True): 3 images, 126 pixels>",
        "DetectionMetrics": "<DetectionMetrics(box_format='xyxy', iou_thresholds=0.5 to 0.95, "
                            "max_detections=(1, 10, 100), rule='coco', method='coco101'): 3 images, 3 classes>",
        "PanopticMetrics": "<PanopticMetrics(categories=5): 3 images, 17 true segments>",
        "BoundaryMetrics": "<BoundaryMetrics(num_classes=4, tolerance=1.5, distance=2): 3 images, 293 true boundary "
                           "pixels>",
    }  # fmt: skip
    assert text == wanted[kind.name]


def ends(kind: Kind, metrics: Any, **options: Any) -> Any:
    results = metrics.compute(**options)
    return tuple(results[f"{kind.figure}_ci"]) if kind.name == "DetectionMetrics" else results["ci"][kind.figure]


@each
def test_intervals_have_one_meaning(kind: Kind) -> None:
    """The images that `numpy.random` draws, counted again one by one."""
    metrics = kind.fill(list(range(8)))
    low, high = ends(kind, metrics, ci=0.8, resamples=20, seed=3)

    def counted(drawn: list[int]) -> Any:
        if kind.name != "DetectionMetrics":
            return kind.fill(drawn).compute()[kind.figure]
        again = DetectionMetrics()  # an image that is drawn again is another one, behind it
        parts = [DetectionMetrics.from_bytes(detection([i]).to_bytes())._joined() for i in drawn]
        chunks = tuple(part._replace(images=np.array([place])) for place, part in enumerate(parts))
        again._state = again._state._replace(chunks=chunks, images=len(drawn))
        return again.compute()[kind.figure]

    times = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=20)
    values = [counted([i for i in range(8) for _ in range(row[i])]) for row in times]
    without = [counted([i for i in range(8) if i != j]) for j in range(8)]
    want = basic(values, counted(list(range(8))), without, 0.8)
    np.testing.assert_allclose([low, high], want, rtol=0, atol=1e-12)
    assert ends(kind, metrics, ci=0.8, resamples=20, seed=3) == (low, high)
    assert ends(kind, metrics, ci=0.8, resamples=20, seed=4) != (low, high)
    assert ends(kind, metrics, ci=0.8) == ends(kind, metrics, ci=0.8, resamples=1000, seed=0)


@each
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"ci": 0}, ValueError, r"ci must be in \(0, 1\), got 0.0"),
        ({"ci": 1.0}, ValueError, r"ci must be in \(0, 1\), got 1.0"),
        ({"ci": float("nan")}, ValueError, "ci must be a finite number"),
        ({"ci": True}, TypeError, "ci must be a number, got True"),
        ({"ci": 0.9, "resamples": 0}, ValueError, "resamples must be 1 or more, got 0"),
        ({"ci": 0.9, "resamples": 2.5}, TypeError, r"resamples must be an integer, got 2\.5"),
        ({"ci": 0.9, "seed": -1}, ValueError, "seed must be 0 or more, got -1"),
    ],
)
def test_wrong_intervals(kind: Kind, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"{kind.name}.compute: {text}"):
        kind.fill([0]).compute(**options)


@each
def test_sync_needs_processes(kind: Kind) -> None:
    with pytest.raises(RuntimeError, match=rf"{kind.name}\.sync: torch\.distributed must be initialised first"):
        kind.make().sync()


@each
def test_a_synced_state_stays_one(kind: Kind) -> None:
    """A second sync would count images again: copies and sums of a synced state know it, a reset one does not."""
    metrics = kind.fill([0, 1])
    metrics._state = metrics._state._replace(synced=True)
    for one in (metrics + kind.fill([2]), kind.fill([2]) + metrics, copy.deepcopy(metrics), sum([metrics])):
        assert one._synced
    metrics.reset()
    assert not metrics._synced
    assert not (kind.fill([0]) + kind.fill([1]))._synced


# Arguments that are swapped


def test_swapped_label_maps() -> None:
    truth = np.array([[0, 1, 1, 255]])
    guess = np.array([[0, 1, 0, 1]])
    good = SegmentationMetrics(2, ignore_index=255).update(guess, truth)
    metrics = SegmentationMetrics(2, ignore_index=255)
    with pytest.warns(
        RuntimeWarning, match="predictions hold ignore_index 255 in 1 pixel, targets in none; update takes"
    ):
        metrics.update(truth, guess)
    metrics.update(truth, guess)  # once
    assert len(metrics) == 2
    assert len(good.update(truth[:, :3], guess[:, :3])) == 2
    both = SegmentationMetrics(2, ignore_index=255).update(truth, truth)
    both.update(truth, guess)  # void was seen in the targets
    inside = SegmentationMetrics(2, ignore_index=0)  # a class: nothing odd about predicting it
    inside.update(np.array([[0, 1]]), np.array([[1, 1]]))
    with pytest.raises(
        TypeError, match=r"integer labels, got float64, and predictions are int64; update takes .* order"
    ):
        metrics.update(truth, np.zeros((2, 1, 4)))
    with pytest.raises(
        ValueError, match=r"predictions must hold classes in \[0, 2\), got 255 at index \(0, 3\); update takes"
    ):
        SegmentationMetrics(2).update(truth, guess)
    for words in ({"target": truth, "prediction": guess}, {"preds": guess, "target": truth}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            metrics.update(**words)


def test_swapped_boxes() -> None:
    metrics = DetectionMetrics()
    prediction = {"boxes": np.zeros((1, 4)), "scores": np.ones(1), "labels": np.zeros(1, int)}
    target = {"boxes": np.zeros((1, 4)), "labels": np.zeros(1, int)}
    with pytest.raises(
        ValueError, match=r"predictions\[0\] must have 'scores', .*; targets have them; update takes \(pred"
    ):
        metrics.update([target], [prediction])
    with pytest.raises(ValueError, match=r"predictions\[0\] must have 'scores', got \['boxes', 'labels'\]$"):
        metrics.update([target], [target])
    assert len(metrics.update([prediction], [prediction])) == 1


# Means


def test_means_of_what_is_known() -> None:
    x = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    assert metric.known_mean(x, np.nan) == 2
    assert np.isnan(metric.known_mean(x[1], np.nan))
    np.testing.assert_array_equal(metric.known_means(x), [2, np.nan])
    assert metric.known_mean(np.array([[-1.0, 0.5], [0, -1]]), -1.0) == 0.25
    assert metric.known_mean(np.array([-1.0]), -1.0) == -1
    assert metric.known_mean(np.zeros(0), -1.0) == -1


# Intervals


def test_an_interval_by_hand() -> None:
    """Draws 0.2 to 0.6 of the estimate 0.35: their median is 0.05 too high, so the interval is 0.05 below it."""
    draws = np.linspace(0.2, 0.6, 41)[:, None]
    same = np.full((4, 1), 0.35)
    ends = metric.interval(draws, [0.35], same, 4, 0.5, -1.0)
    np.testing.assert_allclose(ends[:, 0], [0.3 - 0.1, 0.3 + 0.1], atol=1e-12)
    held = metric.interval(draws, [0.25], same, 4, 0.5, -1.0)  # 0.1 - 0.1 and 0.1 + 0.1, but it holds the estimate
    np.testing.assert_allclose(held[:, 0], [0, 0.25], atol=1e-12)
    np.testing.assert_allclose(metric.interval(draws, [0.4], same, 4, 0.5, -1.0)[:, 0], [0.3, 0.5], atol=1e-12)
    values = np.array([0.1, 0.9, 0.2, 0.6])  # whose mean has the standard error 0.186
    without = ((values.sum() - values) / 3)[:, None]
    low, high = metric.interval(draws, [0.4], without, 4, 0.5, -1.0)[:, 0]
    stretch = values.std(ddof=1) / 2 / draws.std()
    assert stretch > 1.5
    np.testing.assert_allclose([low, high], [0.4 - 0.1 * stretch, 0.4 + 0.1 * stretch], atol=1e-12)


def test_the_error_of_groups_of_images_is_that_of_a_mean() -> None:
    """150 images in 100 groups, of one image or two: close to the error from single images, which is known."""
    values = np.random.default_rng(0).random(150)
    times = metric.left_out(150)
    assert times.shape == (100, 150)
    assert ((times == 0).sum(axis=0) == 1).all()
    without = (times @ values / times.sum(axis=1))[:, None]
    error = metric._jackknife_error(without, np.array([values.mean()]), 150, np.nan)
    assert error[0] == pytest.approx(values.std(ddof=1) / np.sqrt(150), rel=0.15)


def test_intervals_of_unknown_figures() -> None:
    draws, without = [[-1.0, 0.2], [-1, 0.4]], [[-1.0, 0.3], [-1, 0.3]]
    np.testing.assert_allclose(metric.interval(draws, [-1, 0.3], without, 2, 0.5, -1.0), [[-1, 0.25], [-1, 0.35]])
    none = np.zeros((0, 1))
    np.testing.assert_array_equal(metric.interval(none, [-1.0], none, 0, 0.5, -1.0), [[-1], [-1]])
    np.testing.assert_array_equal(metric.interval(none, [0.5], none, 0, 0.5, -1.0), [[-1], [-1]])
    one = metric.interval([[1.0], [1.0]], [1.0], none, 1, 0.95, -1.0)  # of one image: no doubt is known
    np.testing.assert_array_equal(one, [[1], [1]])


def test_intervals_stay_in_the_range_of_figures() -> None:
    draws = np.linspace(0.8, 1, 21)[:, None]
    low, high = metric.interval(draws, [0.95], np.full((3, 1), 0.9), 3, 0.95, np.nan)[:, 0]
    assert (low, high) == (pytest.approx(0.905), 1)
