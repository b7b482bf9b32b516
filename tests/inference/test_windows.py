"""Inference: boxes of windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet import inference, nms
from fastdet.inference import sliding_window_boxes

# ---- boxes of windows

OBJECTS = np.array([[10, 12, 30, 32], [55, 5, 90, 25], [40, 40, 76, 64], [100, 50, 119, 79]], np.float64)


def scene() -> Array:
    """Each object is a rectangle of its own value."""
    image = np.zeros((80, 120), np.float32)
    for i, (x1, y1, x2, y2) in enumerate(OBJECTS.astype(int)):
        image[y1:y2, x1:x2] = i + 1
    return image


def detected(window: Array) -> tuple[Array, Array, Array]:
    """A perfect detector of a window (1, h, w): visible parts of objects, each part's share of the object as score."""
    boxes, scores, labels = [], [], []
    for i, (x1, y1, x2, y2) in enumerate(OBJECTS):
        rows, columns = np.nonzero(window[0] == i + 1)
        if rows.size:
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(rows.size / ((x2 - x1) * (y2 - y1)))
            labels.append(i % 2)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)


def by_label(detections: inference.Found) -> Array:
    order = np.lexsort((np.asarray(detections.boxes)[:, 0], np.asarray(detections.labels)))
    return np.asarray(detections.boxes)[order]


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("step", [20, (24, 18), 31])
def test_boxes_of_windows(step: Any, batch_size: int) -> None:
    """Every object is kept once and whole; the parts that other windows hold lie inside it and are suppressed."""
    model = lambda x: [detected(w) for w in x]  # noqa: E731
    detections = sliding_window_boxes(model, scene(), 70, step, iou_threshold=0.6, batch_size=batch_size)
    equal(by_label(detections), OBJECTS[[0, 2, 1, 3]].astype(np.float32))
    assert detections.scores.tolist() == [1] * 4
    assert detections.labels.dtype == np.int64


def test_boxes_are_merged_by_the_op_of_that_name() -> None:
    """Every way of merging equals its op on the boxes of all windows."""
    noise = np.random.default_rng(2)
    outputs: list[tuple[Array, Array, Array]] = []

    def model(x: Array) -> list[tuple[Array, Array, Array]]:
        detections = []
        for w in x:
            boxes, scores, labels = detected(w)
            boxes = boxes + noise.uniform(-2, 2, boxes.shape).astype(np.float32).clip(0, 40)
            detections.append((boxes, scores, labels))
        outputs.extend(detections)
        return detections

    places = [(x, y) for y in (0, 30, 40) for x in (0, 30, 60, 80)]
    for merge in ("nms", "soft_nms", "merge"):
        outputs.clear()
        got = sliding_window_boxes(model, scene(), 40, 30, merge, metric="iou", score_threshold=0.1, max_output=7)
        assert len(outputs) == len(places)
        corner = [np.array([x, y, x, y], np.float32) for x, y in places]
        boxes = np.concatenate([b + at for (b, _, _), at in zip(outputs, corner, strict=True)])
        boxes = boxes.clip(0, np.array([120, 80, 120, 80], np.float32))
        scores, labels = (np.concatenate([s[i] for s in outputs]) for i in (1, 2))
        boxes, scores, labels = (a[scores > np.float32(0.1)] for a in (boxes, scores, labels))
        if merge == "nms":
            keep = nms.batched_nms(boxes, scores, labels, 0.5, max_output=7)
            expected = boxes[keep], scores[keep], labels[keep]
        elif merge == "soft_nms":
            keep, new = nms.batched_soft_nms(boxes, scores, labels, iou_threshold=0.5, max_output=7)
            expected = boxes[keep], new, labels[keep]
        else:
            parts = [nms.merge_boxes(boxes[labels == k], scores[labels == k], 0.5) for k in (0, 1)]
            merged = np.concatenate([p.boxes for p in parts]), np.concatenate([p.scores for p in parts])
            kinds = np.repeat([0, 1], [len(p.scores) for p in parts])
            order = np.argsort(-merged[1], kind="stable")[:7]
            expected = merged[0][order], merged[1][order], kinds[order]
        assert len(expected[0])
        equal(tuple(got), expected)


def test_boxes_in_every_form() -> None:
    expected = sliding_window_boxes(lambda x: [detected(w) for w in x], scene(), 70, 25, batch_size=4)
    as_dict = lambda x: [dict(zip(("boxes", "scores", "labels"), detected(w), strict=True)) for w in x]  # noqa: E731

    def as_detections(x: Array) -> nms.Detections:
        all_windows = [detected(w) for w in x]
        out = nms.Detections(
            np.zeros((len(x), 9, 4), np.float32), np.zeros((len(x), 9), np.float32), np.full((len(x), 9), -1),
            np.array([len(s) for _, s, _ in all_windows]),
        )  # fmt: skip
        for i, (b, s, k) in enumerate(all_windows):
            out.boxes[i, : len(b)], out.scores[i, : len(b)], out.labels[i, : len(b)] = b, s, k
        return out

    for model in (as_dict, as_detections):
        equal(tuple(sliding_window_boxes(model, scene(), 70, 25, batch_size=4)), tuple(expected))
    torch = need("torch")
    tensors = lambda x: [tuple(map(torch.from_numpy, detected(w.numpy()))) for w in x]  # noqa: E731
    detections = sliding_window_boxes(tensors, torch.from_numpy(scene()), 70, 25, batch_size=4)
    equal(tuple(x.numpy() for x in detections), tuple(expected))
    nothing = sliding_window_boxes(lambda x: [(np.zeros((0, 4)), [], [])] * len(x), scene(), 70, 25, batch_size=4)
    assert nothing.boxes.shape == (0, 4)


Three = tuple[Array, Array, Array]


def stacked(windows: Array) -> Three:
    """`detected` of all windows as three padded arrays."""
    boxes, scores, labels = np.zeros((len(windows), 9, 4), np.float32), np.zeros((len(windows), 9), np.float32), []
    for i, (b, s, k) in enumerate(map(detected, windows)):
        boxes[i, : len(b)], scores[i, : len(b)] = b, s
        labels.append(np.pad(k, (0, 9 - len(k))))
    return boxes, scores, np.stack(labels)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
@pytest.mark.parametrize("container", [list, tuple])
def test_boxes_of_three_arrays(batch_size: int, container: Callable[[Any], Any]) -> None:
    """A session's output: for a batch (of three windows too), and for one window also without the batch axis."""
    expected = sliding_window_boxes(lambda x: [detected(w) for w in x], scene(), 70, 25)
    assert len(expected.boxes) > 3
    got = sliding_window_boxes(lambda x: container(stacked(x)), scene(), 70, 25, batch_size=batch_size)
    equal(tuple(got), tuple(expected))
    if batch_size == 1:
        equal(tuple(sliding_window_boxes(lambda x: container(detected(x[0])), scene(), 70, 25)), tuple(expected))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_boxes_of_a_session(batch_size: int) -> None:
    """A session of ONNX Runtime: a window's brightest pixel is both the score and the class of a fixed box."""
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
    detections = sliding_window_boxes(session, image, 10, 10, batch_size=batch_size)
    assert detections.labels.tolist() == [4, 3, 2, 1]
    assert detections.scores.tolist() == [4, 3, 2, 1]
    assert detections.boxes.tolist() == [[x + 1, 2, x + 9, 8] for x in (0, 20, 10, 30)]


def test_soft_nms_with_its_own_arguments() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 6]], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64)
    model = lambda x: [(boxes, scores, labels)]  # noqa: E731
    image, all_scores = Z((16, 16)), []
    for options in (
        {},
        {"method": "gaussian", "sigma": 0.3},
        {"min_score": 0.2},
        {"method": lambda iou: 1 - iou * iou},
    ):
        got = sliding_window_boxes(model, image, 16, 8, "soft_nms", **options)  # type: ignore[arg-type]
        keep, new = nms.batched_soft_nms(boxes, scores, labels, **{"iou_threshold": 0.5, **options})  # type: ignore[arg-type]
        equal(tuple(got), (boxes[keep], new, labels[keep]))
        all_scores.append(new.tolist())
    assert len({tuple(x) for x in all_scores}) == 4


Z = np.zeros
