"""A row of the table of array ops (segmentation, upsample, pool, losses): test_array_parity.py runs every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ops import Arguments, Compare, _compare, equal, mapped
from samples import Array

FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")
ALL_FLOATS = (*FLOATS, *HALVES)

# A case makes arguments from a dtype's name and a generator that is seeded by the case's name. Arrays of the op's main
# dtype are made as float64 or integers and cast by `cast`.
Case = Callable[[str, np.random.Generator], Arguments]


@dataclass(frozen=True)
class ArrayOp:
    """A public function and the cases it is called on."""

    public: Callable[..., Any]
    cases: dict[str, Case]
    dtypes: tuple[str, ...] = FLOATS
    backends: tuple[str, ...] = ("numba", "cpp", "cuda")
    same: Compare = equal

    def arguments(self, case: str, dtype: str) -> Arguments:
        return self.cases[case](dtype, np.random.default_rng([ord(c) for c in case]))

    def call(self, case: str, dtype: str, backend: str | None, prepare: Callable[[Array], Any] = lambda x: x) -> Any:
        args, options = self.arguments(case, dtype)
        return self.public(*mapped(args, prepare), **mapped(options, prepare), backend=backend)


def cast(x: Any, dtype: str) -> Any:
    """``x`` in a dtype by name; bfloat16 as a torch tensor, since NumPy lacks it (skips without torch)."""
    if dtype == "bfloat16":
        from optional import need

        return need("torch").from_numpy(np.asarray(x, np.float32)).bfloat16()
    return np.asarray(x).astype(dtype)


def within(ulp: float) -> Compare:
    """As `equal`, but values may differ by ``ulp`` units in the last place of max(1, |value|) of their dtype."""

    def near(g: Array, w: Array) -> bool:
        if g.dtype.kind != "f":
            return bool(np.array_equal(g, w))
        unit = ulp * np.finfo(g.dtype).eps
        with np.errstate(invalid="ignore"):  # inf - inf
            return bool(np.all((g == w) | (np.abs(g - w) <= unit * np.maximum(1, np.abs(w)))))

    return lambda got, want: _compare(got, want, near)
