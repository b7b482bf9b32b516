"""The CUDA backend without a GPU: its kernels and its module, compiled as C++ against tests/cuda_emulator.

`backend()` builds that and puts it in the place of `fastdet._cuda`; a stand-in for CuPy hands out arrays whose "device"
memory is the host's. All Python code in between is the very code that a GPU sees. With FASTDET_PTX=90 (or 75) the
kernels are nvcc's own PTX for that architecture, under the checks of tests/ptx.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
import types
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need

import fastdet
from fastdet._core import backends
from fastdet._core.half import BFLOAT16

ROOT = Path(__file__).parents[1]
HERE = ROOT / "tests" / "cuda_emulator"
FLAGS = ["-std=c++17", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]
FLAGS += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
PTX = os.environ.get("FASTDET_PTX", "")
ZONE = 64  # bytes around an array that no kernel may touch, where that is checked
LEFT_OUT = ("sort.cu",)  # CUB's radix sort: tests/cuda_emulator/sort.cpp stands in


@lru_cache(maxsize=1)
def library() -> Path:
    """The extension, built where its sources have changed. Under the sanitizers where this process runs under them."""
    pybind11 = need("pybind11")
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    flags = list(FLAGS)
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    flags += [f"-I{path}" for path in (HERE, ROOT / "csrc", pybind11.get_include(), sysconfig.get_path("include"))]
    headers = sorted([*(ROOT / "csrc").rglob("*.h"), *HERE.glob("*.h")])
    common = b"".join(path.read_bytes() for path in headers) + repr((compiler, flags, sys.version)).encode()
    csrc = ROOT / "csrc"
    module = [*csrc.glob("*/*cuda_bindings.cpp"), *csrc.glob("cuda/*.cpp"), csrc / "python" / "cuda_module.cpp"]
    sources = sorted([*csrc.rglob("*.cu"), *module, *HERE.glob("*.cpp")])
    folder = ROOT / "build" / "cuda_emulator"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}

    def run(*command: str) -> None:
        done = subprocess.run([*compiler, *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def compiled(source: Path) -> str:
        key = hashlib.sha256(common + source.read_bytes()).hexdigest()[:16]
        target = folder / f"{source.parent.name}-{source.stem}-{key}.o"
        if not target.exists():
            run("-x", "c++", *flags, "-c", str(source), "-o", f"{target}.{os.getpid()}")
            os.replace(f"{target}.{os.getpid()}", target)
        return str(target)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compiled, (path for path in sources if path.name not in LEFT_OUT)))
    key = hashlib.sha256(repr(objects).encode()).hexdigest()[:16]
    target = folder / f"_cuda-{key}.so"
    if not target.exists():
        run("-shared", *flags, *objects, "-o", f"{target}.{os.getpid()}")
        os.replace(f"{target}.{os.getpid()}", target)
    return target


def ptx_library(arch: str) -> Path:
    """The extension with nvcc's PTX for that architecture in it; skips without nvcc."""
    from ptx import build

    if build.setup_module().find_nvcc() is None:
        pytest.skip("missing tool: nvcc")
    return build.library(arch)


class Array(np.ndarray[Any, Any]):
    """Looks like `cupy.ndarray` to fastdet. Anything that CuPy would copy to the host is an error."""

    data = property(lambda self: types.SimpleNamespace(ptr=self.ctypes.data))
    device = property(lambda self: Device())

    def get(self) -> Any:
        return np.array(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __array_finalize__(self, obj: Any) -> None:
        pass


class Device(contextlib.nullcontext[None]):
    id = 0


Array.__module__ = "cupy"


def on_gpu(x: Any, alignment: int = 16) -> Any:
    """``x``, a bfloat16 tensor too, as the stand-in's array in the same memory order, at a multiple of 16 bytes."""
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":
        x = x.view(sys.modules["torch"].int16).numpy().view(BFLOAT16)
    x = np.asarray(x)
    axes = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i])) if x.size else range(x.ndim)
    laid = x.transpose(*axes)
    zone = ZONE if _guarding else 0
    raw = np.empty(x.nbytes + alignment + 2 * zone, np.uint8)
    start = zone + -(raw.ctypes.data + zone) % alignment
    copy = raw[start : start + x.nbytes].view(x.dtype).reshape(laid.shape)
    if _guarding:
        _guard(_guarding[-1], raw, start, x.nbytes)
    copy[...] = laid
    return copy.transpose(*np.argsort(axes)).view(Array)


_guarding: list[Any] = []  # the machine that is told of arrays


def _guard(machine: Any, raw: Any, start: int, count: int) -> None:
    """Everything of ``raw`` but ``count`` bytes from ``start`` on is not to be touched while it lives."""
    first, end = raw.ctypes.data, raw.ctypes.data + raw.nbytes
    for zone in ((first, first + start), (first + start + count, end)):
        machine.guard(*zone)
        weakref.finalize(raw, machine.unguard, zone[0])


def on_cpu(x: Any) -> Any:
    """Results, tuples of them too, as plain NumPy arrays; what is not the stand-in's is an error."""
    if isinstance(x, tuple):
        parts = [on_cpu(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    if type(x) is np.ndarray and x.dtype.kind == "U":  # a refusal's text: see ops.Op.call
        return x
    assert type(x) is Array, type(x)
    return np.array(x)


def _empty(shape: Any, dtype: Any) -> Any:
    x = on_gpu(np.empty(shape, dtype), 256)  # as a GPU allocator
    x.reshape(-1).view(np.uint8)[...] = 0xA5 if x.size else 0
    return x


def _cupy() -> types.ModuleType:
    module: Any = types.ModuleType("cupy")
    module.ndarray = Array
    module.empty = _empty
    module.asarray = on_gpu
    module.ascontiguousarray = lambda x, dtype: (
        x if x.flags.c_contiguous and x.dtype == dtype else on_gpu(np.ascontiguousarray(x, dtype))
    )
    stream = types.SimpleNamespace(ptr=0)
    module.cuda = types.SimpleNamespace(get_current_stream=lambda device: stream)
    return module


class Emulator:
    """What a test can ask of it."""

    def __init__(self, path: Path, ptx: str) -> None:
        self._library = ctypes.CDLL(str(path))
        self.machine: Any = None
        if ptx:
            from ptx.machine import Machine

            self.machine = Machine(path)

    def reports(self) -> Counter[str]:
        """What the checks of tests/ptx have found since the last call; nothing where they do not run."""
        return self.machine.reports() if self.machine else Counter()

    def seed(self, seed: int) -> None:
        """Another order of blocks, warps and lanes."""
        self._library.fastdet_emulator_seed(ctypes.c_uint64(seed))

    def skip_launches(self, skip: bool) -> None:
        """Launches do nothing, and a status that is read says: three results. For the time of the host's part."""
        self._library.fastdet_emulator_skip(int(skip))

    def fail_next(self, code: int) -> None:
        """The next launch fails with that error."""
        self._library.fastdet_emulator_fail_next(code)

    def set_host(self, device: int = 0, contexts: int = 1) -> None:
        """The current device, and the devices that have a context, as bits."""
        self._library.fastdet_emulator_set_host(device, ctypes.c_uint(contexts))

    def host(self) -> tuple[int, ...]:
        """The device, the devices with a context, the mode of stream captures now and in the last launch."""
        values = (ctypes.c_int * 4)()
        self._library.fastdet_emulator_host(values)
        return tuple(values)


AREAS = [f"fastdet.{path.parent.name}.{path.stem}" for path in sorted((ROOT / "fastdet").glob("*/_cuda*.py"))]
NAMES = ("fastdet._cuda", "fastdet._core.cuda", *AREAS, "cupy")


def _taken(name: str) -> tuple[Any, Any]:
    """The module of that name, taken out of sys.modules and of its package."""
    package, _, short = name.rpartition(".")
    holder = sys.modules.get(package)
    return sys.modules.pop(name, None), None if holder is None else holder.__dict__.pop(short, None)


@contextlib.contextmanager
def _replaced(modules: dict[str, Any]) -> Iterator[None]:
    """`modules` in the place of all that belongs to the backend, until the end."""
    saved = {name: _taken(name) for name in NAMES}
    state = backends._missing.pop("cuda", None), dict(backends._kernels), backends.device_array
    backends._kernels.clear()
    sys.modules.update(modules)
    if "fastdet._cuda" in modules:
        fastdet.__dict__["_cuda"] = modules["fastdet._cuda"]
    try:
        yield
    finally:
        for name, (module, attribute) in saved.items():
            _taken(name)
            package, _, short = name.rpartition(".")
            if module is not None:
                sys.modules[name] = module
            if attribute is not None:
                sys.modules[package].__dict__[short] = attribute
        backends._missing.pop("cuda", None)
        if state[0] is not None:
            backends._missing["cuda"] = state[0]
        backends._kernels.clear()
        backends._kernels.update(state[1])
        backends.device_array = state[2]


@contextlib.contextmanager
def backend(ptx: str = PTX) -> Iterator[Emulator]:
    """The emulated backend in the place of the real one; with nvcc's PTX for that architecture, where one is named."""
    path = ptx_library(ptx) if ptx else library()
    # a name that pybind11 has not seen: it keeps modules by name
    spec = importlib.util.spec_from_file_location("emulated._cuda", path)
    assert spec is not None
    assert spec.loader is not None
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    with _replaced({"fastdet._cuda": native, "cupy": _cupy()}):
        emulator = Emulator(path, ptx)
        if emulator.machine:
            _guarding.append(emulator.machine)
        try:
            yield emulator
        finally:
            _guarding.clear()


@contextlib.contextmanager
def real() -> Iterator[str]:
    """The backend as it is installed, while another one is in its place; gives why it cannot be used, or ""."""
    with _replaced({}):
        yield backends.cuda_available()


def quick_calls_on_gpu(patch: pytest.MonkeyPatch, torch: Any) -> Any:
    """The quick calls on the tensors of `torch_on_gpu`, for the caller to put in the place of `quick_calls`."""
    from fastdet._core.cuda import native

    patch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    return native.Tensors(torch, 1)


def torch_on_gpu(patch: pytest.MonkeyPatch) -> Any:
    """torch, whose CPU tensors are taken for a GPU's, since the emulator can read their memory; skips without torch."""
    torch = need("torch")
    patch.setattr(fastdet._core.arrays, "on_cuda", lambda x: isinstance(x, torch.Tensor))
    patch.setattr(fastdet._core.arrays, "_quick_array", lambda x: None)  # it knows that they are on the CPU
    patch.setattr(torch.cuda, "current_stream", lambda device: types.SimpleNamespace(cuda_stream=0))
    patch.setattr(torch.Tensor, "get_device", lambda self: 0)
    return torch
