"""When a call must go through torch's dispatcher, and how an area registers its ops with torch.

An area registers when it is imported and torch is there, else as soon as torch has been imported. So programs that
were exported or compiled with fastdet's ops load in any process that imports the area, in either order.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fastdet._core.arrays import native_tensors, only_adds

_modules: dict[str, ModuleType] = {}  # area -> its `_torch`, which has registered its ops
_waiting: list[str] = []  # areas that were imported before torch


def registered(module: str, *xs: Any, grad: bool = True) -> Any:
    """The `_torch` beside ``module`` where a call with the arguments ``xs`` must go through torch's dispatcher.

    None where it need not. It must where one of ``xs`` is a tensor, and: the call is being compiled, exported or
    traced; a mode (of dispatch, functions, forward-mode differentiation, autocast) is active; or a tensor is fake, of a
    subclass that replaces the dispatcher, or wrapped by a function transform. ``grad``: the op has a gradient; then
    also where one is wanted, for any subclass, whose class the results keep, and on the meta device, where networks are
    laid out. Any other tensor takes the direct path through its memory, which costs less.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "compiler"):  # another thread may be half-way through its import
        return None
    if torch.compiler.is_compiling():  # what follows is not for Dynamo to trace
        if not any(isinstance(x, torch.Tensor) for x in xs):
            return None
    elif _is_direct(xs, grad):
        return None
    area = module.rpartition(".")[0]
    return _modules[area] if area in _modules else _register(area)


def _choose_is_direct(xs: tuple[Any, ...], grad: bool) -> bool:
    """`_is_direct` until there is a tensor: then it is `Tensors.direct` of the C++ backend, where it can be."""
    global _is_direct
    torch = sys.modules["torch"]
    if not any(isinstance(x, torch.Tensor) for x in xs):
        return True
    tensors = native_tensors(torch)
    _is_direct = _is_direct_in_python if tensors is None else tensors.direct
    return _is_direct(xs, grad)


def _is_direct_in_python(xs: tuple[Any, ...], grad: bool) -> bool:
    torch = sys.modules["torch"]
    tensor, parameter = torch.Tensor, torch.nn.Parameter
    tensors = [x for x in xs if isinstance(x, tensor)]
    if not tensors:
        return True
    native, recording = torch._C, torch.is_grad_enabled()
    if (
        native._len_torch_dispatch_stack()
        or native._len_torch_function_stack()
        or native._get_tracing_state() is not None
        or torch.is_autocast_enabled("cpu")
        or torch.is_autocast_enabled("cuda")
        or torch.autograd.forward_ad._current_level >= 0
        or any(map(native._functorch.is_functorch_wrapped_tensor, tensors))
    ):
        return False
    for x in tensors:
        cls = type(x)
        if cls is not tensor and cls is not parameter and (grad or not only_adds(cls, torch)):
            return False
        if grad and (x.is_meta or (recording and x.requires_grad)):
            return False
    return True


# Whether a call with these arguments may take the direct path: see `registered`.
_is_direct: Callable[[tuple[Any, ...], bool], bool] = _choose_is_direct


def register_with_torch(area: str) -> None:
    """Register the area's ops now where torch is imported, else as soon as it has been."""
    if "torch" in sys.modules:
        _register(area)
        return
    _waiting.append(area)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _register(area: str) -> ModuleType:
    _modules[area] = importlib.import_module(f"{area}._torch")
    return _modules[area]


class _TorchFinder(MetaPathFinder):
    """Finds torch as the other finders do, with a loader that registers the waiting areas after it."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ThenRegister(spec.loader)
                return spec
        return None


class _ThenRegister(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        with contextlib.suppress(ValueError):  # another thread has removed it
            sys.meta_path.remove(_finder)
        while _waiting:
            # a torch that cannot register the ops is still imported: the first tensor raises the reason
            with contextlib.suppress(Exception):
                _register(_waiting.pop())


_finder = _TorchFinder()
