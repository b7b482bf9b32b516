"""pycocotools: COCO, COCOeval and mask are fastdet's."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from fastdet.integrations._replace import Changes, Integration, integrate, version_of

NAME = "pycocotools"
FUNCTIONS = ("area", "decode", "encode", "frPyObjects", "iou", "merge", "toBbox")  # of its module mask


def pycocotools() -> Integration:
    """Replace pycocotools in this process: `COCO`, `COCOeval`, `Params` and `mask`, every figure equal.

    The package need not be installed. Where it is loaded already, the names that loaded modules hold of it are
    replaced, too. A class that was derived from one of its classes before cannot be replaced, and is named in a
    warning: call this before the import of the code that defines it. Objects made before stay what they are.

    Returns
    -------
    Integration, with what was replaced and `undo`

    Examples
    --------
    >>> made = pycocotools()
    >>> from pycocotools.coco import COCO
    >>> COCO.__module__
    'fastdet.coco'
    >>> made.undo()
    """
    return integrate(NAME, _make)


def _make(changes: Changes) -> tuple[str | None, str]:
    from fastdet.coco import hooks, stand_in

    if not stand_in.in_place():
        watched = hooks.cocoeval, hooks.mask_iou
        finder, modules = stand_in.stand_ins()
        before = {name: sys.modules[name] for name in stand_in.NAMES if name in sys.modules}
        loaded = _loaded()

        def back() -> None:
            sys.meta_path[:] = [x for x in sys.meta_path if x is not finder]
            for name in _loaded() - loaded:  # a part of the package that belongs to the stand-in
                del sys.modules[name]
            hooks.cocoeval, hooks.mask_iou = watched

        changes.on_undo(back)
        for name, module in modules.items():
            changes.item(sys.modules, name, module)
        stand_in.put_first(finder)
        for name, old in before.items():
            changes.everywhere(old, modules[name], but=NAME)
            for own in ("COCO", "COCOeval", "Params") if name != f"{NAME}.mask" else FUNCTIONS:
                if own in vars(modules[name]) and own in vars(old):
                    replaced = vars(old)[own]
                    changes.everywhere(replaced, vars(modules[name])[own], but=NAME)
                    changes.held += [f"{x.__module__}.{x.__qualname__}" for x in _derived(replaced)]
    changes.replaced += ["pycocotools.coco.COCO", "pycocotools.cocoeval.COCOeval", "pycocotools.cocoeval.Params"]
    changes.replaced += ["pycocotools.mask"]
    return version_of(NAME), "modules replaced"


def _loaded() -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] == NAME}


def _derived(old: object) -> Iterator[type]:
    """Classes of modules that were made of an old class, but for the package's own."""
    subclasses: list[type] = old.__subclasses__() if isinstance(old, type) else []
    for sub in subclasses:
        if sub.__module__.partition(".")[0] != NAME and "<locals>" not in sub.__qualname__:
            yield sub
        yield from _derived(sub)
