"""Numbers by hand, and rules that hold on every backend."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import proposals
from fastdet._core.elementary import exp_or_zero
from fastdet.boxes import box_iou

BACKENDS = ("reference", "numba", "cpp")
TOP = {"pre_nms_top_n": 100, "post_nms_top_n": 100}


def test_grid_anchors() -> None:
    """A side of 8 and ratios 1 and 4 (height / width); the second column is one stride of 16 to the right."""
    got = proposals.grid_anchors(8, [1.0, 4.0], (2, 2), (10, 16))
    around = np.array([[-4, -4, 4, 4], [-2, -8, 2, 8]])
    want = [around + np.array([x, y, x, y]) for y, x in itertools.product((0, 10), (0, 16))]
    np.testing.assert_array_equal(got, np.concatenate(want))
    assert got.dtype == np.float32


def test_order_of_anchors_and_rounding() -> None:
    """Ratio by ratio, then size by size; corners are rounded, halves to even: 5 / 2 = 2.5 becomes 2."""
    got = proposals.grid_anchors([5, 7], [1.0, 4.0], 1, 1)
    want = [[-2, -2, 2, 2], [-4, -4, 4, 4], [-1, -5, 1, 5], [-2, -7, 2, 7]]
    np.testing.assert_array_equal(got, want)


def test_fpn_anchors() -> None:
    """The stride is the whole part of image / map: 100 // 3 rows, 50 // 2 columns."""
    (got,) = proposals.fpn_anchors([10], [[1.0]], [(3, 2)], (100, 50))
    np.testing.assert_array_equal(got, proposals.grid_anchors(10, 1.0, (3, 2), (33, 25)))


def test_default_boxes() -> None:
    """Two cells a side: centres at a quarter and three quarters; the geometric mean of 0.25 and 1 is a half."""
    got = proposals.ssd_default_boxes([2], [[4]], scales=[0.25, 1.0])
    shapes = [[0.25, 0.25], [0.5, 0.5], [0.5, 0.125], [0.125, 0.5]]
    want = [[x, y, *shape] for y, x in itertools.product((0.25, 0.75), repeat=2) for shape in shapes]
    np.testing.assert_array_equal(got, np.array(want, np.float32))


def test_default_boxes_of_steps_and_scales() -> None:
    """Steps set the cells; the default scales of two maps are 0.15, 0.9 and 1; 0.9 * sqrt(4) is cut to 1."""
    got = proposals.ssd_default_boxes([1, 1], [[], [4]], (10, 20), steps=[5, 4])
    assert got[:, 0].tolist() == pytest.approx([0.125] * 2 + [0.1] * 4)
    assert got[:, 1].tolist() == pytest.approx([0.25] * 2 + [0.2] * 4)
    assert got[:, 2].tolist() == pytest.approx([0.15, math.sqrt(0.135), 0.9, math.sqrt(0.9), 1.0, 0.45])


def test_ssd_priors_are_default_boxes() -> None:
    """The priors as the loop of the paper makes them, equal to the last bit."""
    torch = need("torch")
    ssd = need("fastdet.models.ssd")
    priors = []
    for side, step, size, larger, ratios in zip(
        ssd.MAPS, ssd.STEPS, ssd.SIZES[:-1], ssd.SIZES[1:], ssd.RATIOS, strict=True
    ):
        shapes = [(size, size), (math.sqrt(size * larger),) * 2]
        for ratio in ratios:
            pair = size * math.sqrt(ratio), size / math.sqrt(ratio)
            shapes += [pair, pair[::-1]]
        for row, column in itertools.product(range(side), repeat=2):
            priors += [((column + 0.5) * step, (row + 0.5) * step, *shape) for shape in shapes]
    assert torch.equal(ssd.ssd_priors(), torch.tensor(priors) / ssd.SIDE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_coder(backend: str) -> None:
    """A box twice as wide, moved by half the anchor's width and a quarter of its height."""
    anchors, boxes = np.array([[10.0, 20, 30, 60]]), np.array([[10.0, 30, 50, 70]])
    deltas = proposals.encode_boxes(boxes, anchors, backend=backend)
    np.testing.assert_allclose(deltas, [[0.5, 0.25, math.log(2), 0]], rtol=1e-15)
    weighted = proposals.encode_boxes(boxes, anchors, (10, 10, 5, 5), backend=backend)
    np.testing.assert_allclose(weighted, [[5, 2.5, 5 * math.log(2), 0]], rtol=1e-15)
    back = proposals.decode_boxes(weighted, anchors, (10, 10, 5, 5), backend=backend)
    np.testing.assert_allclose(back, boxes, rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_decoded_sides_are_limited(backend: str) -> None:
    """A width of 16 becomes 1000 at most; each class of an anchor is decoded by itself."""
    deltas = np.array([[[0, 0, 99, 0], [0, 0, math.log(2), -1e9]]])
    got = proposals.decode_boxes(deltas, np.array([[0.0, 0, 16, 16]]), backend=backend)
    np.testing.assert_allclose(got[0], [[-492, 0, 508, 16], [-8, 8, 24, 8]], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_above_zero(dtype: str) -> None:
    """exp of numbers above 0, which decoding needs, to 2 ulp."""
    x = np.linspace(0, 87, 100_001).astype(dtype)
    want = np.exp(x.astype(np.longdouble))
    gap = np.abs(exp_or_zero(x).astype(np.longdouble) - want) / np.spacing(want.astype(dtype))
    assert gap.max() <= 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_matcher(backend: str) -> None:
    """At the high threshold matched, at the low one between; below it background; ties go to the lower box."""
    iou = np.array([[0.7, 0.3, 0.2, 0.9, 0.0], [0.6, 0.2, 0.29, 0.9, 0.0]])
    got = proposals.match_boxes(iou, 0.7, 0.3, backend=backend)
    assert got.tolist() == [0, -2, -1, 0, -1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_matches_of_low_quality(backend: str) -> None:
    """Each box gets the candidates that overlap it most, ties among them, but a candidate goes to its own best box."""
    iou = np.array([[0.5, 0.2, 0.5, 0.1], [0.1, 0.1, 0.6, 0.25]])
    got = proposals.match_boxes(iou, 0.7, 0.3, allow_low_quality=True, backend=backend)
    assert got.tolist() == [0, -1, 1, -1]
    lonely = np.array([[0.0, 0.0, 0.4], [0.0, 0.0, 0.0]])  # nobody overlaps the second box: level with all
    got = proposals.match_boxes(lonely, 0.7, 0.3, allow_low_quality=True, backend=backend)
    assert got.tolist() == [0, 0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_true_box(backend: str) -> None:
    assert proposals.match_boxes(np.zeros((0, 3)), 0.7, 0.3, backend=backend).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_sampler(backend: str) -> None:
    """At most half are positive; negative ones fill up; the sample depends on the seed and on nothing else."""
    labels = np.tile([1, 0, -1, 0, 3], 200)
    seen = []
    for seed in (0, 1, 2**63 - 1):
        positive, negative = proposals.sample_balanced(labels, 101, 0.5, seed=seed, backend=backend)
        assert (len(positive), len(negative)) == (50, 51)
        assert (labels[positive] > 0).all()
        assert (labels[negative] == 0).all()
        assert (np.diff(positive) > 0).all()
        assert (np.diff(negative) > 0).all()
        seen.append(tuple(positive))
    assert len(set(seen)) == 3
    few = np.where(np.arange(1000) < 3, labels, np.minimum(labels, 0))
    positive, negative = proposals.sample_balanced(few, 101, 0.5, seed=0, backend=backend)
    assert (len(positive), len(negative)) == (1, 100)


def test_every_candidate_is_sampled_alike() -> None:
    """Over 4,000 seeds each of 40 candidates is among the 10 sampled ones 1,000 times, within 5 standard deviations."""
    count = np.zeros(40)
    for seed in range(4000):
        count[proposals.sample_balanced(np.ones(40, np.int64), 10, 1.0, seed=seed)[0]] += 1
    assert np.abs(count - 1000).max() < 5 * math.sqrt(4000 * 0.25 * 0.75)


def call(scores: Any, boxes: Any, size: tuple[float, float], backend: str, **options: Any) -> Any:
    """Proposals of one image whose boxes are the anchors themselves, by level."""
    levels = [np.array(x, np.float64).reshape(-1, 4) for x in boxes]
    logits = [np.array(x, np.float64)[None] for x in scores]
    deltas = [np.zeros((1, len(x), 4)) for x in levels]
    return proposals.generate_proposals(logits, deltas, levels, [size], backend=backend, **{**TOP, **options})


@pytest.mark.parametrize("backend", BACKENDS)
def test_proposals(backend: str) -> None:
    """Clipped, filtered, NMS by level, the best first: by hand."""
    first = [[0, 0, 10, 10], [1, 0, 11, 10], [-5, -5, 0.0005, 9], [40, 40, 70, 90]]
    second = [[0, 0, 10, 10], [0, 0, 10, 10]]  # levels do not suppress each other; equal ones of a level do
    got = call([[2, 1, 9, 0], [1.5, 1.5]], [first, second], (50, 60), backend)
    assert got.counts.tolist() == [3]
    np.testing.assert_array_equal(got.boxes[0, :3], [[0, 0, 10, 10], [0, 0, 10, 10], [40, 40, 60, 50]])
    np.testing.assert_allclose(got.scores[0, :3], 1 / (1 + np.exp([-2.0, -1.5, 0])), rtol=1e-15)
    assert not got.boxes[0, 3:].any()
    assert not got.scores[0, 3:].any()
    assert got.boxes.shape == (1, 6, 4)  # no more than there are anchors


@pytest.mark.parametrize("backend", BACKENDS)
def test_thresholds_are_kept(backend: str) -> None:
    """A side of min_size, a score of score_threshold and an IoU of iou_threshold survive."""
    boxes = [[[0, 0, 2, 9], [20, 0, 21.9, 9], [40, 0, 50, 10], [40, 0, 50, 5]]]
    got = call([[0, 1, 2, 1]], boxes, (99, 99), backend, min_size=2, score_threshold=0.5, iou_threshold=0.5)
    np.testing.assert_array_equal(got.boxes[0, :3], np.array(boxes[0])[[2, 3, 0]])
    assert got.counts.tolist() == [3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties(backend: str) -> None:
    """Equal logits: the lower index. Scores of 1 (logits above 37): the lower level, then the higher logit."""
    boxes = [[[10 * k, 0, 10 * k + 5, 5] for k in range(4)], [[10 * k, 50, 10 * k + 5, 55] for k in range(3)]]
    got = call([[40, 50, 50, 45], [90, 40, 41]], boxes, (99, 99), backend, pre_nms_top_n=2)
    assert got.boxes[0, :4, :2].tolist() == [[10, 0], [20, 0], [0, 50], [20, 50]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_top_of_large_levels(backend: str) -> None:
    """However the scores lie: rising, falling, equal, all but a few at the bottom, periodic."""
    rng = np.random.default_rng(0)
    n = 20_000
    sets = [
        np.arange(n), -np.arange(n), np.zeros(n), np.where(np.arange(n) % 61 == 0, 5.0, rng.random(n)),
        np.where(np.arange(n) % 61 == 0, -5.0, rng.random(n)), np.where(rng.random(n) < 0.01, 3.0, -np.inf),
    ]  # fmt: skip
    column = np.arange(n) * 10.0
    anchors = np.stack([column, 0 * column, column + 5, 0 * column + 5], axis=1)
    logits = np.stack(sets).astype(np.float64) / 1e3
    args = [logits], [np.zeros((len(sets), n, 4))], [anchors], [(10, 1e9)] * len(sets)
    got = proposals.generate_proposals(*args, pre_nms_top_n=300, post_nms_top_n=300, backend=backend)
    for image, values in enumerate(logits):
        want = np.argsort(-values, kind="stable")[:300]
        np.testing.assert_array_equal(np.sort(got.boxes[image, :, 0]), np.sort(column[want]))


def test_batch_and_single_images_agree() -> None:
    rng = np.random.default_rng(1)
    anchors = proposals.fpn_anchors([32, 64], [0.5, 1, 2], [(20, 30), (10, 15)], (160, 240))
    logits = [rng.standard_normal((3, len(x))) for x in anchors]
    deltas = [rng.standard_normal((3, len(x), 4)) / 4 for x in anchors]
    sizes = np.array([[160, 240], [100, 240], [160, 90]])
    whole = proposals.generate_proposals(logits, deltas, anchors, sizes, **TOP)
    for k in range(3):
        part = slice(k, k + 1)
        one = proposals.generate_proposals(
            [x[part] for x in logits], [x[part] for x in deltas], anchors, sizes[part], **TOP
        )
        for a, b in zip(whole, one, strict=True):
            np.testing.assert_array_equal(a[part], b)


def test_a_detector_that_learned_its_targets_finds_its_boxes() -> None:
    """Deltas that encode the true boxes, and logits by overlap: the proposals are the true boxes."""
    anchors = proposals.fpn_anchors([32, 64], [0.5, 1, 2], [(20, 30), (10, 15)], (160, 240))
    true = np.array([[20.0, 30, 70, 80], [100, 40, 180, 110]], np.float32)
    logits, deltas = [], []
    for x in anchors:
        overlap = box_iou(true, x)
        logits.append((20 * overlap.max(axis=0) - 8)[None])
        deltas.append(proposals.encode_boxes(true[overlap.argmax(axis=0)], x)[None])
    got = proposals.generate_proposals(logits, deltas, anchors, [(160, 240)], score_threshold=0.5, **TOP)
    near = box_iou(true, got.boxes[0, : int(got.counts[0])])
    assert near.max(axis=1).min() > 0.9999
    assert len(near[0]) <= 4  # one a level
