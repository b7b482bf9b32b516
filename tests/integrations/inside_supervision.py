"""supervision's own results, and those with fastdet inside: equal to the bit. Run by `test_supervision.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import supervision as sv
from supervision.detection.utils import iou_and_nms as own

import fastdet.integrations as inside

NAN, INF = float("nan"), float("inf")
METRICS = (sv.OverlapMetric.IOU, sv.OverlapMetric.IOS)


NAMES = ("box_iou_batch", "mask_iou_batch", "box_non_max_suppression")


def functions() -> dict[str, Callable[..., Any]]:
    return {name: getattr(own, name) for name in NAMES}


OWN = functions()
_made = inside.supervision()
NEW = functions()
_made.undo()


def check(name: str, *arguments: Any) -> Any:
    """The result of supervision itself: with fastdet inside it is the same, an error's type and text too."""
    return same(lambda: OWN[name](*arguments), lambda: NEW[name](*arguments))


def same(*calls: Callable[[], Any]) -> Any:
    def result(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return type(error), str(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = map(result, calls)
    if isinstance(before, np.ndarray):
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        np.testing.assert_array_equal(before, after)
    else:
        assert before == after
    return before


def with_fastdet(call: Callable[[], Any]) -> Callable[[], Any]:
    def inner() -> Any:
        made = inside.supervision()
        try:
            return call()
        finally:
            made.undo()

    return inner


def predictions(n: int, seed: int, dtype: Any = np.float32, columns: int = 6) -> Any:
    r = np.random.default_rng(seed)
    centre, side = r.uniform(0, 200, (n, 2)), r.uniform(0, 80, (n, 2))
    scores, labels = r.integers(0, 20, n) / 20, r.integers(0, 4, n)
    return np.column_stack([centre - side / 2, centre + side / 2, scores, labels]).astype(dtype)[:, :columns]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("columns", [4, 5, 6])
@pytest.mark.parametrize("n", [0, 1, 3, 300])
def test_nms(n: int, columns: int, dtype: Any, metric: Any) -> None:
    x = predictions(n, n, dtype, columns)
    for threshold in (0.0, 0.1, 0.25, 0.5, 1 / 3, 0.7, 1.0, 1, 1.5, -0.1, NAN):
        check("box_non_max_suppression", x, threshold, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_nms_where_overlap_is_the_threshold(metric: Any) -> None:
    r = np.random.default_rng(0)
    x = predictions(200, 1, np.float64)
    x[:, :2], x[:, 2:4] = r.integers(0, 6, (200, 2)), r.integers(6, 12, (200, 2))
    for threshold in {a / b for a in range(12) for b in range(1, 12) if a <= b}:
        for t in (threshold, float(np.float32(threshold)), float(np.nextafter(np.float32(threshold), np.float32(0)))):
            check("box_non_max_suppression", x, t, metric)


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30, -1e30, 1e-40])
def test_nms_of_odd_values(value: float, column: int) -> None:
    x = predictions(60, 2)
    x[7, column] = value
    check("box_non_max_suppression", x, 0.5)
    check("box_non_max_suppression", x[:, [2, 3, 0, 1, 4, 5]], 0.5)
    check("box_iou_batch", x[:, :4], x[::2, :4])


@pytest.mark.parametrize("metric", [*METRICS, "iou", "ios", "IOS", "giou", None])
@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint16, np.complex64, bool]
)
def test_box_iou_batch(dtype: Any, metric: Any) -> None:
    a = (predictions(50, 3, np.float64)[:, :4].round() % 100).astype(dtype)
    for b in (a, a[::-1], a[:0], a[:1], np.asfortranarray(a), a[:, :3], a[0]):
        check("box_iou_batch", a, b, metric)
        check("box_iou_batch", b, a, metric)
    check("box_iou_batch", a.tolist(), a, metric)


def test_box_iou_batch_of_large_integers() -> None:
    a = np.array([[0, 0, 50_000, 50_000], [2**31 - 60_000, 0, 2**31 - 10, 50_000]] * 5, np.int32)
    check("box_iou_batch", a, a + 3)


@pytest.mark.parametrize("metric", METRICS)
def test_mask_iou_batch(metric: Any) -> None:
    r = np.random.default_rng(4)
    masks = r.random((12, 37, 53)) < 0.3
    masks[3] = False
    for a in (
        masks,
        masks[:0],
        masks.astype(np.uint8),
        masks[:, :0],
        np.asfortranarray(masks),
        masks[:, ::2],
        masks[0],
    ):
        for b in (a, a[::-1], masks):
            check("mask_iou_batch", a, b, metric)
    check("mask_iou_batch", masks, masks, metric, 0)
    call = partial(own.mask_non_max_suppression, predictions(12, 5), masks, 0.2, metric)
    same(call, with_fastdet(call))


@pytest.mark.parametrize("threshold", [-1, 2, NAN, "x", None, 0.5])
@pytest.mark.parametrize("rows", [0, 1, 30])
@pytest.mark.parametrize("metric", ["bad", "ios", None])
def test_nms_of_wrong_arguments(threshold: Any, rows: int, metric: Any) -> None:
    """The error is the one that supervision finds first, where two arguments are wrong."""
    given = np.tile(np.array([[0, 0, 4, 4, 0.5, 1]]), (rows, 1))
    found = check("box_non_max_suppression", given, threshold, metric)
    if threshold != 0.5 or metric != "ios":
        assert rows == 0 or isinstance(found, tuple)


@pytest.mark.parametrize("limit", [0, -3, 0.5, "x", None])
def test_mask_iou_batch_of_any_memory_limit(limit: Any) -> None:
    masks = np.random.default_rng(0).random((3, 9, 9)) < 0.5
    check("mask_iou_batch", masks, masks.copy(), sv.OverlapMetric.IOU, limit)


def test_detections_and_metrics() -> None:
    x = predictions(200, 6, np.float64)
    found = sv.Detections(xyxy=x[:, :4], confidence=x[:, 4], class_id=x[:, 5].astype(int))
    truth = sv.Detections(xyxy=x[:40, :4] + 2, class_id=x[:40, 5].astype(int))
    for agnostic in (False, True):
        for name in ("with_nms", "with_nmm"):
            call = partial(getattr(found, name), 0.4, class_agnostic=agnostic)
            assert len(same(lambda c=call: c().xyxy, with_fastdet(lambda c=call: c().xyxy))) > 9

    def precision() -> Any:
        return sv.metrics.MeanAveragePrecision().update([found], [truth]).compute().mAP_scores

    same(precision, with_fastdet(precision))


def test_what_is_left_to_supervision_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastdet.integrations._replace._said", set())
    x, made = predictions(60, 7), inside.supervision()
    x[3, 2] = x[3, 0] - 5
    try:
        with pytest.warns(inside.IntegrationWarning, match="negative size: the framework's own") as said:
            [own.box_non_max_suppression(x, 0.5) for _ in range(2)]
        assert len([w for w in said if "box_non_max_suppression" in str(w.message)]) == 1
    finally:
        made.undo()
