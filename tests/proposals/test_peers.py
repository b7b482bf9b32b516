"""Against torchvision, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import proposals
from fastdet.boxes import box_iou

SIZE, MAPS = (256, 320), [(64, 80), (32, 40), (16, 20), (8, 10), (4, 5)]
SIZES, RATIOS = ((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5


@pytest.fixture
def torch() -> Any:
    return need("torch")


def module(name: str) -> Any:
    return need(f"torchvision.models.detection.{name}")


def test_anchors(torch: Any) -> None:
    """Bit for bit, with odd maps, several sizes a level, and ratios that are not exact."""
    anchor_utils = module("anchor_utils")
    for sizes, ratios, maps, size in (
        (SIZES, RATIOS, MAPS, SIZE),
        (((31, 45.5), (100, 7)), ((0.3, 1.7), (1.0, 5.0)), [(13, 21), (7, 11)], (211, 333)),
    ):
        generator = anchor_utils.AnchorGenerator(sizes, ratios)
        images = type("Images", (), {"tensors": torch.zeros(1, 3, *size), "image_sizes": [size]})()
        (want,) = generator(images, [torch.zeros(1, 1, *map_size) for map_size in maps])
        got = np.concatenate(proposals.fpn_anchors(sizes, ratios, maps, size))
        np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("steps", [None, [8, 16, 32]])
@pytest.mark.parametrize("clip", [False, True])
def test_default_boxes(torch: Any, steps: list[int] | None, clip: bool) -> None:
    anchor_utils = module("anchor_utils")
    ratios, maps = [[2], [2, 3], [3]], [(38, 30), (19, 15), (10, 8)]
    for scales in (None, [0.07, 0.15, 0.33, 1.2]):
        generator = anchor_utils.DefaultBoxGenerator(ratios, scales=scales, steps=steps, clip=clip)
        want = generator._grid_default_boxes(maps, (300, 240)).numpy()
        size = None if steps is None else (300, 240)
        got = proposals.ssd_default_boxes(maps, ratios, size, scales=scales, steps=steps, clip=clip)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_coder(torch: Any, dtype: str, weights: tuple[float, ...]) -> None:
    """To a few ulp: exp and log are other ones."""
    coder = module("_utils").BoxCoder(weights)
    rng = np.random.default_rng(0)
    corner = rng.random((2, 500, 2)) * 500
    boxes, anchors = np.concatenate([corner, corner + 1 + rng.random((2, 500, 2)) * 300], axis=2).astype(dtype)
    deltas = (rng.standard_normal((500, 3, 4)) * 3).astype(dtype)
    want = coder.encode_single(torch.from_numpy(boxes), torch.from_numpy(anchors)).numpy()
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(proposals.encode_boxes(boxes, anchors, weights), want, rtol=8 * eps, atol=8 * eps)
    want = coder.decode(torch.from_numpy(deltas), [torch.from_numpy(anchors)]).numpy()
    got = proposals.decode_boxes(deltas, anchors, weights)
    np.testing.assert_allclose(got, want, rtol=8 * eps, atol=8 * eps * np.abs(want).max())


@pytest.mark.parametrize("low_quality", [False, True])
def test_matcher(torch: Any, low_quality: bool) -> None:
    """Overlaps in sixteenths: ties and values equal to the thresholds; the thresholds are rounded to float32."""
    matcher = module("_utils").Matcher(0.7, 0.3, low_quality)
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (3, 50), (20, 700)):
        iou = np.float32(rng.integers(0, 17, (rows, columns)) / 16 * (rng.random((rows, columns)) < 0.3))
        iou[rng.random(iou.shape) < 0.05] = np.float32(0.7)
        iou[rng.random(iou.shape) < 0.05] = np.float32(0.3)
        got = proposals.match_boxes(iou, 0.7, 0.3, allow_low_quality=low_quality)
        np.testing.assert_array_equal(got, matcher(torch.from_numpy(iou)).numpy())


def test_sampler(torch: Any) -> None:
    """Other random numbers, but the same counts."""
    utils = module("_utils")
    rng = np.random.default_rng(0)
    for count, share, total in ((100, 0.5, 64), (100, 0.02, 64), (100, 0.98, 64), (10, 0.5, 64), (500, 0.3, 33)):
        labels = np.where(rng.random(count) < share, rng.integers(1, 5, count), rng.integers(-1, 1, count))
        positive, negative = utils.BalancedPositiveNegativeSampler(total, 0.25)([torch.from_numpy(labels)])
        mine = proposals.sample_balanced(labels, total, 0.25, seed=3)
        assert [len(x) for x in mine] == [int(positive[0].sum()), int(negative[0].sum())]


def inputs(dtype: str, images: int = 3) -> tuple[list[Any], list[Any], list[Any], list[tuple[int, int]]]:
    """A network's output around some objects: distinct logits, boxes that overlap."""
    rng = np.random.default_rng(7)
    anchors = proposals.fpn_anchors(SIZES, RATIOS, MAPS, SIZE)
    corner = rng.random((images, 6, 2)) * [200, 150]
    true = np.concatenate([corner, corner + 20 + rng.random((images, 6, 2)) * 100], axis=2)
    scores, deltas = [], []
    for x in anchors:
        near = np.stack([box_iou(t, x).max(axis=0) for t in true])
        scores.append((rng.standard_normal((images, len(x))) - 2 + 6 * near).astype(dtype))
        deltas.append((rng.standard_normal((images, len(x), 4)) * 0.2).astype(dtype))
    return scores, deltas, [x.astype(dtype) for x in anchors], [(256, 320), (200, 320), (256, 99)][:images]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("pre", "post", "threshold"), [(1000, 300, 0.0), (200, 1000, 0.1)])
def test_proposals(torch: Any, dtype: str, pre: int, post: int, threshold: float) -> None:
    """The same boxes in the same order: to 1e-9 in float64, 1e-3 pixels in float32."""
    top = [{"training": n, "testing": n} for n in (pre, post)]
    nothing = torch.nn.Identity()
    network = module("rpn").RegionProposalNetwork(nothing, nothing, 0.7, 0.3, 256, 0.5, *top, 0.7, threshold).eval()
    scores, deltas, anchors, sizes = inputs(dtype)
    tensors = [[torch.from_numpy(x) for x in xs] for xs in (scores, deltas, anchors)]
    flat = torch.cat(tensors[1], 1).reshape(-1, 4)
    decoded = network.box_coder.decode(flat, [torch.cat(tensors[2])] * 3).reshape(3, -1, 4)
    logits = torch.cat(tensors[0], 1).reshape(-1, 1)
    boxes, values = network.filter_proposals(decoded, logits, sizes, [x.shape[1] for x in scores])
    got = proposals.generate_proposals(
        *tensors, sizes, pre_nms_top_n=pre, post_nms_top_n=post, score_threshold=threshold
    )
    assert got.counts.tolist() == [len(x) for x in boxes]
    relative, absolute = (1e-9, 1e-9) if dtype == "float64" else (1e-5, 1e-3)
    for image, count in enumerate(got.counts.tolist()):
        for mine, other in ((got.boxes, boxes), (got.scores, values)):
            np.testing.assert_allclose(mine[image, :count], other[image], rtol=relative, atol=absolute)
