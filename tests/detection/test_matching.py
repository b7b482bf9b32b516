"""Matching, precision and recall, average precision: worked examples, rules, errors, and equality of the backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet._core import backends as _backends
from fastdet.detection import average_precision, count_naive, match_detections, precision_recall_curve, records

BACKENDS = ("reference", "numba", "cpp")
FAST = ("numba", "cpp")
TRUTH = np.array([[0, 0, 10, 10], [100, 0, 110, 10.0]])
# on the first box, on it again, on nothing, on the second
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [100, 0, 110, 9.0]])
SCORES = np.array([0.9, 0.8, 0.7, 0.6])

backends = pytest.mark.parametrize("backend", BACKENDS)


def random_set(r: np.random.Generator, n: int, m: int, classes: int = 2) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Small integer boxes and rounded scores, so that there are ties in both."""

    def boxes(count: int) -> np.ndarray:
        corner = r.integers(0, 12, (count, 2))
        return np.concatenate([corner, corner + r.integers(0, 9, (count, 2))], axis=1).astype(float)

    options = {
        "labels": r.integers(0, classes, n), "true_labels": r.integers(0, classes, m),
        "iscrowd": r.random(m) < 0.15, "ignore": r.random(m) < 0.15,
    }  # fmt: skip
    return (boxes(n), np.round(r.random(n), 1), boxes(m)), options


# Matching


@backends
def test_each_true_box_is_found_once(backend: str) -> None:
    order, matched, outcome, counted = match_detections(BOXES, SCORES, TRUTH, backend=backend)
    assert order.tolist() == [0, 1, 2, 3]
    assert matched[:, 0, 0].tolist() == [0, -1, -1, 1]
    assert outcome[:, 0, 0].tolist() == [1, 0, 0, 1]
    assert counted.tolist() == [2]
    assert (order.dtype, matched.dtype, outcome.dtype, counted.dtype) == (np.int64, np.int64, np.uint8, np.int64)


@backends
@pytest.mark.parametrize(("threshold", "coco", "voc", "naive"), [(0.5, 1, 0, 0), (0.49, 1, 1, 1), (0.51, 0, 0, 0)])
def test_iou_equal_to_the_threshold(threshold: float, coco: int, voc: int, naive: int, backend: str) -> None:
    """COCO's rule is >=, VOC's and the naive one >."""
    args = [[0, 0, 10, 5.0]], [1.0], [[0, 0, 10, 10.0]]
    for rule, want in (("coco", coco), ("voc", voc)):
        result = match_detections(*args, iou_thresholds=threshold, rule=rule, backend=backend)
        assert result.outcome.item() == want
    assert count_naive(args[0], args[2], iou_threshold=threshold, backend=backend).tp == naive


@backends
def test_a_box_that_is_taken(backend: str) -> None:
    """COCO: the second detection takes the next best box; VOC: it is a duplicate of its best."""
    truth = [[0, 0, 10, 10], [0, 0, 10, 8.0]]
    args = [[0, 0, 10, 10], [0, 0, 10, 9.5]], [0.9, 0.8], truth
    assert match_detections(*args, backend=backend).outcome.ravel().tolist() == [1, 1]
    voc = match_detections(*args, rule="voc", backend=backend)
    assert voc.outcome.ravel().tolist() == [1, 0]
    assert voc.matched.ravel().tolist() == [0, 0]


@backends
def test_crowds_and_ignored_boxes(backend: str) -> None:
    """A crowd takes in any number of detections, an ignored box one; neither counts, nor do those detections."""
    boxes = [[0, 0, 5, 5], [5, 5, 10, 10], [20, 0, 30, 10], [20, 0, 30, 9.0]]
    truth = [[0, 0, 10, 10], [20, 0, 30, 10.0]]
    result = match_detections(boxes, SCORES, truth, iscrowd=[1, 0], ignore=[0, 1], backend=backend)
    assert result.outcome.ravel().tolist() == [2, 2, 2, 0]
    assert result.matched.ravel().tolist() == [0, 0, 1, -1]
    assert result.counted.tolist() == [0]


@backends
def test_area_ranges_and_thresholds_at_once(backend: str) -> None:
    result = match_detections(
        BOXES, SCORES, TRUTH, iou_thresholds=[0.5, 0.95], area_ranges=[[0, 1e9], [0, 95], [100, 100]], backend=backend,
    )  # fmt: skip
    assert result.counted.tolist() == [2, 0, 2]  # areas are 100: both ends are inside
    assert result.outcome.shape == (4, 2, 3)
    assert result.outcome[:, 0].T.tolist() == [[1, 0, 0, 1], [2, 0, 2, 2], [1, 2, 0, 1]]
    assert result.outcome[:, 1].T.tolist() == [[1, 0, 0, 0], [2, 0, 2, 0], [1, 2, 0, 2]]
    shrunk = match_detections(BOXES, SCORES, TRUTH, true_areas=[50, 100], area_ranges=[[0, 60]], backend=backend)
    assert shrunk.counted.tolist() == [1]


@backends
def test_the_limit_is_for_each_label(backend: str) -> None:
    boxes, scores = np.tile([[0, 0, 10, 10.0]], (5, 1)), [0.1, 0.5, 0.3, 0.9, 0.3]
    result = match_detections(
        boxes, scores, boxes[:2], labels=[0, 0, 1, 1, 1], true_labels=[0, 1], max_detections=2, backend=backend
    )
    assert result.order.tolist() == [3, 1, 2, 0]  # of the equal scores the first; a label's third is out
    assert result.matched.ravel().tolist() == [1, 0, -1, -1]
    assert len(match_detections(boxes, scores, boxes, max_detections=None, backend=backend).order) == 5


@backends
def test_boxes_that_name_their_last_pixel(backend: str) -> None:
    """2 x 2 pixels and the left one of its columns: IoU 1/2, and 0 where a side is the difference of coordinates."""
    args = [[0, 0, 0, 1.0]], [1.0], [[0, 0, 1, 1.0]]
    assert match_detections(*args, inclusive=True, backend=backend).outcome.item() == 1
    assert match_detections(*args, backend=backend).outcome.item() == 0
    assert count_naive(args[0], args[2], iou_threshold=0.4, inclusive=True, backend=backend) == (1, 0, 0)
    assert count_naive(args[0], args[2], iou_threshold=0.4, backend=backend) == (0, 1, 1)


@pytest.mark.parametrize("box_format", ["xywh", "cxcywh"])
def test_box_formats(box_format: str) -> None:
    from fastdet.boxes import box_convert

    converted = (box_convert(x, "xyxy", box_format) for x in (BOXES, TRUTH))
    found, truth = converted
    result = match_detections(found, SCORES, truth, box_format=box_format)
    assert result.matched.ravel().tolist() == [0, -1, -1, 1]


@backends
@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 2), (2, 0)])
def test_nothing_to_match(n: int, m: int, backend: str) -> None:
    result = match_detections(BOXES[:n], SCORES[:n], TRUTH[:m], iou_thresholds=[0.5, 0.6], backend=backend)
    assert result.matched.shape == result.outcome.shape == (n, 2, 1)
    assert (result.matched == -1).all()
    assert (result.outcome == 0).all()
    assert result.counted.tolist() == [m]
    assert count_naive(BOXES[:n], TRUTH[:m], backend=backend) == (
        0 if not m else n,
        n if not m else 0,
        m if not n else 0,
    )


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("rule", ["coco", "voc"])
def test_backends_match_alike(rule: str, backend: str) -> None:
    r = np.random.default_rng(0)
    for case in range(150):
        args, options = random_set(r, int(r.integers(0, 30)), int(r.integers(0, 12)))
        options |= {
            "iou_thresholds": [0.3, 0.5, 0.75][: 1 + case % 3],
            "area_ranges": [[0, 1e9], [0, 16], [16, 40]][: 1 + case % 3],
            "rule": rule, "inclusive": case % 2 == 1, "max_detections": (3, 100, None)[case % 3],
        }  # fmt: skip
        want = match_detections(*args, **options, backend="reference")
        got = match_detections(*args, **options, backend=backend)
        for name, x, y in zip(want._fields, got, want, strict=True):
            assert x.dtype == y.dtype, name
            assert np.array_equal(x, y), (name, case)


@pytest.mark.parametrize("backend", FAST)
def test_kernels_of_whole_data_sets(backend: str) -> None:
    """Grouping, matching and accumulation of several images and classes, cell by cell."""
    r = np.random.default_rng(1)
    images, classes = 5, 3
    kernel, reference = (
        _backends.choose("accumulate", name, records.accumulate_reference) for name in (backend, "reference")
    )
    for case in range(60):
        n, m = int(r.integers(0, 60)), int(r.integers(0, 25))
        (boxes, scores, truth), _ = random_set(r, n, m)
        rows = [
            records.Rows(r.integers(0, images * classes, len(b)), b, b[:, 2] * b[:, 3], s, f)
            for b, s, f in ((boxes, scores, np.zeros(0, np.uint8)), (truth, scores[:0], r.integers(0, 3, m, np.uint8)))
        ]
        rule = records.Rule(np.array([0.3, 0.5, 0.8]), np.array([[0, 1e9], [0, 40], [40, 1e9]]), (2, 10, -1)[case % 3])
        one, other = (records.match_rows(rule, *rows, matched=True, backend=b) for b in (backend, "reference"))
        for name, x, y in zip(one._fields, one, other, strict=True):
            assert np.array_equal(x, y), (name, case)
        of_class = np.searchsorted(one.group, np.arange(classes + 1) * images).astype(np.int64)
        args = (
            one.scores,
            one.outcomes,
            one.start,
            one.counted,
            of_class,
            3,
            np.linspace(0, 1, 101),
            np.array([1, 5, 100]),
        )
        for x, y in zip(kernel(*args), reference(*args), strict=True):
            assert np.array_equal(x, y), case


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("rule", ["coco", "voc"])
def test_many_outcomes_and_many_rows(rule: str, backend: str) -> None:
    """More outcomes than a machine word has bits, thresholds in any order, groups of all sizes up to a thousand."""
    r = np.random.default_rng(7)
    for n, m, T, A in ((40, 12, 15, 4), (40, 12, 25, 4), (90, 20, 61, 1), (1100, 30, 7, 9)):
        (boxes, scores, truth), _ = random_set(r, n, m)
        labels = (3 * r.random(n) ** 2).astype(int), (3 * r.random(m) ** 2).astype(int)
        min_areas = np.concatenate([[0], r.integers(0, 40, A - 1)])
        options = {
            "labels": labels[0], "true_labels": labels[1], "iscrowd": r.integers(0, 5, m) == 0, "rule": rule,
            "iou_thresholds": r.integers(1, 21, T) / 20, "area_ranges": np.stack([min_areas, min_areas + 30], axis=1),
            "max_detections": None if n < 50 else 300,
        }  # fmt: skip
        want = match_detections(boxes, scores, truth, **options, backend="reference")
        for x, y in zip(match_detections(boxes, scores, truth, **options, backend=backend), want, strict=True):
            assert np.array_equal(x, y), (T, A)
        assert (want.outcome == 1).any()


@pytest.mark.parametrize("backend", FAST)
def test_boxes_of_any_size(backend: str) -> None:
    """Areas and sums that overflow or vanish, on every backend alike."""
    r = np.random.default_rng(5)
    for case in range(100):
        scale = r.choice([1, 1e150, 1e160, 1e300, 1e-200, 1e-320], (12, 1))
        boxes = np.concatenate([r.integers(-3, 4, (12, 2)), r.integers(-3, 6, (12, 2))], axis=1) * scale
        args = boxes, np.round(r.random(12), 1), boxes[r.permutation(12)[:7]] * r.choice([1, 0.9, 1.1], (7, 1))
        options = {
            "box_format": "xywh", "iou_thresholds": [0.1, 0.5], "rule": ("coco", "voc")[case % 2],
            "area_ranges": [[0, 1e9], [1, 1e308], [-np.inf, np.inf]], "iscrowd": r.integers(0, 2, 7),
        }  # fmt: skip
        want = match_detections(*args, **options, backend="reference")
        for x, y in zip(match_detections(*args, **options, backend=backend), want, strict=True):
            assert np.array_equal(x, y), case


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("T", "A"), [(1, 1), (2, 3), (10, 4)])
def test_digits_to_spare_are_not_looked_at(T: int, A: int, backend: str) -> None:
    """The last byte of outcomes may hold more than T * A of them; 5,000 rows are more than a counter's 12 bits."""
    r = np.random.default_rng(4)
    kernel, reference = (
        _backends.choose("accumulate", name, records.accumulate_reference) for name in (backend, "reference")
    )
    n = 5000
    outcomes = r.integers(0, 243, (n, -(-T * A // 5)), np.uint8)
    args = r.random(n), outcomes, np.array([0, n]), np.full((1, A), n), np.array([0, 1])
    for limit in (300, n):
        options = T, np.linspace(0, 1, 101), np.array([limit])
        for x, y in zip(kernel(*args, *options), reference(*args, *options), strict=True):
            assert np.array_equal(x, y)


# Counting without matching


@backends
def test_count_naive(backend: str) -> None:
    """Both detections of the first box are true: what matching puts right."""
    assert count_naive(BOXES, TRUTH, backend=backend) == (3, 1, 0)
    assert count_naive(BOXES[:3], TRUTH, backend=backend) == (2, 1, 1)
    assert count_naive(BOXES, TRUTH, labels=[1, 0, 0, 0], true_labels=[0, 1], backend=backend) == (1, 3, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 8), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_counts_and_matches_agree(seed: int, n: int, m: int, threshold: float) -> None:
    """Matching finds no more than the naive count; each true box is taken once; every detection has an outcome."""
    (boxes, scores, truth), options = random_set(np.random.default_rng(seed), n, m)
    labels = {key: options[key] for key in ("labels", "true_labels")}
    naive = count_naive(boxes, truth, iou_threshold=threshold, **labels)
    assert naive.tp + naive.fp == n
    assert naive.fn <= m
    at = max(threshold, 0.05)
    result = match_detections(boxes, scores, truth, iou_thresholds=at, max_detections=None, rule="voc", **labels)
    true = result.outcome.ravel() == 1
    taken = result.matched.ravel()[true]
    assert len(set(taken.tolist())) == len(taken)
    assert sorted(result.order.tolist()) == list(range(n))
    assert (np.diff(scores[result.order]) <= 0).all()
    assert true.sum() <= count_naive(boxes, truth, iou_threshold=at, **labels).tp


# Precision and recall


def test_precision_can_rise() -> None:
    """The raw curve is a saw: a false positive lowers it, a true one raises it again."""
    curve = precision_recall_curve([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1], 4)
    assert np.allclose(curve.recall, [0.25, 0.25, 0.5, 0.75])
    assert np.allclose(curve.precision, [1, 1 / 2, 2 / 3, 3 / 4])
    assert np.allclose(curve.interpolated, [1, 3 / 4, 3 / 4, 3 / 4])
    assert curve.scores.tolist() == [0.9, 0.8, 0.7, 0.6]


def test_ignored_detections_are_no_points_of_the_curve() -> None:
    curve = precision_recall_curve([0.1, 0.9, 0.5], [1, 2, 0], 1)
    assert curve.scores.tolist() == [0.5, 0.1]
    assert curve.recall.tolist() == [0, 1]
    assert len(precision_recall_curve([0.5], [0], 0).recall) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=30), st.integers(0, 5))
def test_curves_are_curves(points: list[tuple[int, int]], more: int) -> None:
    scores, outcome = np.array([p[0] / 10 for p in points]), np.array([p[1] for p in points], np.int64)
    counted = int((outcome == 1).sum()) + more
    curve = precision_recall_curve(scores, outcome, counted)
    assert (np.diff(curve.recall) >= 0).all()
    assert (np.diff(curve.interpolated) <= 0).all()
    assert (curve.interpolated >= curve.precision).all()
    assert ((curve.recall >= 0) & (curve.recall <= 1)).all()
    area = average_precision(scores, outcome, counted, method="area")
    if counted:  # rectangles below the interpolated curve
        assert area == pytest.approx((np.diff(np.append(0, curve.recall)) * curve.interpolated).sum(), abs=1e-12)
        for method, levels in (("coco101", 101), ("voc2007", 11)):
            precision = [max(curve.precision[curve.recall >= level], default=0) for level in np.linspace(0, 1, levels)]
            assert average_precision(scores, outcome, counted, method=method) == pytest.approx(
                np.mean(precision), abs=1e-12
            )
    else:
        assert area == -1


# Average precision


@pytest.mark.parametrize(
    ("method", "want"),
    [("area", 0.25 + 0.5 * 0.75), ("voc2007", (3 * 1 + 5 * 0.75) / 11), ("coco101", (26 * 1 + 50 * 0.75) / 101)],
)
@backends
def test_average_precision_by_hand(method: str, want: float, backend: str) -> None:
    ap = average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1], 4, method=method, backend=backend)
    assert type(ap) is float
    assert ap == pytest.approx(want, abs=1e-12)


@backends
@pytest.mark.parametrize("method", ["coco101", "voc2007", "area"])
def test_average_precision_of_classes(method: str, backend: str) -> None:
    """Of (K, T, A) at once what each gives by itself."""
    r = np.random.default_rng(2)
    n, K, T, A = 80, 4, 2, 3
    scores, outcome, labels = np.round(r.random(n), 1), r.integers(0, 3, (n, T, A)), r.integers(0, K - 1, n)
    outcome[labels == 0, :, 1] = 0  # nothing to find there
    counted = np.stack([(outcome[labels == k] == 1).sum(axis=(0, 1)) + 1 for k in range(K)])
    counted[0, 1] = 0
    ap = average_precision(scores, outcome, counted, labels=labels, method=method, backend=backend)
    assert ap.shape == (K, T, A)
    for k, t, a in np.ndindex(K, T, A):
        mine = labels == k
        assert ap[k, t, a] == average_precision(scores[mine], outcome[mine, t, a], counted[k, a], method=method)
    assert (ap[0, :, 1] == -1).all()
    assert (ap[K - 1] == 0).all()  # true boxes and no detection
    flat = average_precision(scores, outcome[:, 0, 0], counted[:, 0], labels=labels, method=method, backend=backend)
    assert np.array_equal(flat, ap[:, 0, 0])


@pytest.mark.parametrize("method", ["coco101", "voc2007", "area"])
def test_no_more_true_positives_than_boxes(method: str) -> None:
    with pytest.raises(
        ValueError, match=r"average_precision: counted must be at least 2, the number of true positives, got 1"
    ):
        average_precision([0.9, 0.8], [1, 1], 1, method=method)
    with pytest.raises(
        ValueError, match="average_precision: counted must be at least 1, the number of true positives, got 0"
    ):
        average_precision([0.9, 0.8], [1, 1], [2, 0], labels=[0, 1], method=method)
    with pytest.raises(ValueError, match="precision_recall_curve: counted must be at least"):
        precision_recall_curve([0.9, 0.8], [1, 1], 1)


def test_a_backend_that_is_unknown_is_an_error_everywhere() -> None:
    for op, call in (
        ("average_precision", lambda **k: average_precision([0.9], [1], 1, method="area", **k)),
        ("count_naive", lambda **k: count_naive(BOXES, TRUTH[:0], **k)),
        ("match_detections", lambda **k: match_detections(BOXES, SCORES, TRUTH, **k)),
    ):
        with pytest.raises(ValueError, match=f"^{op}: backend must be one of .*, got 'foo'"):
            call(backend="foo")


def test_areas_that_are_not_told() -> None:
    """0 or less: width times height, as in DetectionMetrics."""
    sides = (TRUTH[:, 2:] - TRUTH[:, :2]).prod(1)
    for true_areas in (None, np.zeros(len(TRUTH)), np.full(len(TRUTH), -1.0)):
        for max_area, counted in ((sides.min(), (sides <= sides.min()).sum()), (1e9, len(TRUTH))):
            matches = match_detections(BOXES, SCORES, TRUTH, true_areas=true_areas, area_ranges=[[0, max_area]])
            assert matches.counted.tolist() == [counted]


def test_tensors_in_tensors_out() -> None:
    torch = need("torch")
    tensors = [torch.from_numpy(x) for x in (BOXES, SCORES, TRUTH)]
    result = match_detections(*tensors)
    assert all(isinstance(x, torch.Tensor) for x in result)
    assert result.matched.ravel().tolist() == [0, -1, -1, 1]
    curve = precision_recall_curve(tensors[1], result.outcome[:, 0, 0], 2)
    assert isinstance(curve.precision, torch.Tensor)
    assert average_precision(tensors[1], result.outcome, result.counted).shape == (1, 1)
    assert isinstance(average_precision(tensors[1], result.outcome, result.counted), torch.Tensor)


def test_inputs_are_not_written_to() -> None:
    args, options = random_set(np.random.default_rng(3), 20, 8)
    for x in (*args, *options.values()):
        x.setflags(write=False)
    for backend in BACKENDS:
        match_detections(*args, **options, backend=backend)


NAN = np.array([[0, 0, 1, 1], [0, np.nan, 1, 1.0]])
WRONG: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "NaN": (lambda **k: match_detections(NAN, [1, 1.0], TRUTH, **k), ValueError,
            "match_detections: boxes must not hold NaN, got NaN at index (1, 1)"),
    "inf": (lambda **k: match_detections(BOXES, [1, np.inf, 0, 0], TRUTH, **k), ValueError,
            "match_detections: scores must be finite, got inf at index 1"),
    "wide": (lambda **k: match_detections([[-1e308, 0, 1e308, 1]], [1.0], TRUTH, **k), ValueError,
             "match_detections: boxes must have finite sides, got [-1e+308, 0.0, 1e+308, 1.0] at index 0"),
    "count": (lambda **k: match_detections(BOXES, SCORES[:3], TRUTH, **k), ValueError,
              "match_detections: scores must have shape (4,), one per box, got (3,)"),
    "labels": (lambda **k: match_detections(BOXES, SCORES, TRUTH, labels=[0] * 4, **k), ValueError,
               "match_detections: labels and true_labels must be passed together, got only labels"),
    "threshold": (lambda **k: match_detections(BOXES, SCORES, TRUTH, iou_thresholds=[0.5, 0], **k), ValueError,
                  "match_detections: iou_thresholds must be in (0, 1], got 0.0"),
    "rule": (lambda **k: match_detections(BOXES, SCORES, TRUTH, rule="x", **k), ValueError,
             "match_detections: rule must be one of 'coco', 'voc', got 'x'"),
    "range": (lambda **k: match_detections(BOXES, SCORES, TRUTH, area_ranges=[[2, 1]], **k), ValueError,
              "match_detections: area_ranges must have minimum <= maximum, got [[2.0, 1.0]]"),
    "naive": (lambda **k: count_naive(BOXES, NAN, **k), ValueError,
              "count_naive: true_boxes must not hold NaN, got NaN at index (1, 1)"),
    "outcome": (lambda **k: average_precision(SCORES, [0, 1, 2, 3], 1, **k), ValueError,
                "average_precision: outcome must be 0, 1 or 2, got 0 to 3"),
    "float": (lambda **k: average_precision(SCORES, SCORES, 1, **k), TypeError,
              "average_precision: outcome must be an integer array, got float64"),
    "counted": (lambda **k: average_precision(SCORES, [0, 1, 2, 1], [1, 2], **k), ValueError,
                "average_precision: counted must have a number for each class and area range, got shape (2,)"),
    "class": (lambda **k: average_precision(SCORES, [0, 1, 2, 1], [1, 2], labels=[0, 1, 2, 0], **k), ValueError,
              "average_precision: labels must be in [0, 2), got 0 to 2"),
}  # fmt: skip


@backends
@pytest.mark.parametrize("case", WRONG)
def test_errors_are_the_same_on_every_backend(case: str, backend: str) -> None:
    call, kind, text = WRONG[case]
    with pytest.raises(kind) as error:
        call(backend=backend)
    assert str(error.value) == text
