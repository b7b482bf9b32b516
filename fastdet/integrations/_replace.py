"""What every integration shares: all of its changes or none, the way back, and a record of what was replaced."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from fastdet._core import config

_MISSING = object()
_lock = threading.RLock()  # two threads, one set of changes
_active: dict[str, Integration] = {}
_said: set[tuple[str, str]] = set()


class IntegrationError(RuntimeError):
    """A framework cannot be changed: nothing was. The text says what to do."""


class IntegrationWarning(UserWarning):
    """A version that fastdet was not tried with, or a call that the framework's own function answered."""


class Changes:
    """Changes of a framework's modules. `undo` takes all of them back, the last one first."""

    def __init__(self) -> None:
        self.replaced: list[str] = []  # names for the user, in order
        self._back: list[Callable[[], object]] = []

    def attribute(self, owner: Any, name: str, new: Any) -> None:
        """Set ``owner.name``."""
        old = vars(owner).get(name, _MISSING)
        setattr(owner, name, new)
        self.on_undo(lambda: delattr(owner, name) if old is _MISSING else setattr(owner, name, old))

    def item(self, mapping: MutableMapping[str, Any], key: str, new: Any) -> None:
        """Set ``mapping[key]``, for example a module of `sys.modules`."""
        old = mapping.get(key, _MISSING)
        mapping[key] = new
        self.on_undo(lambda: mapping.pop(key, None) if old is _MISSING else mapping.__setitem__(key, old))

    def function(self, owner: Any, name: str, new: Any) -> None:
        """Replace the function ``owner.name``, also where a loaded module of that package holds it.

        ``from package.ops import nms`` made a second name of it, in any module of the package.
        """
        old = getattr(owner, name)
        package = getattr(inspect.getmodule(old) or inspect.getmodule(owner), "__name__", "").partition(".")[0]
        self.attribute(owner, name, new)
        for module in [m for key, m in list(sys.modules.items()) if key.partition(".")[0] == package]:
            for other in [key for key, value in list(vars(module).items()) if value is old]:
                self.attribute(module, other, new)
        self.replaced.append(f"{owner.__module__ + '.' if inspect.isclass(owner) else ''}{owner.__name__}.{name}")

    def on_undo(self, back: Callable[[], object]) -> None:
        """Call ``back`` when the changes are taken back."""
        self._back.append(back)

    def undo(self) -> None:
        while self._back:
            self._back.pop()()


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

        Objects made meanwhile keep what they were made with.
        """
        with _lock:
            if _active.get(self.framework) is self:
                self._changes.undo()
                del _active[self.framework]
                config.integrations.pop(self.framework, None)

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
        if (made := _active.get(framework)) is not None:
            if made.options != options:
                raise IntegrationError(
                    f"{framework}: already active with {made.options}, asked for {options}: call undo() of it first"
                )
            return made
        changes = Changes()
        try:
            version, mode = make(changes)
        except BaseException:
            changes.undo()
            raise
        made = _active[framework] = Integration(framework, version, mode, options, changes)
        config.integrations[framework] = str(made)
        return made


def version_of(distribution: str) -> str | None:
    """The version of an installed package, without importing it; None where it is absent."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(framework: str, *distributions: str) -> tuple[str, str]:
    """Name and version of the first of the ``distributions`` that is installed, without importing it."""
    for name in distributions or (framework,):
        if (version := version_of(name)) is not None:
            return name, version
    wanted = " or ".join(distributions or (framework,))
    raise IntegrationError(f"{framework}: the package is not installed: pip install {wanted}")


def check_version(framework: str, version: str, first: str, last: str) -> None:
    """Warn where a version is outside of those tried, ``first`` to ``last``: (major, minor) are compared."""

    def key(text: str) -> tuple[int, ...]:
        parts = text.split("+")[0].split(".")[:2]
        return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)

    if not key(first) <= key(version) <= key(last):
        warnings.warn(
            f"{framework}: version {version} was not tried with fastdet ({first} to {last} were): "
            f"compare some results, or call fastdet.integrations.{framework}().undo()",
            IntegrationWarning,
            stacklevel=2,
        )


def check_parameters(framework: str, name: str, old: Callable[..., Any], wanted: Sequence[str]) -> None:
    """Refuse a function whose parameters are not the ``wanted`` ones: the replacement would misread its arguments."""
    found = list(inspect.signature(old).parameters)
    if found != list(wanted):
        raise IntegrationError(
            f"{framework}: {name} of this version takes ({', '.join(found)}), and fastdet replaces "
            f"({', '.join(wanted)}): nothing was replaced; install a version that fastdet lists, or a newer fastdet"
        )


def fall_back(framework: str, name: str, why: str) -> None:
    """Say once that the framework's own function answers this kind of call."""
    if (name, why) not in _said:
        _said.add((name, why))
        warnings.warn(
            f"fastdet.integrations.{framework}: {name}: {why}: the framework's own function answers such calls",
            IntegrationWarning,
            stacklevel=3,
        )
