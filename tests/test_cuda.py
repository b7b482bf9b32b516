"""The CUDA backend on the emulator: every op that has a kernel gives the reference's answer."""

from __future__ import annotations

from collections.abc import Iterator

import emulated
import pytest
from ops import OPS
from samples import FAMILIES, sample

EMULATED = {
    name: op
    for name, op in OPS.items()
    if name.split()[0] in ("box_area", "box_convert", "clip_boxes_to_image", "remove_small_boxes", "box_iou",
                           "generalized_box_iou", "distance_box_iou", "complete_box_iou", "nms", "batched_nms", "soft_nms", "batched_soft_nms", "multiclass_nms")
    and not name.endswith(" out")
}  # fmt: skip
SIZES = (0, 1, 31, 32, 33, 127, 128, 129, 257)


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[emulated.Emulator]:
    with emulated.backend() as emulator:
        yield emulator


def check(name: str, family: str, n: int, dtype: str) -> None:
    op, given = EMULATED[name], sample(family, n, dtype)
    try:
        op.same(emulated.on_cpu(op.call(given, None, emulated.on_gpu)), op.reference(given))
    except AssertionError as error:
        raise AssertionError(f"{name} on {given.name}: {error}") from None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EMULATED)
def test_values(emulator: emulated.Emulator, name: str, dtype: str) -> None:
    for family in (*FAMILIES, *(("missing",) if EMULATED[name].nan else ())):
        check(name, family, 70, dtype)
    for n in SIZES:
        check(name, "clustered", n, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["nms", "nms limited", "batched_nms", "batched_nms limited"])
def test_tiers(emulator: emulated.Emulator, name: str, dtype: str) -> None:
    for n in (1023, 1024, 1025, 2049):
        emulator.seed(n)
        check(name, "clustered", n, dtype)
