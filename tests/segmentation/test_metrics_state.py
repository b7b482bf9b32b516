"""SegmentationMetrics: merging, bytes and several processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import metric_maps
import numpy as np
import pytest
from metric_maps import PREDICTION, TARGET, maps, same, state
from optional import need

import fastdet
from fastdet._core import metric
from fastdet.segmentation import SegmentationMetrics


def test_merge() -> None:
    target, prediction = maps(7)
    metrics = SegmentationMetrics(5, ignore_index=255, per_image=True)
    metrics.update(prediction, target)
    metrics.merge_state(metrics)  # itself
    got = metrics.compute()
    assert got["images"] == 8
    np.testing.assert_array_equal(got["per_image"]["mean_iou"][:4], got["per_image"]["mean_iou"][4:])
    before = state(metrics)
    metrics.merge_state([])
    good = SegmentationMetrics(5, ignore_index=255, per_image=True)
    good.update(prediction, target)
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
        with pytest.raises(TypeError, match="other must be a SegmentationMetrics, or an iterable of them, got"):
            metrics.merge_state(thing)  # type: ignore[arg-type]
    assert state(metrics) == before


@pytest.mark.filterwarnings("ignore:SegmentationMetrics.compute. no image was counted")
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
        metrics.update(prediction, target)
    assert metrics.compute()["images"] == 8
    assert back.compute()["images"] == 4  # nothing is shared


def test_damaged_bytes() -> None:
    metrics = SegmentationMetrics(2, ignore_index=255, per_image=True)
    metrics.update(PREDICTION % 9, TARGET % 9)
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


ABOUT = {"num_classes": 2, "ignore_index": None, "void": "miss", "class_names": None, "per_image": False}
ONE = [[1, 0], [0, 1]]  # a matrix


@pytest.mark.parametrize(
    ("change", "images", "arrays"),
    [
        ({"num_classes": 3}, 1, {"matrix": ONE}),
        ({"num_classes": 65535}, 1, {"matrix": ONE}),
        ({"num_classes": "2"}, 1, {"matrix": ONE}),
        ({"void": 3}, 1, {"matrix": ONE}),
        ({"more": 3}, 1, {"matrix": ONE}),
        ({}, -1, {"matrix": ONE}),
        ({"per_image": True}, 1, {"matrix": ONE}),
        ({"per_image": True}, 1, {"matrix": ONE, "records": [[1, 1, 1, 1, 1, 2]]}),
        ({"per_image": True}, 2, {"matrix": ONE, "records": [[1, 1, 1, 1, 1, 1]]}),
        ({}, 1, {"matrix": ONE, "records": [[1, 1, 1, 1, 1, 1]]}),
        ({}, 1, {"matrix": ONE, "other": ONE}),
        ({}, 1, {"matrix": [[1, 0], [0, -1]]}),
        ({}, 1, {"matrix": [[2**62, 0], [0, 0]]}),
        ({}, 1, {"matrix": [1, 0, 0]}),
        ({}, 1, {}),
    ],
)
def test_bytes_that_make_no_sense(change: dict[str, Any], images: int, arrays: dict[str, Any]) -> None:
    """Well sealed, yet no state."""

    def sealed(change: dict[str, Any], images: int, arrays: dict[str, Any]) -> bytes:
        counts = {name: np.array(x, np.int64) for name, x in arrays.items()}
        return metric.encode("SegmentationMetrics", {**ABOUT, **change}, {"images": images}, counts)

    assert SegmentationMetrics.from_bytes(sealed({}, 1, {"matrix": ONE})).compute()["mean_iou"] == 1
    each = sealed({"per_image": True}, 1, {"matrix": ONE, "records": [[1, 1, 1, 1, 1, 1]]})
    assert SegmentationMetrics.from_bytes(each).compute()["per_image"]["mean"] == 1
    with pytest.raises(ValueError, match="from_bytes: data must"):
        SegmentationMetrics.from_bytes(sealed(change, images, arrays))


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
from metric_maps import maps
from fastdet.segmentation import SegmentationMetrics

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group(
    "gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
options = {"ignore_index": 255, "per_image": True, "class_names": list("abcde")}
target, prediction = maps(9, (5, 6, 7))
whole = SegmentationMetrics(5, **options)
whole.update(prediction, target)


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
    one.update(prediction[mine], target[mine])
    want.update(prediction[: some[1]], target[: some[1]])
    assert one.sync() is one
    assert one.to_bytes() == want.to_bytes(), some
    one.compute()

unlike = SegmentationMetrics(5, **{**options, "void": ("miss", "count")[rank]})
print(raises(unlike))
print(raises(SegmentationMetrics(5 + rank, ignore_index=255)))
print(raises(one))
fresh = SegmentationMetrics(5, **options)
fresh._state = fresh._state._replace(synced=rank == 1)
print(raises(fresh))
one.reset()
one.update(prediction[rank], target[rank])
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
    here = [str(Path(metric_maps.__file__).parent), str(Path(fastdet.__file__).parents[1])]
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
    assert said[0][0].replace("Error: SegmentationMetrics.sync: ", ": ").splitlines() == [
        "Value: all ranks must have the same void, got 'miss' on rank 0 and 'count' on rank 1",
        "Value: all ranks must have the same num_classes, got 5 on rank 0 and 6 on rank 1",
        "Runtime: rank 0 must not be synced twice, got the sum of all ranks; call reset() before new images",
        "Runtime: rank 1 must not be synced twice, got the sum of all ranks; call reset() before new images",
        "2",
    ]
    assert "sync: this process must be in the group, it is not" in said[1][1]


def test_sync_alone() -> None:
    with pytest.raises(RuntimeError, match=r"sync: torch\.distributed must be initialised first"):
        SegmentationMetrics(2).sync()
