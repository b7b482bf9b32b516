"""PTX -> C++ for the machine of runtime/ptx.h. What is not known is an error that names it."""

from __future__ import annotations

from collections.abc import Iterator

from . import arithmetic, memory, parse
from .operands import identifier
from .parse import Kernel
from .table import HANDLERS, Translator

PER_FILE = 6000  # instructions of a C++ file, about
__all__ = ["HANDLERS", "arithmetic", "memory", "module"]


def module(text: str, name: str) -> Iterator[str]:
    """C++ files of a PTX file. ``name`` is what its places are called where no line of a source stands behind them."""
    parsed = parse.module(text, name)
    part: list[Kernel] = []
    size = 0
    for kernel in parsed.kernels:
        if part and size + len(kernel.body) > PER_FILE:
            yield _file(parsed, part)
            part, size = [], 0
        part.append(kernel)
        size += len(kernel.body)
    if part:
        yield _file(parsed, part)


def _file(parsed: parse.Module, kernels: list[Kernel]) -> str:
    sites: list[str] = []
    bodies, entries, variables = [], [], {}
    for number, kernel in enumerate(kernels):
        translator = Translator(parsed, kernel, sites)
        code = translator.code()
        operands = translator.operands
        variables |= operands.globals
        places = [f"{{{operands.parameters[one.name]}, {one.bytes}}}" for one in kernel.parameters]
        bodies.append(f"static void kernel_{number}([[maybe_unused]] const unsigned char* P) {{\n{code}\n}}")
        bodies.append(f"static const Parameter parameters_{number}[] = {{{', '.join(places) or '{}'}}};")
        numbers = f"{len(places)}, {operands.shared_bytes}, {kernel.max_threads}"
        entries.append(f'{{"{kernel.name}", kernel_{number}, parameters_{number}, {numbers}}}')
    lines = ['#include "ptx.h"', "using namespace ptx;"]
    lines += [
        f"alignas({one.align}) inline unsigned char {identifier(one.name)}[{one.bytes}];" for one in variables.values()
    ]
    lines.append(f"static Site S[] = {{{', '.join([*sites, '{}'])}}};")
    lines += bodies
    lines.append(f"static const Kernel kernels[] = {{{', '.join(entries)}}};")
    lines.append(f"static const Registration registration(kernels, {len(kernels)}, S, {len(sites)});")
    return "\n".join(lines) + "\n"
