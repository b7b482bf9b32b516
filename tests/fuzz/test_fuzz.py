"""Every parser survives changed files: a short run of tests/fuzz/run.py."""

from __future__ import annotations

from fuzz.run import fuzz
from fuzz.targets import all_targets


def test_parsers_survive() -> None:
    targets = all_targets()
    counts, failure = fuzz(targets, 2.0, 0)
    assert failure is None, (failure.target, failure.data[:500], failure.text)
    assert all(read > len(targets[name].seeds) for name, (read, _) in counts.items())
