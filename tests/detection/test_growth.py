"""Matching D detections with G true boxes takes at most D G log G steps; they are counted, so that no clock is read."""

from __future__ import annotations

from math import log2
from typing import Any

import numpy as np
import pytest
from matching_cliffs import MATCHING_CLIFFS

from fastdet import _cpp, detection


def _steps(case: dict[str, Any], rule: str) -> int:
    before = _cpp.pairs_counted()
    detection.match_detections(**case, rule=rule, backend="cpp")
    return _cpp.pairs_counted() - before


@pytest.mark.parametrize("rule", ["coco", "voc"])
@pytest.mark.parametrize("name", MATCHING_CLIFFS)
def test_steps(name: str, rule: str) -> None:
    for n in (250, 1000):
        case = MATCHING_CLIFFS[name](n)
        pairs = len(case["boxes"]) * n
        assert pairs <= _steps(case, rule) <= pairs * (log2(n) + 4)


@pytest.mark.parametrize("backend", ["cpp", "numba"])
@pytest.mark.parametrize("rule", ["coco", "voc"])
@pytest.mark.parametrize("name", MATCHING_CLIFFS)
@pytest.mark.parametrize("n", [9, 70])
def test_answers(name: str, rule: str, n: int, backend: str) -> None:
    """Equal to the reference's, with few near boxes and with many."""
    case = MATCHING_CLIFFS[name](n)
    want = detection.match_detections(**case, rule=rule, backend="reference")
    got = detection.match_detections(**case, rule=rule, backend=backend)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(g, w)
