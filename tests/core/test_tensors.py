"""The C++ backend's short way from torch's tensors to arrays: it answers as the long way does, or leaves it to that."""

import contextlib
import gc
import sys
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet._core import backends, dispatch
from fastdet._core.arrays import native_tensors

torch = need("torch")

if backends.native is None:
    pytest.skip("missing backend: cpp", allow_module_level=True)
TENSORS = native_tensors(torch)
if TENSORS is None:
    pytest.skip("missing feature: this torch lends its tensors to no C code", allow_module_level=True)

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("form", ["plain", "transposed", "sliced", "expanded", "no axis", "many axes"])
def test_array_of_a_tensor(name: str, form: str) -> None:
    x = torch.arange(24).reshape(4, 6).to(getattr(torch, name))
    x = {
        "plain": x,
        "transposed": x.T,
        "sliced": x[1:, ::2],
        "expanded": x[:1].expand(5, 6),
        "no axis": x[1, 1],
        "many axes": x.reshape((1,) * 20 + (4, 6)),
    }[form]
    array = TENSORS.array(x)
    expected = x.numpy()
    assert array.dtype == expected.dtype == np.dtype(name)
    assert (array.shape, array.strides, array.ctypes.data) == (x.shape, expected.strides, x.data_ptr())
    assert np.array_equal(array, expected)
    assert array.flags.c_contiguous == expected.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned


def test_array_keeps_the_tensor() -> None:
    x = torch.ones(1000)
    before = sys.getrefcount(x)
    array = TENSORS.array(x)
    during = sys.getrefcount(x)
    assert array.base is x
    assert during == before + 1
    del x
    gc.collect()
    assert array.sum() == 1000
    array[:] = 2
    assert array.base.sum() == 2000
    tensor = array.base
    del array
    after = sys.getrefcount(tensor)
    assert after == before


class Labelled(torch.Tensor):
    pass


LEFT_TO_PYTHON = {
    "no tensor": lambda: np.ones(3),
    "a list": lambda: [1.0],
    "wants a gradient": lambda: torch.ones(3, requires_grad=True),
    "a parameter": lambda: torch.nn.Parameter(torch.ones(3)),
    "a subclass": lambda: torch.ones(3).as_subclass(Labelled),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "8-bit float": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "a lazy sign": lambda: torch.ones(3, dtype=torch.complex64).conj().imag,
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
    "meta": lambda: torch.ones(3, device="meta"),
    "empty": lambda: torch.ones(0),
    "more axes than NumPy": lambda: torch.ones((1,) * 40),
}


@pytest.mark.parametrize("kind", LEFT_TO_PYTHON)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor|.*quantization")
def test_left_to_python(kind: str) -> None:
    assert TENSORS.array(LEFT_TO_PYTHON[kind]()) is None


class Functions(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Dispatches(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


MODES = {
    "none": contextlib.nullcontext,
    "autocast": lambda: torch.autocast("cpu"),
    "forward differentiation": torch.autograd.forward_ad.dual_level,
    "functions": Functions,
    "dispatches": Dispatches,
    "no gradient": torch.no_grad,
    "inference": torch.inference_mode,
}
ARGUMENTS = {
    "arrays": lambda: (np.ones(3), None, 0.5),
    "plain": lambda: (torch.ones(3), None, np.ones(3)),
    "no short way": lambda: (torch.ones(0), torch.eye(3).to_sparse(), torch.ones(3, dtype=torch.bfloat16)),
    "meta": lambda: (np.ones(3), torch.ones(3, device="meta")),
    "wants a gradient": lambda: (torch.ones(3), torch.ones(3, requires_grad=True)),
    "a parameter": lambda: (torch.nn.Parameter(torch.ones(3), requires_grad=False),),
    "a subclass": lambda: (torch.ones(3).as_subclass(Labelled),),
    "a fake one": lambda: (torch._subclasses.FakeTensorMode().from_tensor(torch.ones(3)),),
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_direct(mode: str, arguments: str, grad: bool) -> None:
    xs = ARGUMENTS[arguments]()
    with MODES[mode]():
        direct = TENSORS.direct(xs, grad)
        assert direct == dispatch._is_direct_in_python(xs, grad)
    if arguments == "arrays":
        assert direct
    elif mode in ("autocast", "forward differentiation", "functions", "dispatches"):
        assert not direct


def test_direct_in_a_transform_and_in_a_trace() -> None:
    seen = []

    def look(x: Any) -> Any:
        seen.append((TENSORS.direct((x,), False), dispatch._is_direct_in_python((x,), False), TENSORS.array(x)))
        return x + 1

    torch.vmap(look)(torch.ones(2, 3))
    torch.func.grad(lambda x: look(x).sum())(torch.ones(3))
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        torch.jit.trace(look, torch.ones(3), check_trace=False)
    assert seen == [(False, False, None)] * 3
