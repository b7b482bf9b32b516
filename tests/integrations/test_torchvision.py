"""`fastdet.integrations.torchvision`: checks in processes of their own, with a binary that works and without one."""

from __future__ import annotations

from frameworks import need_installed, run_checks, run_script

# A binary that works, as far as anyone can tell: the operators are there, with kernels for the CPU.
WITH_OPERATORS = """
import sys, warnings
warnings.simplefilter("error")
import torch
from fastdet.integrations import _torchvision_define as definitions
asked = []
def own(name):
    def kernel(*arguments):
        asked.append(name)
        return definitions.KERNELS[name](*arguments)
    return kernel
library = definitions.define({name: own(name) for name in definitions.KERNELS})
from fastdet import integrations
boxes, scores = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9.0]]), torch.tensor([0.9, 0.8])
nms = torch.ops.torchvision.nms
"""


def test_inside_torchvision() -> None:
    need_installed("torch", "torchvision")
    report = run_checks("torchvision")
    assert "failed" not in report


def test_a_binary_that_works_is_overridden_and_given_back() -> None:
    need_installed("torch", "torchvision")
    code = WITH_OPERATORS + (
        "assert nms(boxes, scores, 0.5).tolist() == [0] and asked == ['nms']\n"
        "made = integrations.torchvision()\n"
        "assert made.mode == 'kernels replaced (CPU)' and 'torchvision' not in sys.modules\n"
        "assert 'torchvision::deform_conv2d' not in made.replaced\n"
        "assert nms(boxes, scores, 0.5).tolist() == [0] and asked == ['nms']\n"
        "x, rois = torch.rand(1, 4, 5, 5), torch.tensor([[0, 0, 0, 3, 3.0]])\n"
        "names = torch.ops.torchvision\n"
        "names.roi_align(x, rois, 1.0, 2, 2, -1, False); names.roi_pool(x, rois, 1.0, 2, 2)\n"
        "names.ps_roi_align(x, rois, 1.0, 2, 2, -1); names.ps_roi_pool(x, rois, 1.0, 2, 2)\n"
        "assert asked == ['nms']\n"
        "made.undo()\n"
        "assert nms(boxes, scores, 0.5).tolist() == [0] and asked == ['nms'] * 2\n"
        "again = integrations.torchvision(cuda=True)\n"
        "assert again.mode == 'kernels replaced (CPU, CUDA)'\n"
        "assert nms(boxes, scores, 0.5).tolist() == [0] and asked == ['nms'] * 2\n"
        "again.undo()\n"
        "nms(boxes, scores, 0.5)\n"
        "assert asked == ['nms'] * 3\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # torch says nothing about kernels that are replaced


def test_an_import_that_failed_is_made_good() -> None:
    need_installed("torch", "torchvision")
    code = (
        "try:\n"
        "    import torchvision\n"
        "    failed = False\n"
        "except RuntimeError as error:\n"
        "    assert 'torchvision::nms does not exist' in str(error)\n"
        "    failed = True\n"
        "from fastdet import integrations\n"
        "made = integrations.torchvision()\n"
        "assert made.mode.startswith('operators defined') == failed\n"
        "import torch, torchvision\n"
        "assert torchvision.ops.nms(torch.tensor([[0, 0, 1, 1.0]]), torch.ones(1), 0.5).tolist() == [0]\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr


def test_two_threads_make_one_set_of_changes() -> None:
    need_installed("torch", "torchvision")
    code = (
        "import threading\n"
        "from fastdet import integrations\n"
        "made = []\n"
        "threads = [threading.Thread(target=lambda: made.append(integrations.torchvision())) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(made) == 4 and len(set(map(id, made))) == 1 and integrations.active() == made[:1]\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr


ERRORS = """
import sys
from fastdet import integrations
from fastdet.integrations import _replace
{before}
try:
    integrations.torchvision()
except integrations.IntegrationError as error:
    print(str(error))
assert not integrations.active()
"""


def last_line(before: str) -> str:
    done = run_script(ERRORS.format(before=before))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_without_torch_or_torchvision_one_line_says_so() -> None:
    hide = "sys.modules[{!r}] = None\n_replace.version_of = lambda name: {!r}"
    assert last_line(hide.format("torchvision", None)) == (
        "torchvision: the package is not installed: pip install torchvision"
    )
    assert last_line(hide.format("torch", "0.29.1")) == "torchvision: torch is not installed: pip install torch"


def test_too_late_one_line_says_so_and_nothing_is_changed() -> None:
    need_installed("torch", "torchvision")
    fake = (
        "import types, importlib.machinery\n"
        "module = types.ModuleType('torchvision')\n"
        "module.__spec__ = importlib.machinery.ModuleSpec('torchvision', None)\n"
        "sys.modules['torchvision'] = module\n"
    )
    check = "import atexit\natexit.register(lambda: sys.modules['torchvision'] is module or print('changed'))\n"
    text = last_line(fake + check)
    assert "it was imported without its operators" in text
    assert "before the first import of torchvision" in text
    assert "its import is under way" in last_line(fake + check + "module.__spec__._initializing = True\n")


def test_a_release_that_was_not_tried_warns_and_one_that_is_too_old_raises() -> None:
    need_installed("torch", "torchvision")
    code = WITH_OPERATORS + (
        "from fastdet.integrations import _replace\n"
        "_replace.version_of = lambda name: '0.99.0'\n"
        "warnings.simplefilter('always')\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    made = integrations.torchvision()\n"
        "assert [x.category for x in said] == [integrations.IntegrationWarning], said\n"
        "assert 'torchvision: version 0.99.0 was not tried with fastdet (0.27 to 0.29 were)' in str(said[0].message)\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr
    before = (
        "import warnings\n"
        "warnings.simplefilter('ignore')\n"
        "_replace.version_of = lambda name: '0.20.0'\n"
        "from fastdet.integrations import _torchvision_define as definitions\n"
        "definitions.load_binary = lambda: 'undefined symbol'\n"
        "definitions.registers_gradients = lambda: False\n"
    )
    text = last_line(before)
    assert "release 0.20.0 has its gradients in its binary, which does not load (undefined symbol)" in text


def test_an_import_that_fails_for_another_reason_leaves_nothing() -> None:
    need_installed("torch", "torchvision")
    before = (
        "from fastdet.integrations import _torchvision_define as definitions\n"
        "definitions.load_binary = lambda: 'undefined symbol'\n"
        "sys.modules['PIL'] = None\n"
        "import atexit\n"
        "def left():\n"
        "    modules = [name for name in sys.modules if name.startswith('torchvision')]\n"
        "    if definitions.exists() or modules:\n"
        "        print('left over', modules)\n"
        "atexit.register(left)\n"
    )
    text = last_line(before)
    assert text.startswith("torchvision: its import fails for another reason than its operators: "), text
