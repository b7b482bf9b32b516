"""Inference: networks that give final detections, masks and keypoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.inference import Instances, detect
from fastdet.masks import decode, encode

Z = np.zeros
BOXES = np.array([[1, 2, 5, 8], [3, 0, 12, 6], [9, 2, 14, 3]], np.float32)  # of an image of 8 x 10 pixels


def output(**more: Any) -> dict[str, Any]:
    return {"boxes": BOXES, "scores": np.array([0.9, 0.5, 0.3], np.float32), "labels": np.array([2, 1, 1]), **more}


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_instances(library: str) -> None:
    """Boxes are clipped to the image; one that has no area then is left out, with its mask and its keypoints."""
    kind: Callable[[Any], Any] = (lambda x: x) if library == "numpy" else need("torch").from_numpy
    masks = np.arange(3 * 80, dtype=np.float32).reshape(3, 1, 8, 10)
    points = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
    more = {"masks": masks, "keypoints": points, "keypoints_scores": points[..., 0]}
    answer = {key: kind(x) for key, x in output(**more).items()}
    shapes = []

    def model(batch: Any) -> Any:
        shapes.append(tuple(batch.shape))
        return [dict(answer) for _ in batch]

    found = detect(model, kind(Z((3, 8, 10), np.float32)))
    assert isinstance(found, Instances)
    assert all(type(x) is type(answer["boxes"]) for x in found)
    assert np.asarray(found.boxes).tolist() == [[1, 2, 5, 8], [3, 0, 10, 6], [9, 2, 10, 3]]
    for got, want in zip(found[1:], list(answer.values())[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
    narrow = detect(model, kind(Z((2, 3, 8, 9), np.float32)))
    assert shapes == [(1, 3, 8, 10), (2, 3, 8, 9)]
    assert len(narrow) == 2
    for got, want in zip(narrow[1][1:], list(answer.values())[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want)[:2])


def test_run_lengths_and_missing_parts() -> None:
    rle = encode(np.ones((3, 8, 9), bool))
    found = detect(lambda batch: [output(masks=rle)], Z((3, 8, 9), np.float32))
    assert len(found.masks) == len(found.boxes) == 2
    assert found.keypoints is None
    assert found.keypoint_scores is None


@pytest.fixture
def torch() -> Iterator[Any]:
    module = need("torch")
    threads = module.get_num_threads()
    module.set_num_threads(1)  # small work, and the machine may be busy
    yield module
    module.set_num_threads(threads)


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fastdets_own_networks(torch: Any, name: str) -> None:
    """NumPy pictures in, the network's own answer out."""
    models = need("fastdet.models")
    torch.manual_seed(0)
    options = {"masks": "rle"} if name == "mask_rcnn" else {}
    network = models.MODELS[name](width=1 / 16, min_size=64, max_size=96, score_threshold=0.005, **options).eval()
    image = np.random.default_rng(0).random((2, 3, 40, 56), np.float32)
    with torch.no_grad():
        want = network([torch.from_numpy(x) for x in image])
    found = detect(network, image)
    assert len(found) == 2
    for one, answer in zip(found, want, strict=True):
        assert len(one.boxes) > 3
        np.testing.assert_allclose(one.boxes, answer["boxes"].numpy(), rtol=0, atol=1e-4)  # clipped
        np.testing.assert_array_equal(one.scores, answer["scores"].numpy())
        np.testing.assert_array_equal(one.labels, answer["labels"].numpy())
        assert (one.masks is not None) == (name == "mask_rcnn")
        if name == "mask_rcnn":
            np.testing.assert_array_equal(decode(one.masks), decode(answer["masks"]))
        if name == "keypoint_rcnn":
            np.testing.assert_array_equal(one.keypoints, answer["keypoints"].numpy())
            np.testing.assert_array_equal(one.keypoint_scores, answer["keypoints_scores"].numpy())
    alone = detect(network, image[1])
    np.testing.assert_allclose(alone.scores, found[1].scores, rtol=0, atol=1e-4)


ERRORS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ([output()], {"size": 8}, ValueError, "size must be None where decode is: the model resizes images, got 8"),
    (Z((1, 7, 7, 30)), {}, TypeError, "model must give a dictionary of each image where decode is None, got ndarray"),
    ([Z((1, 4))], {}, TypeError, "model must give a dictionary of each image where decode is None, got list"),
    ([output()] * 2, {}, ValueError, "model must give a dictionary of each of 1 images, got 2"),
    ([{"boxes": BOXES, "scores": Z(3)}], {}, ValueError,
     "model must give boxes, scores and labels of an image, got no labels"),
    ([output(masks=Z((2, 8, 9)))], {}, ValueError, "model must give masks of each of 3 boxes, got 2"),
    ([output(boxes=Z((3, 5)))], {}, ValueError, "boxes must have shape (N, 4), got (3, 5)"),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(ERRORS)))
def test_errors(row: int) -> None:
    answer, options, kind, text = ERRORS[row]
    with pytest.raises(kind, match=re.escape(f"detect: {text}")):
        detect(lambda batch: answer, Z((3, 8, 9), np.float32), **options)
