"""`python -m fastdet.integrations`: scripts run as Python runs them, with fastdet inside, and so do their children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
from frameworks import run_command

import fastdet
from fastdet import integrations
from fastdet.integrations._known import functions
from fastdet.integrations._start import sitecustomize

ROOT = str(Path(fastdet.__file__).parents[1])
LAUNCH = (sys.executable, "-m", "fastdet.integrations")

REPORT = """
import json, sys
from pycocotools.coco import COCO
print(json.dumps({"argv": sys.argv, "path": sys.path[0], "main": __name__, "file": globals().get("__file__"),
                  "package": __package__, "inside": COCO.__module__ == "fastdet.coco"}))
"""


def launch(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run_command([*LAUNCH, *arguments], **options)


def write(path: Path, code: str) -> str:
    path.write_text(textwrap.dedent(code))
    return str(path)


def report(*arguments: str, **options: Any) -> dict[str, Any]:
    done = launch("pycocotools", *arguments, **options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said: dict[str, Any] = json.loads(done.stdout)
    assert said.pop("inside") is True
    return said


def plain(*arguments: str, **options: Any) -> dict[str, Any]:
    """What Python itself says of the same script, which does not need pycocotools for it."""
    code = "import sys, types; m = types.ModuleType('pycocotools.coco'); m.COCO = int; sys.modules |= {m.__name__: m}"
    stand_in = Path(options.pop("folder"), "sitecustomize.py")
    stand_in.write_text(code + "; sys.modules['pycocotools'] = types.ModuleType('pycocotools')")
    path = os.pathsep.join([str(stand_in.parent), options.pop("PYTHONPATH", "")])
    done = run_command([sys.executable, *arguments], **options, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said.pop("inside") is False
    return said


@pytest.mark.parametrize("dashes", [True, False])
def test_a_script_runs_as_python_runs_it(tmp_path: Path, dashes: bool) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    script = write(folder / "train.py", REPORT)
    said = report(*["--"] * dashes, script, "--epochs", "3", "--", "-m")
    assert said == plain(script, "--epochs", "3", "--", "-m", folder=tmp_path)
    assert said["argv"] == [script, "--epochs", "3", "--", "-m"]
    assert said["path"] == str(folder)


@pytest.mark.parametrize("kind", ["folder", "zip", "module", "package", "-c", "stdin"])
def test_all_that_python_can_run(tmp_path: Path, kind: str) -> None:
    package = tmp_path / "house" / "training"
    package.mkdir(parents=True)
    for name, code in (("__main__.py", REPORT), ("__init__.py", ""), ("step.py", REPORT)):
        write(package / name, code)
    options: dict[str, Any] = {}
    if kind == "folder":
        what = [str(package)]
    elif kind == "zip":
        what = [str(tmp_path / "training.zip")]
        with zipfile.ZipFile(what[0], "w") as file:
            file.writestr("__main__.py", REPORT)
    elif kind in ("module", "package"):
        what = ["-m", "training.step" if kind == "module" else "training"]
        options["PYTHONPATH"] = os.pathsep.join([str(package.parent), ROOT])
    elif kind == "-c":
        what = ["-c", REPORT]
    else:
        what, options["text"] = ["-"], REPORT
    said, want = report("--", *what, "7", **options), plain(*what, "7", folder=tmp_path, **options)
    if kind in ("module", "package"):  # an empty working folder each
        assert Path(said.pop("path")).parent == Path(want.pop("path")).parent
    assert said == want


def test_a_module_of_the_working_folder() -> None:
    done = launch("pycocotools", "--", "-m", "json.tool", text='{"a": 1}')
    assert (done.returncode, done.stdout) == (0, '{\n    "a": 1\n}\n')


PROCESSES = """
import json, multiprocessing, subprocess, sys

def inside(_):
    from pycocotools.coco import COCO
    return COCO.__module__ == "fastdet.coco", __name__

if __name__ == "__main__":
    said = {}
    for method in ("spawn", "fork", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            said[method] = pool.map(inside, [1])[0]
    code = "from pycocotools.coco import COCO; print(COCO.__module__)"
    said["subprocess"] = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    print(json.dumps(said))
"""


def test_processes_that_the_script_starts(tmp_path: Path) -> None:
    done = launch("pycocotools", "--", write(tmp_path / "train.py", PROCESSES))
    assert done.returncode == 0, done.stderr
    spawned = [True, "__mp_main__"]
    want = {"spawn": spawned, "fork": [True, "__main__"], "forkserver": spawned, "subprocess": "fastdet.coco"}
    assert json.loads(done.stdout) == want


@pytest.mark.parametrize(("code", "status"), [("sys.exit(7)", 7), ("sys.exit('why')", 1), ("1 / 0", 1), ("", 0)])
def test_exit_codes(tmp_path: Path, code: str, status: int) -> None:
    assert launch("pycocotools", "--", write(tmp_path / "a.py", f"import sys\n{code}\n")).returncode == status


def test_a_signal_ends_it_as_it_ends_python(tmp_path: Path) -> None:
    script = write(tmp_path / "a.py", "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    assert launch("pycocotools", "--", script).returncode == -15


def test_a_traceback_shows_the_script_alone(tmp_path: Path) -> None:
    script = write(tmp_path / "a.py", "def f():\n    raise ValueError('mine')\nf()\n")
    done = launch("pycocotools", "--", script)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: mine"
    assert done.stderr.count("  File ") == done.stderr.count(f'  File "{script}"') == 2


def test_options_of_the_interpreter_stay(tmp_path: Path) -> None:
    code = "import sys; print(sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions, sys.stdout.write_through)"
    script, want = write(tmp_path / "a.py", code), "1 True ['error'] True\n"
    for start in (["-um"], ["-u", "-m"]):
        options = [sys.executable, "-O", "-X", "dev", "-W", "error", *start, "fastdet.integrations"]
        done = run_command([*options, "pycocotools", "--", script])
        assert done.stdout.replace("['default', 'error']", "['error']") == want, done.stderr
    done = run_command([sys.executable, "-u", "-mfastdet.integrations", "pycocotools", "--", script])
    assert done.stdout == "0 False [] True\n", done.stderr


def test_nothing_is_imported_before_the_framework(tmp_path: Path) -> None:
    """A script may set variables that NumPy or torch reads when it is loaded; a look for the package is no import."""
    code = """
    import importlib.util, sys
    heavy = {"numpy", "torch", "fastdet"}
    assert importlib.util.find_spec("pycocotools") is not None
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
    assert not any("_start" in folder for folder in sys.path)
    from pycocotools import mask
    assert mask.iou.__module__ == "fastdet.coco.mask"
    import fastdet.integrations as inside
    assert [made.framework for made in inside.active()] == ["pycocotools"]
    assert inside.frameworks()["pycocotools"]["state"] == "active"
    inside.active()[0].undo()
    assert inside.frameworks()["pycocotools"]["state"] == "off"
    """
    done = launch("pycocotools", "--", write(tmp_path / "a.py", code))
    assert done.returncode == 0, done.stderr


def test_a_script_that_calls_the_function_itself(tmp_path: Path) -> None:
    code = """
    import fastdet.integrations as inside
    assert inside.frameworks()["pycocotools"]["state"] == "waits for its import"
    made = inside.pycocotools()
    import pycocotools.coco
    assert inside.active() == [made]
    made.undo()
    """
    done = launch("pycocotools", "--", write(tmp_path / "a.py", code))
    assert done.returncode == 0, done.stderr


def test_another_sitecustomize_is_run_too(tmp_path: Path) -> None:
    write(tmp_path / "sitecustomize.py", "import sys\nsys.marked = True\n")
    script = write(tmp_path / "a.py", "import sys, sitecustomize\nprint(sys.marked, sitecustomize.__file__)\n")
    path = f"{tmp_path}:{ROOT}"
    done = launch("pycocotools", "--", script, PYTHONPATH=path)
    assert done.stdout == f"True {tmp_path / 'sitecustomize.py'}\n", done.stderr


def test_one_within_another(tmp_path: Path) -> None:
    inner = write(tmp_path / "b.py", "import os\nprint(os.environ['FASTDET_INTEGRATIONS'], os.environ['PYTHONPATH'])\n")
    done = launch("pycocotools", "--", "-m", "fastdet.integrations", "pycocotools", "--", inner)
    names, path = done.stdout.split()
    assert names == "pycocotools"
    assert path.split(":").count(sitecustomize.HERE) == 1


FAKE = """
import importlib, sys
import fastdet.integrations as inside
from fastdet.integrations import _replace

def madeup(fail=False):
    def make(changes):
        if fail:
            raise inside.IntegrationError("madeup: cannot: do this")
        changes.function(importlib.import_module("madeup.ops"), "nms", lambda x: ("fastdet", x))
        return "1.0", "functions replaced"
    return _replace.integrate("madeup", make, {"fail": fail})

inside.madeup = madeup
"""


def run_made_up(tmp_path: Path, waiting: str, code: str) -> subprocess.CompletedProcess[str]:
    """A package `madeup` that waits for its import; ``code`` runs with a `fastdet.integrations.madeup`."""
    folder = tmp_path / "madeup"
    folder.mkdir()
    write(folder / "__init__.py", "from madeup.ops import nms\nloaded = []\nloaded.append(1)\n")
    write(folder / "ops.py", "def nms(x):\n    return 'own', x\n")
    script = write(tmp_path / "a.py", FAKE + textwrap.dedent(code))
    path = f"{sitecustomize.HERE}:{ROOT}"
    return run_command([sys.executable, script], PYTHONPATH=path, FASTDET_INTEGRATIONS=waiting)


def test_the_framework_is_loaded_once_and_changed_before_anybody_has_it(tmp_path: Path) -> None:
    code = """
    import copy
    spec = importlib.util.find_spec("madeup")
    assert "madeup" not in sys.modules and spec.origin.endswith("__init__.py") and copy.copy(spec.loader) is not None
    assert spec.loader.get_source("madeup").startswith("from madeup.ops")
    from madeup.ops import nms
    import madeup
    assert nms(1) == madeup.nms(1) == ("fastdet", 1) and madeup.loaded == [1]
    assert type(madeup.__spec__.loader).__name__ == type(madeup.__loader__).__name__ == "SourceFileLoader"
    assert importlib.reload(madeup) is madeup and madeup.nms(1) == ("fastdet", 1)
    """
    done = run_made_up(tmp_path, "madeup", "import importlib.util\n" + textwrap.dedent(code))
    assert done.returncode == 0, done.stderr


def test_an_integration_that_fails_does_so_at_each_import(tmp_path: Path) -> None:
    code = """
    for _ in range(2):
        try:
            import madeup
        except inside.IntegrationError as error:
            print(error)
        assert "madeup" not in sys.modules
    """
    done = run_made_up(tmp_path, "madeup:fail=True", code)
    assert done.stdout == "madeup: cannot: do this\n" * 2, done.stderr


def test_threads_that_import_at_once(tmp_path: Path) -> None:
    code = """
    import threading
    seen, start = [], threading.Barrier(8)
    def load():
        start.wait()
        importlib.util.find_spec("madeup")
        import madeup.ops
        seen.append(madeup.ops.nms(1)[0])
    workers = [threading.Thread(target=load) for _ in range(8)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert seen == ["fastdet"] * 8, seen
    """
    done = run_made_up(tmp_path, "madeup", "import importlib.util\n" + textwrap.dedent(code))
    assert done.returncode == 0, done.stderr


def test_options_of_an_integration() -> None:
    read = sitecustomize.read
    assert read("torchvision:cuda:x=1,mmcv") == {"torchvision": {"cuda": True, "x": 1}, "mmcv": {}}
    assert read("a:b=text:c=[1]") == {"a": {"b": "text", "c": [1]}}
    assert read("") == {}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "expected NAME -- SCRIPT, got no arguments"),
        (["pycocotools"], "expected NAME -- SCRIPT, got pycocotools"),
        (["pycocotools", "--"], "expected NAME -- SCRIPT, got pycocotools --"),
        (["-m", "a"], "expected NAME -- SCRIPT, got -m a"),
        (["train.py", "--", "a"], "unknown integration: train.py"),
        (["pycocotools,", "--", "a"], "unknown integration: an empty name"),
        ([",", "--", "a"], "unknown integration: an empty name"),
        (["IntegrationError", "--", "a"], "unknown integration: IntegrationError"),
        (["active", "--", "a"], "unknown integration: active"),
        (["pycocotools:cuda", "--", "a"], "pycocotools has no option cuda; its options: none"),
    ],
)
def test_wrong_arguments(arguments: list[str], why: str) -> None:
    done = launch(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == f"fastdet.integrations: {why}"
    assert "Traceback" not in done.stderr


def test_options_that_keep_python_from_reading_the_path() -> None:
    code = (
        f"import runpy, sys; sys.path.insert(0, {ROOT!r}); sys.argv = ['x', 'pycocotools', '--', 'a.py']; "
        "runpy.run_module('fastdet.integrations', None, '__main__')"
    )
    done = run_command([sys.executable, "-E", "-c", code])
    assert done.returncode == 2
    assert "python -E, -I and -S do not read PYTHONPATH" in done.stderr


def test_help_names_every_integration() -> None:
    done = launch("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m fastdet.integrations NAME")
    assert f"NAME is one of: {', '.join(functions())}." in done.stdout
    assert "pycocotools" in functions()
    assert all(getattr(integrations, name).__module__ == f"fastdet.integrations._{name}" for name in functions())
    others = {"Integration", "IntegrationError", "IntegrationWarning", "active", "frameworks"}
    assert others | set(functions()) == set(integrations.__all__)


def test_info_lists_them() -> None:
    done = launch("pycocotools", "-m", "fastdet", "info")
    assert done.returncode == 0, done.stderr
    assert "fastdet.integrations.pycocotools() waits for its import" in done.stdout
    done = run_command([sys.executable, "-m", "fastdet", "info", "--json"])
    said = json.loads(done.stdout)
    assert said["frameworks"] == integrations.frameworks()
    assert said["frameworks"]["pycocotools"]["state"] == "off"
    assert said["integrations"] == {}
