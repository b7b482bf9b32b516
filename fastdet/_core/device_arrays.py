"""Arrays in GPU memory with NumPy's attributes (shape, dtype, flags), for checks and the CUDA backend. No arithmetic.

A `DeviceArray` holds an array of torch or CuPy. That library does what needs memory or a conversion, on the array's
device and current stream. So results come from the caller's own allocator and calls can be captured in a CUDA graph.
"""

from __future__ import annotations

import importlib
import math
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np

from fastdet._core.half import BFLOAT16

DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged
KEPT_BYTES = 1 << 16  # that a short result may keep alive beside its own: a copy costs a launch
ALIGNMENT = 16  # bytes: kernels load that many at once


class DeviceArray:
    """An array on a GPU; the parts that torch and CuPy share. To `check` it looks like a `numpy.ndarray`.

    What calls ask for again and again is looked up once, when the object is made: for small arrays that costs more
    than the kernel.
    """

    library = ""
    owner: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pointer: int
    device: int

    def __init__(self, owner: Any) -> None:
        raise NotImplementedError

    @property
    def where(self) -> tuple[int, int]:
        """Device and current stream: the last two arguments of every native function."""
        raise NotImplementedError

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """New memory on the same device, not initialised."""
        raise NotImplementedError

    def empty_bytes(self, count: int) -> DeviceArray:
        return self.empty((count,), np.uint8)

    def from_host(self, x: np.ndarray[Any, Any]) -> DeviceArray:
        """A small NumPy array, copied to the same device on this array's stream."""
        raise NotImplementedError

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        raise NotImplementedError

    def require(self, dtype: Any) -> DeviceArray:
        """``numpy.require(self, dtype, ["C", "A"])``."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> DeviceArray:
        return type(self)(self.owner[index])

    def first(self, count: int) -> DeviceArray:
        """The first ``count`` rows. A copy where a view would keep much more memory alive than it shows."""
        view = self[:count]
        return view.copy() if self.nbytes - view.nbytes > max(view.nbytes, KEPT_BYTES) else view

    def on_device(self) -> AbstractContextManager[Any]:
        """A context in which the library's own kernels run on the array's device, which need not be the current one."""
        return nullcontext()

    def __setitem__(self, index: Any, value: DeviceArray) -> None:
        with self.on_device():
            self.owner[index] = value.owner

    def reshape(self, *shape: Any) -> DeviceArray:
        with self.on_device():
            return type(self)(self.owner.reshape(*shape))

    def transpose(self, *axes: int) -> DeviceArray:
        """A view. So are the results of all methods but `astype`, `require`, `copy` and some reshapes."""
        raise NotImplementedError

    @property
    def T(self) -> DeviceArray:
        return self.transpose(*reversed(range(self.ndim)))

    def view(self, dtype: Any) -> DeviceArray:
        raise NotImplementedError

    def copy(self) -> DeviceArray:
        """C-contiguous, in new memory."""
        raise NotImplementedError

    def host(self) -> Any:
        """A copy as a NumPy array. Waits for the GPU: for small arrays."""
        raise NotImplementedError

    def ravel(self) -> DeviceArray:
        return self.reshape(-1)

    def min(self) -> Any:
        with self.on_device():
            return self.owner.min().item()  # waits for the GPU: only checks of rare dtypes need it

    def max(self) -> Any:
        with self.on_device():
            return self.owner.max().item()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def flags(self) -> DeviceArray:
        return self

    @property
    def c_contiguous(self) -> bool:
        raise NotImplementedError

    @property
    def strides(self) -> tuple[int, ...]:
        """In bytes or in entries: only their order is looked at."""
        raise NotImplementedError

    @property
    def aligned(self) -> bool:
        return self.pointer % ALIGNMENT == 0

    writeable = True

    def shares_memory(self, other: DeviceArray) -> bool:
        """Whether the memory of the two arrays, both C-contiguous, overlaps."""
        mine, theirs = self.pointer, other.pointer
        return mine < theirs + other.nbytes and theirs < mine + self.nbytes


class TorchArray(DeviceArray):
    library = "torch"

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.shape = tuple(owner.shape)
        self.dtype = (_torch_dtypes or _find_torch_dtypes()).get(owner.dtype, _UNKNOWN)
        self.pointer = owner.data_ptr()
        self.device = owner.get_device()

    def min(self) -> Any:
        return self._extreme("min")

    def max(self) -> Any:
        return self._extreme("max")

    def _extreme(self, method: str) -> Any:
        """The minimum or maximum. On a GPU torch compares no unsigned numbers of more than 8 bits."""
        torch, x, offset = sys.modules["torch"], self.owner, 2**63
        if self.dtype == np.uint64:  # flipping the top bit gives signed numbers in the same order
            return getattr(x.view(torch.int64) ^ -offset, method)().item() + offset
        return getattr(x.long() if self.dtype.kind == "u" else x, method)().item()

    @property
    def where(self) -> tuple[int, int]:
        device = self.device
        return device, _torch_stream(device)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        torch = sys.modules["torch"]
        dtype = np.dtype(dtype)
        try:
            return TorchArray(torch.empty(shape, dtype=_numpy_dtypes[dtype], device=self.owner.device))
        except torch.OutOfMemoryError as error:
            size = math.prod(shape) * dtype.itemsize
            raise MemoryError(f"{size} bytes on {self.owner.device}: {error}") from error

    def from_host(self, x: np.ndarray[Any, Any]) -> DeviceArray:
        return TorchArray(sys.modules["torch"].from_numpy(x).to(self.owner.device))

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        return TorchArray(self.owner.to(_numpy_dtypes[np.dtype(dtype)], copy=copy))

    def require(self, dtype: Any) -> DeviceArray:
        x = self.owner if dtype is None else self.owner.to(_numpy_dtypes[np.dtype(dtype)])
        x = x.contiguous()
        return TorchArray(x if x.data_ptr() % ALIGNMENT == 0 else x.clone())

    def transpose(self, *axes: int) -> DeviceArray:
        return TorchArray(self.owner.permute(*axes))

    def view(self, dtype: Any) -> DeviceArray:
        return TorchArray(self.owner.view(_numpy_dtypes[np.dtype(dtype)]))

    def copy(self) -> DeviceArray:
        return TorchArray(self.owner.clone(memory_format=sys.modules["torch"].contiguous_format))

    def host(self) -> Any:
        bits = self.view(np.int16).owner if self.dtype == BFLOAT16 else self.owner
        return bits.cpu().numpy().view(self.dtype)

    @property
    def c_contiguous(self) -> bool:
        return self.owner.is_contiguous()

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self.owner.stride())


class CuPyArray(DeviceArray):
    """CuPy's arrays have NumPy's attributes already."""

    library = "cupy"

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.shape = tuple(owner.shape)
        self.dtype = np.dtype(owner.dtype)
        self.pointer = owner.data.ptr
        self.device = owner.device.id

    def on_device(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = self.owner.device
        return device

    @property
    def where(self) -> tuple[int, int]:
        device = self.device
        return device, sys.modules["cupy"].cuda.get_current_stream(device).ptr

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        cupy = sys.modules["cupy"]
        with self.on_device():
            return CuPyArray(cupy.empty(shape, dtype))

    def from_host(self, x: np.ndarray[Any, Any]) -> DeviceArray:
        with self.on_device():
            return CuPyArray(sys.modules["cupy"].asarray(x))

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        with self.on_device():
            return CuPyArray(self.owner.astype(dtype, copy=copy))

    def require(self, dtype: Any) -> DeviceArray:
        with self.on_device():
            x = sys.modules["cupy"].ascontiguousarray(self.owner, self.owner.dtype if dtype is None else dtype)
            x = x.reshape(self.shape)  # ascontiguousarray may add an axis to an array without axes
            return CuPyArray(x if x.data.ptr % ALIGNMENT == 0 else x.copy())

    def transpose(self, *axes: int) -> DeviceArray:
        return CuPyArray(self.owner.transpose(*axes))

    def view(self, dtype: Any) -> DeviceArray:
        return CuPyArray(self.owner.view(dtype))

    def copy(self) -> DeviceArray:
        with self.on_device():
            return CuPyArray(self.owner.copy())

    def host(self) -> Any:
        return self.owner.get()

    @property
    def c_contiguous(self) -> bool:
        return self.owner.flags.c_contiguous

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self.owner.strides)


_UNKNOWN = np.dtype(np.void)  # no check takes it, and the error names it
_torch_dtypes: dict[Any, np.dtype[Any]] = {}  # torch's -> NumPy's; filled when there is a tensor
_numpy_dtypes: dict[np.dtype[Any], Any] = {}  # the other way


def _find_torch_dtypes() -> dict[Any, np.dtype[Any]]:
    torch = sys.modules["torch"]
    names = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "float32", "float64")
    found = {
        **{getattr(torch, name): np.dtype(name) for name in names if hasattr(torch, name)},
        torch.bool: np.dtype(np.bool_),
        torch.bfloat16: BFLOAT16,
        torch.complex64: np.dtype(np.complex64),
        torch.complex128: np.dtype(np.complex128),
    }
    _numpy_dtypes.update((dtype, torch_dtype) for torch_dtype, dtype in found.items())
    _torch_dtypes.update(found)
    return _torch_dtypes


def _torch_stream(device: int) -> int:
    """torch's current stream of a device, without the object that torch makes of it where this torch can."""
    torch = sys.modules["torch"]
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return torch.cuda.current_stream(device).cuda_stream if raw is None else raw(device)


@lru_cache(maxsize=1)
def quick_calls() -> Any:
    """See `arrays.quick_cuda`. None without the CUDA backend, or with a torch that lacks what they need."""
    try:
        return importlib.import_module("fastdet._core.cuda").native.Tensors(sys.modules["torch"])
    except (ImportError, AttributeError):
        return None


def from_torch(x: Any, half: bool) -> DeviceArray:
    """A plain CUDA tensor without gradient; bfloat16 becomes float32 unless ``half``."""
    torch = sys.modules["torch"]
    if x.dtype is torch.bfloat16 and not half:
        x = x.float()
    return TorchArray(x.resolve_conj().resolve_neg())


def from_dlpack(op: str, name: str, x: Any) -> DeviceArray:
    """An array of another library, taken over by CuPy or torch, since results need an allocator.

    ``from_dlpack`` passes our current stream to the other library, which makes the stream wait for pending writes.
    """
    for library, wrap in (("cupy", CuPyArray), ("torch", TorchArray)):
        space = sys.modules.get(library)
        if space is not None:
            return wrap(space.from_dlpack(x))
    for library in ("cupy", "torch"):
        try:
            importlib.import_module(library)
        except ImportError:
            continue
        return from_dlpack(op, name, x)
    raise TypeError(
        f"{op}: {name} must be on the CPU where neither CuPy nor torch is installed, "
        f"got a {type(x).__name__} in GPU memory; install CuPy or torch"
    )


def one_place(op: str, arrays: tuple[Any, ...]) -> None:
    """Raise TypeError unless all arrays are on one device and of one library; None stands for no array."""
    given = [x for x in arrays if x is not None]
    first = given[0]
    if all(type(x) is type(first) for x in given) and all(x.device == first.device for x in given[1:]):
        return
    places = {
        f"{x.library} arrays on cuda:{x.device}" if isinstance(x, DeviceArray) else "arrays on the CPU" for x in given
    }
    if len(places) > 1:
        raise TypeError(
            f"{op}: all arrays must be on one device and of one library, got {' and '.join(sorted(places))}"
        )
