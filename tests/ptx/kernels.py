"""Small kernels written as PTX, for tests: one instruction on arrays, or a body of its own. No nvcc is needed."""

from __future__ import annotations

import shutil
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from . import build
from .machine import Machine
from .parse import BYTES

NUMPY = {"f32": np.float32, "f64": np.float64, "f16": np.uint16, "bf16": np.uint16}
NUMPY |= {f"{kind}{8 * n}": np.dtype(f"{'i' if kind == 's' else 'u'}{n}").type for kind in "usb" for n in (1, 2, 4, 8)}
TEXTS: dict[str, str] = {}  # name -> PTX of a kernel

REGISTERS = """
    .reg .pred %p, %q, %p0, %p1, %p2, %p3; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %l<16>;
    .reg .f32 %f<8>; .reg .f64 %g<8>;
"""


def register(type: str) -> str:
    return {"f32": "%f", "f64": "%g"}.get(type, {2: "%h", 4: "%r", 8: "%l"}[max(2, BYTES[type])])


def add(name: str, body: str, parameters: int = 4, shared: str = "") -> str:
    """A kernel with 64-bit parameters in %l8, %l9, ... and the thread's number in %r8; gives its name."""
    declared = ", ".join(f".param .u64 {name}_{k}" for k in range(parameters))
    loads = "\n".join(f"    ld.param.u64 %l{8 + k}, [{name}_{k}];" for k in range(parameters))
    head = f".visible .entry {name}({declared})\n{{{REGISTERS}{shared}\n{loads}\n    mov.u32 %r8, %tid.x;"
    TEXTS[name] = f"{head}\n{body}\n    ret;\n}}\n"
    return name


def elementwise(text: str, inputs: str, output: str) -> str:
    """A kernel out[i] = instruction(a[i], b[i], c[i]): %d is the result, %a %b %c are the inputs."""
    name = "k" + "".join(c if c.isalnum() else "_" for c in f"{text}_{inputs}_{output}")
    types = inputs.split()
    lines = ["    mul.wide.u32 %l12, %r8, 16;"]  # a place of 16 bytes for each value
    for k, (letter, type) in enumerate(zip("abc", types, strict=False)):
        used = register(type) + str(k)
        stored = {"f16": "b16", "bf16": "b16"}.get(type, type)
        lines += [f"    add.s64 %l13, %l{9 + k}, %l12;", f"    ld.global.{stored} {used}, [%l13];"]
        text = text.replace(f"%{letter}", used)
    result = register(output) + "7"
    lines.append("    " + text.replace("%d", result))
    stored = {"f16": "b16", "bf16": "b16"}.get(output, output)
    lines += ["    add.s64 %l13, %l8, %l12;", f"    st.global.{stored} [%l13], {result};"]
    return add(name, "\n".join(lines))


@lru_cache(maxsize=1)
def machine() -> Machine:
    """The machine with every kernel that was added so far: add them while a file is imported."""
    if shutil.which(build.compiler()[0]) is None:
        pytest.skip(f"missing tool: {build.compiler()[0]}")
    text = ".version 9.0\n.target sm_90\n.address_size 64\n" + "".join(TEXTS[name] for name in sorted(TEXTS))
    return Machine(build.from_text(text, "instructions"))


def spread(values: Any, type: str) -> Any:
    """The values, one in each 16 bytes."""
    values = np.asarray(values, NUMPY[type])
    out = np.zeros((len(values), 16), np.uint8)
    out[:, : values.itemsize] = values.reshape(-1, 1).view(np.uint8)
    return out


def compute(name: str, inputs: list[Any], types: str, output: str) -> Any:
    """The results of an elementwise kernel."""
    arrays = [spread(x, type) for x, type in zip(inputs, types.split(), strict=True)]
    n = len(arrays[0])
    out = np.zeros((-(-n // 32) * 32, 16), np.uint8)
    padded = [np.concatenate([a, np.repeat(a[-1:], len(out) - n, 0)]) for a in arrays]
    addresses = [out.ctypes.data, *(a.ctypes.data for a in padded)]
    assert machine().launch(name, 1, len(out), *addresses, *([0] * (4 - len(addresses)))) == 0
    assert not machine().reports()
    size = np.dtype(NUMPY[output]).itemsize
    return out[:n, :size].copy().view(NUMPY[output])[:, 0]


def launch(name: str, *arrays: Any, grid: int = 1, block: int = 32, seed: int = 0) -> dict[str, int]:
    """Runs a kernel on arrays, in their place; what the checks reported."""
    machine().seed(seed)
    addresses = [a if isinstance(a, int) else a.ctypes.data for a in arrays]
    assert machine().launch(name, grid, block, *addresses, *([0] * (4 - len(addresses)))) == 0
    return dict(machine().reports())
