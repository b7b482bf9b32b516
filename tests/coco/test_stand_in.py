"""`init_as_pycocotools`: the modules that stand for pycocotools', with it installed and without it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from optional import need

from fastdet.coco import COCO

Python = Callable[..., "subprocess.CompletedProcess[str]"]

WITHOUT = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "pycocotools":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""

MODULES = """
import importlib, importlib.util, json, sys
import fastdet.coco
fastdet.coco.init_as_pycocotools()
fastdet.coco.init_as_pycocotools()  # a second call changes nothing
said = {}
for name in ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval", "pycocotools.mask"):
    spec = importlib.util.find_spec(name)
    module = importlib.import_module(name)
    assert spec is not None and spec.name == name and module.__spec__ is not None, name
    assert importlib.reload(module) is module, name
    said[name] = spec.origin
assert importlib.util.find_spec("pycocotools.no_such_module") is None
import pycocotools, pycocotools.coco, pycocotools.mask
from pycocotools import coco, cocoeval, mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params
assert (COCO, COCOeval, Params) == (fastdet.coco.COCO, fastdet.coco.COCOeval, fastdet.coco.Params)
assert pycocotools.coco is coco and pycocotools.mask is mask and coco.maskUtils is cocoeval.maskUtils is mask
assert pycocotools.__path__ is not None and repr(pycocotools)
import pickle, copy
assert pickle.loads(pickle.dumps(COCO)) is COCO
print(json.dumps(said))
"""


@pytest.mark.parametrize("installed", [True, False])
def test_modules_are_found_and_reloaded(python: Python, installed: bool) -> None:
    if installed:
        need("pycocotools.mask")
    said = json.loads(python(("" if installed else WITHOUT) + MODULES).stdout)
    assert set(said.values()) == {"fastdet.coco"}


MASKS = """
import numpy as np, fastdet.coco
fastdet.coco.init_as_pycocotools()
import importlib, pycocotools.mask
import fastdet.coco.mask as own
for name in ("encode", "decode", "area", "toBbox", "merge", "iou", "frPyObjects"):
    assert getattr(pycocotools.mask, name) is getattr(own, name)
pycocotools.mask.area = None
importlib.reload(pycocotools.mask)
assert pycocotools.mask.area(pycocotools.mask.encode(np.asfortranarray(np.ones((4, 5), np.uint8)))) == 20
"""


@pytest.mark.parametrize("installed", [True, False])
def test_functions_of_masks(python: Python, installed: bool) -> None:
    if installed:
        need("pycocotools.mask")
    python(("" if installed else WITHOUT) + MASKS)
    if installed:  # its other modules can still be imported
        python(MASKS + "import pycocotools._mask")


def test_pycocotools_comes_back_once_the_modules_are_dropped(python: Python) -> None:
    need("pycocotools.mask")
    python("""
import sys, fastdet.coco
fastdet.coco.init_as_pycocotools()
for name in [name for name in sys.modules if name.partition(".")[0] == "pycocotools"]:
    del sys.modules[name]
import pycocotools.coco
assert pycocotools.coco.COCO.__module__ == "pycocotools.coco"
""")


REPLACED = """
import fastdet.coco
fastdet.coco.init_as_pycocotools()
import pycocotools.cocoeval, pycocotools.mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

class Fewer(Params):
    def setDetParams(self):
        super().setDetParams()
        self.maxDets = [1, 2, 3]

pycocotools.cocoeval.Params = Fewer
gt = COCO({"images": [{"id": 1}], "categories": [{"id": 1}],
           "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}]})
dt = gt.loadRes([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1.0}])
evaluation = COCOeval(gt, dt, "bbox")
assert evaluation.params.maxDets == [1, 2, 3]
evaluation.evaluate()
pycocotools.mask.iou = lambda *_: 0
try:
    evaluation.evaluate()
except NotImplementedError as error:
    print(error)
"""


def test_functions_of_the_modules_that_are_replaced(python: Python) -> None:
    """Params is used. mask.iou, which pycocotools calls, is refused."""
    for start in ("", WITHOUT):
        assert python(start + REPLACED).stdout == (
            "COCOeval: pycocotools.mask.iou was replaced, and fastdet's COCOeval does not call it; "
            "replace COCOeval.computeIoU instead\n"
        )


def test_what_is_not_here_yet() -> None:
    coco = COCO({"images": [], "categories": [], "annotations": []})
    with pytest.raises(
        NotImplementedError, match=r"^COCO.download: fastdet fetches nothing .*; fetch each image's 'coco_url'"
    ):
        coco.download("folder", [1])
