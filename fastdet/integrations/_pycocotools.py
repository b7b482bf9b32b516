"""pycocotools: COCO, COCOeval and mask are fastdet's."""

from __future__ import annotations

import sys

from fastdet.integrations._replace import Changes, Integration, integrate

_MODULES = ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval", "pycocotools.mask")


def pycocotools() -> Integration:
    """Replace pycocotools in this process: `COCO`, `COCOeval`, `Params` and `mask`, every figure equal.

    Call it before other libraries import pycocotools. The package need not be installed.

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
    return integrate("pycocotools", _make)


def _make(changes: Changes) -> tuple[str | None, str]:
    from fastdet.coco.stand_in import init_as_pycocotools

    before = {name: sys.modules.get(name) for name in _MODULES}
    finders = list(sys.meta_path)

    def back() -> None:
        sys.meta_path[:] = [x for x in sys.meta_path if x in finders]
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module

    changes.on_undo(back)
    init_as_pycocotools()
    changes.replaced += ["pycocotools.coco.COCO", "pycocotools.cocoeval.COCOeval", "pycocotools.mask"]
    return None, "modules replaced"
