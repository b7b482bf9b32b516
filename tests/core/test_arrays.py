"""Arrays of other libraries: results are of the input's kind, no gradient is lost, no library is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import equal, mapped
from op_tables import BOX_OPS as OPS
from optional import need
from samples import Array, sample

from fastdet import boxes, fusion, nms

each_op = pytest.mark.parametrize("name", OPS)
SINGLE = "box_iou out", "box_iou aligned out"  # rows that make a NumPy buffer themselves


class Foreign:
    """A CPU array of another library that has DLPack and nothing else."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)


class Space:
    """The namespace of `Standard`."""

    @staticmethod
    def from_dlpack(x: Any) -> Standard:
        return Standard(np.from_dlpack(x))


class Standard(Foreign):
    """One that also follows the array API standard, so that results can be converted back to it."""

    def __array_namespace__(self) -> type[Space]:
        return Space


def results(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple) else (x,)


def own(x: Array) -> Array:
    return x.copy()  # DLPack of a read-only array needs a flag that NumPy 1 does not know


@each_op
def test_numpy_comes_back(name: str) -> None:
    for array in results(OPS[name].call(sample("clustered", 20), None)):
        assert type(array) is np.ndarray


@each_op
@pytest.mark.parametrize("kind", [Foreign, Standard], ids=lambda c: c.__name__)
def test_dlpack(kind: type[Foreign], name: str) -> None:
    if name in SINGLE:  # an `out` of the same kind
        a, b = sample("clustered", 9).boxes, sample("clustered", 9).boxes2
        options = {"aligned": "aligned" in name}
        want = boxes.box_iou(a, b, **options)
        buffer = np.zeros_like(want)
        out = kind(buffer)
        assert boxes.box_iou(kind(own(a)), kind(own(b)), out=out, **options) is out
        equal(buffer, want)
        return
    data = sample("clustered", 20)
    got = results(OPS[name].call(data, None, lambda x: kind(own(x))))
    for g, w in zip(got, results(OPS[name].call(data, None)), strict=True):
        if kind is Standard:
            assert type(g) is Standard
            equal(g.array, w)
        else:
            equal(g, w)  # no way back: NumPy


@each_op
def test_lists(name: str) -> None:
    """Nested lists are float64 (or int64) arrays."""
    if name in SINGLE:
        return
    data = sample("clustered", 20, "float64")
    equal(OPS[name].call(data, None, _tolist), OPS[name].call(data, None))


def _tolist(x: Array) -> Any:
    return x.tolist()


def test_array_interface() -> None:
    """Objects with ``__array__`` and subclasses of ndarray are read; the result is a plain array."""

    class Wrapped:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
            return np.array([[0, 0, 2, 2]], np.float32)

    assert boxes.box_area(Wrapped()).tolist() == [4]
    record = np.rec.array(np.array([[0, 0, 2, 2]], np.float32))
    assert type(boxes.box_area(record)) is np.ndarray


@each_op
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_torch(name: str, dtype: str) -> None:
    torch = need("torch")
    if name in SINGLE:
        a, b = (torch.from_numpy(own(x)) for x in (sample("clustered", 9).boxes, sample("clustered", 9).boxes2))
        options = {"aligned": "aligned" in name}
        out = torch.zeros(9) if "aligned" in name else torch.zeros(9, 9)
        assert boxes.box_iou(a, b, out=out, **options) is out
        assert torch.equal(out, boxes.box_iou(a, b, **options))
        return
    data = sample("clustered", 20, dtype)
    got = results(OPS[name].call(data, None, lambda x: torch.from_numpy(own(x))))
    for g, w in zip(got, results(OPS[name].call(data, None)), strict=True):
        assert type(g) is torch.Tensor
        assert not g.requires_grad
        equal(g.numpy(), w)


def test_torch_strides_and_flags() -> None:
    """Transposed, expanded, negative-bit and conjugate-bit tensors are read by their values."""
    torch = need("torch")
    data = sample("clustered", 30)
    plain = torch.from_numpy(own(data.boxes))
    want = boxes.box_area(plain)
    assert torch.equal(boxes.box_area(plain.t().contiguous().t()), want)
    assert torch.equal(boxes.box_area(plain[:1].expand(30, 4)), want[:1].expand(30))
    negative = torch.complex(torch.zeros(30, 4), -plain).conj().imag
    assert negative.is_neg()
    assert torch.equal(boxes.box_area(negative), want)
    scores = torch.from_numpy(own(data.scores))
    assert torch.equal(nms.nms(negative, scores, 0.5), nms.nms(plain, scores, 0.5))


def test_torch_out_keeps_what_is_written() -> None:
    """An ``out`` that can only be read through a copy raises, or its result would be lost."""
    torch = need("torch")
    b = torch.from_numpy(own(sample("clustered", 5).boxes))
    negative = torch.complex(torch.zeros(5, 5), torch.zeros(5, 5)).conj().imag
    assert negative.is_neg()
    for out in (
        negative,
        torch.zeros(5, 5, dtype=torch.bfloat16),
        torch.zeros(5, 5).t()[:, :3],
        torch.zeros(5, 5, dtype=torch.float16),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^box_iou: out must (be|have) "):
            boxes.box_iou(b, b, out=out)


GRAD: dict[str, Callable[[Any, Any], Any]] = {
    "box_area": lambda b, s: boxes.box_area(b),
    "box_convert": lambda b, s: boxes.box_convert(b, "xyxy", "xywh"),
    "clip_boxes_to_image": lambda b, s: boxes.clip_boxes_to_image(b, (4, 4)),
    "box_iou": lambda b, s: boxes.box_iou(b, b),
    "generalized_box_iou": lambda b, s: boxes.generalized_box_iou(b, b),
    "distance_box_iou": lambda b, s: boxes.distance_box_iou(b, b, aligned=True),
    "complete_box_iou": lambda b, s: boxes.complete_box_iou(b, b),
}
NO_GRAD: dict[str, Callable[[Any, Any], Any]] = {
    "remove_small_boxes": lambda b, s: boxes.remove_small_boxes(b, 1),
    "nms": lambda b, s: nms.nms(b, s, 0.5),
    "batched_nms": lambda b, s: nms.batched_nms(b, s, [0] * len(b), 0.5),
    "soft_nms": lambda b, s: nms.soft_nms(b, s),
    "multiclass_nms": lambda b, s: nms.multiclass_nms(b[None], s[None, :, None], 0.5),
    "merge_boxes": lambda b, s: nms.merge_boxes(b, s, 0.5),
    "nmm": lambda b, s: fusion.nmm(b, s, 0.5),
    "greedy_nmm": lambda b, s: fusion.greedy_nmm(b, s, 0.5, idxs=[0] * len(b)),
    "weighted_boxes_fusion": lambda b, s: nms.weighted_boxes_fusion([b], [s], [[0] * len(b)]),
}


def tensors(torch: Any) -> tuple[Any, Any]:
    data = sample("clustered", 8)
    return (torch.from_numpy(own(x)).requires_grad_() for x in (data.boxes, data.scores))  # type: ignore[return-value]


@pytest.mark.parametrize("op", GRAD)
def test_a_gradient_is_not_lost(op: str) -> None:
    torch = need("torch")
    b, s = tensors(torch)
    name = "boxes1" if "iou" in op else "boxes"
    text = rf"^{op}: {name} requires grad and {op} keeps no graph; pass {name}.detach\(\) or call it under torch"
    with pytest.raises(TypeError, match=text):
        GRAD[op](b, s)
    with pytest.raises(TypeError, match=text):
        GRAD[op](torch.nn.Parameter(b.detach()), s)
    want = GRAD[op](b.detach(), s)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(GRAD[op](b, s), want)


def test_out_that_requires_grad() -> None:
    torch = need("torch")
    b = torch.zeros(2, 4)
    with pytest.raises(TypeError, match=r"^box_iou: out requires grad"):
        boxes.box_iou(b, b, out=torch.zeros(2, 2, requires_grad=True))


@pytest.mark.parametrize("op", NO_GRAD)
def test_ops_without_a_gradient_take_the_tensor(op: str) -> None:
    torch = need("torch")
    b, s = tensors(torch)
    for got, want in zip(results(NO_GRAD[op](b, s)), results(NO_GRAD[op](b.detach(), s.detach())), strict=True):
        assert not got.requires_grad
        assert torch.equal(got, want)


def test_bfloat16_computes_in_float32() -> None:
    torch = need("torch")
    half = torch.from_numpy(own(sample("clustered", 30).boxes)).bfloat16()
    got = boxes.box_iou(half, half)
    assert got.dtype is torch.float32
    assert torch.equal(got, boxes.box_iou(half.float(), half.float()))


def test_a_mapped_table_is_the_table() -> None:
    """`mapped` reaches arrays in lists of models and in options, and nothing else."""
    nested = ([np.zeros(2), np.ones(1)], {"weights": [1, 2], "iscrowd": np.ones(3)}, "linear")
    assert mapped(nested, len) == ([2, 1], {"weights": [1, 2], "iscrowd": 3}, "linear")


def test_import_is_light(python: Any) -> None:
    """Neither torch nor numba nor a command-line library; under 50 ms on top of NumPy, the best of five."""
    code = """
import sys, time
import numpy
start = time.perf_counter()
import fastdet
took = time.perf_counter() - start
fastdet.nms.nms(numpy.zeros((1, 4)), numpy.zeros(1), 0.5)
print(took, *sorted({"torch", "numba", "cupy", "matplotlib", "typer", "rich", "msgspec"} & set(sys.modules)))
"""
    lines = [python(code).stdout.split() for _ in range(5)]
    assert all(len(line) == 1 for line in lines), lines[0][1:]
    assert min(float(line[0]) for line in lines) < 0.05


def test_thresholds_as_arrays_and_tensors() -> None:
    """A NumPy scalar, an array without axes and a tensor without axes are numbers."""
    torch = need("torch")
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    for half in (np.array(0.5), np.float32(0.5), torch.tensor(0.5)):
        assert nms.nms(boxes, scores, half).tolist() == [0, 2]
    for wrong in (np.array([0.5]), torch.tensor([0.5]), torch.tensor(True), np.array(1j)):
        with pytest.raises(TypeError, match="nms: iou_threshold must be a number"):
            nms.nms(boxes, scores, wrong)
