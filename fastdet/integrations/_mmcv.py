"""mmcv: the compiled module `mmcv._ext` is fastdet's."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from functools import partial
from types import ModuleType

from fastdet.integrations._replace import (
    Changes,
    Integration,
    IntegrationError,
    check_version,
    installed,
    integrate,
)

_NAME = "mmcv._ext"
_TRIED = "2.1", "2.2"


def mmcv(*, replace: bool = False) -> Integration:
    """Put fastdet in the place of `mmcv._ext`, so that ``mmcv.ops`` and all that is built on it run: nothing compiled.

    mmcv-lite, mmengine and mmdet are pure Python; this is the part that they lack. Call it before they are imported.

    Parameters
    ----------
    replace : where mmcv has a compiled `_ext` that loads, False leaves it alone, and True uses fastdet for the ops that
        fastdet has. One that is missing, or does not load beside this torch, is replaced in any case

    Returns
    -------
    Integration, with what was replaced and `undo`

    Raises
    ------
    IntegrationError  neither mmcv-lite nor mmcv is installed, or torch is not

    Notes
    -----
    NMS, Soft-NMS, matching, IoU of boxes, rotated boxes and quadrilaterals, RoIAlign (mean and max), RoIPool, rotated
    RoIAlign, focal losses, deformable and masked convolutions, with mmcv's rules, on the CPU too where mmcv has CUDA
    only. All others raise NotImplementedError with their name when they are called.
    Modules that imported mmcv's ops keep fastdet's after `undo` where mmcv has no ops of its own.

    Examples
    --------
    >>> from fastdet import integrations
    >>> integrations.mmcv()  # doctest: +SKIP
    <Integration mmcv 2.1.0: mmcv._ext is fastdet's: mmcv._ext.bbox_overlaps, ...>
    >>> from mmcv.ops import batched_nms, roi_align  # doctest: +SKIP
    """

    def make(changes: Changes) -> tuple[str | None, str]:
        return _make(changes, bool(replace))

    return integrate("mmcv", make, {"replace": bool(replace)})


def _make(changes: Changes, replace: bool) -> tuple[str, str]:
    _, version = installed("mmcv", "mmcv-lite", "mmcv", "mmcv-full")
    if importlib.util.find_spec("torch") is None:
        raise IntegrationError("mmcv: it needs torch, which is not installed: pip install torch")
    own = _own_module()
    if own is not None and not replace:
        return version, f"nothing replaced, {_NAME} loads: mmcv(replace=True) puts fastdet in its place"
    check_version("mmcv", version, *_TRIED)

    from fastdet.integrations._mmcv_ext import OPS, stand_in

    module = stand_in(own)
    changes.item(sys.modules, _NAME, module)

    def use(old: ModuleType, new: ModuleType) -> None:
        """Modules of mmcv.ops hold the compiled module by a name of their own."""
        for key, user in list(sys.modules.items()):
            if key.partition(".")[0] == "mmcv" and vars(user).get("ext_module") is old:
                user.ext_module = new  # type: ignore[attr-defined]

    if own is not None:
        changes.on_undo(partial(use, module, own))
        use(own, module)
    changes.replaced += [f"{_NAME}.{name}" for name in sorted(OPS)]
    return version, f"{_NAME} is fastdet's"


def _own_module() -> ModuleType | None:
    """mmcv's compiled module, None where there is none that loads. mmcv itself is not imported."""
    if (loaded := sys.modules.get(_NAME)) is not None:
        return loaded
    package = importlib.util.find_spec("mmcv")
    where = package.submodule_search_locations if package else None
    spec = importlib.machinery.PathFinder.find_spec(_NAME, where)
    if spec is None or spec.loader is None:
        return None
    try:
        import torch  # noqa: F401 : its libraries must be loaded first

        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, OSError):  # built for another torch
        return None
    return module
