"""NMS and Soft-NMS on the CUDA emulator: chunks, segments, and rounds over near neighbours."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from cuda_parity import ROWS, check, each_float
from emulated import on_cpu, on_gpu
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from samples import FAMILIES, Sample, sample

from fastdet import nms

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

NMS = [name for name in ROWS if name.split()[0] in ("nms", "batched_nms")]


@each_float
@pytest.mark.parametrize("name", NMS)
def test_chunks(emulator: emulated.Emulator, name: str, dtype: str) -> None:
    """Around the number of boxes of one block, where segments reach over its end."""
    for n in (1023, 1024, 1025, 2049):
        emulator.seed(n)
        check(name, sample("clustered", n, dtype), OPS[name].call(sample("clustered", n, dtype), "cpp"))


@pytest.mark.parametrize("n", [4096, 4097])
@pytest.mark.parametrize("name", ["nms limited", "batched_nms", "batched_soft_nms gaussian"])
def test_sorted_and_counted(name: str, n: int) -> None:
    """Around the number of boxes where the radix sort takes over from counting ranks."""
    for dtype in FLOATS if name == "batched_nms" else ("float32",):
        data = sample("uniform", n, dtype)
        check(name, data, OPS[name].call(data, "cpp"))


@pytest.mark.parametrize("n", [2500, 5000])  # by chunks, and by rounds
@pytest.mark.parametrize("groups", ["one", "few", "many", "single", "long and short"])
def test_segments(emulator: emulated.Emulator, groups: str, n: int) -> None:
    data, rng = sample("clustered", n), np.random.default_rng(0)
    keys = {
        "one": np.zeros(n, np.int64),
        "few": rng.integers(-2, 2, n) << 40,
        "many": rng.integers(0, n // 10, n),
        "single": rng.permutation(n),
        "long and short": np.where(rng.random(n) < 0.6, 5, rng.integers(0, 200, n)),
    }[groups]
    for seed, t in ((1, 0.5), (2, 0.05)):
        emulator.seed(seed)
        want = nms.batched_nms(data.boxes, data.scores, keys, t)
        equal(on_cpu(nms.batched_nms(on_gpu(data.boxes), on_gpu(data.scores), on_gpu(keys), t)), want)


# Many boxes: rounds over near neighbours.

ROUNDS = 4097  # boxes from which the CUDA kernel works in rounds


@pytest.mark.parametrize("metric", ["iou", "ios"])
@pytest.mark.parametrize("t", [0.0, 0.0199, 0.02, 0.1, 0.3, 0.5, 0.9, 0.99, 1.0])
def test_rounds_at_any_threshold(emulator: emulated.Emulator, t: float, metric: str) -> None:
    emulator.seed(int(t * 100))
    for family, dtype in (("clustered", "float32"), ("grid", "float64")):
        data = sample(family, ROUNDS, dtype)
        want = nms.nms(data.boxes, data.scores, t, metric=metric)
        equal(on_cpu(nms.nms(on_gpu(data.boxes), on_gpu(data.scores), t, metric=metric)), want)


@each_float
@pytest.mark.parametrize("family", [*FAMILIES, "sizes", "unusual", "far"])
def test_rounds(family: str, dtype: str) -> None:
    n = ROUNDS + 200
    if family in FAMILIES:
        data = sample(family, n, dtype)
        b, s = np.array(data.boxes), data.scores
    else:
        rng = np.random.default_rng(5)
        s = rng.random(n).astype(dtype)
        at = rng.random((n, 2)) * 300
        side = 10 ** rng.uniform(-2, 3, (n, 2)) if family == "sizes" else rng.lognormal(3, 0.3, (n, 2))
        b = np.hstack([at, at + side]).astype(dtype)
        large, tiny = (1e30, 1e-25) if dtype == "float32" else (1e200, 1e-180)
        if family == "unusual":  # in no bucket: compared with all others
            b[::97] *= large
            b[5::101] = b[5::101] * tiny
            b[7::103, 2:] = b[7::103, :2]
            b[11::211, 2] = np.inf
        if family == "far":  # so far from the origin that centres are rounded
            b += 2.0 ** (22 if dtype == "float32" else 50)
    for threshold in (0.5, 0.05):
        want = nms.nms(b, s, threshold)
        equal(on_cpu(nms.nms(on_gpu(b), on_gpu(s), threshold)), want)


def test_rounds_do_not_end_a_chain() -> None:
    """A chain by falling score: each box waits for the one before, and one block has to finish."""
    data = sample("chain", ROUNDS)
    scores = np.linspace(1, 0, ROUNDS, dtype=np.float32)
    for t in (0.5, 0.3):
        want = nms.nms(data.boxes, scores, t)
        equal(on_cpu(nms.nms(on_gpu(data.boxes), on_gpu(scores), t)), want)


@pytest.mark.parametrize("options", [{"score_threshold": 0.4}, {"max_output": 77}])
def test_rounds_with_options(options: dict[str, Any]) -> None:
    data = sample("clustered", ROUNDS)
    want = nms.nms(data.boxes, data.scores, 0.5, **options)
    equal(on_cpu(nms.nms(on_gpu(data.boxes), on_gpu(data.scores), 0.5, **options)), want)


def test_many_of_an_image(emulator: emulated.Emulator) -> None:
    """More kept boxes than a block places in one turn."""
    data = sample("disjoint", 200)
    scores = np.stack([data.scores, data.scores[::-1], np.roll(data.scores, 9)], axis=1)[None]
    want = nms.multiclass_nms(data.boxes[None], scores, 0.5, max_output=1000)
    for seed in range(3):
        emulator.seed(seed)
        got = nms.multiclass_nms(on_gpu(data.boxes[None]), on_gpu(scores), 0.5, max_output=1000)
        equal(on_cpu(got), want)


def test_large_compaction() -> None:
    """Several blocks that each take more than one turn."""
    data = sample("clustered", 30_000)
    check("remove_small_boxes", data)


@each_float
def test_infinite_scores(dtype: str) -> None:
    data = sample("clustered", 40, dtype)
    scores = data.scores.copy()
    scores[::5], scores[1::7] = np.inf, -np.inf
    unusual = Sample("infinite scores", data.boxes, data.boxes2, scores, data.idxs, data.crowd)
    for name in ("nms", "nms limited", "batched_nms", "soft_nms", "batched_soft_nms gaussian", "multiclass_nms"):
        check(name, unusual)
