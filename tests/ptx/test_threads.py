"""What threads do together: exchanges under masks, barriers, atomics; each check, on a kernel with that very fault."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ptx import kernels
from ptx.kernels import add, launch

pytestmark = pytest.mark.ptx

# Every thread: a value in, a value out. %r0 is the value, %r1 the result, [%l12] where the result goes.
FRAME = """
    mul.wide.u32 %l12, %r8, 4;
    add.s64 %l13, %l9, %l12;
    ld.global.u32 %r0, [%l13];
    mov.u32 %r1, 0;
"""
END = """
    add.s64 %l13, %l8, %l12;
    st.global.u32 [%l13], %r1;
"""


def exchange(name: str, text: str) -> str:
    return add(name, FRAME + text + END)


ODD = "and.b32 %r2, %r8, 1; setp.eq.u32 %p, %r2, 0; @%p bra DONE;"  # the odd lanes stay
IDX = exchange("idx", "xor.b32 %r3, %r8, 5; shfl.sync.idx.b32 %r1|%q, %r0, %r3, 31, -1;")
UP = exchange("up", "shfl.sync.up.b32 %r1|%q, %r0, 3, 0, -1; @!%q add.u32 %r1, %r1, 1000;")
DOWN = exchange("down", "shfl.sync.down.b32 %r1|%q, %r0, 3, 31, -1; @!%q add.u32 %r1, %r1, 1000;")
QUARTERS = exchange("quarters", "shfl.sync.down.b32 %r1|%q, %r0, 3, 0x1807, -1; @!%q add.u32 %r1, %r1, 1000;")
BFLY = exchange("bfly", "shfl.sync.bfly.b32 %r1, %r0, 16, 31, -1;")
ODD_IDX = exchange("odd_idx", f"{ODD} xor.b32 %r3, %r8, 2; shfl.sync.idx.b32 %r1, %r0, %r3, 31, 0xAAAAAAAA; DONE:")
WRONG_LANE = exchange("wrong_lane", f"{ODD} shfl.sync.idx.b32 %r1, %r0, 0, 31, 0xAAAAAAAA; DONE:")
BALLOT = exchange("ballot", "and.b32 %r2, %r0, 4; setp.ne.u32 %p, %r2, 0; vote.sync.ballot.b32 %r1, %p, -1;")
ODD_BALLOT = exchange("odd_ballot", f"{ODD} setp.gt.u32 %p, %r0, 9; vote.sync.ballot.b32 %r1, %p, 0xAAAAAAAA; DONE:")
VOTES = exchange("votes", """
    setp.gt.u32 %p, %r0, 30;
    vote.sync.any.pred %p0, %p, -1; vote.sync.all.pred %p1, %p, -1; vote.sync.all.pred %p2, !%p, -1;
    vote.sync.uni.pred %p3, %p, -1;
    selp.u32 %r1, 1, 0, %p0; @%p1 add.u32 %r1, %r1, 2; @%p2 add.u32 %r1, %r1, 4; @%p3 add.u32 %r1, %r1, 8;
""")  # fmt: skip
MATCH = exchange("match", "and.b32 %r2, %r0, 3; match.any.sync.b32 %r1, %r2, -1;")
ODD_MATCH = exchange(
    "odd_match", f"{ODD} cvt.u64.u32 %l0, %r0; shr.u64 %l0, %l0, 3; match.any.sync.b64 %r1, %l0, 0xAAAAAAAA; DONE:"
)
MATCH_ALL = exchange("match_all", "shr.u32 %r2, %r0, 6; match.all.sync.b32 %r1|%p, %r2, -1; @!%p mov.u32 %r1, 5;")
REDUX = exchange("redux", "redux.sync.max.u32 %r1, %r0, -1; redux.sync.add.s32 %r2, %r0, -1; add.u32 %r1, %r1, %r2;")
MEET = exchange(
    "meet",
    "setp.lt.u32 %p, %r8, 16; @%p bra LOW; shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1; bra OUT;"
    "LOW: shfl.sync.bfly.b32 %r1, %r0, 2, 31, -1; OUT:",
)


def exchanged(name: str, values: Any = None) -> Any:
    x = np.arange(32, dtype=np.uint32) if values is None else np.asarray(values, np.uint32)
    out = np.zeros(32, np.uint32)
    for seed in range(3):
        out[:] = 0
        assert launch(name, out, x, seed=seed) == {}
    return out


LANES = np.arange(32)
ODDS = 0xAAAAAAAA


def test_shuffles() -> None:
    np.testing.assert_array_equal(exchanged(IDX), LANES ^ 5)
    np.testing.assert_array_equal(exchanged(UP), np.where(LANES < 3, LANES + 1000, LANES - 3))
    np.testing.assert_array_equal(exchanged(DOWN), np.where(LANES > 28, LANES + 1000, LANES + 3))
    np.testing.assert_array_equal(exchanged(QUARTERS), np.where(LANES % 8 > 4, LANES + 1000, LANES + 3))
    np.testing.assert_array_equal(exchanged(BFLY), LANES ^ 16)


def test_partial_masks() -> None:
    odd = LANES % 2 == 1
    np.testing.assert_array_equal(exchanged(ODD_IDX), np.where(odd, LANES ^ 2, 0))
    np.testing.assert_array_equal(exchanged(ODD_BALLOT), np.where(odd, ODDS & ~0x3FF, 0))
    same = np.array([sum(1 << int(k) for k in LANES[odd] if k >> 3 == lane >> 3) for lane in LANES])
    np.testing.assert_array_equal(exchanged(ODD_MATCH), np.where(odd, same, 0))


def test_votes() -> None:
    assert set(exchanged(BALLOT)) == {sum(1 << int(k) for k in LANES if k & 4)}
    assert set(exchanged(VOTES)) == {1}
    assert set(exchanged(VOTES, [31] * 32)) == {1 + 2 + 8}
    assert set(exchanged(VOTES, [30] * 32)) == {4 + 8}


def test_match_and_reduce() -> None:
    np.testing.assert_array_equal(exchanged(MATCH), [0x11111111 << k & 0xFFFFFFFF for k in LANES % 4])
    assert set(exchanged(MATCH_ALL)) == {0xFFFFFFFF}
    assert set(exchanged(MATCH_ALL, LANES * 4)) == {5}
    assert set(exchanged(REDUX)) == {31 + 496}


def test_faults_of_exchanges_are_reported() -> None:
    x, out = np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32)
    (line,) = launch(WRONG_LANE, out, x)
    assert line.startswith("a shuffle takes from a lane that is not there: shfl.sync.idx.b32 at instructions:")
    assert any(line.startswith("lanes of one mask meet at different instructions") for line in launch(MEET, out, x))


# Atomics.

ATOMICS = {
    "add.u32": (5, 7, 12), "add.s32": (-5, 3, -2), "min.s32": (-5, 3, -5), "min.u32": (-5, 3, 3), "max.s32": (-5, 3, 3),
    "max.u32": (-5, 3, -5), "and.b32": (12, 10, 8), "or.b32": (12, 10, 14), "xor.b32": (12, 10, 6),
    "exch.b32": (12, 10, 10),     "inc.u32": (9, 10, 10), "dec.u32": (9, 10, 8),
}  # fmt: skip
ATOMIC = {
    op: add(
        f"atomic_{op.replace('.', '_')}",
        f"setp.ne.u32 %p, %r8, 0; @%p ret; ld.global.u32 %r0, [%l9]; atom.global.{op} %r1, [%l8], %r0;"
        "st.global.u32 [%l10], %r1;",
    )
    for op in ATOMICS
}
CAS = add("cas", "setp.ne.u32 %p, %r8, 0; @%p ret; atom.global.cas.b32 %r1, [%l8], 4, 9; st.global.u32 [%l9], %r1;")
FLOAT_ADD = add("float_add", "setp.ne.u32 %p, %r8, 0; @%p ret; red.global.add.f32 [%l8], 0f3FC00000;")
COUNT = add(
    "count_all",
    "atom.global.add.u64 %l0, [%l8], 1; cvt.u32.u64 %r1, %l0; mul.wide.u32 %l1, %r1, 4; add.s64 %l1, %l1, %l9;"
    "st.global.u32 [%l1], %r8;",
)
SPIN = add(
    "spin",
    "LOOP: ld.volatile.global.u32 %r0, [%l8]; add.u32 %r1, %r0, 1; atom.global.cas.b32 %r2, [%l8], %r0, %r1;"
    "setp.ne.u32 %p, %r2, %r0; @%p bra LOOP;",
)


@pytest.mark.parametrize("op", ATOMICS)
def test_atomics(op: str) -> None:
    before, value, after = ATOMICS[op]
    x, given, old = (np.array([v], np.int32) for v in (before, value, 0))
    assert launch(ATOMIC[op], x, given, old) == {}
    assert (x[0], old[0]) == (after, before)


def test_compare_and_swap() -> None:
    for before, after in ((4, 9), (5, 5)):
        x, old = np.array([before], np.uint32), np.zeros(1, np.uint32)
        assert launch(CAS, x, old) == {}
        assert (x[0], old[0]) == (after, before)
    x = np.array([2.25], np.float32)
    assert launch(FLOAT_ADD, x) == {}
    assert x[0] == 3.75


def test_atomics_of_many_threads() -> None:
    for seed in range(4):
        count, places = np.zeros(1, np.uint64), np.full(256, 999, np.uint32)
        assert launch(COUNT, count, places, grid=2, block=128, seed=seed) == {}
        assert count[0] == 256
        assert sorted(places) == sorted([*range(128)] * 2)
        x = np.zeros(1, np.uint32)
        assert launch(SPIN, x, grid=2, block=64, seed=seed) == {}
        assert x[0] == 128
    assert len({tuple(launch_order(seed)) for seed in range(6)}) > 1  # warps run in other orders


def launch_order(seed: int) -> list[int]:
    count, places = np.zeros(1, np.uint64), np.zeros(128, np.uint32)
    launch(COUNT, count, places, block=128, seed=seed)
    return places.tolist()


# Shared memory: thread i writes its place, then reads that of thread i ^ other.

TILE = "\n    .shared .align 16 .b8 tile[512];"


def shared(name: str, between: str, other: int, then: str = "") -> str:
    text = f"""
    mov.u32 %r9, tile; shl.b32 %r2, %r8, 2; add.u32 %r2, %r2, %r9; st.shared.u32 [%r2], %r0;
    {between}
    xor.b32 %r3, %r8, {other}; shl.b32 %r3, %r3, 2; add.u32 %r3, %r3, %r9; ld.shared.u32 %r1, [%r3];
    {then}"""
    return add(name, FRAME + text + END, shared=TILE)


HALVES = "setp.lt.u32 %p, %r8, 16; selp.b32 %r4, 0x0000FFFF, 0xFFFF0000, %p;"
SHARED = {
    "barrier": (shared("sh_barrier", "bar.sync 0;", 64), 128, None),
    "warp barrier": (shared("sh_warp", "bar.warp.sync -1;", 1), 64, None),
    "halves of a warp": (shared("sh_halves", f"{HALVES} bar.warp.sync %r4;", 1), 32, None),
    "own place": (shared("sh_own", "", 0), 128, None),
    "nothing": (shared("sh_none", "", 1), 32, "unordered shared"),
    "across halves": (shared("sh_across", f"{HALVES} bar.warp.sync %r4;", 16), 32, "unordered shared"),
    "across warps": (shared("sh_warps", "bar.warp.sync -1;", 32), 64, "unordered shared"),
    "an exchange": (shared("sh_shfl", "shfl.sync.bfly.b32 %r5, %r0, 1, 31, -1;", 1), 32, "unordered shared"),
    "written again": (shared("sh_again", "bar.sync 0;", 1, "st.shared.u32 [%r2], %r1;"), 64,
                      "unordered shared write after read"),
    "the same reads": (shared("sh_reads", "bar.sync 0;", 1, "bar.sync 0; st.shared.u32 [%r2], %r1;"), 64, None),
}  # fmt: skip
UNWRITTEN = add("unwritten", FRAME + "mov.u32 %r9, tile; ld.shared.u32 %r1, [%r9+128];" + END, shared=TILE)
OUTSIDE = add("outside", FRAME + "mov.u32 %r9, tile; st.shared.u32 [%r9+512], %r0;" + END, shared=TILE)
CROOKED = add("crooked", FRAME + "mov.u32 %r9, tile; st.shared.v2.u32 [%r9+4], {%r0, %r0};" + END, shared=TILE)
VECTOR = add("vector", FRAME + "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%l10];" + END)
VOLATILE = add(
    "volatile_flag",
    FRAME + "mov.u32 %r9, tile; st.volatile.shared.u32 [%r9], 1; ld.volatile.shared.u32 %r1, [%r9];" + END,
    shared=TILE,
)
VOTED = add("voted", FRAME + "setp.eq.u32 %p, %r0, 77; bar.red.or.pred %q, 0, %p; selp.u32 %r1, 1, 0, %q;" + END)
RED_ORDERS = shared("sh_red", "setp.eq.u32 %p, %r0, 77; bar.red.or.pred %q, 0, %p;", 64)


@pytest.mark.parametrize("case", SHARED)
def test_shared_memory_is_ordered(case: str) -> None:
    name, block, fault = SHARED[case]
    x, out = np.arange(block, dtype=np.uint32), np.zeros(block, np.uint32)
    reports = [line for seed in range(4) for line in launch(name, out, x, block=block, seed=seed)]
    if fault:
        assert any(line.startswith(fault) for line in reports)
    else:
        assert not reports


def test_barriers_that_vote() -> None:
    x, out = np.arange(128, dtype=np.uint32), np.zeros(128, np.uint32)
    for block, want in ((128, 1), (64, 0)):
        assert launch(VOTED, out, x, block=block) == {}
        assert set(out[:block]) == {want}
    assert launch(RED_ORDERS, out, x, block=128) == {}


def test_a_barrier_switched_off_is_reported() -> None:
    machine, name = kernels.machine(), SHARED["barrier"][0]
    x, out = np.arange(128, dtype=np.uint32), np.zeros(128, np.uint32)
    switched = [place for kind, place in machine.places() if kind == "barrier"]
    for place in switched:
        assert machine.switch("barrier", place, True)
    found = [line for seed in range(3) for line in launch(name, out, x, block=128, seed=seed)]
    for place in switched:
        machine.switch("barrier", place, False)
    assert any("unordered shared" in line for line in found)
    assert launch(name, out, x, block=128) == {}


def test_faults_of_addresses_are_reported() -> None:
    x, out = np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32)
    assert [line.partition(":")[0] for line in launch(UNWRITTEN, out, x)] == [
        "read of shared memory that nothing wrote"
    ]
    assert [line.partition(":")[0] for line in launch(OUTSIDE, out, x)] == ["access outside shared memory"]
    assert "misaligned access" in {line.partition(":")[0] for line in launch(CROOKED, out, x)}
    data = np.zeros(16, np.uint32)
    start = data.ctypes.data + -data.ctypes.data % 16
    assert launch(VECTOR, out, x, start) == {}
    assert [line.partition(":")[0] for line in launch(VECTOR, out, x, start + 4)] == ["misaligned access"]
    kernels.machine().guard(start + 8, start + 12)
    assert [line.partition(":")[0] for line in launch(VECTOR, out, x, start)] == ["access outside an array"]
    kernels.machine().unguard(start + 8)
    assert launch(VECTOR, out, x, start) == {}
    assert launch(VOLATILE, out, x) == {}


# Several blocks. The last one to come adds up what all of them have written.

LAST = """
    mov.u32 %r9, %ctaid.x; mul.wide.u32 %l0, %r9, 4; add.s64 %l0, %l0, %l9; setp.ne.u32 %p, %r8, 0;
    @%p ret;
    add.u32 %r1, %r9, 1; st.global.u32 [%l0], %r1;
    {before}
    atom.global.add.u32 %r2, [%l8], 1;
    {after}
    mov.u32 %r3, %nctaid.x; sub.u32 %r3, %r3, 1; setp.ne.u32 %p, %r2, %r3; @%p ret;
    mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u64 %l1, %l9;
LOOP: ld.global.u32 %r6, [%l1]; add.u32 %r4, %r4, %r6; add.s64 %l1, %l1, 4; add.u32 %r5, %r5, 1;
    setp.le.u32 %p, %r5, %r3; @%p bra LOOP;
    st.global.u32 [%l10], %r4;
"""
FENCES = {
    name: add(f"last_{name}", LAST.format(before=before, after=after))
    for name, before, after in [
        ("both", "membar.gl;", "membar.gl;"), ("new", "fence.acq_rel.gpu;", "fence.sc.gpu;"), ("none", "", ""),
        ("first", "membar.gl;", ""), ("second", "", "membar.gl;"), ("small", "membar.cta;", "membar.cta;"),
    ]
}  # fmt: skip
SAME = add("same", "setp.ne.u32 %p, %r8, 0; @%p ret; st.global.u32 [%l8], 7;")
OTHER = add("other", "setp.ne.u32 %p, %r8, 0; @%p ret; mov.u32 %r0, %ctaid.x; st.global.u32 [%l8], %r0;")


@pytest.mark.parametrize("fences", FENCES)
def test_blocks_are_ordered_by_fences(fences: str) -> None:
    for seed in range(3):
        count, parts, total = np.zeros(1, np.uint32), np.zeros(8, np.uint32), np.zeros(1, np.uint32)
        reports = launch(FENCES[fences], count, parts, total, grid=8, seed=seed)
        assert total[0] == 36
        if fences in ("both", "new"):
            assert reports == {}
        else:
            assert any(line.startswith("unordered global read after write") for line in reports)


@pytest.mark.parametrize("fences", FENCES)
def test_stores_held_back(fences: str) -> None:
    """Without a fence of its writer a block's store is not seen by the others; the end of the kernel shows it."""
    machine = kernels.machine()
    machine.hold_stores(True)
    count, parts, total = np.zeros(1, np.uint32), np.zeros(8, np.uint32), np.zeros(1, np.uint32)
    launch(FENCES[fences], count, parts, total, grid=8)
    machine.hold_stores(False)
    assert parts.tolist() == [*range(1, 9)]
    assert (total[0] == 36) == (fences not in ("none", "small"))  # of "second" the fence comes before the next block


def test_blocks_that_write_one_place() -> None:
    x = np.zeros(1, np.uint32)
    assert launch(SAME, x, grid=4) == {}  # the same value
    assert [line.partition(":")[0] for line in launch(OTHER, x, grid=4)] == ["unordered global write after write"]


def test_sectors() -> None:
    machine = kernels.machine()
    x, out = np.zeros(64, np.uint32), np.zeros(64, np.uint32)
    start = x.ctypes.data + -x.ctypes.data % 32
    machine.measure_sectors(True)
    launch(BFLY, out.ctypes.data + -out.ctypes.data % 32, start)
    launch(BFLY, out.ctypes.data + -out.ctypes.data % 32, start + 4)
    machine.measure_sectors(False)
    traffic = [(t.way, t.bytes, t.sectors) for t in machine.sectors()]
    assert traffic == [("read", 256, 4 + 5), ("write", 256, 8)]
