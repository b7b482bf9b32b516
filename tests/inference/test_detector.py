"""`Detector`: pictures of any kind and size in, boxes, masks and keypoints in their own pixels out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need
from samples import Array

from fastdet import inference, nms
from fastdet.inference import Detector, detect, yolo_decode

RED = np.array([255, 0, 0], np.uint8)


def picture(height: int, width: int, box: tuple[int, int, int, int]) -> Array:
    """(H, W, 3) uint8, black, with one red box."""
    image = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = RED
    return image


def red_box(batch: Any) -> list[dict[str, Any]]:
    """A two-stage network of one object: what is red, as a box, a mask of the input, and two corners of the box."""
    found = []
    for planes in np.asarray(batch):
        red = planes[0] > 0.5
        rows, columns = np.nonzero(red)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if rows.size else [0, 0, 0, 0]
        boxes = np.array([[0, 0, 0, 0], box], np.float32)
        points = np.array([[[0, 0, 0]] * 2, [[*box[:2], 1], [*box[2:], 0.5]]], np.float32)
        masks = np.stack([red * 0, red]).astype(np.float32)[:, None]
        scores, labels = np.array([0.2, 0.9], np.float32), np.array([3, 1])
        found.append({"boxes": boxes, "scores": scores, "labels": labels, "masks": masks, "keypoints": points})
    return found


PICTURES = [
    picture(40, 60, (10, 5, 30, 25)),
    picture(60, 40, (8, 20, 20, 44)),
    picture(40, 60, (30, 15, 50, 35)),
    picture(20, 80, (40, 4, 60, 16)),
]
BOXES = [[10, 5, 30, 25], [8, 20, 20, 44], [30, 15, 50, 35], [40, 4, 60, 16]]


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_pictures_of_several_sizes(fit: str, batch_size: int) -> None:
    """Boxes, masks and keypoints are in each picture's own pixels, in the order of the pictures."""
    sizes = []

    def network(batch: Any) -> Any:
        sizes.append(batch.shape)
        return red_box(batch)

    detector = Detector(network, size=(120, 120), fit=fit, batch_size=batch_size)
    found = detector(PICTURES)
    assert [shape[2:] for shape in sizes] == [(120, 120)] * len(sizes)
    assert max(shape[0] for shape in sizes) == min(batch_size, 4)
    for image, box, one in zip(PICTURES, BOXES, found, strict=True):
        assert one.labels.tolist() == [1]  # a box without area is left out
        assert one.scores.tolist() == [np.float32(0.9)]
        np.testing.assert_allclose(one.boxes, [box], atol=1)
        np.testing.assert_allclose(one.keypoints[0, :, :2].ravel(), box, atol=1)
        assert one.keypoints[0, :, 2].tolist() == [1, 0.5]
        red = image[..., 0] > 0
        assert one.masks.shape == (1, *red.shape)
        assert one.masks.dtype == bool
        assert (one.masks[0] & red).sum() / (one.masks[0] | red).sum() > 0.8


def test_pictures_keep_their_size_without_one() -> None:
    """Those of one size make a batch."""
    shapes = []

    def network(batch: Any) -> Any:
        shapes.append(batch.shape)
        return red_box(batch)

    found = Detector(network)(PICTURES)
    assert sorted(shapes) == [(1, 3, 20, 80), (1, 3, 60, 40), (2, 3, 40, 60)]
    assert [one.boxes.tolist() for one in found] == [[box] for box in BOXES]
    assert all(np.array_equal(one.masks[0], x[..., 0] > 0) for one, x in zip(found, PICTURES, strict=True))


def test_kinds_of_pictures() -> None:
    """PIL, NumPy of both orders, tensors, grey, batches: the same boxes, in the kind of the picture."""
    torch, image = need("torch"), need("PIL.Image")
    detector = Detector(red_box)
    x, box = PICTURES[0], [BOXES[0]]
    tensor = torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))
    mixed = [image.fromarray(x), x, tensor, x.astype(np.float32) / 255, x[..., 0], tensor.float() / 255]
    for one, found in zip(mixed, detector(mixed), strict=True):
        assert np.asarray(found.boxes).tolist() == box
        assert isinstance(found.boxes, torch.Tensor) == isinstance(found.masks, torch.Tensor)
        assert isinstance(found.boxes, torch.Tensor) == isinstance(one, torch.Tensor)
    first = Detector(red_box, channels_last=False)
    assert first(x.transpose(2, 0, 1)).boxes.tolist() == box
    assert [found.boxes.tolist() for found in detector(np.stack([x, x]))] == [box, box]
    assert detector(tensor[None])[0].boxes.tolist() == box
    assert detector([]) == []
    palette = image.fromarray(x).convert("P")
    assert detector(palette).boxes.tolist() == box


def test_what_the_network_gets() -> None:
    """(scale * picture - mean) / std, channels reversed, the letterbox's fill before scaling, the weights' dtype."""
    torch = need("torch")
    seen: list[Any] = []

    def network(batch: Any) -> Any:
        seen.append(batch)
        return [(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) for _ in batch]

    x = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3) * 10
    options: Any = {"mean": (0.1, 0.2, 0.3), "std": 0.5, "reverse_channels": True}
    Detector(network, size=4, fit="letterbox", fill=114, **options)(x)
    planes = np.full((3, 4, 4), 114.0, np.float32)
    planes[:, 1:3] = x.transpose(2, 0, 1)[::-1]
    want = (planes / 255 - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / 0.5
    np.testing.assert_allclose(seen[0][0], want, rtol=1e-5, atol=1e-6)
    Detector(network, scale=1.0)(x)
    np.testing.assert_array_equal(seen[1][0], x.transpose(2, 0, 1).astype(np.float32))
    Detector(network)(x / 255.0)
    assert seen[2].dtype == np.float32
    np.testing.assert_allclose(seen[2][0], x.transpose(2, 0, 1) / 255.0, rtol=1e-6)
    Detector(network, **options)(torch.from_numpy(x.transpose(2, 0, 1).copy()))
    np.testing.assert_allclose(seen[3][0].numpy(), want[:, 1:3], rtol=1e-5, atol=1e-6)

    class Half(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

        def forward(self, batch: Any) -> Any:
            return network(batch)

    detector = Detector(Half().eval())
    detector(x)
    assert seen[4].dtype is torch.bfloat16
    assert repr(detector) == "Detector(Half, 3 channels of any size, bfloat16, batch_size=8)"


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_a_decoder_gives_what_detect_gives(fit: str) -> None:
    def network(batch: Any) -> Any:
        rng = np.random.default_rng(0)
        return rng.random((1, 7, 7, 30)).astype(np.float32).repeat(len(batch), 0)

    decode = functools.partial(yolo_decode, size=(64, 64))
    options: Any = {"size": (64, 64), "fit": fit, "score_threshold": 0.6, "max_output": 7, "iou_threshold": 0.4}
    found = Detector(network, decode, **options)(PICTURES)
    assert any(len(one.boxes) for one in found)
    for x, one in zip(PICTURES, found, strict=True):
        want = detect(network, x.transpose(2, 0, 1).astype(np.float32) / 255, decode, **options)
        np.testing.assert_allclose(one.boxes, want.boxes, atol=1e-4)
        np.testing.assert_array_equal(one.scores, want.scores)
        np.testing.assert_array_equal(one.labels, want.labels)
        assert one.masks is None
        assert one.keypoints is None


def test_final_detections() -> None:
    """By falling score, above the threshold, at most max_output; masks of boxes are pasted."""
    boxes = np.array([[0, 0, 8, 8], [4, 4, 20, 12], [2, 2, 6, 6]], np.float32)
    scores, labels = np.array([0.3, 0.9, 0.6], np.float32), np.array([1, 2, 3])
    masks = np.ones((3, 1, 28, 28), np.float32)
    network = lambda batch: [{"boxes": boxes, "scores": scores, "labels": labels, "masks": masks}]  # noqa: E731
    x = np.zeros((16, 24, 3), np.uint8)
    found = Detector(network, score_threshold=0.3)(x)
    assert found.labels.tolist() == [2, 3]
    assert found.masks[0].sum() == 16 * 8
    assert found.masks[0, 4:12, 4:20].all()
    assert Detector(network, max_output=1)(x).labels.tolist() == [2]
    assert Detector(network)(x).labels.tolist() == [2, 3, 1]
    arrays = lambda batch: (boxes[None], scores[None], labels[None])  # noqa: E731
    assert Detector(arrays)(x).labels.tolist() == [2, 3, 1]
    padded = nms.Detections(boxes[None], scores[None], labels[None], np.array([2]))
    assert Detector(lambda batch: padded)(x).labels.tolist() == [2, 1]


# ---- ONNX Runtime


def export(path: Path, fixed: bool, dtype: str = "float32") -> str:
    """A network of torch with a YOLO head of one cell, as an ONNX file."""
    torch = need("torch")
    need("onnx")

    class Network(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            mean = x.float().mean((1, 2, 3), keepdim=True)
            return (mean * 0 + 0.5).expand(-1, 1, 1, 6)

    x = torch.zeros(2, 3, 32, 48, dtype=getattr(torch, dtype))
    axes = None if fixed else {"image": {0: "n", 2: "h", 3: "w"}}
    torch.onnx.export(Network(), (x,), str(path), dynamo=False, input_names=["image"], dynamic_axes=axes)
    return str(path)


DECODE = functools.partial(yolo_decode, predictors=1, size=(32, 48))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_files(tmp_path: Path) -> None:
    """A path and a session; what the file fixes, its size and its batch, is taken over."""
    runtime = need("onnxruntime")
    path = export(tmp_path / "free.onnx", False)
    detector = Detector(path, DECODE, size=(32, 48), threads=1).warm_up()
    found = detector(PICTURES)
    assert found[0].boxes.tolist() == [[15, 10, 45, 30]]
    assert found[1].boxes.tolist() == [[10, 15, 30, 45]]
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert Detector(session, DECODE, size=(32, 48))(PICTURES[0]).boxes.tolist() == [[15, 10, 45, 30]]
    fixed = export(tmp_path / "fixed.onnx", True)
    detector = Detector(Path(fixed), DECODE).warm_up(count=1)
    assert detector.size == (32, 48)
    assert [one.boxes.tolist() for one in detector(PICTURES[:3])] == [one.boxes.tolist() for one in found[:3]]
    with pytest.raises(ValueError, match=r"^Detector: size must be \(32, 48\) as the model's input has, got \(9, 9\)"):
        Detector(fixed, DECODE, size=9)
    with pytest.raises(ValueError, match=r"^Detector: channels must be 3 as the model's input has, got 1"):
        Detector(fixed, DECODE, channels=1)
    byte = export(tmp_path / "byte.onnx", True, "uint8")
    assert Detector(byte, DECODE)(PICTURES[0]).boxes.tolist() == [[15, 10, 45, 30]]
    with pytest.raises(ValueError, match=r"^Detector: scale, mean and std must be None for a network that takes uint8"):
        Detector(byte, DECODE, mean=0.5)
    with pytest.raises(TypeError, match=r"^Detector: pictures must be uint8 as the network's input is, got float64"):
        Detector(byte, DECODE)(PICTURES[0] / 255.0)
    (tmp_path / "torn.onnx").write_bytes(Path(path).read_bytes()[:100])
    with pytest.raises(
        ValueError, match=r"^Detector: model must be a file that ONNX Runtime reads, got .*torn\.onnx: "
    ):
        Detector(str(tmp_path / "torn.onnx"))


# ---- errors

X = PICTURES[0]
EMPTY: Any = lambda batch: [(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) for _ in batch]  # noqa: E731
ONE = {"boxes": np.zeros((1, 4)), "scores": np.zeros(1), "labels": np.zeros(1, int)}


def gives(**changes: Any) -> Callable[[], Any]:
    """A call of a detector whose network gives one detection with some parts changed."""
    found = {**ONE, **changes}
    return lambda: Detector(lambda batch: [found])(X)


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "model": (lambda: Detector(3), TypeError, "model must be a torch module, a session or a function, got int"),
    "no file": (lambda: Detector("nowhere.onnx"), FileNotFoundError, r"no such file: nowhere\.onnx"),
    "other file": (lambda: Detector("net.pt"), ValueError, r"model must be a path that ends in .onnx, got 'net.pt'"),
    "threads": (
        lambda: Detector(EMPTY, threads=1),
        ValueError,
        "providers and threads must be None where model is not",
    ),
    "decode": (lambda: Detector(EMPTY, "yolo"), TypeError, "decode must be a function or None, got 'yolo'"),  # type: ignore[arg-type]
    "fit": (lambda: Detector(EMPTY, fit="crop"), ValueError, "fit must be one of 'stretch', 'letterbox', got 'crop'"),
    "size": (lambda: Detector(EMPTY, size=0), ValueError, "size must be 1 or more, got"),
    "std": (lambda: Detector(EMPTY, std=(1, 0, 1)), ValueError, "std must not be 0"),
    "mean": (lambda: Detector(EMPTY, mean=(1, 2)), ValueError, "mean must have 3 values, one for each channel, got 2"),
    "fill": (
        lambda: Detector(EMPTY, fill=0.5)(X),
        ValueError,
        r"fill must be an integer in \[0, 255\] for pictures of",
    ),
    "batch": (lambda: Detector(EMPTY, batch_size=0), ValueError, "batch_size must be 1 or more, got 0"),
    "kind": (lambda: Detector(EMPTY)(["a"]), TypeError, "picture 0 must be an array, got str"),
    "one kind": (lambda: Detector(EMPTY)({}), TypeError, "picture 0 must be an array, got dict"),
    "dtype": (lambda: Detector(EMPTY)([X, X.astype(int)]), TypeError, "picture 1 must be uint8 or float, got int64"),
    "axes": (lambda: Detector(EMPTY)(X[0, 0]), ValueError, r"picture 0 must have shape \(H, W\) or \(H, W, C\), none"),
    "no pixels": (lambda: Detector(EMPTY)(X[:0]), ValueError, "none of them 0, got"),
    "channels first": (
        lambda: Detector(EMPTY)(X.transpose(2, 0, 1)),
        ValueError,
        r"channels_last must be False where picture 0 is \(C, H, W\), got \(3, 40, 60\)",
    ),
    "channels last": (
        lambda: Detector(EMPTY, channels_last=False)(X),
        ValueError,
        r"channels_last must be True where picture 0 is \(H, W, C\), got \(40, 60, 3\)",
    ),
    "channels": (lambda: Detector(EMPTY)(X[..., :2]), ValueError, "picture 0 must have 3 channels, got 2"),
    "warm up": (lambda: Detector(EMPTY).warm_up(), ValueError, "size must be set for a network of any size, got None"),
    "no labels": (
        lambda: Detector(lambda batch: [{"boxes": [], "scores": []}])(X),
        ValueError,
        "model must give boxes, scores and labels of a picture, got no labels",
    ),
    "count": (lambda: Detector(lambda batch: [])(X), ValueError, "model must give"),
    "NaN": (gives(scores=np.array([np.nan])), ValueError, "scores must not hold NaN, got NaN at index 0"),
    "scores": (gives(scores=np.zeros(2)), ValueError, "scores must have shape"),
    "boxes": (gives(boxes=np.zeros((1, 5))), ValueError, "boxes must have shape"),
    "masks": (gives(masks=np.zeros((2, 8, 8))), ValueError, r"model must give masks of 1 boxes, got shape \(2, 8, 8\)"),
    "points": (gives(keypoints=np.zeros((1, 3))), ValueError, r"model must give keypoints of 1 boxes, got shape"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    call, error, text = ERRORS[case]
    with pytest.raises(error, match=f"^Detector: {text}" if case != "no pixels" else text):
        call()


def test_pictures_of_other_depths() -> None:
    image = need("PIL.Image")
    with pytest.raises(TypeError, match=r"^Detector: picture 0 must have 8 bits a channel, got mode F"):
        Detector(EMPTY)(image.fromarray(np.zeros((4, 4), np.float32)))


def test_names() -> None:
    assert Detector.__module__ == inference.Detected.__module__ == "fastdet.inference"
