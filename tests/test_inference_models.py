"""Inference with fastdet's own networks: what they say, decoded, is what they were told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.inference import overfeat_dense, ssd_decode, yolo_decode

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
        want = edges.reshape(boxes.shape) * window + torch.tensor([x, y, x, y])
        torch.testing.assert_close(boxes, want, rtol=0, atol=0.01)


def test_yolo_decode_undoes_the_models_encoding() -> None:
    torch = need("torch")
    target = need("fastdet.models.yolo").yolo_encode(torch.from_numpy(BOXES), torch.tensor(LABELS), (448, 448))
    found = yolo_decode(target, size=(448, 448))
    use = found.scores.amax(1) > 0
    torch.testing.assert_close(found.boxes[use], torch.from_numpy(BOXES), rtol=0, atol=1e-3)  # both in one row
    assert found.scores[use].argmax(1).tolist() == LABELS


def test_ssd_decode_undoes_the_models_encoding() -> None:
    torch = need("torch")
    ssd = need("fastdet.models.ssd")
    priors = ssd.ssd_priors()
    offsets, classes = ssd.ssd_encode(torch.from_numpy(BOXES), torch.tensor(LABELS), priors, (300, 300))
    conf = torch.nn.functional.one_hot(classes.clamp(min=0), 21) * 50.0
    found = ssd_decode(offsets, conf, priors, size=(300, 300))
    matched = classes > 0
    assert matched.sum() >= 2
    label = found.scores[matched].argmax(1)
    assert set(label.tolist()) == set(LABELS)
    want = torch.from_numpy(BOXES)[(label == LABELS[1]).long()]
    torch.testing.assert_close(found.boxes[matched], want, rtol=0, atol=1e-3)
