"""95 % intervals hold the population's figure in at least 90 % of data sets: bench/intervals.py, in small."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "intervals.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    if not BENCH.is_file():
        pytest.skip("missing sources: the tests stand apart from the repository")
    spec = importlib.util.spec_from_file_location("bench_intervals", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.exhaustive
@pytest.mark.parametrize("images", [100, 1000])
def test_detection(bench: Any, images: int) -> None:
    found, plain = bench.coverage("detection", images, 60, 100, 20, compare=images == 100)
    assert found["map"] >= 0.9
    assert found["map_50"] >= 0.9
    if plain:
        assert plain["map"] < found["map"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("images", [100, 1000])
def test_segmentation(bench: Any, images: int) -> None:
    found, _ = bench.coverage("segmentation", images, 60, 100, 20)
    assert min(found.values()) >= 0.9
