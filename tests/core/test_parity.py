"""Every op, backend and instruction set gives the reference's answer, on every dtype, layout, size and kind of box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from box_parity import check
from layouts import LAYOUTS
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from optional import need
from reach import exhaustive, quick
from samples import FAMILIES, Array, sample

import fastdet

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
# of 8-, 16- and 64-lane blocks, and where a kernel changes its way
LONG = (257, 1025)
LONGER = (255, 256, 513, 1023, 1024)
each_op = pytest.mark.parametrize("name", OPS)
each_float = pytest.mark.parametrize("dtype", FLOATS)
quick_float = pytest.mark.parametrize("dtype", quick(FLOATS, "float32"))
OTHERS = [(name, dtype) for name, op in OPS.items() for dtype in op.dtypes if dtype not in FLOATS]


def test_the_table_is_whole() -> None:
    """Every public op has a row, and every row every fast backend."""
    public = {*fastdet.boxes.__all__, *fastdet.nms.__all__, "nmm", "greedy_nmm"} - {"Detections"}
    assert {name.split()[0] for name in OPS} == public
    assert all(op.backends == ("numba", "cpp", "cuda") for op in OPS.values())


@each_op
@pytest.mark.parametrize("backend", ["numba", "cpp"])
def test_the_kernel_is_there(name: str, backend: str) -> None:
    """A declared backend that falls back, or is missing, fails here."""
    assert backend in OPS[name].backends
    reason = fastdet.config()["backends"][backend]
    assert reason == "available", reason


@each_float
@each_op
def test_values(variant: str, name: str, dtype: str) -> None:
    for family in (*FAMILIES, *(("missing",) if OPS[name].nan else ())):
        check(name, variant, family, 70, dtype)


@quick_float
@each_op
def test_sizes(variant: str, name: str, dtype: str) -> None:
    for n in SIZES:
        check(name, variant, "clustered" if dtype == "float32" else "grid", n, dtype)


@quick_float
@pytest.mark.parametrize("sizes", [LONG, *exhaustive((LONGER,))], ids=["long", "longer"])
@each_op
def test_long(variant: str, name: str, sizes: tuple[int, ...], dtype: str) -> None:
    for n in sizes:
        if n <= OPS[name].largest:
            check(name, variant, "clustered", n, dtype)


@pytest.mark.parametrize("name", ["nms", "batched_nms", "box_iou aligned", "box_area", "remove_small_boxes"])
@quick_float
@pytest.mark.parametrize("family", ["clustered", "grid", *exhaustive("degenerate")])
def test_thousands(variant: str, name: str, family: str, dtype: str) -> None:
    check(name, variant, family, 4000, dtype)


@pytest.mark.parametrize(("name", "dtype"), OTHERS)
def test_dtypes(cpp: str, name: str, dtype: str) -> None:
    """Other dtypes are converted before a backend is chosen: one backend proves it."""
    check_dtype(cpp, name, dtype)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "dtype"), OTHERS)
def test_dtypes_on_numba(name: str, dtype: str) -> None:
    check_dtype("numba", name, dtype)


def check_dtype(variant: str, name: str, dtype: str) -> None:
    if dtype == "bfloat16":
        torch = need("torch")
        op, given = OPS[name], sample("clustered", 70, "float32")

        def half(x: Array) -> Any:
            tensor = torch.from_numpy(np.array(x))
            return tensor.bfloat16() if tensor.is_floating_point() else tensor

        equal(op.call(given, variant, half), op.reference(given, half))
        return
    for family, n in (("clustered", 70), ("grid", 33), ("huge", 33), ("degenerate", 33), ("clustered", 1), ("grid", 0)):
        check(name, variant, family, n, dtype)


@each_op
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("dtype", "sizes"), [("float32", (41,)), *exhaustive(("float32", (0, 1, 2)), ("float64", (0, 1, 2, 41)))]
)
@pytest.mark.parametrize("backend", quick(("numba", "cpp", "reference"), "cpp"))
def test_layouts(backend: str, dtype: str, sizes: tuple[int, ...], layout: Callable[[Array], Array], name: str) -> None:
    """Layouts are put right before a backend is chosen: one backend proves it."""
    op = OPS[name]
    for n in sizes:
        given = sample("clustered", n, dtype)
        as_copy = op.reference(given, lambda x: np.array(layout(x), x.dtype, order="C"))
        equal(op.call(given, backend, layout), as_copy)


@each_op
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
def test_inputs_are_not_written_to(backend: str, name: str) -> None:
    given = sample("clustered", 41, "float64")
    copies: list[tuple[Array, Array]] = []

    def writable(x: Array) -> Array:
        copies.append((x, x.copy()))
        return copies[-1][1]

    OPS[name].call(given, backend, writable)
    assert copies
    for before, after in copies:
        equal(after, before)


@each_op
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
def test_results_are_new_and_writable(backend: str, name: str) -> None:
    held: list[Array] = []

    def hold(x: Array) -> Array:
        held.append(x)
        return x

    result = OPS[name].call(sample("disjoint", 9, "float64"), backend, hold)
    for array in result if isinstance(result, tuple) else (result,):
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert not any(np.may_share_memory(array, x) for x in held)


@quick_float
@pytest.mark.parametrize(
    ("name", "n"), [("box_iou", 1500), ("box_iou crowd", 1500), ("generalized_box_iou", 1500),
                    ("distance_box_iou", 1500), ("complete_box_iou", 1500), ("batched_nms", 20_000),
                    ("batched_soft_nms gaussian", 20_000), ("multiclass_nms", 3000)],
)  # fmt: skip
def test_threads(cpp: str, threads: Callable[[int], None], name: str, n: int, dtype: str) -> None:
    """Sizes at which the work is shared out: the same bits whatever the number of threads."""
    given, answers = sample("clustered", n, dtype), []
    for count in (1, 2, 3):
        threads(count)
        assert fastdet.get_num_threads() == count
        answers.append(OPS[name].call(given, cpp))
    for answer in answers[1:]:
        equal(answer, answers[0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "n"), [("nms", 4000), ("batched_nms", 4000), ("box_iou", 1500), ("box_iou crowd", 1500),
                    ("generalized_box_iou", 1025), ("distance_box_iou", 1025), ("complete_box_iou", 1025),
                    ("box_iou aligned", 50_000), ("soft_nms", 1025), ("batched_soft_nms gaussian", 1025),
                    ("multiclass_nms", 600), ("box_convert", 50_000), ("box_area", 50_000),
                    ("clip_boxes_to_image", 50_000), ("remove_small_boxes", 50_000)],
)  # fmt: skip
def test_threads_and_the_reference(cpp: str, threads: Callable[[int], None], name: str, n: int, count: int) -> None:
    threads(count)
    assert fastdet.get_num_threads() == count
    for dtype in FLOATS:
        check(name, cpp, "clustered", n, dtype)
