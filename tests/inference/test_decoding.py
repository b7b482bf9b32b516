"""Inference: the output of YOLO and SSD decoded."""

from __future__ import annotations

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet.inference import ssd_decode, yolo_decode

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
        decoded = np.asarray(got.boxes)[1][cells * 2 + b]
        np.testing.assert_allclose(decoded, boxes, rtol=0, atol=1e-11)
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
    arrays = (loc, conf, priors) if library == "numpy" else tuple(map(need("torch").from_numpy, (loc, conf, priors)))
    got = ssd_decode(*arrays, size=(200, 400))
    np.testing.assert_allclose(np.asarray(got.boxes), boxes * [400, 200, 400, 200], rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.asarray(got.scores), probabilities[..., 1:], rtol=1e-12)
    one = ssd_decode(arrays[0][1], arrays[1][1], arrays[2])
    np.testing.assert_allclose(np.asarray(one.boxes), boxes[1], rtol=0, atol=1e-13)


def test_decoding_of_no_images() -> None:
    decoded = yolo_decode(Z((0, 7, 7, 30)), size=8)
    assert (decoded.boxes.shape, decoded.scores.shape) == ((0, 98, 4), (0, 98, 20))


def test_decoding_has_gradients() -> None:
    torch = need("torch")
    output = torch.rand(1, 3, 3, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: yolo_decode(x, size=(30, 40)), output)
    loc, conf = (torch.rand(1, 5, n, dtype=torch.float64, requires_grad=True) for n in (4, 3))
    assert torch.autograd.gradcheck(lambda x, y: ssd_decode(x, y, np.full((5, 4), 0.3)), (loc, conf))


Z = np.zeros
