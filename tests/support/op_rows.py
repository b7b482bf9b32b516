"""Rows of the tables of ops: how to call an op, which backends it has, and how two answers are compared.

`Op` takes a `Sample` of boxes, `ArrayOp` makes its own cases. Each area's `ops.py` holds its rows; `op_tables.py`
collects them. Backends are declared in a row, never discovered: a kernel that is missing fails its tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from samples import Array, Sample

FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")
ALL_FLOATS = (*FLOATS, *HALVES)
DTYPES = (*ALL_FLOATS, "uint8", "int16", "int32", "int64")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def equal(got: Any, want: Any) -> None:
    """The same type, dtype, shape and bits; a NaN equals any NaN."""
    _compare(got, want, lambda g, w: g.tobytes() == w.tobytes())


def _compare(got: Any, want: Any, same: Callable[[Array, Array], bool]) -> None:
    assert type(got) is type(want), f"type {type(got).__name__}, not {type(want).__name__}"
    if isinstance(got, tuple):
        assert len(got) == len(want), f"{len(got)} results, not {len(want)}"
        for g, w in zip(got, want, strict=True):
            _compare(g, w, same)
        return
    g, w = np.asarray(got), np.asarray(want)
    assert g.dtype == w.dtype, f"dtype {g.dtype}, not {w.dtype}"
    assert g.shape == w.shape, f"shape {g.shape}, not {w.shape}: {g}\nnot {w}"
    if g.dtype.kind == "f":
        hole = np.isnan(g)
        assert np.array_equal(hole, np.isnan(w)), f"NaN at {np.argwhere(hole != np.isnan(w))[:5].tolist()} of one only"
        g, w = np.where(hole, g.dtype.type(0), g), np.where(hole, w.dtype.type(0), w)
    if not same(g, w):
        at = np.argwhere(~((g == w) & (np.signbit(g) == np.signbit(w))))[:5]
        pairs = [(i.tolist(), g[tuple(i)].item(), w[tuple(i)].item()) for i in at]
        raise AssertionError(f"(index, got, want): {pairs} of {g.size}")


@dataclass(frozen=True)
class Op:
    """A public function and one way to call it."""

    public: Callable[..., Any]
    inputs: Callable[[Sample], Arguments]
    dtypes: tuple[str, ...] = DTYPES
    backends: tuple[str, ...] = ("numba", "cpp", "cuda")
    nan: bool = False  # passes NaN on instead of raising
    finite: bool = False  # raises for infinities
    largest: int = 1025  # number of boxes beyond which the reference takes seconds

    def call(self, sample: Sample, backend: str | None, prepare: Callable[[Array], Any] = lambda x: x) -> Any:
        """The answer of a backend; ``prepare`` is applied to every array of the arguments."""
        args, options = self.inputs(sample)
        args, options = mapped(args, prepare), mapped(options, prepare)
        try:
            return self.public(*args, **options, backend=backend)
        except ValueError as error:  # fusion raises for infinities: the error text is the answer then
            if self.finite and "must be finite" in str(error):
                return np.array([str(error)])
            raise

    def reference(self, sample: Sample, prepare: Callable[[Array], Any] = lambda x: x) -> Any:
        return self.call(sample, "reference", prepare)


def mapped(x: Any, prepare: Callable[[Array], Any]) -> Any:
    """``x`` with ``prepare`` applied to each array within."""
    if isinstance(x, np.ndarray):
        return prepare(x)
    if isinstance(x, dict):
        return {key: mapped(value, prepare) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        parts = [mapped(value, prepare) for value in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


# A case makes arguments from the name of a dtype and a generator seeded with the name of the case. Arrays of the main
# dtype of the op are made as float64 or integers, then converted by `cast`.
Case = Callable[[str, np.random.Generator], Arguments]


@dataclass(frozen=True)
class ArrayOp:
    """A public function and the cases it is called on."""

    public: Callable[..., Any]
    cases: dict[str, Case]
    dtypes: tuple[str, ...] = FLOATS
    backends: tuple[str, ...] = ("numba", "cpp", "cuda")
    threaded: tuple[str, ...] = ()  # cases that are large enough for several threads

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


def comparable(x: Any) -> Any:
    """torch's bfloat16 as float32, so that NumPy compares it."""
    if isinstance(x, tuple):
        return tuple(map(comparable, x))
    if type(x).__module__.startswith("torch") and str(x.dtype) == "torch.bfloat16":
        return x.float()
    return x
