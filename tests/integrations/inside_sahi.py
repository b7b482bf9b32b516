"""sahi with fastdet inside answers as sahi alone. Run by `test_sahi.py` in a process of its own."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sahi.postprocess.combine as combine
import sahi.postprocess.utils as utils
from sahi.postprocess.backends import set_postprocess_backend
from sahi.prediction import ObjectPrediction

from fastdet import integrations
from fastdet.integrations import _replace

FUNCTIONS = ("nms", "batched_nms", "greedy_nmm", "batched_greedy_nmm", "nmm", "batched_nmm")
CLASSES = (combine.NMSPostprocess, combine.NMMPostprocess, combine.GreedyNMMPostprocess)
NEEDS = {"numpy": "numpy", "numba": "numba", "torchvision": "torchvision"}
BACKENDS = [name for name, module in NEEDS.items() if importlib.util.find_spec(module)]
THRESHOLDS: list[Any] = [0.0, -1.0, 0.1, 0.25, 1 / 3, 0.5, 0.6, 0.9, 1.0, 1.5, 1, np.float64(0.1), np.float32(0.1)]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    set_postprocess_backend(request.param)
    yield request.param
    set_postprocess_backend("auto")


@pytest.fixture
def inside() -> Iterator[Any]:
    made = integrations.sahi()
    yield made
    made.undo()


def predictions(seed: int, n: int, dtype: str, raster: int = 30) -> Any:
    """Boxes with many equal coordinates, overlaps at the thresholds, inverted ones, and many equal scores."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, raster, (n, 2))
    boxes = np.hstack([low, low + rng.integers(-1, 9, (n, 2))]).astype(dtype)
    if seed % 3 == 0:
        boxes = (boxes + rng.normal(0, 0.3, boxes.shape)).astype(dtype)
    scores = rng.integers(0, (3, 20, 10**6)[seed % 2 + seed % 3 // 2], n) / 7
    return np.column_stack([boxes, scores, rng.integers(0, (1, 3, 50)[seed % 3], n)]).astype(dtype)


def answers(rows: Any, threshold: Any) -> list[Any]:
    return [getattr(combine, name)(rows.copy(), metric, threshold) for name in FUNCTIONS for metric in ("IOU", "IOS")]


def same(want: Any, got: Any) -> None:
    assert type(got) is type(want)
    assert got == want
    assert list(got) == list(want)  # the order of a dictionary too
    flat = [*got, *(x for values in got.values() for x in values)] if isinstance(got, dict) else got
    assert all(type(x) is int for x in flat)


def compared(*cases: tuple[Any, Any]) -> None:
    """Of each case, (rows, threshold)."""
    want = [answer for case in cases for answer in answers(*case)]
    made = integrations.sahi()
    try:
        got = [answer for case in cases for answer in answers(*case)]
    finally:
        made.undo()
    for w, g in zip(want, got, strict=True):
        same(w, g)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(backend: str, dtype: str) -> None:
    compared(
        *(
            (
                predictions(seed, (0, 1, 2, 5, 17, 60, 150)[seed % 7], dtype, (8, 30, 200)[seed // 7 % 3]),
                THRESHOLDS[seed % len(THRESHOLDS)],
            )
            for seed in range(40)
        )
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many(backend: str, dtype: str) -> None:
    """From 2000 on sahi looks for pairs in a tree, and rounds differently; categories are on both sides of that."""
    rows = predictions(4, 2600, dtype, 600)
    rows[:, 5] = np.arange(2600) % 9 == 0
    compared((rows, 0.5))


def test_what_sahi_answers_itself(backend: str) -> None:
    """NaN, infinity, coordinates that overflow, other dtypes and shapes: the same answer or the same error."""
    rows = predictions(1, 20, "float32")
    cases = [rows.astype(np.int64), rows.astype(np.float16), rows[:, :5], rows[:0], rows * np.float32(2.0**70)]
    for value in (np.nan, np.inf, -np.inf):
        for column in (0, 3, 4):
            cases.append(rows.copy())
            cases[-1][7, column] = value

    def outcome(name: str, case: Any, threshold: Any) -> Any:
        try:
            return getattr(combine, name)(case, "IOS", threshold)
        except Exception as error:
            return type(error), str(error)

    calls = [(name, case, 0.5) for name in FUNCTIONS for case in cases]
    calls += [(name, rows, threshold) for name in FUNCTIONS for threshold in (np.nan, None, "0.5")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = [outcome(*call) for call in calls]
        made = integrations.sahi()
        got = [outcome(*call) for call in calls]
        made.undo()
    for call, w, g in zip(calls, want, got, strict=True):
        assert repr(w) == repr(g), call


def test_it_says_once_that_sahi_answers(inside: Any) -> None:
    set_postprocess_backend("numpy")
    _replace._said.clear()
    rows = predictions(2, 9, "float32")
    rows[3, 1] = np.inf
    with pytest.warns(integrations.IntegrationWarning, match="greedy_nmm: predictions hold NaN, infinity or"):
        combine.greedy_nmm(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", integrations.IntegrationWarning)
        combine.greedy_nmm(rows)


def objects(seed: int, n: int, kind: str) -> list[Any]:
    rng = np.random.default_rng(seed)
    rows = predictions(seed, n, "float64")
    rows[:, :4] = np.abs(rows[:, :4]) + np.array([0, 0, 2, 2])
    made = []
    for i, (x1, y1, x2, y2, score, category) in enumerate(rows.tolist()):
        box: list[Any] = [x1, y1, max(x1, x2) + 1, max(y1, y2) + 1]
        which = kind if kind != "mixed" else ("float", "int", "float32", "zero", "mask")[int(rng.integers(0, 5))]
        segmentation = None
        if which == "int":
            box = [int(x) for x in box]
        elif which == "float32":
            box = [np.float32(x) for x in box]
        elif which == "zero":
            box = [0, 0, *box[2:]]
        elif which == "mask":
            x1, y1, x2, y2 = (float(int(x)) for x in box)
            segmentation = [[x1, y1, x2 + 1, y1, x2 + 1, y2 + 1, x1, y2 + 1]]
        made.append(
            ObjectPrediction(
                bbox=box,
                score=score,
                category_id=int(category),
                category_name=f"c{i % 4}",
                segmentation=segmentation,
                shift_amount=[i % 3, 0],
                full_shape=[300, 300] if segmentation else None,
            )
        )
    return made


def told(x: Any) -> Any:
    box = x.bbox.to_xyxy()
    mask = None if x.mask is None else (x.mask.segmentation, x.mask.full_shape, x.mask.shift_amount)
    return box, [type(v) for v in box], x.bbox.shift_amount, x.score.value, x.category, mask


@pytest.mark.parametrize("kind", ["float", "int", "float32", "zero", "mask", "mixed"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_objects(cls: Any, kind: str) -> None:
    """Boxes with the types of their numbers, scores, categories, masks; and what becomes of the caller's list."""
    set_postprocess_backend("numpy")
    want = processed(cls, kind)
    made = integrations.sahi()
    try:
        got = processed(cls, kind)
    finally:
        made.undo()
    assert got == want


def processed(cls: Any, kind: str) -> list[Any]:
    """Results, and the list that was given, of many calls."""
    found = []
    for seed in range(12):
        for metric, agnostic, threshold in (("IOU", True, 0.3), ("IOS", False, 0.5), ("IOS", True, 0.0)):
            given = objects(seed, (0, 1, 2, 12, 40)[seed % 5], kind)
            with np.errstate(all="ignore"):
                result = cls(threshold, metric, agnostic)(given)
            found.append(([told(x) for x in result], [told(x) for x in given]))
    return found


def test_array_of_objects(inside: Any) -> None:
    given = utils.ObjectPredictionList(objects(5, 40, "mixed"))
    got = given.tonumpy()
    inside.undo()
    want = given.tonumpy()
    assert got.dtype == want.dtype
    assert got.tobytes() == want.tobytes()


def test_undo() -> None:
    before = [getattr(combine, name) for name in FUNCTIONS], combine.NMMPostprocess.__dict__["_agnostic_func"]
    made = integrations.sahi()
    assert integrations.sahi() is made
    assert combine.NMMPostprocess._agnostic_func is combine.nmm is not before[0][4]
    assert combine.GreedyNMMPostprocess._batched_func is combine.batched_greedy_nmm
    assert "sahi.postprocess.combine.batched_nms" in made.replaced
    made.undo()
    assert [getattr(combine, name) for name in FUNCTIONS] == before[0]
    assert combine.NMMPostprocess.__dict__["_agnostic_func"] is before[1]
    assert integrations.active() == []
