"""An error or an interrupt at any line of a call leaves an object as it was before the call, or as it is after it."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panoptic_maps import CATEGORIES, image

import fastdet
from fastdet.coco import COCO, COCOeval
from fastdet.detection import DetectionMetrics
from fastdet.detection import metrics as module
from fastdet.segmentation import BoundaryMetrics, PanopticMetrics, SegmentationMetrics

PACKAGE = str(Path(fastdet.__file__).parent)
Metric = Any


class Injected(BaseException):
    """Raised at a line: neither an error that code expects nor one that it may catch."""


def interrupted(call: Callable[[], Any], number: int, files: tuple[str, ...] = (PACKAGE,)) -> bool:
    """Run a call and raise at its line ``number``, of those in ``files``. Whether that line was reached.

    A line counts when it comes for the first time.
    """
    seen: set[tuple[Any, int]] = set()

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(files):
            return None
        place = frame.f_code, frame.f_lineno
        if event == "line" and place not in seen:
            seen.add(place)
            if len(seen) == number:
                raise Injected
        return trace

    sys.settrace(trace)
    try:
        call()
    except Injected:
        return True
    finally:
        sys.settrace(None)
    return False


# ----------------------------------------------------------------------------------------------------- detection
def batch(first: int, count: int = 2) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(first)
    pairs = []
    for _ in range(count):
        corners = rng.integers(0, 20, (4, 2))
        boxes = np.hstack([corners, corners + rng.integers(4, 20, (4, 2))]).astype(float)
        true = {"boxes": boxes, "labels": np.arange(4) % 2, "iscrowd": np.zeros(4, int), "area": np.full(4, 100.0)}
        pairs.append(({"boxes": boxes + 1, "scores": rng.random(4), "labels": np.arange(4) % 2}, true))
    predictions, targets = zip(*pairs, strict=True)
    return list(predictions), list(targets)


def detection(*, ids: bool = True, first: int = 0, joined: bool = True) -> Metric:
    """Metrics with images that are joined, records that are not, and images that wait to be matched."""
    metrics = DetectionMetrics(confusion_at=(0.5, 0.25), on_duplicate="first" if ids else "raise", max_detections=[5])
    for i in range(first, first + 3):
        metrics.update(*batch(i), image_ids=[2 * i, 2 * i + 1] if ids else None)
        if joined and i < first + 2:
            metrics.compute()
    return metrics


def segmentation(*, seed: int = 0, count: int = 3, **options: Any) -> Metric:
    rng = np.random.default_rng(seed)
    metrics = SegmentationMetrics(3, ignore_index=255, per_image=True, **options)
    for _ in range(count):
        metrics.update(rng.integers(0, 3, (2, 3, 4)), rng.integers(0, 3, (2, 3, 4)))
    return metrics


def panoptic(*, seed: int = 0) -> Metric:
    metrics = PanopticMetrics(CATEGORIES)
    for i in range(3):
        metrics.update(*images(seed + 2 * i))
    return metrics


def boundary(*, seed: int = 0) -> Metric:
    rng = np.random.default_rng(seed)
    metrics = BoundaryMetrics(3, ignore_index=255)
    for _ in range(3):
        metrics.update(rng.integers(0, 3, (2, 3, 4)), rng.integers(0, 3, (2, 3, 4)))
    return metrics


def images(seed: int) -> tuple[list[Any], list[Any]]:
    predictions, targets = zip(image(seed, 6, 9), image(seed + 1, 6, 9), strict=True)
    return list(predictions), list(targets)


LABELS = np.array([[0, 1], [2, 1]])


def columns() -> tuple[Any, Any]:
    from fastdet.detection.records import Columns

    image, label, boxes = np.array([70, 71]), np.array([0, 1]), np.array([[0.0, 0, 4, 4], [1, 1, 5, 5]])
    none = np.zeros(0, np.int64)
    detected = Columns(image, label, boxes, np.array([16.0, 25]), np.array([0.5, 0.7]), np.zeros(0, np.uint8), none)
    return detected, detected._replace(scores=np.zeros(0), flags=np.zeros(2, np.uint8), ids=np.array([1, 2]))


def synchronised(metrics: Metric, other: Metric) -> Any:
    """`sync` with another process, which is played: it has the images of another object."""
    distributed = types.SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, get_rank=lambda group: 0, get_backend=lambda: "gloo",
        get_world_size=lambda group: 2,
        all_gather_object=lambda ranks, mine, group: ranks.__setitem__(
            slice(None), [mine, (other._shared(), other._local(), other.to_bytes())]
        ),
    )  # fmt: skip
    before = sys.modules.get("torch")
    sys.modules["torch"] = types.SimpleNamespace(distributed=distributed, Tensor=type(None))  # type: ignore[assignment]
    try:
        return metrics.sync(group=1)
    finally:
        if before is None:
            del sys.modules["torch"]
        else:
            sys.modules["torch"] = before


def two(make: Callable[..., Metric], **options: Any) -> tuple[Metric, Metric]:
    """An object, and another one with other images."""
    return make(**options), make(first=9) if make is detection else make(seed=9)


BOTH: dict[str, Callable[[Metric, Metric], Any]] = {
    "+": lambda m, other: m + other,
    "reset": lambda m, _: m.reset(),
    "sync": synchronised,
    "to_bytes": lambda m, _: m.to_bytes(),
    "pickle": lambda m, _: pickle.loads(pickle.dumps(m)),
    "repr": lambda m, _: repr(m),
}
DETECTION: dict[str, Callable[[Metric, Metric], Any]] = {
    "update": lambda m, _: m.update(*batch(5), image_ids=[50, 51]),
    "update, a part is new": lambda m, _: m.update(*batch(5), image_ids=[0, 51]),
    "update, matched": lambda m, _: m.update(*batch(5, 9), range(50, 59)),
    "update_columns": lambda m, _: m.update_columns(*columns(), [70, 71, 72]),
    "compute": lambda m, _: m.compute(),
    "compute, intervals": lambda m, _: m.compute(ci=0.9, resamples=3),
    "merge_state": lambda m, other: m.merge_state([other]),
    "merge_state, images twice": lambda m, other: m.merge_state([other, m, other]),
    "+=": lambda m, other: m.__iadd__(other),
    **BOTH,
    "figures": lambda m, _: (m.curves(), m.confusion_matrix(), m.best_f1(), m.at_score(0.5)),
}
SEGMENTATION: dict[str, Callable[[Metric, Metric], Any]] = {
    "update": lambda m, _: m.update(LABELS, LABELS),
    "update, a batch": lambda m, _: m.update(LABELS[None], LABELS[None]),
    "update, logits": lambda m, _: m.update(np.eye(3)[:, :2, None] + LABELS, LABELS),
    "compute": lambda m, _: m.compute(ci=0.9, resamples=3),
    "merge_state": lambda m, other: m.merge_state([other, m]),
    **BOTH,
}
PANOPTIC: dict[str, Callable[[Metric, Metric], Any]] = {
    "update": lambda m, _: m.update(*images(5)),
    "compute": lambda m, _: m.compute(ci=0.9, resamples=3),
    "merge_state": lambda m, other: m.merge_state([other, m]),
    **BOTH,
}
BOUNDARY = {name: SEGMENTATION[name] for name in ("update", "update, a batch", "compute", "merge_state", *BOTH)}
Pair = tuple[Metric, Metric]
CASES: dict[str, tuple[Callable[[], Pair], Callable[[Metric, Metric], Any]]] = {
    **{f"detection {name}": (lambda: two(detection), call) for name, call in DETECTION.items()},
    "detection update without ids": (lambda: two(detection, ids=False), lambda m, _: m.update(*batch(5))),
    **{f"segmentation {name}": (lambda: two(segmentation), call) for name, call in SEGMENTATION.items()},
    **{f"panoptic {name}": (lambda: two(panoptic), call) for name, call in PANOPTIC.items()},
    **{f"boundary {name}": (lambda: two(boundary), call) for name, call in BOUNDARY.items()},
}
WITH_STATE = tuple(
    f"{PACKAGE}/{x}"
    for x in (
        "detection/metrics",
        "detection/state",
        "segmentation/metrics",
        "segmentation/panoptic",
        "segmentation/boundary",
        "segmentation/kept",
        "_core/metric",
    )
)


def state(metrics: Metric) -> Any:
    return len(metrics), metrics._synced, copy.copy(metrics).to_bytes()


def hold_together(name: str, files: tuple[str, ...]) -> int:
    """Raise at each line in turn. Returns the number of lines."""
    make, call = CASES[name]
    whole, other = make()
    before = state(make()[0])
    call(whole, other)
    after = state(whole)
    for number in range(1, 100_000):
        metrics, other = make()
        if not interrupted(lambda pair=(metrics, other): call(*pair), number, files):
            assert state(metrics) == after
            return number - 1
        got = state(metrics)
        assert got in (before, after), number
        if got == before:  # a repeated call gives what the first one would have given
            call(metrics, other)
            assert state(metrics) == after, number
    raise AssertionError("no call ended")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 150)  # rows: six images are matched together


READING = ("+", "intervals", "to_bytes", "pickle", "repr", "figures", "images twice")  # they join, as `compute` does


@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith(READING)])
def test_each_line_that_knows_the_state(name: str) -> None:
    """An error further down passes one of these lines."""
    assert hold_together(name, WITH_STATE) >= 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_each_line(name: str) -> None:
    assert hold_together(name, (PACKAGE,)) >= 1


@pytest.mark.parametrize("kind", ["detection", "segmentation", "panoptic", "boundary"])
def test_several_interrupts(kind: str) -> None:
    """What calls that did not end left behind does not add up."""
    make = CASES[f"{kind} update"][0]
    (whole, other), (torn, _) = make(), make()
    for i, word in enumerate(("update", "compute", "merge_state")):
        call = CASES[f"{kind} {word}"][1]
        call(whole, other)
        before = state(torn)
        for number in (3, 40, 25, 60, 31, 55 + i):
            interrupted(lambda call=call: call(torn, other), number)
            if state(torn) != before:
                break
        else:
            call(torn, other)
        assert state(torn) == state(whole)


def test_a_failed_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that runs out of memory at its end counts nothing."""
    metrics, want = segmentation(), segmentation()

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "stack", full)
    with pytest.raises(MemoryError):
        metrics.update(LABELS, LABELS)
    monkeypatch.undo()
    assert state(metrics) == state(want)


# ---------------------------------------------------------------------------------------------------------- coco
def coco_eval() -> COCOeval:
    rng = np.random.default_rng(0)
    boxes = [[*rng.integers(0, 20, 2).tolist(), 8, 8] for _ in range(6)]
    truth: Any = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(3)],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [
            {"id": i + 1, "image_id": i % 3, "category_id": 1 + i % 2, "bbox": b, "area": 64, "iscrowd": 0}
            for i, b in enumerate(boxes)
        ],
    }
    truth.createIndex()
    found = truth.loadRes([
        {"image_id": i % 3, "category_id": 1 + i % 2, "bbox": [b[0] + 1, *b[1:]], "score": 0.5 + i / 20}
        for i, b in enumerate(boxes)
    ])  # fmt: skip
    return COCOeval(truth, found, "bbox")


def test_coco_eval(capsys: pytest.CaptureFixture[str]) -> None:
    """Each step, also one after results of other parameters, gives the right figures when it is called again."""

    def steps(evaluation: COCOeval) -> str:
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return json.dumps(evaluation.stats.tolist())

    want = steps(coco_eval())
    number = 0
    while True:
        number += 1
        evaluation = coco_eval()
        if number % 2:
            evaluation.params.iouThrs = np.array([0.9])
            steps(evaluation)
            evaluation.params.iouThrs = coco_eval().params.iouThrs
        reached = interrupted(lambda evaluation=evaluation: steps(evaluation), number)
        assert steps(evaluation) == want, number
        if not reached:
            break
    assert number > 50
    capsys.readouterr()


def test_an_evaluation_that_did_not_end() -> None:
    """The results of before stay whole."""
    number = 0
    while True:
        number += 1
        evaluation = coco_eval()
        evaluation.evaluate()
        evaluation.accumulate()
        before = evaluation.eval["precision"].copy()
        evaluation.params.areaRng = evaluation.params.areaRng[:2]
        reached = interrupted(evaluation.evaluate, number)
        try:
            evaluation.accumulate(copy.deepcopy(evaluation._paramsEval))
        except Exception as error:
            raise AssertionError(number) from error
        assert evaluation.eval["precision"].shape in (before.shape, (*before.shape[:3], 2, 3)), number
        if not reached:
            return


# --------------------------------------------------------------------------------------------------- the process
def test_threads() -> None:
    before = fastdet.get_num_threads()
    try:
        number = 0
        reached = True
        while reached:
            number += 1
            fastdet.set_num_threads(1)
            reached = interrupted(lambda: fastdet.set_num_threads(2), number)
            assert fastdet.get_num_threads() in (1, 2)
            fastdet.set_num_threads(2)
            assert fastdet.get_num_threads() == 2
        assert number > 3
    finally:
        fastdet.set_num_threads(before)
