"""Inference: boxes of windows, decoding, OverFeat and detectors."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ops import equal
from optional import need
from samples import Array

from fastdet import inference, nms
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


def seen(window: Array) -> tuple[Array, Array, Array]:
    """What is seen of each object in a window (1, h, w), with the part that is seen as the score."""
    boxes, scores, labels = [], [], []
    for i, (x1, y1, x2, y2) in enumerate(OBJECTS):
        rows, columns = np.nonzero(window[0] == i + 1)
        if rows.size:
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(rows.size / ((x2 - x1) * (y2 - y1)))
            labels.append(i % 2)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)


def by_label(found: inference.Found) -> Array:
    order = np.lexsort((np.asarray(found.boxes)[:, 0], np.asarray(found.labels)))
    return np.asarray(found.boxes)[order]


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("step", [20, (24, 18), 31])
def test_boxes_of_windows(step: Any, batch_size: int) -> None:
    """Every object once and whole: the parts that neighbours see of it lie in it."""
    model = lambda x: [seen(w) for w in x]  # noqa: E731
    found = sliding_window_boxes(model, scene(), 70, step, iou_threshold=0.6, batch_size=batch_size)
    equal(by_label(found), OBJECTS[[0, 2, 1, 3]].astype(np.float32))
    assert found.scores.tolist() == [1] * 4
    assert found.labels.dtype == np.int64


def test_boxes_are_merged_as_wanted() -> None:
    """Every way of merging is what the op of its name makes of all boxes together."""
    noise = np.random.default_rng(2)
    said: list[tuple[Array, Array, Array]] = []

    def model(x: Array) -> list[tuple[Array, Array, Array]]:
        found = []
        for w in x:
            boxes, scores, labels = seen(w)
            boxes = boxes + noise.uniform(-2, 2, boxes.shape).astype(np.float32).clip(0, 40)
            found.append((boxes, scores, labels))
        said.extend(found)
        return found

    places = [(x, y) for y in (0, 30, 40) for x in (0, 30, 60, 80)]
    for merge in ("nms", "soft_nms", "merge"):
        said.clear()
        got = sliding_window_boxes(model, scene(), 40, 30, merge, metric="iou", score_threshold=0.1, max_output=7)
        assert len(said) == len(places)
        corner = [np.array([x, y, x, y], np.float32) for x, y in places]
        boxes = np.concatenate([b + at for (b, _, _), at in zip(said, corner, strict=True)])
        boxes = boxes.clip(0, np.array([120, 80, 120, 80], np.float32))
        scores, labels = (np.concatenate([s[i] for s in said]) for i in (1, 2))
        boxes, scores, labels = (a[scores > np.float32(0.1)] for a in (boxes, scores, labels))
        if merge == "nms":
            keep = nms.batched_nms(boxes, scores, labels, 0.5, max_output=7)
            want = boxes[keep], scores[keep], labels[keep]
        elif merge == "soft_nms":
            keep, new = nms.batched_soft_nms(boxes, scores, labels, iou_threshold=0.5, max_output=7)
            want = boxes[keep], new, labels[keep]
        else:
            parts = [nms.merge_boxes(boxes[labels == k], scores[labels == k], 0.5) for k in (0, 1)]
            every = np.concatenate([p.boxes for p in parts]), np.concatenate([p.scores for p in parts])
            kinds = np.repeat([0, 1], [len(p.scores) for p in parts])
            order = np.argsort(-every[1], kind="stable")[:7]
            want = every[0][order], every[1][order], kinds[order]
        assert len(want[0])
        equal(tuple(got), want)


def test_boxes_in_every_form() -> None:
    want = sliding_window_boxes(lambda x: [seen(w) for w in x], scene(), 70, 25, batch_size=4)
    as_dict = lambda x: [dict(zip(("boxes", "scores", "labels"), seen(w), strict=True)) for w in x]  # noqa: E731

    def as_detections(x: Array) -> nms.Detections:
        every = [seen(w) for w in x]
        out = nms.Detections(
            np.zeros((len(x), 9, 4), np.float32), np.zeros((len(x), 9), np.float32), np.full((len(x), 9), -1),
            np.array([len(s) for _, s, _ in every]),
        )  # fmt: skip
        for i, (b, s, k) in enumerate(every):
            out.boxes[i, : len(b)], out.scores[i, : len(b)], out.labels[i, : len(b)] = b, s, k
        return out

    for model in (as_dict, as_detections):
        equal(tuple(sliding_window_boxes(model, scene(), 70, 25, batch_size=4)), tuple(want))
    torch = need("torch")
    tensors = lambda x: [tuple(map(torch.from_numpy, seen(w.numpy()))) for w in x]  # noqa: E731
    found = sliding_window_boxes(tensors, torch.from_numpy(scene()), 70, 25, batch_size=4)
    equal(tuple(x.numpy() for x in found), tuple(want))
    nothing = sliding_window_boxes(lambda x: [(np.zeros((0, 4)), [], [])] * len(x), scene(), 70, 25, batch_size=4)
    assert nothing.boxes.shape == (0, 4)


Three = tuple[Array, Array, Array]


def stacked(windows: Array) -> Three:
    """What is `seen`, of all windows together, padded."""
    boxes, scores, labels = np.zeros((len(windows), 9, 4), np.float32), np.zeros((len(windows), 9), np.float32), []
    for i, (b, s, k) in enumerate(map(seen, windows)):
        boxes[i, : len(b)], scores[i, : len(b)] = b, s
        labels.append(np.pad(k, (0, 9 - len(k))))
    return boxes, scores, np.stack(labels)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
@pytest.mark.parametrize("container", [list, tuple])
def test_boxes_of_three_arrays(batch_size: int, container: Callable[[Any], Any]) -> None:
    """As sessions answer: of a batch, three windows too; of one window also without its axis."""
    want = sliding_window_boxes(lambda x: [seen(w) for w in x], scene(), 70, 25)
    assert len(want.boxes) > 3
    got = sliding_window_boxes(lambda x: container(stacked(x)), scene(), 70, 25, batch_size=batch_size)
    equal(tuple(got), tuple(want))
    if batch_size == 1:
        equal(tuple(sliding_window_boxes(lambda x: container(seen(x[0])), scene(), 70, 25)), tuple(want))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_boxes_of_a_session(batch_size: int) -> None:
    """Of ONNX Runtime: a window's brightest pixel is the score, and the class, of a box in it."""
    onnx, ort = need("onnx"), need("onnxruntime")
    node, tensor, info = onnx.helper.make_node, onnx.helper.make_tensor, onnx.helper.make_tensor_value_info
    single, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    nodes = [
        node("ReduceMax", ["x", "axes"], ["peak"], keepdims=0),
        node("Reshape", ["peak", "column"], ["scores"]),
        node("Cast", ["scores"], ["labels"], to=whole),
        node("Reshape", ["peak", "plane"], ["peaks"]),
        node("Mul", ["peaks", "zero"], ["zeros"]),
        node("Add", ["zeros", "box"], ["boxes"]),
    ]
    constants = [
        tensor("axes", whole, [3], [1, 2, 3]),
        tensor("column", whole, [2], [-1, 1]),
        tensor("plane", whole, [3], [-1, 1, 1]),
        tensor("zero", single, [1], [0]),
        tensor("box", single, [1, 1, 4], [1, 2, 9, 8]),
    ]
    outputs = [info("boxes", single, ["n", 1, 4]), info("scores", single, ["n", 1]), info("labels", whole, ["n", 1])]
    graph = onnx.helper.make_graph(nodes, "g", [info("x", single, ["n", 1, "h", "w"])], outputs, constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.zeros((10, 40), np.float32)
    image[3, [3, 13, 23, 33]] = 4, 2, 3, 1
    found = sliding_window_boxes(session, image, 10, 10, batch_size=batch_size)
    assert found.labels.tolist() == [4, 3, 2, 1]
    assert found.scores.tolist() == [4, 3, 2, 1]
    assert found.boxes.tolist() == [[x + 1, 2, x + 9, 8] for x in (0, 20, 10, 30)]


def test_soft_nms_with_its_own_arguments() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 6]], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64)
    model = lambda x: [(boxes, scores, labels)]  # noqa: E731
    image, every = Z((16, 16)), []
    for options in (
        {},
        {"method": "gaussian", "sigma": 0.3},
        {"min_score": 0.2},
        {"method": lambda iou: 1 - iou * iou},
    ):
        got = sliding_window_boxes(model, image, 16, 8, "soft_nms", **options)  # type: ignore[arg-type]
        keep, new = nms.batched_soft_nms(boxes, scores, labels, **{"iou_threshold": 0.5, **options})  # type: ignore[arg-type]
        equal(tuple(got), (boxes[keep], new, labels[keep]))
        every.append(new.tolist())
    assert len({tuple(x) for x in every}) == 4


# ---- decoding


def yolo_encode(boxes: Array, scores: Array, grid: tuple[int, int], b: int, size: tuple[int, int]) -> Array:
    """Boxes (N, 4), one a cell at most, as the b-th of their cells; scores (N, C) as class probabilities."""
    out = np.zeros((*grid, 10 + scores.shape[1]))
    for (x1, y1, x2, y2), s in zip(boxes, scores, strict=True):
        x, y = (x1 + x2) / 2 / size[1] * grid[1], (y1 + y2) / 2 / size[0] * grid[0]
        cell = out[int(y), int(x)]
        cell[5 * b : 5 * b + 5] = x % 1, y % 1, (x2 - x1) / size[1], (y2 - y1) / size[0], 0.5
        cell[10:] = s
    return out


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("grid", [(7, 7), (5, 9)])
def test_yolo_decode_undoes_encoding(grid: tuple[int, int], library: str) -> None:
    size, rng = (300, 500), np.random.default_rng(0)
    cells = rng.permutation(grid[0] * grid[1])[:12]
    centre = (np.stack([cells % grid[1], cells // grid[1]], 1) + rng.random((12, 2))) / grid[::-1] * size[::-1]
    side = rng.uniform(5, 200, (12, 2))
    boxes, scores = np.concatenate([centre - side / 2, centre + side / 2], 1), rng.random((12, 20))
    for b in (0, 1):
        output = np.stack([yolo_encode(boxes, scores, grid, b, size)] * 2)
        got = yolo_decode(output if library == "numpy" else need("torch").from_numpy(output), size=size)
        assert got.boxes.shape == (2, grid[0] * grid[1] * 2, 4)
        found = np.asarray(got.boxes)[1][cells * 2 + b]
        np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-11)
        equal(np.asarray(got.scores)[1][cells * 2 + b], scores * 0.5)
        assert np.count_nonzero(np.asarray(got.scores)) == 2 * 12 * 20
    fractions = yolo_decode(output[0])
    np.testing.assert_allclose(fractions.boxes[cells * 2 + 1] * [500, 300, 500, 300], boxes, rtol=0, atol=1e-11)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_ssd_decode_undoes_encoding(library: str) -> None:
    rng = np.random.default_rng(0)
    priors = np.concatenate([rng.random((30, 2)), rng.uniform(0.05, 0.5, (30, 2))], 1)
    boxes = np.sort(rng.random((2, 30, 2, 2)), 2).reshape(2, 30, 4)
    centre, side = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    loc = np.concatenate([(centre - priors[:, :2]) / priors[:, 2:] / 0.1, np.log(side / priors[:, 2:]) / 0.2], -1)
    probabilities = rng.dirichlet(np.ones(5), (2, 30))
    conf = np.log(probabilities) + rng.uniform(-300, 300, (2, 30, 1))
    given = (loc, conf, priors) if library == "numpy" else tuple(map(need("torch").from_numpy, (loc, conf, priors)))
    got = ssd_decode(*given, size=(200, 400))
    np.testing.assert_allclose(np.asarray(got.boxes), boxes * [400, 200, 400, 200], rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.asarray(got.scores), probabilities[..., 1:], rtol=1e-12)
    one = ssd_decode(given[0][1], given[1][1], given[2])
    np.testing.assert_allclose(np.asarray(one.boxes), boxes[1], rtol=0, atol=1e-13)


def test_decoding_of_no_images() -> None:
    found = yolo_decode(Z((0, 7, 7, 30)), size=8)
    assert (found.boxes.shape, found.scores.shape) == ((0, 98, 4), (0, 98, 20))


def test_decoding_has_gradients() -> None:
    torch = need("torch")
    output = torch.rand(1, 3, 3, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: yolo_decode(x, size=(30, 40)), output)
    loc, conf = (torch.rand(1, 5, n, dtype=torch.float64, requires_grad=True) for n in (4, 3))
    assert torch.autograd.gradcheck(lambda x, y: ssd_decode(x, y, np.full((5, 4), 0.3)), (loc, conf))


@pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
def test_yolo_candidates_by_hand(backend: str) -> None:
    #                cx  cy  w  h  three classes
    rows = np.array([[[50, 40, 20, 10, 0.1, 0.7, 0.7], [5, 5, 4, 4, 0.25, 0.0, 0.1], [9, 9, 2, 2, 0.9, 0.3, 0.0]]])
    found = yolo_candidates(rows, 0.25, candidates_last=False, backend=backend)
    equal(found.boxes, np.array([[40, 35, 60, 45], [8, 8, 10, 10.0]]))
    equal(found.scores, np.array([0.7, 0.9]))
    assert (found.labels.tolist(), found.images.tolist()) == ([1, 0], [0, 0])  # equal scores: the lower class
    several = yolo_candidates(rows, 0.25, multi_label=True, candidates_last=False, backend=backend)
    assert several.labels.tolist() == [1, 2, 0, 1]
    object_first = yolo_candidates(rows, 0.2, objectness=True, candidates_last=False, backend=backend)
    equal(object_first.scores, np.array([0.9 * 0.3]))  # one times the other, not its class's alone
    assert object_first.labels.tolist() == [0]
    padded_rows = np.concatenate([rows[0], np.zeros((20, 7))])[None]
    equal(tuple(yolo_candidates(padded_rows.transpose(0, 2, 1), backend=backend)), tuple(found))  # told by the shape


@pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_a_nan_is_named(backend: str, planes: bool, turned: bool) -> None:
    x = np.ones((2, 84, 90) if planes else (2, 90, 84), np.float32)
    for at in ((1, 50, 7), (1, 2, 3), (0, 83, 83)):
        bad = x.copy()
        bad[at] = np.nan
        given = np.ascontiguousarray(bad.transpose(0, 2, 1)).transpose(0, 2, 1) if turned else bad
        text = f"yolo_candidates: output must not hold NaN, got NaN at index {at}"
        with pytest.raises(ValueError, match=re.escape(text)):
            yolo_candidates(given, candidates_last=planes, backend=backend)


def yolo_output(images: int = 2) -> Array:
    """(N, 84, 600), v8's, with clusters of candidates."""
    rng = np.random.default_rng(0)
    x = rng.beta(0.3, 9, (images, 84, 600))
    x[:, :2], x[:, 2:4] = rng.integers(0, 12, (images, 2, 600)) * 50, rng.uniform(40, 90, (images, 2, 600))
    return x.astype(np.float32)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_yolo_postprocess_is_decoding_and_nms(multi_label: bool, library: str) -> None:
    """Against `multiclass_nms` of all scores, those of a candidate's other classes put to 0."""
    output = yolo_output()
    boxes = np.moveaxis(output[:, :4], 1, 2)
    half = np.float32(0.5) * boxes[..., 2:]
    corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
    scores = np.moveaxis(output[:, 4:], 1, 2).copy()
    if not multi_label:
        scores[np.arange(80) != scores.argmax(-1)[..., None]] = 0
    for most in (5, 1000):
        want = nms.multiclass_nms(corners, scores, 0.45, score_threshold=0.25, max_output=most)
        given = output if library == "numpy" else need("torch").from_numpy(output)
        got = yolo_postprocess(given, max_output=most, multi_label=multi_label)
        assert type(got.boxes) is type(given)
        equal(tuple(np.asarray(x) for x in got), tuple(want))
        assert want.count.min() >= 5
    agnostic = yolo_postprocess(output, class_agnostic=True, multi_label=multi_label)
    assert (agnostic.count < want.count).all()
    most = yolo_postprocess(output[:, :, :30], max_output=10**12, multi_label=multi_label, candidates_last=True)
    assert most.boxes.shape == (2, 30 * 80, 4)
    empty = yolo_postprocess(output, score_threshold=1.0, max_output=3)
    assert empty.count.tolist() == [0, 0]
    assert empty.labels.tolist() == [[-1] * 3] * 2


# ---- OverFeat


def overfeat() -> tuple[Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array], int, int]:
    """A small network: stride 2, then the last pooling of 3; heads of 2 x 2 pooled places. Its window and stride."""
    rng = np.random.default_rng(7)
    mix, classes, edges = (
        rng.standard_normal(s).astype(np.float32) for s in ((4, 3, 2, 2), (5, 4, 2, 2), (4, 4, 2, 2))
    )

    def convolve(x: Array, w: Array, stride: int = 1) -> Array:
        height, width = (x.shape[-2] - 2) // stride + 1, (x.shape[-1] - 2) // stride + 1
        out = np.zeros((len(x), len(w), height, width), x.dtype)
        for ky in range(2):
            for kx in range(2):
                piece = x[:, :, ky : ky + stride * height : stride, kx : kx + stride * width : stride]
                out += np.einsum("oc,nchw->nohw", w[:, :, ky, kx], piece[:, :, :height, :width])
        return out

    window = 2 * (6 - 1) + 2  # of 6 features, so that 2 pooled ones are left, so that the heads give one value
    return lambda x: convolve(x, mix, 2), lambda x: convolve(x, classes), lambda x: convolve(x, edges), window, 2


def test_dense_overfeat_is_every_window_by_itself() -> None:
    features, classifier, regressor, window, stride = overfeat()
    image = np.random.default_rng(0).standard_normal((3, 31, 40)).astype(np.float32)
    dense = overfeat_dense((features, classifier, regressor), image, window=window, stride=stride, pool=3)
    places = [(y, x) for y in range(0, 31 - window + 1, stride) for x in range(0, 40 - window + 1, stride)]
    assert len(dense.windows) == len(places) == 10 * 15
    for i, (y, x) in enumerate(places):
        assert dense.windows[i].tolist() == [x, y, x + window, y + window]
        alone = features(image[None, :, y : y + window, x : x + window])
        pooled = alone.reshape(1, 4, 2, 3, 2, 3).max((3, 5))
        logits, box = classifier(pooled)[0, :, 0, 0], regressor(pooled)[0, :, 0, 0]
        power = np.exp(logits - logits.max())
        np.testing.assert_allclose(dense.scores[i], power / power.sum(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(dense.boxes[i], box * window + [x, y, x, y], rtol=0, atol=1e-4)


def test_offset_pooling_has_every_place_once() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 11, 8)).astype(np.float32)
    seen: dict[tuple[int, int], Array] = {}
    for dy, dx, pooled in offset_pool(x):
        for i, j in np.ndindex(pooled.shape[2:]):
            seen[dy + 3 * i, dx + 3 * j] = pooled[0, :, i, j]
    assert sorted(seen) == [(y, x) for y in range(9) for x in range(6)]
    for (i, j), value in seen.items():
        equal(value, x[0, :, i : i + 3, j : j + 3].max((1, 2)))
    assert [(dy, dx) for dy, dx, _ in offset_pool(x[..., :4, :3])] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_overfeat_merges_over_scales(library: str) -> None:
    """A bright square is found at two scales; its boxes become one, with the evidence of all."""
    image = np.zeros((1, 24, 30), np.float32)
    image[:, 8:16, 10:18] = 1

    def classifier(pooled: Any) -> Any:  # the share of a window of 8 pixels that is bright, for class 1; nothing for 2
        share = pooled[:, :1]
        zero = share * 0
        return np.concatenate([1 - share, share, zero], 1) if library == "numpy" else need("torch").cat(
            [1 - share, share, zero], 1
        )  # fmt: skip

    def features(x: Any) -> Any:
        array = np.asarray(x)
        windows = np.lib.stride_tricks.sliding_window_view(array, (8, 8), (2, 3)).mean((-1, -2))
        return windows if library == "numpy" else need("torch").from_numpy(windows.astype(np.float32))

    def regressor(pooled: Any) -> Any:  # the window itself
        ones = pooled[:, :1] * 0 + 1
        parts = [ones * 0, ones * 0, ones, ones]
        return np.concatenate(parts, 1) if library == "numpy" else need("torch").cat(parts, 1)

    given = image if library == "numpy" else need("torch").from_numpy(image)
    found = overfeat_multiscale(
        (features, classifier, regressor), given, (1.0, 1.25, 0.1), window=8, stride=1, pool=1, softmax=False,
        background=0, score_threshold=0.9, iou_threshold=0.3,
    )  # fmt: skip
    assert type(found.boxes) is type(given)
    boxes, scores = np.asarray(found.boxes), np.asarray(found.scores)
    assert np.asarray(found.labels).tolist() == [1]
    assert np.abs(boxes[0] - [10, 8, 18, 16]).max() < 1
    assert scores[0] > 5  # many windows' evidence


# ---- detectors


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_detect_end_to_end(library: str) -> None:
    """A network that says where the objects of its input are, at another size: found in pixels of the image."""
    kind: Callable[[Array], Any] = (lambda x: x) if library == "numpy" else need("torch").from_numpy

    def model(x: Any) -> Any:
        array, grid = np.asarray(x), (9, 9)
        out = []
        for picture in array:
            found = [np.nonzero(plane > 0.5) for plane in picture]
            boxes = np.array([[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in found if r.size], np.float64)
            out.append(yolo_encode(boxes, np.eye(4)[: len(boxes)], grid, 1, picture.shape[1:]))
        return kind(np.stack(out).astype(np.float32))

    image = (np.kron(scene(), np.ones((2, 2))) == np.arange(1, 5)[:, None, None]).astype(np.float32)  # 160 x 240
    want = (OBJECTS * 2).astype(np.float32)
    decode = functools.partial(yolo_decode, size=(160, 240))
    found = detect(model, kind(image), decode)
    assert type(found.boxes) is type(kind(image))
    order = np.argsort(np.asarray(found.labels))
    np.testing.assert_allclose(np.asarray(found.boxes)[order], want, rtol=0, atol=1e-3)
    assert np.asarray(found.scores).tolist() == [0.5] * 4
    batch = detect(model, kind(np.stack([image, image * 0])), decode, max_output=6)
    assert np.asarray(batch.count).tolist() == [4, 0]
    assert not np.asarray(batch.boxes)[1].any()
    np.testing.assert_array_equal(np.asarray(batch.boxes)[0, :4], np.asarray(found.boxes))
    for fit, size in (("stretch", (320, 480)), ("letterbox", (480, 480)), ("letterbox", (320, 700))):
        bigger = detect(model, kind(image), functools.partial(yolo_decode, size=size), size=size, fit=fit)
        order = np.argsort(np.asarray(bigger.labels))
        np.testing.assert_allclose(np.asarray(bigger.boxes)[order], want, rtol=0, atol=1)


def test_detect_with_final_detections() -> None:
    """YOLO v8's output, of a network that takes 100 x 100 pixels, by its own decoding and NMS."""
    raw = np.zeros((1, 6, 30), np.float32)
    raw[0, :, 3] = 50, 40, 20, 10, 0.1, 0.9
    raw[0, :, 4] = 51, 40, 20, 10, 0.1, 0.8
    found = detect(lambda x: raw[:, :, : x.shape[-1]], np.zeros((3, 200, 400)), yolo_postprocess, size=(100, 100))
    assert found.boxes.tolist() == [[160, 70, 240, 90]]
    assert found.labels.tolist() == [1]


def test_detect_with_two_outputs() -> None:
    """SSD's: a network of several outputs gives the decoder as many arguments."""
    priors = np.array([[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]], np.float32)
    conf = np.log(np.array([[[0.1, 0.2, 0.7], [0.96, 0.02, 0.02]]], np.float32))
    model = lambda x: [np.zeros((1, 2, 4), np.float32), conf]  # noqa: E731
    decode = functools.partial(ssd_decode, priors=priors, size=(100, 200))
    found = detect(model, np.zeros((3, 100, 200), np.float32), decode, iou_threshold=0.5, score_threshold=0.5)
    np.testing.assert_allclose(found.boxes, [[80, 30, 120, 70]], rtol=1e-6)
    assert found.labels.tolist() == [1]


def test_detect_leaves_out_what_lies_in_the_padding() -> None:
    """The letterbox of an image half as high as wide: its upper and lower quarters are not in the image."""
    boxes = np.array([[[0, 0, 8, 4], [2, 6, 6, 10], [1, 12, 5, 16], [10, 2, 14, 7]]], np.float32)
    scores = np.array([[[0.9], [0.8], [0.7], [0.6]]], np.float32)
    run = functools.partial(detect, lambda x: [boxes[: len(x)], scores[: len(x)]], size=16, fit="letterbox")
    found = run(Z((3, 8, 16), np.float32), decode=lambda b, s: (b, s))
    equal(found.boxes, np.array([[2, 2, 6, 6], [10, 0, 14, 3]], np.float32))
    equal(found.scores, scores[0, [1, 3], 0])
    batch = run(Z((1, 3, 8, 16), np.float32), decode=lambda b, s: (b, s), max_output=3)
    assert batch.count.tolist() == [1]
    equal(batch.boxes[0], np.array([[2, 2, 6, 6], [0] * 4, [0] * 4], np.float32))
    equal(batch.scores[0], np.array([0.8, 0, 0], np.float32))
    assert batch.labels.tolist() == [[0, -1, -1]]


def test_detect_asks_for_every_image() -> None:
    """Neither fewer answers nor more; what cannot be used is refused before the network runs."""
    output, calls = Z((1, 7, 7, 30)), []
    for images, answers in ((2, 1), (1, 3)):
        decode = lambda x, n=answers: yolo_decode(x.repeat(n, 0))  # noqa: E731
        final = lambda x, n=answers: yolo_postprocess(Z((n, 6, 30)))  # noqa: E731
        for said in (decode, final):
            text = f"detect: decode must give boxes (N, P, 4) with N = {images}, got ({answers}, "
            with pytest.raises(ValueError, match=re.escape(text)):
                detect(lambda x: output, Z((images, 3, 8, 8), np.float32), said)
    with pytest.raises(TypeError, match=re.escape("detect: decode must be a function, got 'yolo'")):
        detect(lambda x: calls.append(1), IMAGE, "yolo")  # type: ignore[arg-type]
    assert not calls


def test_detect_takes_views_and_what_numpy_reads() -> None:
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
    want = detect(net, image, decode, score_threshold=0.2)
    assert len(want.boxes) > 1
    for view in (np.ascontiguousarray(image[..., ::-1])[..., ::-1], image.astype(">f4"), fixed, Zarr()):
        got = detect(net, view, decode, score_threshold=0.2)
        assert type(got.boxes) is np.ndarray
        equal(tuple(got), tuple(want))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_detect_with_fastdets_own_networks(device: str) -> None:
    """From picture to boxes: YOLO's that it was told to find, SSD's as decoding and NMS find them step by step."""
    torch = need("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    models, parts = need("fastdet.models"), need("fastdet.models.yolo")
    torch.manual_seed(0)
    yolo = models.YOLOv1Tiny(width=1 / 16, grid=2).eval()
    told, labels = torch.tensor([[3.0, 10, 60, 50], [70, 80, 127, 120]]), torch.tensor([4, 17])
    answer = parts.yolo_encode(told, labels, (128, 128), grid=2)
    answer[..., [2, 3, 7, 8]] **= 0.5  # the last layer says roots of sides
    with torch.no_grad():
        yolo.head[-1].weight.zero_()
        yolo.head[-1].bias.copy_(answer.flatten())
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
        found = detect(net, image, decode, score_threshold=0.3, max_output=20)
        assert found.boxes.device == image.device
        assert found.count.min() > 1
        if net is yolo:
            order = found.labels[1, :2].argsort().cpu()
            assert found.labels[1, :2].cpu()[order].tolist() == labels.tolist()
            torch.testing.assert_close(found.boxes[1, :2].cpu()[order], told, rtol=0, atol=1e-3)
        else:
            with torch.no_grad():
                boxes, scores = decode(*net(image))
            assert (scores > 0.3).any(1).all(0).sum() > 1  # of more than one class
            want = nms.multiclass_nms(boxes.cpu(), scores.cpu(), 0.5, score_threshold=0.3, max_output=20)
            torch.testing.assert_close(found.boxes.cpu(), want.boxes.clamp(0, side), rtol=0, atol=1e-3)
            torch.testing.assert_close(found.scores.cpu(), want.scores, rtol=0, atol=1e-5)
            assert found.labels.tolist() == want.labels.tolist()
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
    """What has a shape, a dtype and slices, and no way into NumPy."""

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
    (lambda: yolo_postprocess(np.full((1, 5, 9), np.inf)), ValueError,
     "yolo_postprocess: output must not hold infinite boxes, got one in image 0"),
    (lambda: offset_pool(IMAGE, 0).__next__(), ValueError, "offset_pool: size must be 1 or more, got 0"),
    (lambda: overfeat_dense(np.abs, IMAGE), TypeError,
     "overfeat_dense: model must have or be (features, classifier, regressor), got ufunc"),
    (lambda: overfeat_dense(HEADS, IMAGE), ValueError,
     "overfeat_dense: window must be given for a model without window"),
    (lambda: overfeat_dense(HEADS, IMAGE, window=221, stride=12, pool=3), ValueError,
     "overfeat_dense: image must have shape (C, H, W) with H and W of 221 or more, got (3, 53, 71)"),
    (lambda: overfeat_multiscale(HEADS, IMAGE, [2], window=221, stride=12, pool=3), ValueError,
     "overfeat_multiscale: image must hold a window of 221 at some scale, got (53, 71) at [2.0]"),
    (lambda: detect(np.abs, IMAGE[0], yolo_decode), ValueError,
     "detect: image must have shape (C, H, W) or (N, C, H, W), none of them 0, got (53, 71)"),
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
