"""SegmentationMetrics: worked figures, properties, errors that leave no trace, bytes, processes, pictures."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

import fastdet
from fastdet import plots, segmentation
from fastdet._core import metric
from fastdet.segmentation import SegmentationMetrics
from fastdet.segmentation import metrics as _segmentation_metrics

VOIDS = ("miss", "drop", "count")


def maps(seed: int, shape: tuple[int, ...] = (4, 9, 11), classes: int = 5, void: int | None = 255) -> Any:
    """A target, and a prediction that is right on about two pixels of three. Class 3 is absent from both."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, shape)
    prediction = np.where(rng.random(shape) < 0.67, target, rng.integers(0, classes, shape))
    target, prediction = (np.where(x == 3, 1, x).astype(np.uint8) for x in (target, prediction))
    if void is not None:
        target[rng.random(shape) < 0.1] = void
        prediction[rng.random(shape) < 0.05] = void
    return target, prediction


def state(metrics: SegmentationMetrics) -> bytes:
    return metrics.to_bytes()


def same(a: Any, b: Any) -> None:
    """Equal figures, NaN where NaN is, of equal types."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        np.testing.assert_array_equal(a, b)


TARGET = np.array([[0, 0, 0, 1], [1, 1, 9, 9]])
PREDICTION = np.array([[0, 0, 1, 1], [1, 9, 1, 9]])


@pytest.mark.parametrize(
    ("void", "iou", "accuracy", "counts"),
    [
        # class 0: 2 right, 1 of it taken for 1. Class 1: 2 right, 1 of it void; above one void pixel taken for 1
        ("miss", [2 / 3, 2 / 4], 4 / 6, ([3, 3], [2, 3])),
        ("drop", [2 / 3, 2 / 3], 4 / 5, ([3, 2], [2, 3])),
        ("count", [2 / 3, 2 / 5], 4 / 6, ([3, 3], [2, 4])),
    ],
)
def test_worked_example(void: str, iou: list[float], accuracy: float, counts: tuple[list[int], list[int]]) -> None:
    metrics = SegmentationMetrics(2, ignore_index=9, void=void)
    metrics.update(TARGET, PREDICTION)
    got = metrics.compute()
    np.testing.assert_array_equal(got["iou"], iou)
    assert got["mean_iou"] == pytest.approx(sum(iou) / 2, abs=1e-15)
    assert got["pixel_accuracy"] == accuracy
    assert (got["target_pixels"].tolist(), got["predicted_pixels"].tolist()) == counts
    assert got["intersection"].tolist() == [2, 2]
    assert (got["images"], got["pixels"], got["void_pixels"], got["void_predictions"]) == (1, 8, 2, 1)
    for other in VOIDS:  # asked for afterwards
        fresh = SegmentationMetrics(2, ignore_index=9, void=other)
        fresh.update(TARGET, PREDICTION)
        same(metrics.compute(void=other), fresh.compute())


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize(("classes", "ignore"), [(5, None), (5, 255), (5, 2), (40, 255)])
def test_equals_the_functions(void: str, classes: int, ignore: int | None) -> None:
    """The figures are those of `fastdet.segmentation`'s functions of the one matrix, to the last bit."""
    target, prediction = maps(1, classes=classes, void=ignore)
    metrics = SegmentationMetrics(classes, ignore_index=ignore, void=void, per_image=True)
    metrics.update(target, prediction)
    got = metrics.compute()
    matrix = segmentation.confusion_matrix(target, prediction, classes, ignore_index=ignore, void=void)
    np.testing.assert_array_equal(got["confusion_matrix"], matrix)
    for name in ("iou", "class_accuracy", "dice"):
        np.testing.assert_array_equal(got[name], getattr(segmentation, name)(matrix, num_classes=classes))
        assert np.isnan(got[name][3])
    for name in ("mean_iou", "pixel_accuracy", "mean_class_accuracy", "mean_dice", "frequency_weighted_iou"):
        assert got[name] == getattr(segmentation, name)(matrix, num_classes=classes), name
    every = _segmentation_metrics._figures(*metrics._sums(metrics._record(metrics._matrix), void))
    assert every.keys() == set(_segmentation_metrics._FIGURES)
    for name, value in every.items():  # as they are made for many images at once
        np.testing.assert_allclose(value, got[name], rtol=1e-15)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 6), max_size=4), st.booleans(), st.sampled_from(VOIDS))
def test_grouping_does_not_matter(seed: int, cuts: list[int], per_image: bool, void: str) -> None:
    target, prediction = maps(seed, (6, 5, 7))
    options: dict[str, Any] = {"ignore_index": 255, "void": void, "per_image": per_image}
    whole, pieces, merged = (SegmentationMetrics(5, **options) for _ in range(3))
    whole.update(target, prediction)
    ends = [0, *sorted(cuts), 6]
    parts = []
    for a, b in itertools.pairwise(ends):
        pieces.update(target[a:b], prediction[a:b])
        part = SegmentationMetrics(5, **options)
        for i in range(a, b):
            part.update(target[i], prediction[i])
        parts.append(part)
    merged.merge_state(parts)
    assert state(whole) == state(pieces) == state(merged)
    same(whole.compute(), merged.compute())
    assert whole.compute()["pixels"] == target.size


def test_per_image_is_each_image_by_itself() -> None:
    target, prediction = maps(2, (7, 6, 8))
    target[3] = 255  # nothing to score
    metrics = SegmentationMetrics(5, ignore_index=255, per_image=True)
    metrics.update(target, prediction)
    for void in VOIDS:
        got = metrics.compute(void=void)["per_image"]
        each = []
        for t, p in zip(target, prediction, strict=True):
            one = SegmentationMetrics(5, ignore_index=255, void=void)
            one.update(t, p)
            each.append(one.compute())
        np.testing.assert_allclose(got["mean_iou"], [one["mean_iou"] for one in each], rtol=1e-15)
        np.testing.assert_array_equal(got["pixel_accuracy"], [one["pixel_accuracy"] for one in each])
        known = got["mean_iou"][~np.isnan(got["mean_iou"])]
        assert got["scored"] == len(known) == (7 if void == "count" else 6)
        assert got["mean"] == pytest.approx(known.mean(), abs=1e-15)
        assert list(got["quantiles"]) == ["min", "5%", "25%", "median", "75%", "95%", "max"]
        assert (got["quantiles"]["min"], got["quantiles"]["max"]) == (known.min(), known.max())
        assert got["quantiles"]["median"] == np.median(known)
    assert metrics.compute()["mean_iou"] != metrics.compute()["per_image"]["mean"]


def test_intervals_are_the_plain_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against images drawn and counted again one by one, from the same random numbers."""
    target, prediction = maps(3, (9, 6, 8))
    target[target == 4], prediction[prediction == 4] = 0, 0
    target[5, 0, 0] = prediction[5, 0, 0] = 4  # some resamples lack this class
    metrics = SegmentationMetrics(5, ignore_index=255, per_image=True)
    metrics.update(target, prediction)
    got = metrics.compute(ci=0.8, n_boot=50, seed=7)["ci"]
    assert (got["level"], got["n_boot"], got["seed"]) == (0.8, 50, 7)
    rng = np.random.default_rng(7)
    drawn = []
    for times in rng.multinomial(9, np.full(9, 1 / 9), size=50):
        one = SegmentationMetrics(5, ignore_index=255, per_image=True)
        for i in np.repeat(np.arange(9), times):
            one.update(target[i], prediction[i])
        result = one.compute()
        drawn.append({**result, "per_image_mean": result["per_image"]["mean"]})
    for name, ends in got.items():
        if name in ("level", "n_boot", "seed"):
            continue
        values = np.array([one[name] for one in drawn])
        if values.ndim == 2:
            assert np.isnan(ends[:, 3]).all()
            values, ends = np.delete(values, 3, 1), np.delete(ends, 3, 1)
        np.testing.assert_allclose(ends, np.nanquantile(values, [0.1, 0.9], axis=0), rtol=0, atol=1e-13)
    monkeypatch.setattr(_segmentation_metrics, "_CHUNK", 1)  # one resample at a time
    same(metrics.compute(ci=0.8, n_boot=50, seed=7)["ci"], got)
    assert metrics.compute(ci=0.8, n_boot=50, seed=8)["ci"]["mean_iou"] != got["mean_iou"]
    low, high = metrics.compute(ci=0.99)["ci"]["mean_iou"]
    assert low <= got["mean_iou"][0] <= metrics.compute()["mean_iou"] <= got["mean_iou"][1] <= high


def test_empty() -> None:
    metrics = SegmentationMetrics(3, ignore_index=255, per_image=True)
    got = metrics.compute(ci=0.95, n_boot=10)
    assert np.isnan(got["mean_iou"])
    assert np.isnan(got["per_image"]["mean"])
    assert np.isnan(got["ci"]["mean_iou"]).all()
    assert (got["images"], got["pixels"]) == (0, 0)
    before = state(metrics)
    metrics.update(np.zeros((0, 4, 4), int), np.zeros((0, 4, 4), int))
    assert state(metrics) == before
    metrics.update(np.zeros((2, 0, 4), int), np.zeros((2, 0, 4), int))
    assert metrics.compute()["images"] == 2
    metrics.update(np.full((3, 3), 255), np.zeros((3, 3), int))  # void alone
    got = metrics.compute()
    assert np.isnan(got["mean_iou"])
    assert (got["images"], got["pixels"], got["void_pixels"], got["per_image"]["scored"]) == (3, 9, 9, 0)
    metrics.reset()
    assert state(metrics) == before


@pytest.mark.parametrize("per_image", [False, True])
def test_logits(per_image: bool) -> None:
    rng = np.random.default_rng(4)
    target, logits = rng.integers(0, 5, (3, 8, 6)), rng.standard_normal((3, 5, 8, 6)).astype(np.float32)
    target[0, 0] = 255
    a, b, c = (SegmentationMetrics(5, ignore_index=255, per_image=per_image) for _ in range(3))
    a.update(target, logits)
    b.update(target, logits.argmax(1))
    for t, x in zip(target, logits, strict=True):
        c.update(t, x)
    assert state(a) == state(b) == state(c)
    small = logits[:, :, ::2, ::2]
    a.reset()
    a.update(target, small, size=(8, 6))
    matrix = segmentation.confusion_matrix_from_logits(target, small, ignore_index=255, size=(8, 6))
    np.testing.assert_array_equal(a.matrix(), matrix)
    b.reset()
    b.update(target, small, size=(8, 6), align_corners=True)
    assert (a.matrix() != b.matrix()).any()


def test_torch() -> None:
    torch = need("torch")
    target, prediction = maps(5)
    a, b = (SegmentationMetrics(5, ignore_index=255, per_image=True) for _ in range(2))
    a.update(target, prediction)
    b.update(torch.from_numpy(target), torch.from_numpy(prediction.astype(np.int64)))
    assert state(a) == state(b)
    logits = torch.randn(4, 5, 9, 11, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = logits.to(dtype).requires_grad_()  # as in a training loop
        a.reset()
        b.reset()
        a.update(torch.from_numpy(target), x)
        b.update(target, x.detach().float().argmax(1).numpy())
        assert state(a) == state(b)


@pytest.mark.parametrize("backend", ["cpp", "numba", "reference"])
def test_backends(backend: str) -> None:
    target, prediction = maps(6)
    a, b = SegmentationMetrics(5, ignore_index=255, backend=backend), SegmentationMetrics(5, ignore_index=255)
    a.update(target, prediction)
    b.update(target, prediction)
    assert state(a) == state(b)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_classes": 0}, ValueError, r"num_classes must be in \[1, 65535\], got 0"),
        ({"num_classes": 65536}, ValueError, r"num_classes must be in \[1, 65535\], got 65536"),
        ({"num_classes": -1}, ValueError, "num_classes must be 0 or more, got -1"),
        ({"num_classes": 2.0}, TypeError, r"num_classes must be an integer, got 2\.0"),
        ({"ignore_index": 1.5}, TypeError, r"ignore_index must be an integer or None, got 1\.5"),
        ({"ignore_index": True}, TypeError, "ignore_index must be an integer or None, got True"),
        ({"void": "skip"}, ValueError, "void must be one of 'miss', 'drop', 'count', got 'skip'"),
        ({"class_names": "ab"}, TypeError, "class_names must be a sequence of strings, got 'ab'"),
        ({"class_names": ["a", 1]}, TypeError, "class_names must be strings, got 1"),
        ({"class_names": ["a"]}, ValueError, "class_names must be 2, one per class, got 1"),
        ({"per_image": 1}, TypeError, "per_image must be True or False, got 1"),
        ({"backend": "cuda"}, ValueError, "backend must be one of 'cpp', 'numba', 'reference', got 'cuda'"),
    ],
)
def test_wrong_parameters(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        SegmentationMetrics(**{"num_classes": 2, **arguments})


ROUND = np.zeros((2, 3, 3), np.int64)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize(
    ("target", "prediction", "options", "error", "text"),
    [
        (ROUND, ROUND + 2, {}, ValueError, r"prediction must .*got 2 at index \(0, 0, 0\)"),
        (np.where(np.arange(18).reshape(2, 3, 3) == 13, 7, 0), ROUND, {}, ValueError, r"got 7 at index \(1, 1, 1\)"),
        (ROUND - 1, ROUND, {}, ValueError, r"target must .*got -1 at index \(0, 0, 0\)"),
        (ROUND, ROUND[:1], {}, ValueError, "prediction"),
        (ROUND, ROUND[:, :2], {}, ValueError, "prediction"),
        (ROUND, ROUND[0], {}, ValueError, "prediction"),
        (ROUND[0, 0], ROUND[0, 0], {}, ValueError, r"target must have shape \(H, W\) or \(N, H, W\), got \(3,\)"),
        (
            ROUND[None],
            ROUND[None],
            {},
            ValueError,
            r"target must have shape \(H, W\) or \(N, H, W\), got \(1, 2, 3, 3\)",
        ),
        (ROUND + 0.0, ROUND, {}, TypeError, "target"),
        (ROUND, ROUND + 0.0, {}, ValueError, r"labels, or logits of shape \(2, 2, H, W\), got \(2, 3, 3\)"),
        (ROUND, np.zeros((2, 3, 3, 3)), {}, ValueError, r"logits of shape \(2, 2, H, W\), got \(2, 3, 3, 3\)"),
        (ROUND[0], np.zeros((3, 3, 3)), {}, ValueError, r"logits of shape \(2, H, W\), got \(3, 3, 3\)"),
        (ROUND, np.full((2, 2, 3, 3), np.nan), {}, ValueError, "NaN"),
        (ROUND, np.zeros((2, 2, 2, 2)), {"size": (4, 4)}, ValueError, "4, 4|3, 3"),
        (ROUND, ROUND, {"size": (3, 3)}, ValueError, "go with logits, got a prediction of int64"),
        (ROUND, ROUND, {"align_corners": True}, ValueError, "size and align_corners go with logits"),
        (ROUND, np.int64(1), {}, (TypeError, ValueError), "prediction"),
        (ROUND, "labels", {}, TypeError, "prediction must be an array, got str"),
        (ROUND, ROUND * 1j, {}, TypeError, "prediction"),
    ],
)
def test_an_update_that_raises_leaves_no_trace(
    per_image: bool, target: Any, prediction: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    metrics = SegmentationMetrics(2, ignore_index=255, per_image=per_image)
    metrics.update(ROUND, ROUND)
    before = state(metrics)
    with pytest.raises(error, match=text):
        metrics.update(target, prediction, **options)
    assert state(metrics) == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ci": 0.95}, "ci must go with per_image=True, got per_image=False"),
        ({"ci": 1.0}, r"ci must be in \(0, 1\), got 1.0"),
        ({"ci": float("nan")}, "ci must be a finite number"),
        ({"void": "skip"}, "void must be one of 'miss', 'drop', 'count', got 'skip'"),
    ],
)
def test_wrong_compute(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SegmentationMetrics(2).compute(**options)
    metrics = SegmentationMetrics(2, per_image=True)
    for name, value in (("n_boot", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            metrics.compute(ci=0.5, **{name: value})


def test_merge() -> None:
    target, prediction = maps(7)
    metrics = SegmentationMetrics(5, ignore_index=255, per_image=True)
    metrics.update(target, prediction)
    metrics.merge_state(metrics)  # itself
    got = metrics.compute()
    assert got["images"] == 8
    np.testing.assert_array_equal(got["per_image"]["mean_iou"][:4], got["per_image"]["mean_iou"][4:])
    before = state(metrics)
    metrics.merge_state([])
    good = SegmentationMetrics(5, ignore_index=255, per_image=True)
    good.update(target, prediction)
    unlike = {
        "num_classes": SegmentationMetrics(6, ignore_index=255, per_image=True),
        "ignore_index": SegmentationMetrics(5, ignore_index=254, per_image=True),
        "void": SegmentationMetrics(5, ignore_index=255, per_image=True, void="drop"),
        "class_names": SegmentationMetrics(5, ignore_index=255, per_image=True, class_names=list("abcde")),
        "per_image": SegmentationMetrics(5, ignore_index=255),
    }
    for name, other in unlike.items():
        for some in (other, [good, other], (x for x in (good, other))):
            with pytest.raises(ValueError, match=f"merge_state: other must have {name} .*, got "):
                metrics.merge_state(some)  # type: ignore[arg-type]
    for thing in (3, [good, None], "ab"):
        with pytest.raises(TypeError, match="other must be SegmentationMetrics, one or several, got"):
            metrics.merge_state(thing)  # type: ignore[arg-type]
    assert state(metrics) == before


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignore", [None, 255, 0, -(2**63), 2**64 - 1])
def test_bytes(per_image: bool, ignore: int | None) -> None:
    target, prediction = maps(8, void=ignore if ignore in (None, 255) else None)
    names = ["sky", "Straße", "a", "b", "c"]
    metrics = SegmentationMetrics(5, ignore_index=ignore, void="count", class_names=names, per_image=per_image)
    for _ in range(2):
        data = state(metrics)
        back = SegmentationMetrics.from_bytes(data)
        assert state(back) == data
        same(back.compute(), metrics.compute())
        for other in (pickle.loads(pickle.dumps(metrics)), copy.deepcopy(metrics)):
            assert state(other) == data
        metrics.update(target, prediction)
    assert metrics.compute()["images"] == 8
    assert back.compute()["images"] == 4  # nothing is shared


def test_damaged_bytes() -> None:
    metrics = SegmentationMetrics(2, ignore_index=255, per_image=True)
    metrics.update(TARGET % 9, PREDICTION % 9)
    data = state(metrics)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        for wrong in (damaged, data[:at]):
            with pytest.raises(ValueError, match="from_bytes: data must be"):
                SegmentationMetrics.from_bytes(wrong)
    with pytest.raises(ValueError, match="from_bytes: data must be"):
        SegmentationMetrics.from_bytes(data + b"\0")
    with pytest.raises(TypeError, match="from_bytes: data must be bytes, got str"):
        SegmentationMetrics.from_bytes("x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"num_classes": 3}, [1, 0, 0, 1]),
        ({"num_classes": 65535}, [1, 0, 0, 1]),
        ({"num_classes": "2"}, [1, 0, 0, 1]),
        ({"void": 3}, [1, 0, 0, 1]),
        ({"more": 3}, [1, 0, 0, 1]),
        ({"images": -1}, [1, 0, 0, 1]),
        ({"images": 1, "per_image": True}, [1, 0, 0, 1]),
        ({"images": 1, "per_image": True}, [1, 0, 0, 1, 1, 1, 1, 1, 1, 2]),
        ({}, [1, 0, 0, -1]),
        ({}, [2**62, 0, 0, 0]),
        ({}, [1, 0, 0]),
    ],
)
def test_bytes_that_make_no_sense(change: dict[str, Any], counts: list[int]) -> None:
    """Well sealed, yet no state."""
    about = {"num_classes": 2, "ignore_index": None, "void": "miss", "class_names": None, "per_image": False}
    about["images"] = 1
    good = metric.pack(about, [np.array([1, 0, 0, 1])])
    assert SegmentationMetrics.from_bytes(good).compute()["mean_iou"] == 1
    wrong = metric.pack({**about, **change}, [np.array(counts)])
    with pytest.raises(ValueError, match="from_bytes: data must"):
        SegmentationMetrics.from_bytes(wrong)


def test_size() -> None:
    metrics = SegmentationMetrics(19, ignore_index=255)
    assert len(state(metrics)) < 3_600
    metrics = SegmentationMetrics(19, ignore_index=255, per_image=True)
    empty = len(state(metrics))
    zeros = np.zeros((50, 2, 2), np.uint8)
    metrics.update(zeros, zeros)
    assert abs(len(state(metrics)) - empty - 50 * 768) < 10
    assert "50 images, 200 pixels" in repr(metrics)


RANK = """
import sys
import numpy as np
import torch.distributed as dist
from datetime import timedelta
from test_segmentation_metrics import maps
from fastdet.segmentation import SegmentationMetrics

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group(
    "gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
options = {"ignore_index": 255, "per_image": True, "class_names": list("abcde")}
target, prediction = maps(9, (5, 6, 7))
whole = SegmentationMetrics(5, **options)
whole.update(target, prediction)


def raises(metrics):
    before = metrics.to_bytes()
    try:
        metrics.sync()
    except (ValueError, RuntimeError) as error:
        assert metrics.to_bytes() == before
        return f"{type(error).__name__}: {error}"
    return "nothing"


for some, per_image in (([0, 1], True), ([0, 0], True), ([2, 5], True), ([5, 5], False)):
    # rank 0 has the images before some[0], rank 1 those up to some[1]
    mine = slice(0, some[0]) if rank == 0 else slice(some[0], some[1])
    one = SegmentationMetrics(5, **{**options, "per_image": per_image})
    want = SegmentationMetrics(5, **{**options, "per_image": per_image})
    one.update(target[mine], prediction[mine])
    want.update(target[: some[1]], prediction[: some[1]])
    one.sync()
    assert one.to_bytes() == want.to_bytes(), some
    one.compute()

unlike = SegmentationMetrics(5, **{**options, "void": ("miss", "count")[rank]})
print(raises(unlike))
print(raises(SegmentationMetrics(5 + rank, ignore_index=255)))
print(raises(one))
fresh = SegmentationMetrics(5, **options)
fresh._synced = rank == 1
print(raises(fresh))
one.reset()
one.update(target[rank], prediction[rank])
one.sync()
print(one.compute()["images"])
half = dist.new_group([0])
if rank == 1:
    try:
        SegmentationMetrics(5).sync(half)
    except RuntimeError as error:
        print(error, file=sys.stderr)
dist.destroy_process_group()
"""


def test_processes(tmp_path: Path) -> None:
    """Two ranks: sums, one rank or both without images, unlike parameters, a second sync."""
    need("torch.distributed")
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    here = [str(Path(__file__).parent), str(Path(fastdet.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {here!r}; exec(open({str(script)!r}).read())"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    for rank, (_, err) in zip(ranks, said, strict=True):
        assert rank.returncode == 0, err
    assert said[0][0] == said[1][0]
    assert said[0][0].splitlines() == [
        "ValueError: sync: all ranks must have the same void, got 'miss' on rank 0 and 'count' on rank 1",
        "ValueError: sync: all ranks must have the same num_classes, got 5 on rank 0 and 6 on rank 1",
        "RuntimeError: sync: rank 0 is the sum of all ranks already; reset it before it counts anew",
        "RuntimeError: sync: rank 1 is the sum of all ranks already; reset it before it counts anew",
        "2",
    ]
    assert "sync: this process must be in the group, it is not" in said[1][1]


def test_sync_alone() -> None:
    with pytest.raises(RuntimeError, match=r"sync: torch\.distributed must be initialised first"):
        SegmentationMetrics(2).sync()


def test_plots() -> None:
    target, prediction = maps(10)
    metrics = SegmentationMetrics(5, ignore_index=255, class_names=["a$b", "b", "c", "d", "e"])
    metrics.update(target, prediction)
    figure, ax = metrics.plot()
    assert [t.get_text() for t in ax.get_xticklabels()] == [r"a\$b", "b", "c", "d", "e", "void"]
    assert [t.get_text() for t in ax.get_yticklabels()] == [r"a\$b", "b", "c", "d", "e"]
    shares = np.asarray(ax.images[0].get_array())
    assert shares.shape == (5, 6)
    np.testing.assert_allclose(shares[[0, 1, 2, 4]].sum(1), 1)
    assert len(ax.patches) == 1  # the absent class
    figure.canvas.draw()
    figure, ax = metrics.plot("iou", void="drop")
    assert "mean 0." in ax.get_title(loc="left")
    assert "absent" in [t.get_text() for t in ax.texts]
    figure.canvas.draw()
    axes = plots.new_axes(2)[1]
    assert metrics.plot("dice", ax=axes[1])[1] is axes[1]
    assert metrics.plot("class_accuracy", ax=axes[0])[0] is axes[0].figure
    SegmentationMetrics(2).plot("iou")[0].canvas.draw()  # nothing counted yet
    SegmentationMetrics(2).plot()[0].canvas.draw()
    with pytest.raises(ValueError, match="kind must be one of 'confusion', 'iou', 'class_accuracy', 'dice', got 'x'"):
        metrics.plot("x")


def test_plots_of_arrays() -> None:
    many = plots.draw_confusion(np.eye(150, dtype=np.int64))[1]
    assert len(many.get_xticks()) <= 100
    coco = plots.draw_confusion(np.eye(81, dtype=np.int64))[1]
    assert len(coco.get_xticks()) == 81  # each of COCO's classes, and the background
    assert len(plots.draw_class_scores(np.linspace(0, 1, 150))[1].get_yticks()) == 150
    with pytest.raises(ValueError, match="draw_confusion: names must be 3, one per class, got 2"):
        plots.draw_confusion(np.eye(3), names=["a", "b"])
    with pytest.raises(ValueError, match=r"draw_confusion: matrix must have shape \(R, K\)"):
        plots.draw_confusion(np.zeros(3))
    with pytest.raises(ValueError, match=r"draw_class_scores: intervals must have shape \(2, 3\), got \(3,\)"):
        plots.draw_class_scores(np.zeros(3), intervals=np.zeros(3))
