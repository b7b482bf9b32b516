"""The maps that a model gives for a batch: one array, or several by name or in order, each with its own result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Names = tuple[Any, ...] | int | None  # keys of a dictionary, the number of items of a tuple, or one array


class Outputs:
    """A writer for each map of a model; ``make`` makes one for a caller's ``out`` or, for None, for new memory."""

    def __init__(self, op: str, out: Any, make: Callable[[Any], Any]) -> None:
        self.op, self.out, self.make = op, out, make
        self.names: Names = None
        self.writers: list[Any] = []
        if out is not None:
            several = isinstance(out, (Mapping, tuple))
            self.names, outs = maps_of(op, out, "out") if several else (None, [out])
            self.writers = [make(x) for x in outs]

    def each(self, output: Any) -> Iterator[tuple[Any, Any]]:
        """The writer and the array of each map of a model's output, which has the maps of the first one."""
        names, arrays = maps_of(self.op, output, "model")
        if not self.writers:
            self.names, self.writers = names, [self.make(None) for _ in arrays]
        same = set(names) == set(self.names) if _both_named(names, self.names) else names == self.names  # type: ignore
        if not same:
            before = "out" if self.out is not None else "the first call"
            raise ValueError(f"{self.op}: model must give {_word(self.names)} as {before}, got {_word(names)}")
        if isinstance(self.names, tuple):
            arrays = [output[name] for name in self.names]
        return zip(self.writers, arrays, strict=True)

    def result(self, outs: list[Any]) -> Any:
        """The caller's ``out``, or the results in the form of the model's output."""
        if self.out is not None:
            return self.out
        if self.names is None:
            return outs[0]
        return dict(zip(self.names, outs, strict=True)) if isinstance(self.names, tuple) else tuple(outs)


def _both_named(names: Names, others: Names) -> bool:
    return isinstance(names, tuple) and isinstance(others, tuple)


def _word(names: Names) -> str:
    if names is None:
        return "one array"
    return f"{names} arrays" if isinstance(names, int) else f"arrays named {', '.join(map(repr, names))}"


def maps_of(op: str, output: Any, name: str) -> tuple[Names, list[Any]]:
    """The arrays of an output and their names. A list of one array, as a session gives it, is that array."""
    names: Names = None
    if isinstance(output, Mapping):
        names, arrays = tuple(output), list(output.values())
    elif isinstance(output, (list, tuple)):
        names, arrays = None if len(output) == 1 else len(output), list(output)
    else:
        arrays = [output]
    if not arrays:
        raise ValueError(f"{op}: {name} must give one array or more, got none")
    for array in arrays:
        if not hasattr(array, "shape"):
            raise TypeError(f"{op}: {name} must give an array, got {type(array).__name__}")
    return names, arrays
