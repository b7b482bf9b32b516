"""R-CNN and Fast R-CNN given proposals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.inference import fast_rcnn, rcnn
from fastdet.proposals import encode_boxes
from fastdet.roi import roi_align

BOXES = np.array([[10.0, 10, 30, 20], [0, 20, 20, 40], [30, 0, 40, 8]])


def picture() -> Any:
    """Red in the first box, green in the second."""
    image = np.zeros((3, 40, 40), np.float32)
    image[0, 10:20, 10:30] = 1
    image[1, 20:40, 0:20] = 1
    return image


def colours(x: Any, gain: float = 20.0) -> Any:
    """Logits of background, red and green."""
    mean = x.mean((2, 3))
    return gain * np.stack([0.5 - mean.max(1), mean[:, 0] - 0.5, mean[:, 1] - 0.5], axis=1)


def with_offsets(moved: Any, shape: str) -> Callable[[Any], Any]:
    """A model whose offsets lead from `BOXES` to ``moved``, for the right class or for all."""

    def model(x: Any) -> Any:
        logits, offsets = colours(x), encode_boxes(moved, BOXES, (10, 10, 5, 5))
        if shape == "all":
            return logits, offsets
        each = np.zeros((len(x), 3, 4))
        each[np.arange(len(x)), logits.argmax(1)] = offsets
        return logits, each.reshape(len(x), -1) if shape == "flat" else each

    return model


def identity(x: Any) -> Any:
    return x


RUNS: dict[str, Callable[..., Any]] = {
    "rcnn": partial(rcnn, size=8),
    "fast_rcnn": lambda head, *args, **options: fast_rcnn(identity, head, *args, output_size=4, **options),
    "fast_rcnn align": lambda head, *args, **options: fast_rcnn(
        identity, head, *args, output_size=4, pool="roi_align", **options
    ),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_labels(run: Callable[..., Any]) -> None:
    """Each box gets the class of its colour; the empty one is background."""
    found = run(colours, picture(), BOXES, score_threshold=0.5)
    assert found.labels.tolist() in ([1, 2], [2, 1])
    order = np.argsort(found.labels)
    np.testing.assert_array_equal(found.boxes[order], BOXES[:2])
    assert found.scores.min() > 0.9


@pytest.mark.parametrize("shape", ["all", "flat", "classes"])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_offsets(run: Callable[..., Any], shape: str) -> None:
    """Boxes are moved by their class's offsets, and clipped to the image."""
    moved = BOXES + np.array([[2, -1, 3, 4], [-5, 2, 4, 9], [0, 0, 0, 0]])
    found = run(with_offsets(moved, shape), picture(), BOXES, score_threshold=0.5)
    order = np.argsort(found.labels)
    np.testing.assert_allclose(found.boxes[order], [[12, 9, 33, 24], [0, 22, 24, 40]], atol=1e-6)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_nms_is_by_class(run: Callable[..., Any]) -> None:
    """Of three boxes on the red one, one is left; the classes do not suppress each other."""
    boxes = np.array([[10.0, 10, 30, 20], [10, 10, 29, 20], [11, 10, 30, 20]])
    found = run(lambda x: colours(x, 1.0), picture(), boxes, iou_threshold=0.5, score_threshold=0.0)
    assert sorted(found.labels.tolist()) == [1, 2]
    assert len(run(colours, picture(), boxes, iou_threshold=1.0, score_threshold=0.5).scores) == 3
    assert len(run(colours, picture(), boxes, iou_threshold=1.0, max_output=2).scores) == 2


def test_crops() -> None:
    """What the model gets: roi_align of the whole image, batch by batch, with pixels around the proposal."""
    image, seen = np.random.default_rng(0).random((2, 30, 50)).astype(np.float32), []

    def model(x: Any) -> Any:
        seen.append(x)
        return np.zeros((len(x), 2))

    boxes = np.array([[4.0, 6, 24, 16], [0, 0, 50, 30], [20, 10, 30, 25]])
    rcnn(model, image, boxes, size=(10, 12), batch_size=2)
    assert [x.shape for x in seen] == [(2, 2, 10, 12), (1, 2, 10, 12)]
    rois = np.concatenate([np.zeros((3, 1)), boxes], axis=1).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate(seen), roi_align(image[None], rois, (10, 12), aligned=True))
    seen.clear()
    rcnn(model, image, boxes[:1], size=(10, 14), padding=2)  # 6 x 10 cells of the box: 2 around are 10 / 3 and 4 pixels
    rois = np.array([[0, 0, 6 - 10 / 3, 28, 16 + 10 / 3]], np.float32)
    np.testing.assert_allclose(seen[0], roi_align(image[None], rois, (10, 14), aligned=True), atol=1e-5)


def test_batches_do_not_change_the_answer() -> None:
    rng = np.random.default_rng(0)
    image, corner = rng.random((3, 60, 80)).astype(np.float32), rng.random((50, 2)) * 40
    boxes = np.concatenate([corner, corner + 5 + rng.random((50, 2)) * 20], axis=1)
    answers = [rcnn(lambda x: colours(x, 3.0), image, boxes, size=6, batch_size=n) for n in (1, 7, 64)]
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_tensors_and_modules() -> None:
    """Tensors in, tensors out; modules run without a graph; a module in train mode warns."""
    torch = need("torch")

    class Head(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            mean = x.mean((2, 3))
            return 20 * torch.stack([0.5 - mean.amax(1), mean[:, 0] - 0.5, mean[:, 1] - 0.5], 1)

    image, boxes = torch.from_numpy(picture()), torch.from_numpy(BOXES)
    want = rcnn(colours, picture(), BOXES, size=8)
    found = rcnn(Head().eval(), image, boxes, size=8)
    fast = fast_rcnn(torch.nn.AvgPool2d(2).eval(), Head().eval(), image, boxes, output_size=4)
    for result in (found, fast):
        assert isinstance(result.boxes, torch.Tensor)
        assert sorted(result.labels.tolist()) == [1, 2]
        np.testing.assert_allclose(sorted(result.scores.tolist()), sorted(want.scores), rtol=1e-5)
    with pytest.warns(UserWarning, match="model is in train mode"):
        rcnn(Head(), image, boxes, size=8)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_no_proposals(run: Callable[..., Any]) -> None:
    found = run(colours, picture(), np.zeros((0, 4)))
    assert [x.shape for x in found] == [(0, 4), (0,), (0,)]


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "image": (lambda: rcnn(colours, np.zeros((2, 3, 40, 40)), BOXES), r"rcnn: image must have shape \(C, H, W\)"),
    "boxes": (lambda: rcnn(colours, picture(), BOXES[:, :3]), r"rcnn: boxes must have shape \(N, 4\)"),
    "inverted": (lambda: rcnn(colours, picture(), BOXES[:, ::-1]), "rcnn: boxes must have x1 < x2 and y1 < y2"),
    "infinite": (lambda: rcnn(colours, picture(), BOXES + np.inf), "rcnn: boxes must be finite"),
    "padding": (lambda: rcnn(colours, picture(), BOXES, size=8, padding=4), "rcnn: padding must be below half"),
    "logits": (lambda: rcnn(lambda x: x, picture(), BOXES), r"rcnn: model must give logits \(3, K \+ 1\)"),
    "NaN": (lambda: rcnn(lambda x: colours(x) * np.nan, picture(), BOXES), "rcnn: model must give logits without NaN"),
    "offsets": (
        lambda: rcnn(lambda x: (colours(x), np.zeros((3, 5))), picture(), BOXES),
        r"rcnn: model must give offsets \(3, 4\) or \(3, 3, 4\), got \(3, 5\)",
    ),
    "results": (lambda: rcnn(lambda x: (1, 2, 3), picture(), BOXES), "rcnn: model must give logits, or logits and"),
    "map": (
        lambda: fast_rcnn(lambda x: x[0], colours, picture(), BOXES),
        r"fast_rcnn: backbone must give a feature map \(1, F, h, w\), got \(3, 40, 40\)",
    ),
    "scale": (
        lambda: fast_rcnn(lambda x: np.ascontiguousarray(x[..., ::2]), colours, picture(), BOXES),
        "fast_rcnn: spatial_scale must be given",
    ),
    "pool": (lambda: fast_rcnn(identity, colours, picture(), BOXES, pool="max"), "fast_rcnn: pool must be one of"),
}


def test_an_image_of_another_kind() -> None:
    for call in (lambda: rcnn(colours, picture().tolist(), BOXES), lambda: fast_rcnn(identity, colours, None, BOXES)):
        with pytest.raises(TypeError, match=r"rcnn: image must be an array or a tensor, got (list|NoneType)$"):
            call()


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, text = ERRORS[name]
    with pytest.raises(ValueError, match=text):
        call()
