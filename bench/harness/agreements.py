"""How two answers compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from inputs import Array

MAX_DIFFERENCE = 0.01  # a peer that differs in more than this share of its answer is marked WRONG


@dataclass(frozen=True)
class Agreement:
    """How an answer compares with the right one. equal: to the last bit. wrong: too different to be timed fairly."""

    text: str
    equal: bool
    wrong: bool


def same_numbers(want: Any, got: Any) -> Agreement:
    """Compare matrices, by their largest difference."""
    if np.shape(want) != np.shape(got):
        return Agreement(f"shape {np.shape(got)}, not {np.shape(want)}", False, True)
    if np.array_equal(want, got):
        return Agreement("same", True, False)
    max_difference = float(np.max(np.abs(np.asarray(got, np.float64) - want)))
    return Agreement(f"max difference {max_difference:.1e}", False, not max_difference < 1e-3)


def same_kept(want: Array, got: Array) -> Agreement:
    """Compare kept indices: equal, equal as a set, or how many are in one list only."""
    if np.array_equal(want, got):
        return Agreement("same", True, False)
    differ = np.setxor1d(want, got).size
    if differ == 0:
        moved = int(np.count_nonzero(want != got)) if len(want) == len(got) else abs(len(got) - len(want))
        return Agreement(f"same boxes, {moved} in another place", False, len(want) != len(got))
    return Agreement(f"{differ} of {len(want)} kept differ", False, differ > MAX_DIFFERENCE * max(len(want), 1))


def same_rescored(want: Any, got: Any) -> Agreement:
    """Compare kept indices and their new scores."""
    kept = same_kept(want[0], got[0])
    if len(want[0]) != len(got[0]) or np.isnan(got[1]).any():
        return Agreement(f"{kept.text}; scores not compared", False, kept.wrong)
    max_difference = float(np.max(np.abs(np.sort(want[1]) - np.sort(got[1])), initial=0))
    text = kept.text if max_difference == 0 else f"{kept.text}; scores within {max_difference:.1e}"
    return Agreement(text, kept.equal and max_difference == 0, kept.wrong or max_difference > MAX_DIFFERENCE)


def difference(want: Any, got: Any) -> float:
    """The largest difference of two answers, in units of the largest value; infinite where shapes differ."""
    if isinstance(want, tuple):
        if np.asarray(want[-1]).dtype == np.uint8:  # peers have no compact indices: compare values only
            return difference(want[0], got[0])
        return max(difference(w, g) for w, g in zip(want, got, strict=True)) if len(want) == len(got) else np.inf
    want, got = np.asarray(want), np.asarray(got)
    if want.shape != got.shape:
        return np.inf
    if np.array_equal(want, got):
        return 0.0
    scale = float(np.max(np.abs(want), initial=0)) or 1.0
    return float(np.max(np.abs(got.astype(np.float64) - want))) / scale
