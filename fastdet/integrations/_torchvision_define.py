"""The operators of torchvision whose binary does not fit the installed torch: their schemas, and the import with them.

torchvision's own Python registers their gradients, autocast and shapes, as it does for its binary.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fastdet.integrations import _torchvision_deform as deform
from fastdet.integrations import _torchvision_ops as ops
from fastdet.integrations._replace import Changes, IntegrationError

_SIZE = "SymInt pooled_height, SymInt pooled_width"
_MAPS = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_CONV = (
    "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w, "
    "SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups, "
    "bool use_mask"
)
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align(Tensor input, Tensor rois, float spatial_scale, {_SIZE}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, {_SIZE}, {_MAPS}, int sampling_ratio, "
    "bool aligned) -> Tensor",
    "qroi_align(Tensor input, Tensor rois, float input_scale, int input_zero_point, float rois_scale, "
    f"int rois_zero_point, float spatial_scale, {_SIZE}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool(Tensor input, Tensor rois, float spatial_scale, {_SIZE}) -> (Tensor, Tensor)",
    f"_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, {_SIZE}, {_MAPS}) -> Tensor",
    f"ps_roi_align(Tensor input, Tensor rois, float spatial_scale, {_SIZE}, int sampling_ratio) -> (Tensor, Tensor)",
    f"_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, {_SIZE}, "
    f"int sampling_ratio, {_MAPS}) -> Tensor",
    f"ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, {_SIZE}) -> (Tensor, Tensor)",
    f"_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, {_SIZE}, {_MAPS}) "
    "-> Tensor",
    f"deform_conv2d({_CONV}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {_CONV}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor",
    "_cuda_version() -> int",
)
KERNELS: dict[str, Callable[..., Any]] = {
    **ops.KERNELS,
    "deform_conv2d": deform.deform_conv2d,
    "_deform_conv2d_backward": deform.deform_conv2d_backward,
    "box_iou_rotated": ops.box_iou_rotated,
}


def _lacking(name: str) -> Callable[..., Any]:
    def kernel(*arguments: Any) -> Any:
        raise NotImplementedError(
            f"torchvision::{name}: fastdet has no kernel for quantised tensors: pass floats (x.dequantize()), or "
            "install the torch that this torchvision was built for"
        )

    return kernel


def define(kernels: dict[str, Callable[..., Any]]) -> Any:
    """Define every operator that the binary brings, with kernels for the CPU and CUDA. Returns the library."""
    library: Any = torch.library.Library("torchvision", "FRAGMENT")
    try:
        for schema in SCHEMAS:
            library.define(schema)
        for name, kernel in kernels.items():
            for key in ("CPU", "CUDA"):
                library.impl(name, kernel, key)
        for name, key in (
            ("qnms", "CPU"),
            ("qroi_align", "CPU"),
            ("nms", "QuantizedCPU"),
            ("roi_align", "QuantizedCPU"),
        ):
            library.impl(name, _lacking(name), key)
        library.impl("_cuda_version", lambda: -1, "CompositeExplicitAutograd")
    except BaseException:
        library._destroy()
        raise
    return library


def override(names: dict[str, Callable[..., Any]], keys: tuple[str, ...]) -> Any:
    """Put kernels in the place of a binary's. Returns the library: `_destroy` gives the binary's back."""
    library: Any = torch.library.Library("torchvision", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*Overriding a previously registered kernel")
            for name, kernel in names.items():
                for key in keys:
                    library.impl(name, kernel, key)
    except BaseException:
        library._destroy()
        raise
    return library


def exists(name: str = "nms") -> bool:
    """Whether torch knows the operator."""
    return f"torchvision::{name}" in torch._C._dispatch_get_all_op_names()


def forget_modules() -> None:
    """Remove torchvision's modules, so that the next import runs them anew."""
    for name in [key for key in sys.modules if key == "torchvision" or key.startswith("torchvision.")]:
        del sys.modules[name]


def import_with_operators(changes: Changes) -> None:
    """Import torchvision; its own check for the binary is told that the operators are there."""
    forget_modules()  # of an import that has failed in this process
    kept: list[Any] = getattr(torch.library, "_keep_alive", [])
    before = list(kept)

    def back() -> None:
        libraries = [x for x in kept if getattr(x, "ns", "") == "torchvision" and not any(x is y for y in before)]
        for name, attribute in (("_meta_registrations", "get_meta_lib"), ("_autograd_registrations", "_autocast_lib")):
            found = getattr(sys.modules.get(f"torchvision.{name}"), attribute, None)
            if found is not None:
                libraries.append(found() if attribute == "get_meta_lib" else found)
        forget_modules()
        for library in libraries:
            library._destroy()
        kept[:] = [x for x in kept if not any(x is y for y in libraries)]

    changes.on_undo(back)
    finder = _ExtensionFinder()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        raise IntegrationError(
            f"torchvision: its import fails for another reason than its operators: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.meta_path.remove(finder)


def _has_ops() -> bool:  # TorchScript compiles it
    return True


class _ExtensionFinder(MetaPathFinder):
    """Finds `torchvision.extension` as the other finders do; its loader sets `_has_ops` afterwards."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "torchvision.extension":
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _WithOperators(spec.loader)
                return spec
        return None


class _WithOperators(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        module._has_ops = _has_ops  # type: ignore[attr-defined]


def _files(*patterns: str) -> list[Path]:
    """Files of the package, found without importing it."""
    spec = importlib.util.find_spec("torchvision")
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return [path for folder in folders for pattern in patterns for path in sorted(Path(folder).glob(pattern))]


def registers_gradients() -> bool:
    """Whether the gradients of the operators are in torchvision's Python, as they are since 0.27."""
    return bool(_files("_autograd_registrations.py"))


def load_binary() -> str | None:
    """Load the compiled operators as torchvision does. Returns why they cannot be, None where they are there."""
    found = [path for path in _files("_C_stable.*", "_C.*") if path.suffix in (".so", ".pyd", ".dylib")]
    if not found:
        return "the package has no compiled operators"
    try:
        load: Any = torch.ops.load_library
        load(str(found[0]))
    except OSError as error:
        return str(error.__cause__ or error).splitlines()[0]
    return None if exists() else "its binary defines no operators"
