"""A Griffe extension that converts this project's docstrings to Markdown.

They have numpydoc's sections, but an entry is "name : shape, dtype, meaning, rules" in one running text, an error is
"TypeError   reason", and plain text may follow a section. A numpydoc parser would take half of that for types. Here
entries become definition lists, and names in backticks become links.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from typing import Any

import griffe

SECTION = re.compile(r"^(Parameters|Returns|Raises|Notes|Attributes|Examples)\n-{3,}\n", re.MULTILINE)
NAMES = r"\(?\w+(?:, \w+)*\)?"
# boxes, scores : text | TypeError   text | "miss"   text
ENTRY = re.compile(rf'^(?P<term>{NAMES})(?: : |$)(?P<text>.*)|^(?P<word>{NAMES}|"\w+") {{2,}}(?P<meaning>\S.*)')
SHORT = 80  # a shorter line was not wrapped
REFERENCE = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")


class Docstrings(griffe.Extension):
    """Rewrites every docstring when the package is loaded. The comment after a field is its docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.is_attribute and not obj.docstring and obj.parent is not None and obj.parent.is_class:
            _, comment, text = obj.source.partition("  # ")
            obj.docstring = griffe.Docstring(text, parent=obj) if comment else None
        if obj.docstring:
            obj.docstring.value = markdown(REFERENCE.sub(lambda name: link(name[1], obj), obj.docstring.value))


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    before, *sections = SECTION.split(text)
    parts = [block(before)]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body = f"```pycon\n{body.rstrip()}\n```" if title == "Examples" else block(body)
        parts.append(f"**{title}**\n\n{body}")
    return "\n\n".join(parts)


def block(text: str) -> str:
    """Convert paragraphs and entries; an entry's indented lines are its text, and may hold entries themselves."""
    lines = re.sub(r"^Source: ", "\n*Source:* ", text.strip("\n"), flags=re.MULTILINE).split("\n")
    result: list[str] = []
    while lines:
        line = lines.pop(0)
        if line.startswith("```"):
            end = lines.index("```") + 1
            result += [line, *lines[:end]]
            del lines[:end]
            continue
        below = list(itertools.takewhile(lambda line: line.startswith(" "), lines))
        del lines[: len(below)]
        entry = ENTRY.match(line)
        if not entry or not (entry["text"] or entry["word"] or below):
            result += [line, *below]
            continue
        first, rest = entry["text"] or entry["meaning"] or "", textwrap.dedent("\n".join(below))
        gap = "\n\n" if len(line) < SHORT and rest[:1].isupper() else "\n"  # numpydoc's type on a line of its own
        body = textwrap.indent(block(f"{first}{gap}{rest}"), "    ").replace("    ", ":   ", 1)
        result += ["", "`" + (entry["term"] or entry["word"]).replace(", ", "`, `") + "`", body, ""]
    return "\n".join(result).strip("\n")


def link(name: str, obj: griffe.Object) -> str:
    """A link to a docstring's `name`: a method of the same class, else a name of its module, else of any module."""
    owner = obj if obj.is_class else obj.parent
    method = owner is not None and owner.is_class and name in owner.functions
    if owner is not None and method and name in owner.members and "._" not in owner.path:
        return f"[`{name}`][{owner.path}.{name}]"
    modules = [m for m in obj.package.members.values() if not m.is_alias and m.is_module and m.exports]
    for module in modules if method else ():  # a method of a base in a private module: it stands with the public class
        if owner is not None and owner.name in module.exports:
            return f"[`{name}`][{module.path}.{owner.name}.{name}]"
    for module in sorted(modules, key=lambda m: not f"{obj.module.path}.".startswith(f"{m.path}.")):
        if name in module.exports:
            return f"[`{name}`][{module.path}.{name}]"
        if name == module.path or (name.startswith(f"{module.path}.") and name.rpartition(".")[2] in module.exports):
            return f"[`{name.removeprefix('fastdet.')}`][{name}]"
    return f"`{name}`"
