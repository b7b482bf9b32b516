"""`init_as_pycocotools`: this package's classes under the names of pycocotools, for one process."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

from fastdet.coco import hooks, mask
from fastdet.coco.dataset import COCO
from fastdet.coco.evaluation import COCOeval, Params

NAME = "pycocotools"
NAMES = (NAME, f"{NAME}.mask", f"{NAME}.coco", f"{NAME}.cocoeval")


def init_as_pycocotools() -> None:
    """Replace ``pycocotools.coco``, ``.cocoeval`` and ``.mask`` by this package's, in this process.

    Call it before other libraries import them. pycocotools need not be installed. ``importlib.util.find_spec`` finds
    the modules, and ``importlib.reload`` leaves these classes and functions in them.
    """
    if in_place():
        return
    finder, modules = stand_ins()
    sys.modules.update(modules)
    put_first(finder)


def stand_ins() -> tuple[_Finder, dict[str, types.ModuleType]]:
    """The modules that can stand for pycocotools', by name, and what finds them once they are in `sys.modules`."""
    try:
        found = importlib.util.find_spec(NAME)
    except (ImportError, ValueError):  # hidden, or a module without a spec
        found = None
    finder = _Finder(list(found.submodule_search_locations or ()) if found is not None else [])
    modules = {name: importlib.util.module_from_spec(finder.spec(name)) for name in NAMES}
    for name, module in modules.items():
        finder.fill(module, modules[f"{NAME}.mask"])
        if name != NAME:
            setattr(modules[NAME], name.rpartition(".")[2], module)
    return finder, modules


def put_first(finder: _Finder) -> None:
    """Put it before all that could find the installed package, and take out older ones."""
    sys.meta_path[:] = [finder, *(x for x in sys.meta_path if not isinstance(x, _Finder))]


def in_place() -> bool:
    """Whether this package stands for pycocotools."""
    spec = getattr(sys.modules.get(NAME), "__spec__", None)
    return isinstance(getattr(spec, "loader", None), _Finder)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and fills the modules that stand for pycocotools', while they do."""

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders  # of the installed package, for its other modules

    def spec(self, name: str) -> importlib.machinery.ModuleSpec:
        spec = importlib.machinery.ModuleSpec(name, self, origin="fastdet.coco", is_package=name == NAME)
        if name == NAME:
            spec.submodule_search_locations = self.folders
        return spec

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return self.spec(fullname) if fullname in NAMES and in_place() else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        self.fill(module, sys.modules.get(f"{NAME}.mask"))

    def fill(self, module: Any, stand_in: types.ModuleType | None) -> None:
        """Put this package's classes and functions in. ``stand_in``: the module that is pycocotools.mask."""
        if module.__name__ == f"{NAME}.mask":
            module.__doc__ = mask.__doc__
            vars(module).update({name: vars(mask)[name] for name in mask.__all__})
        elif module.__name__ == f"{NAME}.coco":
            module.COCO, module.maskUtils = COCO, stand_in
        elif module.__name__ == f"{NAME}.cocoeval":
            module.COCOeval, module.Params, module.maskUtils = COCOeval, Params, stand_in
            hooks.cocoeval, hooks.mask_iou = module, mask.iou
