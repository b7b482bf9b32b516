"""Inference with fastdet's own networks: decoding undoes encoding, dense windows equal single ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.inference import overfeat_dense, overfeat_multiscale, overlap_tile, ssd_decode, yolo_decode
from fastdet.nms import merge_boxes
from fastdet.upsample import upsample_bilinear

BOXES = np.array([[10, 20, 100, 200], [200, 50, 280, 90]], np.float32)
LABELS = [3, 5]


@pytest.mark.parametrize("name", ["OverFeatFast", "OverFeatAccurate"])
@pytest.mark.parametrize("class_boxes", [False, True])
def test_overfeat_is_every_window_by_itself(name: str, class_boxes: bool) -> None:
    torch = need("torch")
    torch.manual_seed(0)
    make: Any = getattr(need("fastdet.models.overfeat"), name)
    net = make(7, width=1 / 16, padded=False, class_boxes=class_boxes).eval()
    window, step = net.window, net.step(dense=True)
    image = torch.randn(3, window + 2 * step + 3, window + 3 * step)
    dense = overfeat_dense(net, image)
    assert dense.windows.shape == (12, 4)
    for corners, scores, boxes in zip(*dense, strict=True):
        x, y = corners[:2].int().tolist()
        with torch.no_grad():
            logits, edges = net(image[None, :, y : y + window, x : x + window])
        torch.testing.assert_close(scores, logits.flatten().softmax(0), rtol=0, atol=1e-5)
        expected = edges.reshape(boxes.shape) * window + torch.tensor([x, y, x, y])
        torch.testing.assert_close(boxes, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("name", ["OverFeatFast", "OverFeatAccurate"])
@pytest.mark.parametrize("padded", [False, True])
def test_overfeat_of_images_hardly_larger_than_a_window(name: str, padded: bool) -> None:
    """Offsets of the last pooling at which no whole window fits give no windows."""
    torch = need("torch")
    torch.manual_seed(0)
    net = getattr(need("fastdet.models.overfeat"), name)(4, width=1 / 32, padded=padded).eval()
    window, step = net.window, net.step(dense=True)
    for more_rows, more_columns in ((0, 0), (1, step - 1), (step, 2 * step - 1), (2 * step, 0)):
        image = torch.randn(3, window + more_rows, window + more_columns)
        dense = overfeat_dense(net, image)
        rows, columns = more_rows // step + 1, more_columns // step + 1
        assert dense.windows[:, :2].tolist() == [[step * x, step * y] for y in range(rows) for x in range(columns)]
        assert dense.scores.shape == (rows * columns, 4)
        with torch.no_grad():
            logits, edges = net(image[None, :, :window, :window])
        if not padded or not more_rows + more_columns:
            torch.testing.assert_close(dense.scores[0], logits.flatten().softmax(0), rtol=0, atol=1e-5)
            torch.testing.assert_close(dense.boxes[0], edges.flatten() * window, rtol=0, atol=0.01)


def test_overfeat_multiscale_merges_the_boxes_of_all_scales() -> None:
    torch = need("torch")
    torch.manual_seed(0)
    net = need("fastdet.models.overfeat").OverFeatAccurate(4, width=1 / 32).eval()
    with torch.no_grad():  # boxes as a trained regressor's: about the middle of the window
        net.regressor[-1].weight *= 1e-3
        net.regressor[-1].bias.copy_(torch.tensor([0.1, 0.2, 0.9, 0.8]))
    side = net.window + 19
    image = torch.randn(3, side, side)
    detections = overfeat_multiscale(net, image, (0.5, 1.0, 1.5), score_threshold=0.25, background=0, metric="iou")
    boxes, scores, labels = [], [], []
    for scale in (1.0, 1.5):  # at half the size there is no window
        dense = overfeat_dense(net, upsample_bilinear(image, (round(side * scale), round(side * scale))))
        row, label = torch.nonzero(dense.scores[:, 1:] > 0.25).unbind(1)
        boxes.append(dense.boxes[row] / scale)
        scores.append(dense.scores[row, label + 1])
        labels.append(label + 1)
    every = [torch.cat(x) for x in (boxes, scores, labels)]
    assert len(every[0]) > len(detections.boxes) > 0
    assert set(detections.labels.tolist()) == set(every[2].tolist())
    for label in detections.labels.unique():
        merged = merge_boxes(*(x[every[2] == label] for x in every[:2]), 0.5)
        torch.testing.assert_close(detections.boxes[detections.labels == label], merged.boxes, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(detections.scores[detections.labels == label], merged.scores, rtol=1e-5, atol=1e-5)


def test_yolo_decode_undoes_the_models_encoding() -> None:
    torch = need("torch")
    target = need("fastdet.models.yolo").yolo_encode(torch.from_numpy(BOXES), torch.tensor(LABELS), (448, 448))
    detections = yolo_decode(target, size=(448, 448))
    use = detections.scores.amax(1) > 0
    torch.testing.assert_close(detections.boxes[use], torch.from_numpy(BOXES), rtol=0, atol=1e-3)  # both in one row
    assert detections.scores[use].argmax(1).tolist() == LABELS


def test_ssd_decode_undoes_the_models_encoding() -> None:
    torch = need("torch")
    ssd = need("fastdet.models.ssd")
    priors = ssd.ssd_priors()
    offsets, classes = ssd.ssd_encode(torch.from_numpy(BOXES), torch.tensor(LABELS), priors, (300, 300))
    conf = torch.nn.functional.one_hot(classes.clamp(min=0), 21) * 50.0
    detections = ssd_decode(offsets, conf, priors, size=(300, 300))
    matched = classes > 0
    assert matched.sum() >= 2
    label = detections.scores[matched].argmax(1)
    assert set(label.tolist()) == set(LABELS)
    expected = torch.from_numpy(BOXES)[(label == LABELS[1]).long()]
    torch.testing.assert_close(detections.boxes[matched], expected, rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_exported_network_needs_no_eval() -> None:
    """Its own eval() raises, so it is not asked for; the program itself and a trace do as well."""
    torch = need("torch")
    network = need("fastdet.models").SegNet(5, width=1 / 16).eval()
    image = torch.rand(3, 40, 72)
    program = torch.export.export(network, (torch.rand(1, 3, 32, 32),))
    with pytest.raises(NotImplementedError):
        program.module().eval()
    want = overlap_tile(network, image, 16, 8)
    for model in (program, program.module(), torch.jit.trace(network, (torch.rand(1, 3, 32, 32),))):
        np.testing.assert_array_equal(overlap_tile(model, image, 16, 8).numpy(), want.numpy())
    with pytest.warns(UserWarning, match=r"^overlap_tile: model is in train mode: call eval\(\) first$"):
        overlap_tile(network.train(), image, 16, 8)
