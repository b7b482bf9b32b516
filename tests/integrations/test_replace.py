"""Changes of a framework's modules: all or none, the way back in any order, warnings at the user's line."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastdet
from fastdet.integrations import IntegrationError, IntegrationWarning, active
from fastdet.integrations import _changes as changes_module
from fastdet.integrations import _replace as replace

Make = Callable[[replace.Changes], tuple[str | None, str]]

OPS = """
def nms(x):
    return "own", x

class Head:
    @staticmethod
    def cut(x):
        return "own", x
    @classmethod
    def name(cls):
        return "own", cls.__name__
    def run(self, x):
        return "own", x

class Wider(Head):
    pass

nothing = None
also_nothing = None

def __getattr__(name):
    if name == "late":
        return nms
    raise AttributeError(name)
"""


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package `madeup` with the modules ops, user and later, and `other`, which uses it."""
    folder = tmp_path / "madeup"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "ops.py").write_text(OPS)
    (folder / "user.py").write_text("from madeup.ops import nms as quick\n")
    (folder / "later.py").write_text("from madeup.ops import nms\n")
    (tmp_path / "other_package.py").write_text("from madeup.ops import nms\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("madeup.ops")
    for made in active():
        made.undo()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("madeup", "other_package")]:
        del sys.modules[name]
    assert changes_module._layers == {}


def replaces(*names: str, with_: Any = None) -> Make:
    """A `make` that replaces these functions of madeup.ops."""

    def make(changes: replace.Changes) -> tuple[str | None, str]:
        ops = sys.modules["madeup.ops"]
        for name in names:
            owner, _, last = name.rpartition(".")

            def nms(*x: Any) -> Any:
                return ("fastdet", *x)

            changes.function(getattr(ops, owner) if owner else ops, last, with_ or nms)
        return "1.0", "functions replaced"

    return make


def test_a_function_is_replaced_wherever_its_package_holds_it_and_comes_back(framework: Any) -> None:
    user, own = importlib.import_module("madeup.user"), framework.nms
    made = replace.integrate("madeup", replaces("nms"))
    assert made.replaced == ("madeup.ops.nms",)
    assert framework.nms(1) == user.quick(1) == ("fastdet", 1)
    later = importlib.import_module("madeup.later")
    assert later.nms is framework.nms
    assert str(made) == "madeup 1.0: functions replaced: madeup.ops.nms"
    assert fastdet.config()["integrations"]["madeup"] == str(made)
    made.undo()
    assert framework.nms is user.quick is later.nms is own
    assert made not in active()
    assert "madeup" not in fastdet.config()["integrations"]
    made.undo()
    assert framework.nms is own


def test_names_elsewhere_are_left_and_named(framework: Any) -> None:
    other = importlib.import_module("other_package")
    with pytest.warns(IntegrationWarning, match=r"^madeup: other_package.nms was imported before and stays .* first$"):
        made = replace.integrate("madeup", replaces("nms"))
    assert other.nms(1) == ("own", 1)
    made.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(IntegrationWarning):
            replace.integrate("madeup", replaces("nms"))
    assert framework.nms is other.nms, "a warning that raises leaves nothing behind"
    assert active() == []


def test_methods_of_each_kind(framework: Any) -> None:
    before = dict(vars(framework.Head))
    made = replace.integrate("madeup", replaces("Head.cut", "Head.name", "Head.run", "Wider.cut"))
    assert made.replaced[:2] == ("madeup.ops.Head.cut", "madeup.ops.Head.name")
    head = framework.Head()
    assert framework.Head.cut(1) == head.cut(1) == framework.Wider.cut(1) == ("fastdet", 1)
    assert framework.Wider.name() == ("fastdet", framework.Wider)
    assert head.run(2) == ("fastdet", head, 2)
    made.undo()
    assert dict(vars(framework.Head)) == before
    assert "cut" not in vars(framework.Wider), "an inherited method stood there, and none of its own"


def test_what_the_modules_getattr_answers(framework: Any) -> None:
    made = replace.integrate("madeup", replaces("late"))
    assert framework.late(1) == framework.nms(1) == ("fastdet", 1)
    made.undo()
    assert "late" not in vars(framework)
    assert framework.late(1) == framework.nms(1) == ("own", 1)


def test_items(framework: Any) -> None:
    table = {"a": 1}

    def make(changes: replace.Changes) -> tuple[str | None, str]:
        changes.item(table, "a", 2)
        changes.item(table, "b", 3)
        changes.item(sys.modules, "madeup.extra", types.ModuleType("madeup.extra"))
        return None, "items"

    made = replace.integrate("madeup", make)
    assert table == {"a": 2, "b": 3}
    assert importlib.import_module("madeup.extra")
    made.undo()
    assert table == {"a": 1}
    assert "madeup.extra" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_name", "nothing"])
def test_a_version_without_the_function(framework: Any, name: str) -> None:
    own = framework.nms
    with pytest.raises(IntegrationError, match=rf"^madeup.ops.{name} is no function of this version: nothing was"):
        replace.integrate("madeup", replaces("nms", name))
    assert framework.nms is own
    assert framework.also_nothing is None
    assert active() == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_all_or_none(framework: Any, error: BaseException) -> None:
    own = framework.nms

    def make(changes: replace.Changes) -> tuple[str | None, str]:
        replaces("nms", "Head.run")(changes)
        raise error

    with pytest.raises(type(error)):
        replace.integrate("madeup", make)
    assert framework.nms is own
    assert active() == []
    replace.integrate("madeup", replaces("nms"))
    assert framework.nms(1) == ("fastdet", 1)


def test_an_undo_that_fails_does_not_keep_the_others(framework: Any) -> None:
    own, calls = framework.nms, []

    def fails() -> None:
        calls.append(1)
        raise OSError("gone")

    def make(changes: replace.Changes) -> tuple[str | None, str]:
        replaces("nms")(changes)
        changes.on_undo(fails)
        return None, "mode"

    made = replace.integrate("madeup", make)
    with pytest.raises(IntegrationError, match=r"^madeup: not all was taken back: OSError: gone: start a new process$"):
        made.undo()
    assert framework.nms is own
    assert active() == []
    assert calls == [1]

    def twice(changes: replace.Changes) -> tuple[str | None, str]:
        make(changes)
        raise ValueError("first")

    with pytest.raises(IntegrationError, match="madeup: ValueError: first; and not all was taken back: OSError: gone"):
        replace.integrate("madeup", twice)
    assert framework.nms is own


def test_an_interrupt_within_undo(framework: Any) -> None:
    own, calls = framework.nms, []

    def interrupted() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    def make(changes: replace.Changes) -> tuple[str | None, str]:
        replaces("nms")(changes)
        changes.on_undo(interrupted)
        return None, "mode"

    made = replace.integrate("madeup", make)
    with pytest.raises(KeyboardInterrupt):
        made.undo()
    assert calls == [1, 1]
    assert framework.nms is own
    assert active() == []


@pytest.mark.parametrize("first_back", [0, 1])
@pytest.mark.parametrize("late_import", [False, True])
def test_two_integrations_of_one_place_are_undone_in_any_order(
    framework: Any, first_back: int, late_import: bool
) -> None:
    user, own = importlib.import_module("madeup.user"), framework.nms
    both = [replace.integrate("a", replaces("nms", with_=lambda x: ("a", x)))]
    if late_import:
        importlib.import_module("madeup.later")
    both.append(replace.integrate("b", replaces("nms", with_=lambda x: ("b", x))))
    assert framework.nms(1) == user.quick(1) == ("b", 1)
    both[first_back].undo()
    assert framework.nms(1) == user.quick(1) == (("b", "a")[first_back], 1)
    both[1 - first_back].undo()
    assert framework.nms is user.quick is importlib.import_module("madeup.later").nms is own


def test_the_same_call_twice_and_other_options() -> None:
    def make(changes: replace.Changes) -> tuple[str | None, str]:
        return None, "mode"

    made = replace.integrate("madeup", make, {"cuda": True})
    assert replace.integrate("madeup", make, {"cuda": True}) is made
    with pytest.raises(IntegrationError, match=r"^madeup: already active with \{'cuda': True\}, asked for \{\}: call"):
        replace.integrate("madeup", make)
    made.undo()
    again = replace.integrate("madeup", make)
    made.undo()
    assert active() == [again], "the undo of an older call is none of the newer one's"
    again.undo()


def test_a_call_from_within() -> None:
    def make(changes: replace.Changes) -> tuple[str | None, str]:
        replace.integrate("madeup", make)
        return None, "mode"

    with pytest.raises(IntegrationError, match=r"^madeup: called by its own import"):
        replace.integrate("madeup", make)
    assert active() == []


def test_other_code_changes_the_place(framework: Any) -> None:
    made = replace.integrate("madeup", replaces("nms"))
    wrapped = framework.nms
    framework.nms = theirs = lambda x: ("theirs", *wrapped(x))
    with pytest.warns(IntegrationWarning, match=r"other code has changed madeup.ops.nms since \(importlib.reload\?\)"):
        assert replace.integrate("madeup", replaces("nms")) is made
    with pytest.warns(IntegrationWarning, match=r"other code has changed madeup.ops.nms since, and it stays so"):
        made.undo()
    assert framework.nms is theirs


def test_reload(framework: Any) -> None:
    made = replace.integrate("madeup", replaces("nms"))
    importlib.reload(framework)
    with pytest.warns(IntegrationWarning, match="call undo"):
        replace.integrate("madeup", replaces("nms"))
    with pytest.warns(IntegrationWarning, match="stays so"):
        made.undo()
    assert framework.nms(1) == ("own", 1)
    replace.integrate("madeup", replaces("nms"))
    assert framework.nms(1) == ("fastdet", 1)


def test_pickles_and_copies(framework: Any) -> None:
    replace.integrate("madeup", replaces("nms", "Head.run"))
    assert copy.deepcopy(framework.nms) is framework.nms
    stored = pickle.dumps([framework.nms, framework.Head.run])
    assert pickle.loads(stored) == [framework.nms, framework.Head.run]
    active()[0].undo()
    assert pickle.loads(stored) == [framework.nms, framework.Head.run]
    assert framework.nms(1) == ("own", 1)


def a_function_of_this_file(x: Any) -> Any:
    return ("fastdet", x)


def test_a_function_that_has_a_name_keeps_it(framework: Any) -> None:
    replace.integrate("madeup", replaces("nms", with_=a_function_of_this_file))
    assert framework.nms is a_function_of_this_file
    assert a_function_of_this_file.__module__ == __name__


def test_threads_share_one_set_of_changes(framework: Any) -> None:
    made: list[Any] = []
    count = []

    def make(changes: replace.Changes) -> tuple[str | None, str]:
        count.append(1)
        return replaces("nms")(changes)

    start = threading.Barrier(8)

    def call() -> None:
        start.wait()
        made.append(replace.integrate("madeup", make))

    workers = [threading.Thread(target=call) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert count == [1]
    assert len(set(map(id, made))) == 1
    assert len(made) == 8


def test_undo_while_others_call(framework: Any) -> None:
    stop, wrong, seen = threading.Event(), [], set()

    def call() -> None:
        try:
            while not stop.is_set():
                seen.add(framework.nms(1)[0])
        except Exception as error:
            wrong.append(error)

    worker = threading.Thread(target=call)
    worker.start()
    for _ in range(300):
        replace.integrate("madeup", replaces("nms")).undo()
    stop.set()
    worker.join()
    assert wrong == []
    assert seen <= {"own", "fastdet"}


def test_modules_that_are_none_or_not_loaded_yet(framework: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sys.modules` also holds None, objects of any class, and lazy modules, which a look must not load."""

    class Proxy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("looked at")

    spec = importlib.util.find_spec("madeup.later")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    monkeypatch.setitem(sys.modules, "madeup.later", lazy)
    monkeypatch.setitem(sys.modules, "madeup.proxy", Proxy())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "madeup.absent", None)  # type: ignore[arg-type]
    replace.integrate("madeup", replaces("nms"))
    assert "nms" not in object.__getattribute__(lazy, "__dict__")
    assert lazy.nms(1) == ("fastdet", 1)


# ---------------------------------------------------------------------------------- versions and warnings
@pytest.mark.parametrize(
    ("version", "tried"),
    [
        ("0.29.1", True), ("0.29.1+cpu", True), ("0.28", True), ("v0.28.3", True), ("0.30.0a0+git1234", True),
        ("0.30rc1", True), ("0.30.0.dev20260101", True), ("1!0.29.0", True), ("0.27.9", False), ("0.31.0", False),
        ("1", False), ("0", False), ("0.100.0", False), ("unknown", False), ("", False), ("main", False),
    ],
)  # fmt: skip
def test_versions(version: str, tried: bool) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        replace.check_version("madeup", version, "0.28", "0.30.2")
    assert bool(said) != tried
    for warning in said:
        assert f"madeup: version {version} was not tried with fastdet (0.28 to 0.30.2 were)" in str(warning.message)
        assert warning.filename == __file__


def test_parameters() -> None:
    def nms(boxes: Any, scores: Any, *rest: Any) -> None: ...

    replace.check_parameters("madeup", "nms", nms, ["boxes", "scores", "rest"])
    with pytest.raises(IntegrationError, match=r"takes \(boxes, scores, rest\), and fastdet replaces \(boxes\): noth"):
        replace.check_parameters("madeup", "nms", nms, ["boxes"])
    for unreadable in (None, type, 3):
        with pytest.raises(IntegrationError, match=r"madeup: nms of this version takes"):
            replace.check_parameters("madeup", "nms", unreadable, ["boxes"])  # type: ignore[arg-type]


def test_the_warning_stands_at_the_users_line(framework: Any, tmp_path: Path) -> None:
    """Not at a line of fastdet's or of the framework's, whichever calls which."""
    script = tmp_path / "script.py"
    script.write_text("import madeup.ops\ndef use():\n    return madeup.ops.nms(1)\n")

    def own_nms(x: Any) -> Any:
        replace.fall_back("madeup", "nms", "a kind that fastdet lacks")
        return x

    own_nms = types.FunctionType(
        own_nms.__code__, {"replace": replace, "__name__": "madeup.ops"}
    )  # as if it stood there
    replace.integrate("madeup", replaces("nms", with_=own_nms))
    user = importlib.import_module("script")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        user.use()
        user.use()
    del sys.modules["script"]
    assert [(warning.filename, warning.lineno) for warning in said] == [(str(script), 3)]
    assert "nms: a kind that fastdet lacks: the framework's own function answers such calls" in str(said[0].message)


def test_installed_without_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replace.installed("made_up_elsewhere", "made-up", "numpy")[0] == "numpy"
    with pytest.raises(IntegrationError, match=r"^made_up_clone: the package is not installed: pip install a or b$"):
        replace.installed("made_up_clone", "a", "b")
    (tmp_path / "made_up_clone").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(IntegrationError):
        replace.installed("made_up_clone")  # a folder is no package
    (tmp_path / "made_up_clone" / "__init__.py").write_text("raise RuntimeError('imported')")
    importlib.invalidate_caches()
    assert replace.installed("made_up_clone") == ("made_up_clone", "unknown")


def test_importing_the_module_imports_no_framework() -> None:
    from frameworks import run_script

    known = "torch, torchvision, mmcv, ultralytics, sahi, pycocotools, numba"
    done = run_script(
        "import sys, fastdet.integrations as inside\n"
        "inside.frameworks()\n"
        f"loaded = set('{known}'.split(', ')) & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    assert done.returncode == 0, done.stderr
