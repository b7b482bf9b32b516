"""Arrays in and results out. Only this file tells NumPy, torch and other array libraries apart.

Kernels on the CPU work on NumPy arrays. `to_numpy` makes one, over the caller's own memory where it can. `to_array`
does the same, and makes a `DeviceArray` of an array on a GPU. `like` turns a result back into the caller's type.
Libraries are looked up in ``sys.modules`` and never imported: a caller who holds a tensor has imported torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from fastdet._core import backends, device_arrays
from fastdet._core.check import FORMATS, Array
from fastdet._core.device_arrays import DLPACK_CUDA
from fastdet._core.half import BFLOAT16

_DLPACK_CPU = (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost: memory that the CPU reads


def to_array(op: str, name: str, x: Any, *, differentiable: bool = False, half: bool = False) -> Any:
    """`to_numpy`, for an op that has a CUDA kernel: an array on a GPU becomes a `DeviceArray`."""
    if (type(x) is np.ndarray and not half) or _is_device_array(x):
        return x
    if (array := _quick_array(x)) is not None:
        return array
    if not on_cuda(x):
        return _by_the_long_way(op, name, x, differentiable, half)
    backends.require_cuda(op)
    if (torch := sys.modules.get("torch")) is not None and isinstance(x, torch.Tensor):
        return device_arrays.from_torch(_plain_tensor(op, name, x, torch, differentiable), half)
    if (cupy := sys.modules.get("cupy")) is not None and isinstance(x, cupy.ndarray):
        return device_arrays.CuPyArray(x)
    return device_arrays.from_dlpack(op, name, x)


def to_host(op: str, name: str, x: Any) -> Array:
    """`to_numpy`, for small arrays: one on a GPU is copied to the host."""
    array = to_array(op, name, x)
    numbers: Array = array if isinstance(array, np.ndarray) else array.host()
    return numbers


def quick_cuda(x: Any, backend: str | None) -> Any:
    """The quick calls, methods of `fastdet._cuda.Tensors`, where ``x`` is a plain tensor on a GPU; else None.

    None too where the caller names a backend.

    One native function checks, allocates and launches: for small inputs the steps in Python cost more than the kernel.
    It gives None for what it has no short way for; what follows in the op then takes the call from the start.
    """
    if backend is not None or type(x) is np.ndarray:
        return None
    torch = sys.modules.get("torch")
    return device_arrays.quick_calls() if torch is not None and type(x) is torch.Tensor and x.is_cuda else None


def on_cuda(x: Any) -> bool:
    """Whether ``x`` is an array in the memory of an NVIDIA GPU."""
    if type(x) is np.ndarray:
        return False
    if _is_device_array(x):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return bool(x.is_cuda)
    return hasattr(x, "__dlpack_device__") and int(x.__dlpack_device__()[0]) in DLPACK_CUDA


def _is_device_array(x: Any) -> bool:
    """Whether ``x`` is a `DeviceArray`, which is what torch's dispatcher passes: see `torch_library`."""
    return backends.device_array is not None and isinstance(x, backends.device_array)


def to_numpy(op: str, name: str, x: Any, *, differentiable: bool = False, half: bool = False) -> Array:
    """``x`` as a NumPy array, without a copy where its memory allows.

    Takes NumPy arrays, torch CPU tensors, anything with ``__dlpack__`` on the CPU, anything with ``__array__`` and
    (nested) sequences of numbers. ``differentiable``: the op has a gradient, which this call would lose, so a tensor
    that requires grad raises TypeError. ``half``: bfloat16 stays an array of `BFLOAT16`; else it becomes float32.
    """
    array = None if type(x) is np.ndarray else _quick_array(x)
    return _by_the_long_way(op, name, x, differentiable, half) if array is None else array


def _by_the_long_way(op: str, name: str, x: Any, differentiable: bool, half: bool) -> Array:
    """`to_numpy` of what `_quick_array` has no array for."""
    if type(x) is np.ndarray:
        return x.view(BFLOAT16) if half and _is_ml_bfloat16(x.dtype) else x
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        if torch._C._get_tracing_state() is not None:
            raise RuntimeError(
                f"{op}: {name} is a tensor of a torch.jit.trace, which would keep its numbers as constants: {op} is no "
                "op of torch, call it outside of the trace"
            )
        return _from_torch(op, name, x, torch, differentiable, half)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{op}: {name} must be a plain array, got a masked array")
    if isinstance(x, np.ndarray):
        return np.asarray(x)
    if hasattr(x, "__dlpack_device__"):
        device = x.__dlpack_device__()
        if int(device[0]) not in _DLPACK_CPU:
            where = tuple(map(int, device))
            _raise_device(op, name, f"a {type(x).__name__} on device {where}", int(device[0]) in DLPACK_CUDA)
        try:
            return np.from_dlpack(x)
        except (BufferError, TypeError, RuntimeError, ValueError) as error:
            got = type(x).__name__
            raise TypeError(f"{op}: {name} must be an array that NumPy can read, got {got}: {error}") from None
    if isinstance(x, (list, tuple)) or hasattr(x, "__array__"):
        try:
            return np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{op}: {name} must be an array, got a ragged {type(x).__name__}: {error}") from None
    raise TypeError(f"{op}: {name} must be an array, got {type(x).__name__}")


@lru_cache(maxsize=1)
def native_tensors(torch: Any) -> Any:
    """The C++ backend's `Tensors`; None without that backend, or with a torch that lacks what it needs."""
    try:
        return None if backends.native is None else backends.native.Tensors(torch)
    except AttributeError:
        return None


def _wait_for_torch(x: Any) -> Array | None:
    """`_quick_array` until there is a tensor: then it is `Tensors.array`, where it can be."""
    global _quick_array
    torch = sys.modules.get("torch")
    if torch is None or type(x) is not torch.Tensor:
        return None
    tensors = native_tensors(torch)
    _quick_array = _no_array if tensors is None else tensors.array
    return _quick_array(x)


def _no_array(x: Any) -> None:
    """`_quick_array` where `native_tensors` has none."""


# The array over the memory of a plain tensor on the CPU, by the shortest way: for small inputs a call costs as much as
# the work. None for all else, which the long way handles: another device or layout, a gradient, bfloat16, ...
_quick_array: Callable[[Any], Array | None] = _wait_for_torch


def _raise_device(op: str, name: str, what: str, cuda: bool) -> NoReturn:
    """Raise for an array that is not on the CPU."""
    text = f"{name} must be on the CPU, got {what}"
    if cuda:
        raise NotImplementedError(f"{op}: backend 'cuda' has no kernel for it: {text}")
    raise TypeError(f"{op}: {text}")


def _from_torch(op: str, name: str, x: Any, torch: Any, differentiable: bool, half: bool) -> Array:
    x = _plain_tensor(op, name, x, torch, differentiable)
    if x.device.type != "cpu":
        _raise_device(op, name, f"a tensor on {x.device}", x.is_cuda)
    if x.dtype is torch.bfloat16:
        if half:
            return x.resolve_neg().view(torch.int16).numpy().view(BFLOAT16)
        x = x.float()
    try:
        array: Array = x.resolve_conj().resolve_neg().numpy()
    except TypeError as error:  # a dtype that NumPy lacks
        raise TypeError(f"{op}: {name} must be an array that NumPy can read, got {x.dtype}: {error}") from None
    return array


def no_graph(op: str, name: str) -> str:
    """The error text where an op would cut a tensor off from its graph."""
    return f"{op}: {name} requires grad and {op} keeps no graph; pass {name}.detach() or call it under torch.no_grad()"


def plain(op: str, name: str, x: Any, box_format: str | None = "xyxy") -> Any:
    """A tensor of a subclass as a plain tensor over the same memory; anything else as it is.

    The one way in for tensors of subclasses (tv_tensors, MONAI's MetaTensor, ...). One that keeps its values elsewhere,
    such as torch's DTensor, stays as it is: torch's dispatcher knows what to do with it, and `to_numpy` refuses it.

    Parameters
    ----------
    box_format : the format of boxes that the op takes, in which a tensor that states another one is refused; None: any

    Raises
    ------
    ValueError  boxes that state another format, as tv_tensors.BoundingBoxes do
    """
    torch = sys.modules.get("torch")
    if torch is None or type(x) is torch.Tensor or not isinstance(x, torch.Tensor):
        return x
    stated = None if box_format is None else stated_format(x)
    if stated is not None and stated != box_format:
        hint = f"; convert them: fastdet.boxes.box_convert(boxes, {stated!r}, {box_format!r})" * (stated in FORMATS)
        raise ValueError(f"{op}: {name} must be {box_format}, got {type(x).__name__} of format {stated}{hint}")
    if isinstance(x, torch.nn.Parameter) or not only_adds(type(x), torch):
        return x
    with torch._C.DisableTorchFunctionSubclass():
        return x.as_subclass(torch.Tensor)


def only_adds(cls: type, torch: Any) -> bool:
    """Whether tensors of a class have memory of their own, as plain ones: the class does not replace the dispatcher."""
    own: Any = cls
    return own.__torch_dispatch__ is torch.Tensor.__torch_dispatch__


_ROTATED = ("xywhr", "cxcywhr", "xyxyxyxy")  # formats that tv_tensors has besides `FORMATS`


def stated_format(x: Any) -> str | None:
    """The format that a tensor of boxes states in its ``format``, in lower case; None for other tensors and arrays."""
    torch = sys.modules.get("torch")
    if torch is None or type(x) is torch.Tensor or not isinstance(x, torch.Tensor):
        return None
    stated = getattr(x, "format", None)
    word = getattr(stated, "value", stated)
    if not isinstance(word, str):
        word = getattr(stated, "name", None)
    word = word.lower() if isinstance(word, str) else None
    return word if word in FORMATS or word in _ROTATED else None


def _plain_tensor(op: str, name: str, x: Any, torch: Any, differentiable: bool) -> Any:
    """A dense tensor without a graph, or a TypeError that says what ``x`` is instead."""
    if type(x) is not torch.Tensor:
        x = plain(op, name, x)
    if type(x) is not torch.Tensor and not isinstance(x, torch.nn.Parameter):
        raise TypeError(f"{op}: {name} must be a plain torch.Tensor, got {type(x).__name__}")
    if x.layout is not torch.strided:
        raise TypeError(f"{op}: {name} must be a dense tensor, got {x.layout}")
    if x.is_quantized:
        raise TypeError(
            f"{op}: {name} must be a plain tensor, got {x.dtype}; pass {name}.int_repr() and keep its scale and zero "
            "point"
        )
    if x.requires_grad:
        if differentiable and torch.is_grad_enabled():
            raise TypeError(no_graph(op, name))
        x = x.detach()
    return x


def writable(op: str, name: str, x: Any) -> Array:
    """An array over ``x``'s own memory, to write results to: in a copy they would be lost."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        if x.dtype is torch.bfloat16 or x.is_neg() or x.is_conj():
            what = "bfloat16" if x.dtype is torch.bfloat16 else "a tensor whose sign is not yet applied"
            raise TypeError(f"{op}: {name} must be a plain float32 or float64 tensor, got {what}")
    elif not isinstance(x, np.ndarray) and not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"{op}: {name} must be an array, got {type(x).__name__}")
    return to_array(op, name, x, differentiable=True)


def like(x: Any) -> Callable[[Array], Any]:
    """A function that turns a result into an array of ``x``'s type."""
    if type(x) is np.ndarray:
        return _as_ml_dtype(x.dtype) if _is_ml_bfloat16(x.dtype) else _same
    if on_cuda(x):
        return _as_cuda(x)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return to_torch
    if hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray):
        space = sys.modules.get(type(x).__module__.split(".")[0])
        if hasattr(x, "__array_namespace__"):
            space = x.__array_namespace__()
        from_dlpack = getattr(space, "from_dlpack", None)
        if callable(from_dlpack):
            return from_dlpack
    return _same


def _as_cuda(x: Any) -> Callable[[Any], Any]:
    """`like` for a GPU: the array of torch or CuPy that a `DeviceArray` holds; other libraries by ``from_dlpack``."""
    if _is_device_array(x):
        return _same
    library = type(x).__module__.split(".")[0]
    if library in ("torch", "cupy"):
        return _owner
    space = x.__array_namespace__() if hasattr(x, "__array_namespace__") else sys.modules.get(library)
    from_dlpack = getattr(space, "from_dlpack", None)
    return (lambda array: from_dlpack(array.owner)) if callable(from_dlpack) else _owner


def _owner(x: Any) -> Any:
    return x.owner


def _same(x: Array) -> Array:
    return x


def _is_ml_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "V" and dtype.name == "bfloat16"  # kind first: asking for a name costs a microsecond


def _as_ml_dtype(dtype: np.dtype[Any]) -> Callable[[Array], Any]:
    return lambda x: x.view(dtype) if x.dtype == BFLOAT16 else x


def to_torch(x: Array) -> Any:
    """A tensor over the array's memory."""
    torch = sys.modules["torch"]
    if x.dtype == BFLOAT16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
