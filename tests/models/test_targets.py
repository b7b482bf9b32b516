"""YOLO's and SSD's targets and losses: decoding undoes encoding, losses equal the papers' formulas, box by box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.boxes import box_convert, box_iou

SIZE = (120, 200)  # height, width


def scene(torch: Any, count: int, seed: int = 0) -> tuple[Any, Any]:
    """Boxes in an image of `SIZE`, no two centres in one cell of a grid of 7, and their labels of 4 classes."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(49)[:count]
    centres = np.stack([cells % 7, cells // 7], 1) + rng.uniform(0.05, 0.95, (count, 2))
    whole = np.array([SIZE[1], SIZE[0]])
    centres, sides = centres / 7 * whole, rng.uniform(0.05, 0.6, (count, 2)) * whole
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    return torch.from_numpy(boxes).float(), torch.from_numpy(rng.integers(0, 4, count))


def yolo_decoded(output: Any, predictors: int) -> tuple[Any, Any]:
    """Boxes in pixels (S * S * B, 4) and class scores (S * S * B, C) of one image, decoded by hand."""
    side = output.shape[0]
    boxes, scores = [], []
    for row, column in np.ndindex(side, side):
        cell = output[row, column].tolist()
        for b in range(predictors):
            x, y, w, h, confidence = cell[5 * b : 5 * b + 5]
            cx, cy = (column + x) / side, (row + y) / side
            corners = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
            boxes.append([v * n for v, n in zip(corners, (SIZE[1], SIZE[0]) * 2, strict=True)])
            scores.append([confidence * p for p in cell[5 * predictors :]])
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize("predictors", [1, 2, 3])
def test_yolo_decodes_what_it_encodes(torch: Any, models: Any, predictors: int) -> None:
    """Decoding undoes encoding where no two centres share a cell."""
    boxes, labels = scene(torch, 30)
    target = models.yolo_encode(boxes, labels, SIZE, predictors=predictors, classes=4)
    assert target.shape == (7, 7, 5 * predictors + 4)
    decoded, scores = yolo_decoded(target, predictors)
    present = scores.max(1) > 0
    assert present.sum() == 30
    assert set(np.unique(scores)) == {0.0, 1.0}
    decoded, classes = decoded[present], scores[present].argmax(1)
    order, true_order = np.lexsort(decoded.T), np.lexsort(boxes.numpy().T)
    np.testing.assert_allclose(decoded[order], boxes.numpy()[true_order], atol=1e-4)
    assert classes[order].tolist() == labels[true_order].tolist()


def test_yolo_encode_a_cell_holds_one_object(torch: Any, models: Any) -> None:
    boxes = [[10.0, 10, 20, 20], [12, 12, 16, 19], [190, 110, 210, 130]]  # the last one's centre is the image's corner
    target = models.yolo_encode(boxes, [1, 0, 1], SIZE, grid=3, predictors=1, classes=2)
    assert target[..., 4].nonzero().tolist() == [[0, 0], [2, 2]]
    np.testing.assert_allclose(target[0, 0].numpy(), [15 / 200 * 3, 15 / 120 * 3, 0.05, 10 / 120, 1, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(target[2, 2, :2].numpy(), [1, 1], rtol=1e-6)
    assert not models.yolo_encode(np.zeros((0, 4)), [], SIZE).any()


def yolo_loss_by_hand(output: Any, target: Any, predictors: int) -> float:
    """Equation 3 of the paper, image by image, cell by cell."""
    total = 0.0
    for image, true_image in zip(output.tolist(), target.tolist(), strict=True):
        for cells, goals in zip(image, true_image, strict=True):
            for cell, goal in zip(cells, goals, strict=True):
                side = len(image)
                boxes = [cell[5 * b : 5 * b + 5] for b in range(predictors)]
                if goal[4] == 0:
                    total += 0.5 * sum(box[4] ** 2 for box in boxes)
                    continue
                overlaps = [overlap(corners(box, side), corners(goal, side)) for box in boxes]
                best = int(np.argmax(overlaps))
                if max(overlaps) == 0:
                    distances = [math.dist(corners(box, side), corners(goal, side)) for box in boxes]
                    best = int(np.argmin(distances))
                for b, (x, y, w, h, confidence) in enumerate(boxes):
                    if b != best:
                        total += 0.5 * confidence**2
                        continue
                    total += 5 * ((x - goal[0]) ** 2 + (y - goal[1]) ** 2)
                    total += 5 * ((w**0.5 - goal[2] ** 0.5) ** 2 + (h**0.5 - goal[3] ** 0.5) ** 2)
                    total += (confidence - overlaps[b]) ** 2
                total += sum((p - q) ** 2 for p, q in zip(cell[5 * predictors :], goal[5 * predictors :], strict=True))
    return total / len(output)


def corners(box: list[float], side: int) -> list[float]:
    x, y, w, h = box[0] / side, box[1] / side, box[2], box[3]
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("predictors", [1, 2, 3])
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_yolo_loss(torch: Any, models: Any, predictors: int, spread: float) -> None:
    """Random predictions; with a small ``spread`` boxes are narrow and most overlap nothing."""
    targets = [models.yolo_encode(*scene(torch, n, n), SIZE, predictors=predictors, classes=4) for n in (0, 9, 30)]
    target = torch.stack(targets).double()
    output = torch.rand_like(target)
    for b in range(predictors):
        output[..., 5 * b + 2 : 5 * b + 4] *= spread
    output.requires_grad_()
    loss = models.yolo_loss(output, target, predictors=predictors)
    assert loss.item() == pytest.approx(yolo_loss_by_hand(output, target, predictors), rel=1e-6)
    loss.backward()
    assert output.grad.isfinite().all()
    empty = output.grad[0]  # without an object only confidences have a gradient
    confidences = [5 * b + 4 for b in range(predictors)]
    assert sorted(empty.nonzero()[:, 2].unique().tolist()) == confidences


def test_yolo_loss_of_the_truth_is_0(torch: Any, models: Any) -> None:
    target = models.yolo_encode(*scene(torch, 20), SIZE, classes=4)[None].double()
    output = target.clone().requires_grad_()
    loss = models.yolo_loss(output, target)
    loss.backward()
    assert loss.item() < 1e-8
    assert output.grad.abs().max() < 1e-3
    half = models.yolo_loss(target * 0.5, target).item()
    assert half > 10 * 20 * 0.25 / 10


def ssd_decoded(offsets: Any, priors: Any) -> Any:
    """Boxes in pixels, decoded by hand."""
    scaled = offsets * offsets.new_tensor([0.1, 0.1, 0.2, 0.2])
    centre, side = priors[:, :2] + scaled[:, :2] * priors[:, 2:], priors[:, 2:] * scaled[:, 2:].exp()
    both = need("torch").cat([centre - side / 2, centre + side / 2], 1)
    return both * offsets.new_tensor([SIZE[1], SIZE[0]] * 2)


def test_ssd_decodes_what_it_encodes(torch: Any, models: Any) -> None:
    """Every matched prior decodes to its box and class, and every box has a prior."""
    boxes, labels = scene(torch, 20)
    priors = models.ssd_priors()
    offsets, target = models.ssd_encode(boxes, labels, priors, SIZE, classes=4)
    assert (offsets.shape, target.shape) == ((8732, 4), (8732,))
    matched = target > 0
    assert 20 <= matched.sum() < 2000
    decoded = ssd_decoded(offsets, priors)[matched]
    distance = torch.cdist(decoded, boxes, p=math.inf)
    assert distance.amin(1).max() < 1e-3
    assert torch.equal(labels[distance.argmin(1)] + 1, target[matched])
    assert sorted(distance.argmin(1).unique().tolist()) == list(range(20))
    assert not offsets[~matched].any()
    max_iou = box_iou(box_convert(priors * priors.new_tensor([SIZE[1], SIZE[0]] * 2), "cxcywh", "xyxy"), boxes).amax(1)
    assert max_iou[~matched].max() <= 0.5 + 1e-6
    assert (max_iou[matched] <= 0.5 - 1e-6).sum() <= 20
    none = models.ssd_encode(np.zeros((0, 4)), [], priors, SIZE)
    assert not none[0].any()
    assert not none[1].any()


def test_ssd_matching(torch: Any, models: Any) -> None:
    """Every IoU by hand: a box first gets its best prior, even below the threshold; two boxes never share one."""
    priors = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.25, 0.75, 0.5, 0.5]])
    boxes = torch.tensor([[0.0, 0, 100, 60], [0, 0, 90, 60], [0, 60, 20, 72], [4, 0, 100, 60]])
    overlaps = np.array([[overlap(corners_of(p), (b / 200).tolist()) for b in wide(boxes)] for p in priors.tolist()])
    remaining, want = overlaps.copy(), {}
    for _ in range(4):
        prior, box = divmod(int(remaining.argmax()), 4)
        want[prior] = box
        remaining[prior] = remaining[:, box] = -1
    labels = torch.tensor([0, 1, 2, 3])
    offsets, target = models.ssd_encode(boxes, labels, priors, SIZE, classes=4)
    assert (target - 1).tolist() == [want[i] for i in range(4)]
    assert sorted(want.values()) == [0, 1, 2, 3]
    torch.testing.assert_close(ssd_decoded(offsets, priors), boxes[target - 1], atol=1e-4, rtol=0)


def wide(boxes: Any) -> Any:
    """Boxes of an image of `SIZE`, scaled to an image of 200 x 200."""
    return boxes * boxes.new_tensor([1, SIZE[1] / SIZE[0]] * 2)


def corners_of(prior: list[float]) -> list[float]:
    cx, cy, w, h = prior
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def test_ssd_priors(models: Any) -> None:
    """The authors' first and last priors, and the number of each map's."""
    priors = models.ssd_priors().numpy()
    assert priors.shape == (38 * 38 * 4 + 19 * 19 * 6 + 10 * 10 * 6 + 5 * 5 * 6 + 3 * 3 * 4 + 4, 4)
    np.testing.assert_allclose(priors[0] * 300, [4, 4, 30, 30], rtol=1e-6)
    np.testing.assert_allclose(priors[1] * 300, [4, 4, *[math.sqrt(30 * 60)] * 2], rtol=1e-6)
    np.testing.assert_allclose(priors[2] * 300, [4, 4, 30 * math.sqrt(2), 30 / math.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(priors[4] * 300, [12, 4, 30, 30], rtol=1e-6)  # the next column
    np.testing.assert_allclose(priors[-4] * 300, [150, 150, 264, 264], rtol=1e-6)


def ssd_loss_by_hand(offsets: Any, scores: Any, true_offsets: Any, target: Any) -> float:
    total, matched = 0.0, int((target > 0).sum())
    for loc, logits, goal, labels in zip(*(x.numpy() for x in (offsets, scores, true_offsets, target)), strict=True):
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
        positive = labels > 0
        hardest = np.sort(losses[~positive])[::-1][: 3 * positive.sum()]
        gap = np.abs(loc[positive] - goal[positive])
        total += np.where(gap < 1, gap**2 / 2, gap - 0.5).sum() + losses[positive].sum() + hardest.sum()
    return total / max(matched, 1)


def test_ssd_loss(torch: Any, models: Any) -> None:
    """A batch of images with many, some and no objects."""
    priors = models.ssd_priors()
    pairs = [models.ssd_encode(*scene(torch, n, n), priors, SIZE, classes=4) for n in (30, 3, 0)]
    true_offsets, target = (torch.stack(x) for x in zip(*pairs, strict=True))
    offsets = torch.randn(3, 8732, 4, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(3, 8732, 5, dtype=torch.float64, requires_grad=True)
    loss = models.ssd_loss(offsets, scores, true_offsets.double(), target)
    want = ssd_loss_by_hand(offsets.detach(), scores.detach(), true_offsets.double(), target)
    assert loss.item() == pytest.approx(want, rel=1e-9)
    loss.backward()
    counted = (scores.grad != 0).any(-1)
    for i in range(3):
        matched = target[i] > 0
        assert counted[i][matched].all()
        assert counted[i].sum() == 4 * matched.sum()
        assert torch.equal((offsets.grad[i] != 0).any(-1), matched)
    nothing = models.ssd_loss(offsets[2:], scores[2:], true_offsets[2:].double(), target[2:])
    assert nothing.item() == 0


@pytest.mark.parametrize("encode", ["yolo_encode", "ssd_encode"])
def test_targets_are_checked(models: Any, encode: str) -> None:
    arguments = (models.ssd_priors(), SIZE) if encode == "ssd_encode" else (SIZE,)

    def call(boxes: Any, labels: Any) -> Any:
        return getattr(models, encode)(boxes, labels, *arguments, classes=3)

    box = [10.0, 10, 20, 20]
    for boxes, labels, rule in (
        ([box, box], [0, 3], r"labels must be in \[0, 3\), got 3 at index 1"),
        ([box], [0, 1], r"labels must have shape \(1,\), one per box, got \(2,\)"),
        ([box, [10.0, 10, 10, 20]], [0, 1], "boxes must be of x1 < x2 and y1 < y2, got .* at index 1"),
        ([[10.0, 10, math.nan, 20]], [0], "boxes must be finite, got .* at index 0"),
        ([[10.0, 10, math.inf, 20]], [0], "boxes must be finite"),
        ([[-20.0, 10, 0, 20]], [0], "boxes must be partly inside the image"),
        ([[10.0, 500, 20, 510]], [0], "boxes must be partly inside the image"),
        (np.zeros((4, 2)), [0, 1], r"boxes must have shape \(N, 4\), got \(4, 2\)"),
        (np.zeros(8), [0, 1], r"boxes must have shape \(N, 4\), got \(8,\)"),
    ):
        with pytest.raises(ValueError, match=f"^{encode}: {rule}"):
            call(boxes, labels)
    with pytest.raises(TypeError, match=f"^{encode}: labels must be an integer array, got float64"):
        call([box], [1.7])
    with pytest.raises(TypeError, match=f"^{encode}: size must be integers"):
        getattr(models, encode)([box], [0], *arguments[:-1], (math.nan, 20))


def test_settings_of_targets_are_checked(torch: Any, models: Any) -> None:
    box, priors = [[10.0, 10, 20, 20]], models.ssd_priors()
    for name in ("grid", "predictors"):
        with pytest.raises(ValueError, match=f"^yolo_encode: {name} must be 1 or more, got 0"):
            models.yolo_encode(box, [0], SIZE, **{name: 0})
    for threshold in (math.nan, 2.0):
        with pytest.raises(ValueError, match=r"^ssd_encode: iou_threshold must be"):
            models.ssd_encode(box, [0], priors, SIZE, iou_threshold=threshold)
    with pytest.raises(ValueError, match=r"^ssd_encode: priors must have shape \(N, 4\)"):
        models.ssd_encode(box, [0], priors.T, SIZE)
    want = models.ssd_encode(box, [0], priors, SIZE)
    for other in (priors.numpy(), priors.double()):
        assert all(torch.equal(a, b) for a, b in zip(models.ssd_encode(box, [0], other, SIZE), want, strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised by torch.compile itself
def test_losses_compile(torch: Any, models: Any) -> None:
    """They compile to one graph, with the same loss and gradient."""
    target = models.yolo_encode([[10.0, 10, 20, 20]], [1], SIZE)[None]
    offsets, classes = (x[None] for x in models.ssd_encode([[10.0, 10, 20, 20]], [1], models.ssd_priors(), SIZE))
    for loss, output, rest in (
        (models.yolo_loss, (torch.rand_like(target),), (target,)),
        (models.ssd_loss, (torch.rand_like(offsets), torch.rand(*classes.shape, 21)), (offsets, classes)),
    ):
        answers = []
        for call in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
            arguments = [x.clone().requires_grad_() for x in output]
            value = call(*arguments, *rest)
            value.backward()
            answers.append([value, *(x.grad for x in arguments)])
        assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_losses_are_checked(torch: Any, models: Any) -> None:
    """Shapes that would be broadcast, and settings that would give NaN, raise."""
    target = models.yolo_encode([[10.0, 10, 20, 20]], [1], SIZE)[None]
    output = torch.rand_like(target)
    for x, t, options, rule in (
        (output, target[0], {}, r"target must have output's shape \(1, 7, 7, 30\), got \(7, 7, 30\)"),
        (output, target[:, :1, :1], {}, "target must have output's shape"),
        (output[:0], target[:0], {}, "output must have shape"),
        (output[:, :5], target[:, :5], {}, "output must have shape"),
        (output, target, {"predictors": 6}, r"output must have shape \(N, S, S, 5 \* 6 \+ C\)"),
        (output, target, {"predictors": 0}, "predictors must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=f"^yolo_loss: {rule}"):
            models.yolo_loss(x, t, **options)
    offsets, scores, classes = torch.rand(2, 9, 4), torch.rand(2, 9, 21), torch.zeros(2, 9, dtype=torch.int64)
    for arguments, options, rule in (
        ((offsets[:, :8], scores, offsets, classes), {}, r"offsets must have shape \(2, 9, 4\), got \(2, 8, 4\)"),
        ((offsets, scores, offsets[:1], classes), {}, "true_offsets must have shape"),
        ((offsets, scores[..., 0], offsets, classes), {}, r"scores must have shape \(2, 9, classes \+ 1\)"),
        ((offsets, scores, offsets, classes[0]), {}, r"target must have shape \(N, P\)"),
        ((offsets, scores, offsets, classes), {"negatives": -1}, "negatives must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=f"^ssd_loss: {rule}"):
            models.ssd_loss(*arguments, **options)
    with pytest.raises(TypeError, match=r"^ssd_loss: target must be an integer tensor, got torch.float32"):
        models.ssd_loss(offsets, scores, offsets, classes.float())


def test_detectors_check_the_image_size(torch: Any, models: Any) -> None:
    with pytest.raises(ValueError, match=r"YOLOv1Tiny: image must be 128 x 128, got \(128, 64\)"):
        models.YOLOv1Tiny(width=1 / 16, grid=2)(torch.zeros(1, 3, 128, 64))
    with pytest.raises(ValueError, match=r"SSD300: image must be 300 x 300, got \(64, 64\)"):
        models.SSD300(width=1 / 32)(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="yolo_encode: boxes must have their centres inside the image"):
        models.yolo_encode([[190.0, 10, 220, 20]], [0], SIZE)
    with pytest.raises(ValueError, match="YOLOv1Tiny: local must be False, got True"):
        models.YOLOv1Tiny(local=True)


def test_yolo_output_keeps_its_conventions(torch: Any, models: Any) -> None:
    """w and h are squares of the last layer's output; all other values are its output."""
    network = models.YOLOv1Tiny(3, width=1 / 16, grid=2).eval()
    with torch.no_grad():
        network.head[-1].bias.uniform_(-1, 1)
        image = torch.randn(2, 3, 128, 128)
        raw = network.head(network.features(image)).view(2, 2, 2, 13)
        got = network(image)
    roots = [2, 3, 7, 8]
    others = [i for i in range(13) if i not in roots]
    assert torch.equal(got[..., roots], raw[..., roots] ** 2)
    assert torch.equal(got[..., others], raw[..., others])


def test_yolo_overfits_an_image(torch: Any, models: Any) -> None:
    """The loss falls to a tenth in a few steps."""
    boxes, labels = scene(torch, 3)
    network = models.YOLOv1Tiny(4, width=1 / 16, grid=2)
    image = torch.randn(1, 3, 128, 128).expand(2, -1, -1, -1)
    target = models.yolo_encode(boxes, labels, SIZE, grid=2, classes=4).expand(2, -1, -1, -1)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = models.yolo_loss(network(image), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
