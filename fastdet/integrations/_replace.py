"""What every integration shares: all of its changes or none, the way back, and a record of what was replaced."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import os.path
import re
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastdet._core import config
from fastdet.integrations._changes import Changes, IntegrationError

__all__ = [
    "Changes",
    "Integration",
    "IntegrationError",
    "IntegrationWarning",
    "active",
    "check_parameters",
    "check_version",
    "fall_back",
    "installed",
    "integrate",
    "version_of",
    "warn",
]

_PACKAGE = os.path.join(Path(__file__).parents[1], "")
_lock = threading.RLock()  # two threads, one set of changes
_making: list[str] = []
_active: dict[str, Integration] = {}
_said: set[tuple[str, str, str]] = set()


class IntegrationWarning(UserWarning):
    """A version that fastdet was not tried with, or a call that the framework's own function answered."""


class Integration:
    """What one integration has replaced.

    Attributes
    ----------
    framework : its name
    version : of the installed package
    mode : how fastdet stands in it, one line
    replaced : tuple of the names that fastdet answers for
    options : dict, the arguments of the call

    Examples
    --------
    >>> from fastdet import integrations
    >>> made = integrations.pycocotools()
    >>> made in integrations.active()
    True
    >>> made.undo()
    """

    def __init__(
        self, framework: str, version: str | None, mode: str, options: dict[str, Any], changes: Changes
    ) -> None:
        self.framework, self.version, self.mode, self.options = framework, version, mode, options
        self.replaced = tuple(changes.replaced)
        self._changes = changes

    def undo(self) -> None:
        """Give the framework its own functions back. A second call does nothing.

        Objects made meanwhile keep what they were made with, and so do names that other packages imported meanwhile.
        What other code has changed since is left, with a warning.
        """
        with _lock:
            if _active.get(self.framework) is not self:
                return
            try:
                self._changes.undo()
            except Exception as error:
                raise IntegrationError(
                    f"{self.framework}: not all was taken back: {type(error).__name__}: {error}: start a new process"
                ) from error
            finally:
                del _active[self.framework]
                config.integrations.pop(self.framework, None)
        if left := self._changes.foreign:
            warn(
                self.framework,
                f"{self.framework}: other code has changed {_some(left)} since, and it stays so: "
                "take that change back, too",
            )

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{self.framework}{version}: {self.mode}: {', '.join(self.replaced)}"

    def __repr__(self) -> str:
        return f"<Integration {self}>"


def active() -> list[Integration]:
    """The integrations that are active in this process, in the order of their calls."""
    return list(_active.values())


def integrate(
    framework: str, make: Callable[[Changes], tuple[str | None, str]], options: dict[str, Any] | None = None
) -> Integration:
    """Make the changes of one framework, or none of them where ``make`` fails.

    Parameters
    ----------
    framework : the name of the public function
    make : makes the changes; returns the framework's version and the mode, one line
    options : arguments of the public function. A second call with the same ones returns the first call's result;
        with others it is an error.
    """
    options = options or {}
    with _lock:
        if framework in _making:
            raise IntegrationError(
                f"{framework}: called by its own import: call it before anything imports {framework}"
            )
        _wait_no_longer(framework)
        if (made := _active.get(framework)) is not None:
            if made.options != options:
                raise IntegrationError(
                    f"{framework}: already active with {made.options}, asked for {options}: call undo() of it first"
                )
            if lost := made._changes.lost():
                warn(
                    framework,
                    f"{framework}: other code has changed {_some(lost)} since (importlib.reload?): "
                    f"call undo() of the first call's result, then fastdet.integrations.{framework}() again",
                )
            return made
        changes = Changes()
        _making.append(framework)
        try:
            version, mode = make(changes)
            if changes.held:
                warn(
                    framework,
                    f"{framework}: {_some(changes.held)} was imported before and stays the framework's own: "
                    f"call fastdet.integrations.{framework}() first",
                )
            made = _active[framework] = Integration(framework, version, mode, options, changes)
            config.integrations[framework] = str(made)
        except BaseException as error:
            _active.pop(framework, None)
            config.integrations.pop(framework, None)
            try:
                changes.undo()
            except Exception as second:
                raise IntegrationError(
                    f"{framework}: {type(error).__name__}: {error}; and not all was taken back: "
                    f"{type(second).__name__}: {second}: start a new process"
                ) from error
            raise
        finally:
            _making.remove(framework)
        return made


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _wait_no_longer(framework: str) -> None:
    """The launcher's hook waits for the import of a framework; here it is asked for."""
    for finder in sys.meta_path:
        if type(finder).__module__ == "sitecustomize" and hasattr(finder, "waiting"):
            finder.waiting.pop(framework, None)


def version_of(distribution: str) -> str | None:
    """The version of an installed package, without importing it; None where it is absent."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(framework: str, *distributions: str) -> tuple[str, str]:
    """Name and version of the first of the ``distributions`` that is installed, without importing it.

    The version is "unknown" where the module can be imported and has no metadata, such as a clone of its repository.
    """
    for name in distributions or (framework,):
        if (version := version_of(name)) is not None:
            return name, version
    try:
        found = importlib.util.find_spec(framework)
    except ValueError:  # in sys.modules, without a spec
        found = None
    if found is not None and found.origin is not None:
        return framework, "unknown"
    wanted = " or ".join(distributions or (framework,))
    raise IntegrationError(f"{framework}: the package is not installed: pip install {wanted}")


def check_version(framework: str, version: str, first: str, last: str) -> None:
    """Warn where a version is outside of those tried, ``first`` to ``last``: (major, minor) are compared."""

    def key(text: str) -> tuple[int, int] | None:
        parts = re.match(r"\s*v?(?:\d+!)?(\d+)(?:\.(\d+))?", text)
        return None if parts is None else (int(parts[1]), int(parts[2] or 0))

    low, found, high = key(first), key(version), key(last)
    if low is None or high is None:
        raise ValueError(f"check_version: first and last must be versions, got {first!r} and {last!r}")
    if found is None or not low <= found <= high:
        warn(
            framework,
            f"{framework}: version {version} was not tried with fastdet ({first} to {last} were): "
            f"compare some results, or call fastdet.integrations.{framework}().undo()",
        )


def check_parameters(framework: str, name: str, old: Callable[..., Any], wanted: Sequence[str]) -> None:
    """Refuse a function whose parameters are not the ``wanted`` ones: the replacement would misread its arguments."""
    try:
        found = ", ".join(inspect.signature(old).parameters)
    except (TypeError, ValueError):  # no function, or one that is compiled
        found = "no parameters that can be read"
    if found != ", ".join(wanted):
        raise IntegrationError(
            f"{framework}: {name} of this version takes ({found}), and fastdet replaces "
            f"({', '.join(wanted)}): nothing was replaced; install a version that fastdet lists, or a newer fastdet"
        )


def fall_back(framework: str, name: str, why: str) -> None:
    """Say once that the framework's own function answers this kind of call."""
    if (framework, name, why) not in _said:
        _said.add((framework, name, why))
        warn(
            framework,
            f"fastdet.integrations.{framework}: {name}: {why}: the framework's own function answers such calls",
        )


def warn(framework: str, text: str) -> None:
    """Warn at the line of the user's code: the nearest one outside of fastdet, the framework, torch and the import."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _not_the_users(frame, framework):
        frame = frame.f_back
    place, names = frame.f_code.co_filename, frame.f_globals
    registry = names.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, IntegrationWarning, place, frame.f_lineno, names.get("__name__"), registry)


def _not_the_users(frame: Any, framework: str) -> bool:
    file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
    inside = file.startswith((_PACKAGE, "<frozen importlib"))
    return inside or module.partition(".")[0] in (framework, "torch", "importlib", "contextlib", "functools")
