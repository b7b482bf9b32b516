"""Pooling and unpooling of int8 and uint8 images with a scale and a zero point: exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need
from pool_images import WINDOWS, channels_last
from samples import Array

from fastdet import pool

BACKENDS = ("reference", "numba", "cpp")
ZERO = {"int8": -7, "uint8": 131}
each_dtype = pytest.mark.parametrize("dtype", ZERO)


def quantised(shape: tuple[int, ...], dtype: str, scale: float = 0.125) -> tuple[Array, Array]:
    """An image, and the real numbers that it stands for, exactly."""
    info = np.iinfo(dtype)
    q = np.random.default_rng(list(shape)).integers(info.min, info.max, shape, dtype, endpoint=True)
    return q, (q.astype(np.float64) - ZERO[dtype]) * scale


@each_dtype
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("width", [8, 31, 32, 33, 64, 67, 130, 300])
def test_values_are_those_of_the_real_numbers(name: str, width: int, dtype: str) -> None:
    """Widths at the ends of vectors and of the blocks of bytes; scale and zero point are those of the input."""
    kernel, stride, padding, ceil_mode = WINDOWS[name]
    q, real = quantised((2, 9, width), dtype)
    window: Any = (kernel, stride, padding)
    for options in ({}, {"compact": True}):
        values, indices = pool.max_pool2d(q, *window, ceil_mode=ceil_mode, **options)
        want, where = pool.max_pool2d(real, *window, ceil_mode=ceil_mode, **options)
        assert values.dtype == dtype
        np.testing.assert_array_equal((values.astype(np.float64) - ZERO[dtype]) * 0.125, want)
        np.testing.assert_array_equal(indices, where)
        alone = pool.max_pool2d(q, *window, ceil_mode=ceil_mode, return_indices=False)
        np.testing.assert_array_equal(alone, values)
        size = q.shape[-2:]
        back = pool.max_unpool2d(values, indices, *window, size, zero_point=ZERO[dtype])
        real_back = pool.max_unpool2d(want, where, *window, size)
        np.testing.assert_array_equal((back.astype(np.float64) - ZERO[dtype]) * 0.125, real_back)


@each_dtype
def test_every_stride_and_phase(dtype: str) -> None:
    """Rows of bytes are sorted by phase in whole vectors: the padding of one phase is not the values of another."""
    q, real = quantised((1, 7, 131), dtype)
    for kernel in (2, 3, 5, 16):
        for stride in (1, 2, 3, 5):
            for padding in (0, 1, kernel // 2):
                window: Any = ((2, kernel), (1, stride), (0, min(padding, kernel // 2)))
                got = pool.max_pool2d(q, *window, ceil_mode=True)
                want = pool.max_pool2d(real, *window, ceil_mode=True)
                np.testing.assert_array_equal((got[0] - np.float64(ZERO[dtype])) * 0.125, want[0])
                np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_the_ends_of_each_dtype_are_zero_points(dtype: str, backend: str) -> None:
    info = np.iinfo(dtype)
    x, places = np.array([[5, 6]], dtype), np.array([[1, 6]])
    for zero in (info.min, min(info.max, 2**63 - 1)):
        want = np.full((2, 4), zero, dtype)
        want[0, 1], want[1, 2] = 5, 6
        got = pool.max_unpool2d(x, places, 2, zero_point=zero, backend=backend)
        np.testing.assert_array_equal(got, want)
        last = pool.max_unpool2d(
            channels_last(np.tile(x, (1, 20, 1, 1))), channels_last(np.tile(places, (1, 20, 1, 1))), 2,
            zero_point=zero, backend=backend,
        )  # fmt: skip
        np.testing.assert_array_equal(last, np.tile(want, (1, 20, 1, 1)))


@pytest.mark.parametrize(
    ("x", "zero", "error", "text"),
    [
        (np.zeros((1, 1)), 1, ValueError, "zero_point must be 0 where x is float, got 1"),
        (np.zeros((1, 1), np.int8), 128, ValueError, "zero_point must be a value of int8, got 128"),
        (np.zeros((1, 1), np.uint8), -1, ValueError, "zero_point must be a value of uint8, got -1"),
        (np.zeros((1, 1), np.uint64), 2**63, ValueError, "zero_point must be a value of int64, got"),
        (np.zeros((1, 1), np.int8), 0.5, TypeError, "zero_point must be an integer, got 0.5"),
        (np.zeros((1, 1), np.int8), True, TypeError, "zero_point must be an integer, got True"),
        (np.zeros((1, 1), np.int8), None, TypeError, "zero_point must be an integer, got None"),
    ],
)
def test_zero_points_that_are_refused(x: Array, zero: Any, error: type[Exception], text: str) -> None:
    for backend in BACKENDS:
        with pytest.raises(error, match=f"^max_unpool2d: {text}"):
            pool.max_unpool2d(x, np.zeros((1, 1), np.int64), 2, zero_point=zero, backend=backend)


# torch and ONNX Runtime


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # torch gives its quantised tensors up
@each_dtype
def test_torch(dtype: str) -> None:
    """torch's op of quantised tensors, its plain one, the op that is registered with torch, and vmap."""
    torch = need("torch")
    q, _ = quantised((2, 3, 8, 10), dtype)
    x = torch.from_numpy(q)
    values, indices = pool.max_pool2d(x, 2)
    want, where = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(values, want)
    assert torch.equal(indices, where)
    kind = torch.qint8 if dtype == "int8" else torch.quint8
    theirs = torch._make_per_tensor_quantized_tensor(x, 0.125, ZERO[dtype])
    assert theirs.dtype is kind
    if dtype == "uint8":  # torch has no kernel for qint8
        assert torch.equal(torch.nn.functional.max_pool2d(theirs, 2).int_repr(), values)
    with pytest.raises(TypeError, match=rf"^max_pool2d: x must be a plain tensor, got {kind}; pass x.int_repr\(\) and"):
        pool.max_pool2d(theirs, 2)
    with pytest.raises(TypeError, match=rf"^max_unpool2d: x must be a plain tensor, got {kind}"):
        pool.max_unpool2d(theirs, torch.zeros(theirs.shape, dtype=torch.int64), 2)
    image = pool.max_unpool2d(values, indices, 2, zero_point=ZERO[dtype])
    each = torch.func.vmap(lambda v, i: pool.max_unpool2d(v, i, 2, zero_point=ZERO[dtype]))(values, indices)
    assert torch.equal(each, image)
    assert torch.equal(image == ZERO[dtype], torch.isin(image, ZERO[dtype]))


@each_dtype
def test_onnxruntime(dtype: str, tmp_path: Any) -> None:
    """A quantised network's MaxPool."""
    onnx, runtime = need("onnx"), need("onnxruntime")
    kind = onnx.TensorProto.INT8 if dtype == "int8" else onnx.TensorProto.UINT8
    node = onnx.helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    infos = [onnx.helper.make_tensor_value_info(name, t, None) for name, t in (("x", kind), ("y", kind), ("i", 7))]
    graph = onnx.helper.make_graph([node], "pool", infos[:1], infos[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    q, _ = quantised((1, 1, 19, 33), dtype)
    want, where = session.run(None, {"x": q})
    values, indices = pool.max_pool2d(q, 3, 2, 1)
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(indices, where)
