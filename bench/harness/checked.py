"""The body of all pytest benchmarks: assert fastdet's answer, then time one contender on the same input."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import pytest
from peers import Absent, ready
from tables import OPS, PEERS, build

FASTDET = {"fastdet": None, "fastdet numba": "numba"}  # name: backend


def contenders(ops: Iterable[str]) -> list[Any]:
    """(op, size, who) for every size of each op: fastdet first, then its peers."""
    return [
        pytest.param(op, size, who, id=f"{op}-{size}-{who}")
        for op in ops
        for size in OPS[op].sizes
        for who in [*FASTDET, *PEERS[op]]
    ]


@lru_cache(maxsize=1)
def right_answer(op: str, size: str) -> Any:
    """The right answer of a case; asserts that fastdet's equals it."""
    case = build(op, size)
    source, want = case.truth()
    found = case.agreement(want, case.ours()())
    assert found.equal, f"{case.name}: fastdet is not equal to {source}: {found.text}"
    return want


def race(benchmark: Any, op: str, size: str, who: str) -> None:
    """Time `who` on one case; the benchmark's extra_info tells how its answer compares."""
    case, want = build(op, size), right_answer(op, size)
    if who in FASTDET:
        call = case.ours(FASTDET[who])
        found = case.agreement(want, call())
        assert found.equal, f"{case.name}: {who}: {found.text}"
    else:
        peer = PEERS[op][who]
        prepared = ready(peer, case)
        if isinstance(prepared, Absent):
            pytest.skip(f"{who} on {case.name}: {prepared.reason}")
        call, answer = prepared
        found = case.agreement(want, answer)
        benchmark.extra_info["note"] = peer.note
    benchmark.group = case.name
    benchmark.extra_info.update(answer=found.text, wrong=found.wrong, who=who)
    if found.wrong:
        benchmark.name += " WRONG ANSWER"
    start = time.perf_counter()
    call()
    about = time.perf_counter() - start
    rounds = max(1, min(50, int(1 / max(about, 1e-6))))
    benchmark.pedantic(call, rounds=rounds, iterations=max(1, min(1000, int(2e-4 / max(about, 1e-7)))))
