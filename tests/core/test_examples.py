"""The examples in docstrings run, and print what they show."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
from collections.abc import Iterator

import numpy as np
import pytest

import fastdet

FUNCTIONS = ("config", "get_num_threads", "set_num_threads")  # of fastdet itself
MODULES = [name for name in fastdet.__all__ if name not in FUNCTIONS and name[:1].islower() and name != "show_config"]
if importlib.util.find_spec("torch") is not None:
    MODULES.append("models")


def examples() -> Iterator[tuple[str, doctest.DocTest]]:
    """Of each public function and class, with NumPy as np and the names of its area and of its module."""
    finder = doctest.DocTestFinder(recurse=False)
    public = [(name, getattr(fastdet, name), fastdet) for name in FUNCTIONS]
    for module in MODULES:
        area = importlib.import_module(f"fastdet.{module}")
        public += [(f"{module}.{name}", getattr(area, name), area) for name in area.__all__]
    for name, x, area in public:
        if inspect.isfunction(x) or inspect.isclass(x):
            space = importlib.import_module(x.__module__)
            around = {**vars(area), **vars(space), **getattr(x, "__globals__", {}), "np": np}
            yield from ((name, test) for test in finder.find(x, name, globs=around) if test.examples)


EXAMPLES = dict(examples())


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(EXAMPLES[name], out=printed.append, clear_globs=False)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(printed)


def test_a_wrong_example_fails() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    runner = doctest.DocTestRunner()
    runner.run(wrong, out=lambda text: None)
    assert runner.failures == 1
