"""`fastdet.integrations.pycocotools`: its modules are fastdet's until `undo`, and every figure is equal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from frameworks import need_installed, run_command, run_script

EVALUATORS = Path(__file__).with_name("evaluators.py")


def passes(code: str) -> None:
    done = run_script(code)
    assert done.returncode == 0, done.stderr


def test_the_modules_are_fastdets_until_undo() -> None:
    """With the package and without it."""
    for hide in ("", "sys.meta_path.insert(0, Hidden())\n"):
        passes(
            "import importlib.util, sys, fastdet.integrations as inside\n"
            "class Hidden:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'pycocotools': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
            f"{hide}"
            "assert not {'torch', 'pycocotools'} & sys.modules.keys()\n"
            "made = inside.pycocotools()\n"
            "assert inside.pycocotools() is made and inside.active() == [made]\n"
            "from pycocotools.coco import COCO\n"
            "from pycocotools import cocoeval, mask\n"
            "assert COCO.__module__ == cocoeval.COCOeval.__module__ == 'fastdet.coco'\n"
            "import fastdet\n"
            "assert 'pycocotools.coco.COCO' in fastdet.config()['integrations']['pycocotools']\n"
            "made.undo()\n"
            "assert inside.active() == [] and not [x for x in sys.modules if x.startswith('pycocotools')]\n"
            "assert not any('stand_in' in type(x).__module__ for x in sys.meta_path)\n"
        )


FIND = (
    "spec = importlib.util.find_spec('pycocotools.coco'); assert 'site-packages' in spec.origin or spec.has_location\n"
)


def test_the_package_is_found_again() -> None:
    need_installed("pycocotools")
    passes(
        "import importlib.util, sys, fastdet.integrations as inside\n"
        "made = inside.pycocotools()\n"
        "import pycocotools._mask\n"
        "assert importlib.util.find_spec('pycocotools.coco').origin == 'fastdet.coco'\n"
        "made.undo()\n"
        f"{FIND}"
        "import pycocotools.coco, pycocotools.mask, pycocotools._mask\n"
        "assert pycocotools.coco.COCO.__module__ == 'pycocotools.coco'\n"
        "assert pycocotools.mask._mask is pycocotools._mask is sys.modules['pycocotools._mask']\n"
        "again = inside.pycocotools()\n"
        "from pycocotools.coco import COCO\n"
        "assert COCO.__module__ == 'fastdet.coco'\n"
        "again.undo()\n"
    )


def test_called_late() -> None:
    """Modules that hold its parts get fastdet's, and their own back."""
    need_installed("pycocotools")
    passes(
        "import importlib.util, sys, types, fastdet.integrations as inside\n"
        "import pycocotools, pycocotools.cocoeval, pycocotools.mask\n"
        "user = types.ModuleType('user')\n"
        "sys.modules['user'] = user\n"
        "exec('import pycocotools\\n'\n"
        "     'import pycocotools.mask as mask_util\\n'\n"
        "     'from pycocotools.coco import COCO as _COCO\\n'\n"
        "     'from pycocotools.cocoeval import COCOeval, Params\\n'\n"
        "     'from pycocotools.mask import iou, encode\\n', vars(user))\n"
        "names = ['pycocotools', 'mask_util', '_COCO', 'COCOeval', 'Params', 'iou', 'encode']\n"
        "before = [getattr(user, name) for name in names]\n"
        "modules = {k: v for k, v in sys.modules.items() if k.startswith('pycocotools')}\n"
        "attributes = dict(vars(pycocotools))\n"
        "made = inside.pycocotools()\n"
        "after = [getattr(user, name) for name in names]\n"
        "assert all(x is not y for x, y in zip(before, after))\n"
        "assert user._COCO is sys.modules['pycocotools.coco'].COCO and user._COCO.__module__ == 'fastdet.coco'\n"
        "assert user.pycocotools.mask is user.mask_util and user.mask_util.iou is user.iou\n"
        "assert pycocotools is user.pycocotools\n"
        "made.undo()\n"
        "assert all(getattr(user, name) is x for name, x in zip(names, before))\n"
        "assert modules == {k: v for k, v in sys.modules.items() if k.startswith('pycocotools')}\n"
        "assert pycocotools is modules['pycocotools'] and dict(vars(pycocotools)) == attributes\n"
        f"{FIND}"
    )


def test_a_class_that_was_derived_before_is_named() -> None:
    need_installed("pycocotools")
    passes(
        "import sys, types, warnings, fastdet.integrations as inside\n"
        "from pycocotools.coco import COCO\n"
        "class Derived(COCO): pass\n"
        "class Again(Derived): pass\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    made = inside.pycocotools()\n"
        "assert [str(x.message) for x in said] == [\n"
        "    'pycocotools: __main__.Derived, __main__.Again was imported before '\n"
        "    'and stays the framework\\'s own: call fastdet.integrations.pycocotools() first'], said\n"
        "made.undo()\n"
        "warnings.simplefilter('error')\n"
        "try:\n"
        "    inside.pycocotools()\n"
        "except inside.IntegrationWarning: pass\n"
        "else: raise AssertionError\n"
        "assert COCO.__module__ == sys.modules['pycocotools.coco'].COCO.__module__ == 'pycocotools.coco'\n"
    )


def test_after_init_as_pycocotools() -> None:
    passes(
        "import sys, fastdet.coco, fastdet.integrations as inside\n"
        "fastdet.coco.init_as_pycocotools()\n"
        "before = sys.modules['pycocotools.coco']\n"
        "inside.pycocotools().undo()\n"
        "assert sys.modules['pycocotools.coco'] is before and before.COCO is fastdet.coco.COCO\n"
    )


def figures(name: str, inside: str) -> str:
    done = run_command([sys.executable, str(EVALUATORS), inside, name], 600)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("image_by_image", []),
        ("read_by_a_kernel", []),
        ("torchmetrics", ["torchmetrics", "torchvision"]),
        ("lvis", ["lvis"]),
        ("mmdet", ["mmdet", "torch"]),
    ],
)
def test_the_same_figures_in_other_evaluators(name: str, packages: list[str]) -> None:
    """Two processes, one with pycocotools itself; to the last bit."""
    need_installed("pycocotools", *packages)
    own, inside = figures(name, "own"), figures(name, "inside")
    assert own == inside
    assert len(json.loads(own)) >= 1
    assert own.count("0x1.") > 10, "floats in full, and not all of them 0 or 1"
