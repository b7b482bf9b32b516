"""Changes of a framework's modules, and the way back, in whatever order integrations are undone."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

_MISSING = object()


class IntegrationError(RuntimeError):
    """A framework cannot be changed: nothing was. The text says what to do."""


class _Place:
    """An attribute or an item, which may be missing."""

    def __init__(self, owner: Any, name: str, is_item: bool) -> None:
        self.owner, self.name, self.is_item = owner, name, is_item
        self.key = (id(owner), name, is_item)  # the owner lives as long as this

    def read(self) -> Any:
        """What stands there itself: a static method as such, and nothing that a base or `__getattr__` answers."""
        return (self.owner if self.is_item else namespace(self.owner)).get(self.name, _MISSING)

    def write(self, value: Any) -> None:
        if self.is_item:
            if value is _MISSING:
                self.owner.pop(self.name, None)
            else:
                self.owner[self.name] = value
        elif value is not _MISSING:
            setattr(self.owner, self.name, value)
        elif self.read() is not _MISSING:
            delattr(self.owner, self.name)

    def __str__(self) -> str:
        return f"{type(self.owner).__name__}[{self.name!r}]" if self.is_item else full_name(self.owner, self.name)


class _Layer:
    """One change: what was put in a place, and what stood there before."""

    def __init__(self, place: _Place, new: Any) -> None:
        self.place, self.new, self.old = place, new, place.read()


_layers: dict[tuple[int, str, bool], list[_Layer]] = {}  # of each changed place, the last one on top


class Changes:
    """Changes of a framework's modules. `undo` takes all of them back, the last one first."""

    def __init__(self) -> None:
        self.replaced: list[str] = []  # names for the user, in order
        self.held: list[str] = []  # names elsewhere that still are the framework's own
        self.foreign: list[str] = []  # changed by other code since, and left so by `undo`
        self._back: list[Callable[[], object]] = []
        self._own: list[_Layer] = []

    def attribute(self, owner: Any, name: str, new: Any) -> None:
        """Set ``owner.name``. For a static or class method of a class, ``new`` is one."""
        self._put(_Place(owner, name, False), new)

    def item(self, mapping: MutableMapping[str, Any], key: str, new: Any) -> None:
        """Set ``mapping[key]``, for example a module of `sys.modules`."""
        self._put(_Place(mapping, key, True), new)

    def function(self, owner: Any, name: str, new: Any) -> None:
        """`functions`, of one."""
        self.functions([(owner, name, new)])

    def functions(self, rows: Sequence[tuple[Any, str, Any]]) -> None:
        """Replace each function or class ``owner.name`` by ``new``, also where a loaded module of its package holds it.

        ``from package.ops import nms`` made a second name of it, in any module of the package. Names in other packages
        are left, and listed in ``held``. Default arguments, closures, partials and tables hold what they were made
        with: replace them with `attribute` and `item`. A local function takes the old one's name, to be pickled by it.
        """
        olds = [_function_of(owner, name) for owner, name, _ in rows]
        packages = [_package(owner) for owner, _, _ in rows]
        back = [(package, new, old) for package, (_, _, new), old in zip(packages, rows, olds, strict=True)]
        self.on_undo(lambda: _replace_in_packages(back))  # comes last: modules that were loaded meanwhile
        held = holders(olds)  # before the first change: one look through all modules
        for (owner, name, new), old, package, names in zip(rows, olds, packages, held, strict=True):
            _name_like(new, old)
            stood = inspect.getattr_static(owner, name, old)
            put = new
            if isinstance(stood, (staticmethod, classmethod)) and not isinstance(new, (staticmethod, classmethod)):
                put = type(stood)(new)
            self.attribute(owner, name, put)
            for module, key in names:
                if module is owner and key == name:
                    continue
                if module.__name__.partition(".")[0] == package:
                    self.attribute(module, key, new)
                else:
                    self.held.append(full_name(module, key))
            self.replaced.append(full_name(owner, name))

    def everywhere(self, old: Any, new: Any, but: str = "") -> None:
        """Replace a function, class or module by another one in all loaded modules but those of the package ``but``."""
        for module, key in holders([old])[0]:
            if module.__name__.partition(".")[0] != but:
                self.attribute(module, key, new)

    def on_undo(self, back: Callable[[], object]) -> None:
        """Call ``back`` when the changes are taken back. It must be harmless to call it twice."""
        self._back.append(back)

    def undo(self) -> None:
        """Take all changes back. One that fails does not keep the others; the first error is raised at the end."""
        first: BaseException | None = None
        while self._back:
            try:
                self._back[-1]()
            except KeyboardInterrupt as error:  # maybe halfway: call it again, and stop when all is back
                first = error
                continue
            except Exception as error:
                first = first or error
            self._back.pop()
        if first is not None:
            raise first

    def lost(self) -> list[str]:
        """Places that other code has changed since, for example by `importlib.reload`."""
        return [str(x.place) for x in self._own if _layers[x.place.key][-1] is x and x.place.read() is not x.new]

    def _put(self, place: _Place, new: Any) -> None:
        layer = _Layer(place, new)
        self.on_undo(lambda: self._take_back(layer))  # first: an interrupt may come between any two lines
        _layers.setdefault(place.key, []).append(layer)
        self._own.append(layer)
        place.write(new)

    def _take_back(self, layer: _Layer) -> None:
        """Restore the place, or, where another integration has changed it since, what that one will restore."""
        place, stack = layer.place, _layers.get(layer.place.key, [])
        if layer not in stack:
            return
        above = stack[stack.index(layer) + 1 :]
        if above:
            above[0].old = layer.old
        elif place.read() is layer.new:
            place.write(layer.old)
        elif place.read() is not layer.old:
            self.foreign.append(str(place))
        stack.remove(layer)
        if layer in self._own:
            self._own.remove(layer)
        if not stack:
            _layers.pop(place.key, None)


def namespace(owner: Any) -> Any:
    """``vars(owner)``, without loading a lazy module."""
    return object.__getattribute__(owner, "__dict__") if isinstance(owner, types.ModuleType) else vars(owner)


def full_name(owner: Any, name: str) -> str:
    """``package.module.Class.name``."""
    parts = [owner.__module__, owner.__qualname__] if inspect.isclass(owner) else [getattr(owner, "__name__", "?")]
    return ".".join([*parts, name])


def loaded_modules() -> Iterator[types.ModuleType]:
    """All modules of this process but fastdet's, each once."""
    seen: set[int] = set()
    for name, module in list(sys.modules.items()):
        if (
            issubclass(type(module), types.ModuleType)
            and name.partition(".")[0] != "fastdet"
            and id(module) not in seen
        ):
            seen.add(id(module))
            yield module


def holders(values: Sequence[Any]) -> list[list[tuple[types.ModuleType, str]]]:
    """For each value the names of loaded modules that are it."""
    places: dict[int, list[tuple[types.ModuleType, str]]] = {id(value): [] for value in values}
    for module in loaded_modules():
        for key, found in list(namespace(module).items()):
            if id(found) in places and isinstance(key, str):
                places[id(found)].append((module, key))
    return [places[id(value)] for value in values]


def _function_of(owner: Any, name: str) -> Any:
    old = getattr(owner, name, _MISSING)
    if old is _MISSING or not callable(old):
        raise IntegrationError(
            f"{full_name(owner, name)} is no function of this version: nothing was replaced; "
            f"install a version that fastdet lists, or a newer fastdet"
        )
    return old


def _package(owner: Any) -> str:
    name: str = owner.__module__ if inspect.isclass(owner) else owner.__name__
    return name.partition(".")[0]


def _name_like(new: Any, old: Any) -> None:
    """Give a local function the names of the one that it replaces."""
    if inspect.isfunction(new) and "<locals>" in new.__qualname__ and not hasattr(new, "__wrapped__"):
        for part in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(new, part, getattr(old, part, getattr(new, part)))


def _replace_in_packages(rows: Sequence[tuple[str, Any, Any]]) -> None:
    """For each (package, new, old): put ``old`` where modules of the package took ``new`` over since."""
    for (package, new, old), names in zip(rows, holders([new for _, new, _ in rows]), strict=True):
        for module, key in names:
            if module.__name__.partition(".")[0] == package and not _layers.get((id(module), key, False)):
                setattr(module, key, old)
        for stack in _layers.values():
            for layer in stack:
                if layer.old is new:
                    layer.old = old
