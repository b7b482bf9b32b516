"""`fastdet.integrations.pycocotools`: the modules of that name are fastdet's, until `undo`."""

from __future__ import annotations

from frameworks import run_script


def test_the_modules_are_fastdets_until_undo() -> None:
    code = (
        "import sys, fastdet.integrations as inside\n"
        "assert not {'torch', 'pycocotools'} & sys.modules.keys()\n"
        "made = inside.pycocotools()\n"
        "assert inside.pycocotools() is made and inside.active() == [made]\n"
        "from pycocotools.coco import COCO\n"
        "assert COCO.__module__ == 'fastdet.coco'\n"
        "import fastdet\n"
        "assert 'pycocotools.coco.COCO' in fastdet.config()['integrations']['pycocotools']\n"
        "made.undo()\n"
        "assert inside.active() == [] and 'pycocotools' not in sys.modules\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr
