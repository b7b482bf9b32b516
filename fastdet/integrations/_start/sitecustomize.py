"""Put fastdet inside the frameworks that FASTDET_INTEGRATIONS names, when one of them is imported.

`python -m fastdet.integrations` sets that variable and puts this folder on PYTHONPATH. So Python runs this file when it
starts, in the launched process and in all Python processes that it starts: workers of any kind, whatever the start
method. Nothing is imported here but the standard library, and a process that never imports a framework does no more.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
import types
from collections.abc import Sequence
from typing import Any

NAME = "FASTDET_INTEGRATIONS"  # torchvision,mmcv; options of the call: torchvision:cuda=True
WITHOUT_PACKAGE = ("pycocotools",)  # fastdet brings its modules: it need not be installed
HERE = os.path.dirname(os.path.abspath(__file__))


def read(text: str) -> dict[str, dict[str, Any]]:
    """The integrations that a text names, with the options of each."""
    found: dict[str, dict[str, Any]] = {}
    for part in filter(None, text.split(",")):
        name, *options = part.split(":")
        found[name] = {}
        for option in options:
            key, _, value = option.partition("=")
            try:
                found[name][key] = ast.literal_eval(value) if value else True
            except (SyntaxError, ValueError):
                found[name][key] = value
    return found


class AtImport(importlib.abc.MetaPathFinder):
    """Finds the frameworks that still wait: the import itself, not a look for the package, calls the integration."""

    def __init__(self, waiting: dict[str, dict[str, Any]]) -> None:
        self.waiting = waiting
        self.asked = threading.local()  # so that this finder, which asks the others, does not ask itself

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.waiting or fullname in sys.modules or getattr(self.asked, "name", "") == fullname:
            return None
        self.asked.name = fullname
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.asked.name = ""
        if spec is None and fullname in WITHOUT_PACKAGE:
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        if spec is not None:
            spec.loader = _Activating(self, spec.loader)
        return spec


class _Activating(importlib.abc.Loader):
    """Calls the integration, which imports the framework, and hands that module over."""

    def __init__(self, finder: AtImport, loader: Any) -> None:
        self.finder, self.loader = finder, loader
        self.spec: importlib.machinery.ModuleSpec | None = None

    def __getattr__(self, name: str) -> Any:  # whoever only looks at the package asks its own loader
        if name.startswith("__") or name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        options = self.finder.waiting.pop(spec.name, None)
        if options is not None:
            try:
                getattr(_integrations(), spec.name)(**options)
            except BaseException:
                self.finder.waiting[spec.name] = options  # a second import fails, too: never without a word
                raise
        module = sys.modules.get(spec.name)
        if module is None:
            module = importlib.import_module(spec.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self.spec  # the import has set one with this loader


def _integrations() -> types.ModuleType:
    try:
        return importlib.import_module("fastdet.integrations")
    except ModuleNotFoundError as error:
        if error.name != "fastdet":
            raise
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(HERE))))  # a clone, or another interpreter
    return importlib.import_module("fastdet.integrations")


def start() -> None:
    """Run the sitecustomize that this one hides, then wait for the frameworks."""
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or ".") != HERE]
    own = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if own is not None:
            sys.modules.setdefault("sitecustomize", own)
        waiting = read(os.environ.get(NAME, ""))
        if waiting:
            sys.meta_path.insert(0, AtImport(waiting))


if __name__ == "sitecustomize":
    start()
