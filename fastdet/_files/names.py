"""Read the names of classes: one a line, or the ``names`` of the YAML that YOLO's tools write for a data set."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastdet._core.check import describe
from fastdet._files.errors import FormatError, one_line, quoted
from fastdet._files.text import lines_of, read_text

_NUMBERED = re.compile(r"(\d+)(?:\s*[:,;=\t ]|[.)]\s)\s*\S")
_NUMBER_LAST = re.compile(r"(.*\S)\s*[:,;=\t ]\s*(\d+)")
_POSITION = re.compile(r"[0-9]{1,9}", re.ASCII)
_HEADERS = (
    "name",
    "names",
    "class",
    "classes",
    "class_name",
    "label",
    "labels",
    "label_name",
    "category",
    "categories",
)
_MARKS = re.compile(r"(#|//|;|[-*\u2022] |item\s*\{|[\"'].*[\"']$|[{}\[\]]$)|\w+\s*=|.*\s#\s")


def read_names(op: str, path: Path, expected: str = "a file of names") -> list[str]:
    """The names of the classes, in order. FormatError, OSError."""
    if not path.is_file():
        what = "no such file" if not path.exists() else "a folder or device"
        raise FormatError(f"{op}: --classes must be {expected}, got {path}, {what}")
    text = read_text(path, "names", "one class name a line")
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path, text)
    names = [line.strip() for line in lines_of(text.rstrip())]
    _check_plain(path, names)
    return _checked(path, names, "line", 1)


def _checked(path: Path, names: list[str], unit: str, first: int) -> list[str]:
    """The names, if there are some, none is empty and none comes twice."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, first):
        if not name:
            raise FormatError(
                f"{path}: {unit} {number}: expected the name of class {number - first}, got an empty line"
            )
        if name in seen:
            raise FormatError(
                f"{path}: {unit} {number}: expected unique names, got {quoted(name)} as in {unit} {seen[name]}"
            )
        seen[name] = number
    if not names:
        raise FormatError(f"{path}: expected one class name a line, got an empty file")
    return names


def _check_plain(path: Path, names: list[str]) -> None:
    """FormatError for text that is not one name a line: comments, YAML, JSON, a table, numbered names."""

    def fail(number: int, got: str) -> None:
        hint = "one name a line, without numbers or other text; or a .yaml file with names"
        raise FormatError(f"{path}: line {number}: expected {hint}, got {got}")

    for number, name in enumerate(names, 1):
        if _MARKS.match(name):
            fail(number, repr(name[:40]))
        if re.match(r"(nc|names|path|train|val|test)\s*:", name):
            fail(number, f"YAML, {name[:40]!r}: name the file .yaml")
    if len(names) > 1 and names[0].lower().removesuffix(":").rstrip() in _HEADERS:
        fail(1, f"the title of a column, {quoted(names[0])}")
    if _is_json("\n".join(names)):
        fail(1, "JSON")
    filled = [name for name in names if name]
    if len(filled) > 1 or "," in "".join(filled):
        for delimiter in (",", ";", "\t"):
            widths = {len(row) for row in csv.reader(filled, delimiter=delimiter)}
            if len(widths) == 1 and min(widths) > 1:
                fail(1, f"a table, {names[0][:40]!r}")
    numbers = [int(match[1]) for name in filled if (match := _NUMBERED.match(name))]
    if len(filled) > 1 and any(numbers == list(range(first, first + len(filled))) for first in (0, 1)):
        fail(1, f"a number before the name, {names[0][:40]!r}")
    last = {match[1]: int(match[2]) for name in filled if (match := _NUMBER_LAST.fullmatch(name))}
    if len(filled) > 1 and any([*last.values()] == list(range(first, first + len(filled))) for first in (0, 1)):
        fail(1, f"a number after the name, {names[0][:40]!r}")


def _is_json(text: str) -> bool:
    """Whether a text is a JSON object or list."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _from_yaml(path: Path, text: str) -> list[str]:
    """The list ``names`` of a data set's YAML, or its names by number. ``nc`` must be their count."""
    try:
        import yaml
    except ImportError:
        raise FormatError(f'{path}: reading YAML needs PyYAML: pip install "fastdet[cli]"') from None
    try:
        tree: Any = yaml.load(text, _loader(yaml))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: not YAML: {one_line(error) or type(error).__name__}") from None
    listed = tree.get("names") if isinstance(tree, Mapping) else tree
    if isinstance(listed, Mapping):
        numbers = [int(key) if isinstance(key, str) and _POSITION.fullmatch(key) else key for key in listed]
        listed = dict(zip(numbers, listed.values(), strict=True))
        if not all(type(number) is int for number in numbers) or sorted(numbers) != list(range(len(numbers))):
            got = ", ".join(map(describe, numbers[:5]))
            raise FormatError(f"{path}: names: expected the numbers 0, 1, ... without a gap, got {got}")
        listed = [listed[number] for number in range(len(numbers))]
    if not isinstance(listed, list):
        got = "no such key" if isinstance(tree, Mapping) and "names" not in tree else describe(listed)
        raise FormatError(f"{path}: names: expected a list of names, or names by number, got {got}")
    for number, name in enumerate(listed):
        if not isinstance(name, str | int | float) or isinstance(name, bool) or _is_long(name):
            hint = "; write it in quotes" if isinstance(name, bool) or name is None else ""
            raise FormatError(f"{path}: names: class {number}: expected a name, got {describe(name)}{hint}")
    names = _checked(path, [str(name).strip() for name in listed], "class", 0)
    count = tree.get("nc", len(names)) if isinstance(tree, Mapping) else len(names)
    if count != len(names) or isinstance(count, bool):
        raise FormatError(f"{path}: nc: expected {len(names)}, the number of names, got {describe(count)}")
    return names


def _is_long(x: object) -> bool:
    """Whether a number has so many digits that Python will not print it."""
    return isinstance(x, int) and abs(x) >= 10**100


def _loader(yaml: Any) -> type:
    """A safe loader that refuses keys given twice, and aliases: a few of them can stand for gigabytes."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise FormatError(f"expected YAML without aliases, got one{_line(self.peek_event())}")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if not isinstance(node, yaml.MappingNode):
                return super().construct_mapping(node, deep)
            seen: set[Any] = set()
            for key, _ in node.value:
                word = (key.tag, str(key.value))
                if word in seen:
                    raise FormatError(f"expected each key once, got one twice{_line(key)}")
                seen.add(word)
            return super().construct_mapping(node, deep)

    return Loader


def _line(x: Any) -> str:
    """The line where an event or a node begins."""
    return f" in line {x.start_mark.line + 1}"
