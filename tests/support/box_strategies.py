"""Hypothesis strategies that draw boxes and scores."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

BACKENDS = ("reference", "numba", "cpp")


def each_backend(body: Callable[..., None]) -> Callable[..., None]:
    """The same example on every backend: drawing it takes longer than what is done with it."""

    @functools.wraps(body)
    def on_all(*drawn: Any, **named: Any) -> None:
        for backend in BACKENDS:
            note(f"backend: {backend}")  # the last one that a falsified example names
            body(backend, *drawn, **named)

    signature = inspect.signature(body)
    on_all.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p for name, p in signature.parameters.items() if name != "backend"]
    )
    del on_all.__wrapped__  # type: ignore[attr-defined]
    return on_all


def coordinate(dtype: Any) -> st.SearchStrategy[float]:
    width = 8 * np.dtype(dtype).itemsize
    return st.one_of(
        st.integers(-12, 12).map(float),  # ties and touching edges
        st.floats(-1000, 1000, width=width),
        st.floats(allow_nan=False, width=width),
    )


@st.composite
def box_sets(draw: st.DrawFn, min_size: int = 0, max_size: int = 20, proper: bool = False) -> Any:
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n = draw(st.integers(min_size, max_size))
    if proper:  # corners in order, and of a size whose area is a normal number
        step = st.floats(0.125, 500, width=32)
        corner = draw(arrays(dtype, (n, 2), elements=st.floats(-1000, 1000, width=32)))
        return np.hstack([corner, corner + draw(arrays(dtype, (n, 2), elements=step))])
    return draw(arrays(dtype, (n, 4), elements=coordinate(dtype)))


@st.composite
def scored(draw: st.DrawFn, distinct: bool = False, proper: bool = False) -> Any:
    """Boxes, scores and a threshold."""
    rows = draw(box_sets(proper=proper))
    n = len(rows)
    if distinct:
        score = (np.array(draw(st.permutations(range(n))), np.float64).reshape(n) + 1) / (n + 1)
    else:
        score = draw(arrays(np.float64, n, elements=st.one_of(st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 1))))
    threshold = draw(st.one_of(st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0]), st.floats(0, 1)))
    return rows, score.astype(rows.dtype), threshold
