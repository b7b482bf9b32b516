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

from fastdet.coco import hooks
from fastdet.coco.dataset import COCO
from fastdet.coco.evaluation import COCOeval, Params

NAME = "pycocotools"


def init_as_pycocotools() -> None:
    """Replace ``pycocotools.coco`` and ``pycocotools.cocoeval`` by this package's classes, in this process.

    Call it before other libraries import them. ``pycocotools.mask`` stays the installed one. If pycocotools is not
    installed, a substitute can be imported, whose functions raise NotImplementedError. ``importlib.util.find_spec``
    finds the modules, and ``importlib.reload`` leaves these classes in them.
    """
    if _in_place():
        return
    try:
        mask: Any = importlib.import_module(f"{NAME}.mask")
    except ImportError:
        mask = None
    folders = list(sys.modules[NAME].__path__) if mask is not None else []
    finder = _Finder(mask, folders)
    sys.meta_path[:] = [finder, *(x for x in sys.meta_path if not isinstance(x, _Finder))]
    for name in ("", ".mask", ".coco", ".cocoeval"):
        if name == ".mask" and mask is not None:
            sys.modules[NAME].mask = mask  # type: ignore[attr-defined]
            continue
        spec = finder.spec(NAME + name)
        module = sys.modules[NAME + name] = importlib.util.module_from_spec(spec)
        finder.exec_module(module)
        if name:
            setattr(sys.modules[NAME], name[1:], module)


def _in_place() -> bool:
    """Whether this package stands for pycocotools."""
    spec = getattr(sys.modules.get(NAME), "__spec__", None)
    return isinstance(getattr(spec, "loader", None), _Finder)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and fills the modules that stand for pycocotools', while they do."""

    def __init__(self, mask: types.ModuleType | None, folders: list[str]) -> None:
        self.mask, self.folders = mask, folders  # pycocotools' own, if it is installed

    def spec(self, name: str) -> importlib.machinery.ModuleSpec:
        spec = importlib.machinery.ModuleSpec(name, self, origin="fastdet.coco", is_package=name == NAME)
        if name == NAME:
            spec.submodule_search_locations = self.folders
        return spec

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        names = {NAME, f"{NAME}.coco", f"{NAME}.cocoeval", *([f"{NAME}.mask"] if self.mask is None else [])}
        return self.spec(fullname) if fullname in names and _in_place() else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return _Masks(spec.name) if spec.name == f"{NAME}.mask" else None

    def exec_module(self, module: Any) -> None:
        mask = sys.modules.get(f"{NAME}.mask", self.mask)
        if module.__name__ == f"{NAME}.coco":
            module.COCO, module.maskUtils = COCO, mask
        elif module.__name__ == f"{NAME}.cocoeval":
            module.COCOeval, module.Params, module.maskUtils = COCOeval, Params, mask
            compiled = vars(mask).get("_mask")  # the function itself, which a script may have replaced already
            hooks.cocoeval, hooks.mask_iou = module, getattr(compiled, "iou", vars(mask).get("iou"))


class _Masks(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise NotImplementedError(
                f"pycocotools.mask.{name}: fastdet.coco handles boxes; install pycocotools for masks"
            )

        return missing
