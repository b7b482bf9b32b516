"""Inference: detectors from an image to its boxes, and the errors of every function that gives boxes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet import nms
from fastdet.inference import (
    detect,
    offset_pool,
    overfeat_dense,
    overfeat_multiscale,
    sliding_window_boxes,
    ssd_decode,
    yolo_candidates,
    yolo_decode,
    yolo_postprocess,
)

# ---- boxes of windows

OBJECTS = np.array([[10, 12, 30, 32], [55, 5, 90, 25], [40, 40, 76, 64], [100, 50, 119, 79]], np.float64)


def scene() -> Array:
    """Each object is a rectangle of its own value."""
    image = np.zeros((80, 120), np.float32)
    for i, (x1, y1, x2, y2) in enumerate(OBJECTS.astype(int)):
        image[y1:y2, x1:x2] = i + 1
    return image


# ---- decoding


def yolo_encode(boxes: Array, scores: Array, grid: tuple[int, int], b: int, size: tuple[int, int]) -> Array:
    """A grid with boxes (N, 4) as the b-th box of their cells, at most one a cell, and scores (N, C) of classes."""
    out = np.zeros((*grid, 10 + scores.shape[1]))
    for (x1, y1, x2, y2), s in zip(boxes, scores, strict=True):
        x, y = (x1 + x2) / 2 / size[1] * grid[1], (y1 + y2) / 2 / size[0] * grid[0]
        cell = out[int(y), int(x)]
        cell[5 * b : 5 * b + 5] = x % 1, y % 1, (x2 - x1) / size[1], (y2 - y1) / size[0], 0.5
        cell[10:] = s
    return out


# ---- detectors


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_detect_end_to_end(library: str) -> None:
    """A perfect network at several input sizes: boxes are in pixels of the image."""
    kind: Callable[[Array], Any] = (lambda x: x) if library == "numpy" else need("torch").from_numpy

    def model(x: Any) -> Any:
        array, grid = np.asarray(x), (9, 9)
        out = []
        for picture in array:
            places = [np.nonzero(plane > 0.5) for plane in picture]
            boxes = np.array([[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in places if r.size], np.float64)
            out.append(yolo_encode(boxes, np.eye(4)[: len(boxes)], grid, 1, picture.shape[1:]))
        return kind(np.stack(out).astype(np.float32))

    image = (np.kron(scene(), np.ones((2, 2))) == np.arange(1, 5)[:, None, None]).astype(np.float32)  # 160 x 240
    expected = (OBJECTS * 2).astype(np.float32)
    decode = functools.partial(yolo_decode, size=(160, 240))
    detections = detect(model, kind(image), decode)
    assert type(detections.boxes) is type(kind(image))
    order = np.argsort(np.asarray(detections.labels))
    np.testing.assert_allclose(np.asarray(detections.boxes)[order], expected, rtol=0, atol=1e-3)
    assert np.asarray(detections.scores).tolist() == [0.5] * 4
    batch = detect(model, kind(np.stack([image, image * 0])), decode, max_output=6)
    assert np.asarray(batch.count).tolist() == [4, 0]
    assert not np.asarray(batch.boxes)[1].any()
    np.testing.assert_array_equal(np.asarray(batch.boxes)[0, :4], np.asarray(detections.boxes))
    for fit, size in (("stretch", (320, 480)), ("letterbox", (480, 480)), ("letterbox", (320, 700))):
        bigger = detect(model, kind(image), functools.partial(yolo_decode, size=size), size=size, fit=fit)
        order = np.argsort(np.asarray(bigger.labels))
        np.testing.assert_allclose(np.asarray(bigger.boxes)[order], expected, rtol=0, atol=1)


def test_detect_with_final_detections() -> None:
    """YOLO v8's output for an input of 100 x 100 pixels, through `yolo_postprocess`."""
    raw = np.zeros((1, 6, 30), np.float32)
    raw[0, :, 3] = 50, 40, 20, 10, 0.1, 0.9
    raw[0, :, 4] = 51, 40, 20, 10, 0.1, 0.8
    detections = detect(lambda x: raw[:, :, : x.shape[-1]], np.zeros((3, 200, 400)), yolo_postprocess, size=(100, 100))
    assert detections.boxes.tolist() == [[160, 70, 240, 90]]
    assert detections.labels.tolist() == [1]


def test_detect_with_two_outputs() -> None:
    """A network with several outputs, such as SSD: the decoder gets one argument for each."""
    priors = np.array([[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]], np.float32)
    conf = np.log(np.array([[[0.1, 0.2, 0.7], [0.96, 0.02, 0.02]]], np.float32))
    model = lambda x: [np.zeros((1, 2, 4), np.float32), conf]  # noqa: E731
    decode = functools.partial(ssd_decode, priors=priors, size=(100, 200))
    detections = detect(model, np.zeros((3, 100, 200), np.float32), decode, iou_threshold=0.5, score_threshold=0.5)
    np.testing.assert_allclose(detections.boxes, [[80, 30, 120, 70]], rtol=1e-6)
    assert detections.labels.tolist() == [1]


def test_detect_leaves_out_what_lies_in_the_padding() -> None:
    """The letterbox of an image half as high as wide: its upper and lower quarters are padding."""
    boxes = np.array([[[0, 0, 8, 4], [2, 6, 6, 10], [1, 12, 5, 16], [10, 2, 14, 7]]], np.float32)
    scores = np.array([[[0.9], [0.8], [0.7], [0.6]]], np.float32)
    run = functools.partial(detect, lambda x: [boxes[: len(x)], scores[: len(x)]], size=16, fit="letterbox")
    detections = run(Z((3, 8, 16), np.float32), decode=lambda b, s: (b, s))
    equal(detections.boxes, np.array([[2, 2, 6, 6], [10, 0, 14, 3]], np.float32))
    equal(detections.scores, scores[0, [1, 3], 0])
    batch = run(Z((1, 3, 8, 16), np.float32), decode=lambda b, s: (b, s), max_output=3)
    assert batch.count.tolist() == [1]
    equal(batch.boxes[0], np.array([[2, 2, 6, 6], [0] * 4, [0] * 4], np.float32))
    equal(batch.scores[0], np.array([0.8, 0, 0], np.float32))
    assert batch.labels.tolist() == [[0, -1, -1]]


def test_detect_requires_boxes_of_every_image() -> None:
    """Boxes of fewer or more images raise; wrong arguments raise before the network runs."""
    output, calls = Z((1, 7, 7, 30)), []
    for images, answers in ((2, 1), (1, 3)):
        decode = lambda x, n=answers: yolo_decode(x.repeat(n, 0))  # noqa: E731
        final = lambda x, n=answers: yolo_postprocess(Z((n, 6, 30)))  # noqa: E731
        for decoder in (decode, final):
            text = f"detect: decode must give boxes (N, P, 4) with N = {images}, got ({answers}, "
            with pytest.raises(ValueError, match=re.escape(text)):
                detect(lambda x: output, Z((images, 3, 8, 8), np.float32), decoder)
    with pytest.raises(TypeError, match=re.escape("detect: decode must be a function, got 'yolo'")):
        detect(lambda x: calls.append(1), IMAGE, "yolo")  # type: ignore[arg-type]
    assert not calls


def test_detect_takes_views_and_whatever_numpy_converts() -> None:
    torch = need("torch")

    class Zarr:
        shape = (3, 64, 64)

        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return image

    image = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)
    fixed = image.copy()
    fixed.flags.writeable = False
    net = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Conv2d(3, 13, 1)).eval()
    decode = lambda x: yolo_decode(x.permute(0, 2, 3, 1).sigmoid(), size=64)  # noqa: E731
    expected = detect(net, image, decode, score_threshold=0.2)
    assert len(expected.boxes) > 1
    for view in (np.ascontiguousarray(image[..., ::-1])[..., ::-1], image.astype(">f4"), fixed, Zarr()):
        got = detect(net, view, decode, score_threshold=0.2)
        assert type(got.boxes) is np.ndarray
        equal(tuple(got), tuple(expected))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_detect_with_fastdets_own_networks(device: str) -> None:
    """YOLO with its output set by hand gives those boxes; SSD gives those of decoding and NMS step by step."""
    torch = need("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    models, parts = need("fastdet.models"), need("fastdet.models.yolo")
    torch.manual_seed(0)
    yolo = models.YOLOv1Tiny(width=1 / 16, grid=2).eval()
    true_boxes, labels = torch.tensor([[3.0, 10, 60, 50], [70, 80, 127, 120]]), torch.tensor([4, 17])
    output = parts.yolo_encode(true_boxes, labels, (128, 128), grid=2)
    output[..., [2, 3, 7, 8]] **= 0.5  # the last layer gives roots of sides
    with torch.no_grad():
        yolo.head[-1].weight.zero_()
        yolo.head[-1].bias.copy_(output.flatten())
    single = models.SSD300(classes=3, width=1 / 32).eval()
    with torch.no_grad():
        for x in single.parameters():
            x.add_(0.05 * torch.randn_like(x))
    priors = need("fastdet.models.ssd").ssd_priors()
    cases: list[tuple[Any, int, Callable[..., Any]]] = [
        (yolo.to(device), 128, functools.partial(yolo_decode, size=128)),
        (single.to(device), 300, functools.partial(ssd_decode, priors=priors, size=300)),
    ]
    for net, side, decode in cases:
        image = torch.rand(2, 3, side, side, device=device)
        detections = detect(net, image, decode, score_threshold=0.3, max_output=20)
        assert detections.boxes.device == image.device
        assert detections.count.min() > 1
        if net is yolo:
            order = detections.labels[1, :2].argsort().cpu()
            assert detections.labels[1, :2].cpu()[order].tolist() == labels.tolist()
            torch.testing.assert_close(detections.boxes[1, :2].cpu()[order], true_boxes, rtol=0, atol=1e-3)
        else:
            with torch.no_grad():
                boxes, scores = decode(*net(image))
            assert (scores > 0.3).any(1).all(0).sum() > 1  # more than one class
            expected = nms.multiclass_nms(boxes.cpu(), scores.cpu(), 0.5, score_threshold=0.3, max_output=20)
            torch.testing.assert_close(detections.boxes.cpu(), expected.boxes.clamp(0, side), rtol=0, atol=1e-3)
            torch.testing.assert_close(detections.scores.cpu(), expected.scores, rtol=0, atol=1e-5)
            assert detections.labels.tolist() == expected.labels.tolist()
        one = detect(net, image[0], decode, score_threshold=0.3, max_output=20)
        larger = image[0].cpu().numpy().repeat(2, 1).repeat(3, 2)  # halves and thirds, to the same pixels
        again = detect(net, larger, decode, size=side, score_threshold=0.3, max_output=20)
        assert type(again.boxes) is np.ndarray
        np.testing.assert_allclose(again.boxes, one.boxes.cpu().numpy() * [3, 2, 3, 2], rtol=0, atol=1e-3)
        assert again.labels.tolist() == one.labels.tolist()


# ---- errors

IMAGE = np.zeros((3, 53, 71), np.float32)
HEADS = (np.abs, np.abs, np.abs)
Z = np.zeros
DETECTED = (Z((3, 2, 4)), Z((3, 2)), Z((3, 2), int))


class Sliced:
    """An object with a shape, a dtype and slices that NumPy cannot convert."""

    shape, dtype, __getitem__ = (3, 8, 8), np.dtype(np.float32), lambda self, key: IMAGE[key]


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8, "soft_nms", metric="ios"), ValueError,
     "sliding_window_boxes: metric must be 'iou' with merge 'soft_nms', got 'ios'"),
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8, "wbf"), ValueError,
     "sliding_window_boxes: merge must be one of 'nms', 'soft_nms', 'merge', got 'wbf'"),
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8), ValueError,
     "sliding_window_boxes: model must give (boxes, scores, labels) of each of 1 windows, got ndarray"),
    (lambda: sliding_window_boxes(lambda x: DETECTED[:2], IMAGE, 8, 8, batch_size=3), ValueError,
     "sliding_window_boxes: model must give three arrays, boxes, scores and labels, got 2"),
    (lambda: sliding_window_boxes(lambda x: DETECTED, IMAGE, 8, 8, batch_size=2), ValueError,
     "model must give arrays (n, N, 4), (n, N), (n, N) with n = 2, got (3, 2, 4), (3, 2), (3, 2)"),
    (lambda: sliding_window_boxes(lambda x: [y[0] for y in DETECTED], IMAGE, 8, 8, batch_size=3), ValueError,
     "sliding_window_boxes: model must give arrays (n, N, 4), (n, N), (n, N) with n = 3, got (2, 4), (2,), (2,)"),
    (lambda: sliding_window_boxes(lambda x: [{"boxes": Z((0, 4)), "scores": Z(0)}], IMAGE, 8, 8), ValueError,
     "sliding_window_boxes: model must give boxes, scores and labels of a window, got no labels"),
    (lambda: sliding_window_boxes(lambda x: [None], IMAGE, 8, 8), TypeError,
     "sliding_window_boxes: model must give (boxes, scores, labels) of a window, got NoneType"),
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8, method="gaussian"), ValueError,
     "sliding_window_boxes: method must be 'linear' with merge 'nms', got 'gaussian'"),
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8, "merge", min_score=0.1), ValueError,
     "sliding_window_boxes: min_score must be 0.001 with merge 'merge', got 0.1"),
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8, "soft_nms", method="cubic"), ValueError,
     "sliding_window_boxes: method must be one of 'linear', 'gaussian', got 'cubic'"),
    (lambda: sliding_window_boxes(np.abs, IMAGE, 8, 8, metric="giou"), ValueError,
     "sliding_window_boxes: metric must be one of 'iou', 'ios', got 'giou'"),
    (lambda: sliding_window_boxes(lambda x: [(Z((2, 4)), Z(2), Z(3, int))], IMAGE, 99, 9), ValueError,
     "sliding_window_boxes: labels must have shape (2,), one per box, got (3,)"),
    (lambda: sliding_window_boxes(lambda x: [(Z((1, 4)) * np.nan, Z(1), Z(1, int))], IMAGE, 99, 9), ValueError,
     "sliding_window_boxes: boxes must not hold NaN, got NaN at index 0"),
    (lambda: yolo_decode(Z((7, 7, 10))), ValueError,
     "yolo_decode: output must have shape (N, S, S, 10 + C) with C of 1 or more, got (7, 7, 10)"),
    (lambda: yolo_decode(Z((7, 7, 30), int)), TypeError,
     "yolo_decode: output must be float16, float32 or float64, got int64"),
    (lambda: yolo_decode(Z((7, 7, 30)), 0), ValueError, "yolo_decode: predictors must be 1 or more, got 0"),
    (lambda: ssd_decode(Z((8, 5)), Z((8, 3)), Z((8, 4))), ValueError,
     "ssd_decode: loc must have shape (N, P, 4), got (8, 5)"),
    (lambda: ssd_decode(Z((2, 8, 4)), Z((2, 7, 3)), Z((8, 4))), ValueError,
     "ssd_decode: conf must have shape (2, 8, C + 1), got (2, 7, 3)"),
    (lambda: ssd_decode(Z((2, 8, 4)), Z((2, 8, 3)), Z((7, 4))), ValueError,
     "ssd_decode: priors must have shape (8, 4), got (7, 4)"),
    (lambda: ssd_decode(Z((8, 4)), Z((8, 3)), Z((8, 4)), variances=(1, 0, 1, 1)), ValueError,
     "ssd_decode: variances must be above 0, got 0.0"),
    (lambda: ssd_decode(Z((8, 4)), Z((8, 3)), Z((8, 4)), variances=0.1), ValueError,  # type: ignore[arg-type]
     "ssd_decode: variances must be four numbers, got 0.1"),
    (lambda: yolo_candidates(Z((84, 8400))), ValueError,
     "yolo_candidates: output must have shape (N, P, 4 + C) or (N, 4 + C, P), got (84, 8400)"),
    (lambda: yolo_candidates(Z((1, 8400, 5)), objectness=True), ValueError,
     "yolo_candidates: output must have 5 + C channels with C of 1 or more, got 5 in (1, 8400, 5)"),
    (lambda: yolo_candidates(Z((1, 8400, 84), bool)), TypeError,
     "yolo_candidates: output must be float16, float32, float64 or integer, got bool"),
    (lambda: yolo_postprocess(Z((1, 84, 8400)), 2), ValueError,
     "yolo_postprocess: iou_threshold must be in [0, 1], got 2.0"),
    (lambda: yolo_postprocess(np.repeat([[[np.inf]] * 4 + [[0.9]]], 9, 2)), ValueError,
     "yolo_postprocess: output must not hold infinite boxes, got one in image 0"),
    (lambda: offset_pool(IMAGE, 0).__next__(), ValueError, "offset_pool: size must be 1 or more, got 0"),
    (lambda: overfeat_dense(np.abs, IMAGE), TypeError,
     "overfeat_dense: model must have or be (features, classifier, regressor), got ufunc"),
    (lambda: overfeat_dense(HEADS, IMAGE), ValueError,
     "overfeat_dense: window must be an integer for a model without window, got None"),
    (lambda: overfeat_dense(HEADS, IMAGE, window=221, stride=12, pool=3), ValueError,
     "overfeat_dense: image must have shape (C, H, W) with H and W of 221 or more, got (3, 53, 71)"),
    (lambda: overfeat_multiscale(HEADS, IMAGE, [2], window=221, stride=12, pool=3), ValueError,
     "overfeat_multiscale: image must hold a window of 221 at some scale, got (53, 71) at [2.0]"),
    (lambda: detect(np.abs, IMAGE[0], yolo_decode), ValueError,
     "detect: image must have shape (C, H, W) or (N, C, H, W), none of them 0, got (53, 71)"),
    (lambda: detect(np.abs, IMAGE.tolist()), TypeError, "detect: image must be an array or a tensor, got list"),
    (lambda: detect(np.abs, IMAGE, lambda x: x), TypeError, "detect: decode must give (boxes, scores), got ndarray"),
    (lambda: detect(np.abs, Sliced(), yolo_decode), TypeError, "detect: image must be an array, got Sliced"),
    (lambda: detect(np.abs, IMAGE.astype(np.uint8), yolo_decode, fill=300), ValueError,
     "detect: fill must be a value of uint8, got 300.0"),
    (lambda: detect(np.abs, IMAGE.astype(np.uint8), yolo_decode, fill=0.5), ValueError,
     "detect: fill must be a value of uint8, got 0.5"),
    (lambda: detect(np.abs, need("torch").zeros(3, 8, 8).half(), yolo_decode, fill=1e5), ValueError,
     "detect: fill must be a value of torch.float16, got 100000.0"),
    (lambda: detect(np.abs, IMAGE, yolo_decode, fit="crop"), ValueError,
     "detect: fit must be one of 'stretch', 'letterbox', got 'crop'"),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(ERRORS)))
def test_errors(row: int) -> None:
    call, kind, text = ERRORS[row]
    with pytest.raises(kind, match=re.escape(text)):
        call()
