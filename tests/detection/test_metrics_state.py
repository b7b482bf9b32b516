"""DetectionMetrics: order, merging, bytes, and errors that leave no trace."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import detection_images
import numpy as np
import pytest
from detection_images import fill, make_images, same
from optional import need

import fastdet
from fastdet.detection import DetectionMetrics
from fastdet.detection.records import Columns

SUPPORT = str(Path(detection_images.__file__).parent)


def test_bytes_of_a_detection() -> None:
    """Under 16 with COCO's thresholds and areas, and what is given can be changed after."""
    r = np.random.default_rng(0)
    images = []
    for _ in range(300):
        corner = r.random((100, 2)) * 500
        boxes = np.concatenate([corner, corner + r.random((100, 2)) * 100], axis=1).astype(np.float32)
        labels = (80 * r.random(100) ** 3).astype(int)
        prediction = {"boxes": boxes, "scores": r.random(100).astype(np.float32), "labels": labels}
        images.append((prediction, {"boxes": boxes[:7], "labels": labels[:7]}))
    metrics = fill(images)
    want = metrics.compute()
    assert metrics.nbytes / 30000 < 16
    metrics = DetectionMetrics()
    for prediction, target in copy.deepcopy(images):
        metrics.update([prediction], [target])
        for x in (*prediction.values(), *target.values()):
            x[:] = 0
    assert same(metrics.compute(), want)


# Order and merging


def test_any_order_of_images_and_of_merging_is_the_same() -> None:
    images, ids = make_images(6, 24), [3 * i - 20 for i in range(24)]
    whole = fill(images, ids, confusion_at=(0.5, 0.2))
    r = np.random.default_rng(0)
    for _ in range(10):
        order = r.permutation(24)
        parts = [
            fill([images[i] for i in part], [ids[i] for i in part], batch=2, confusion_at=(0.5, 0.2))
            for part in np.array_split(order, 4)
        ]
        merged = parts[0].merge_state(parts[i] for i in r.permutation([1, 2, 3]))
        assert merged.to_bytes() == whole.to_bytes()
        assert same(merged.compute(), whole.compute())
        assert len(merged) == 24
    assert whole.image_ids.tolist() == ids


def test_numbered_images_are_dealt_out() -> None:
    """Image i of process r is number i * world + r, so that the processes together are the single one."""
    images = make_images(7, 11)
    parts = [fill(images[rank::3], rank=rank, world=3) for rank in range(3)]
    merged = parts[2].merge_state([parts[0], parts[1]])
    assert same(merged.compute(), fill(images).compute())
    with pytest.raises(ValueError, match=r"image_ids must be unique, got 0 twice; pass rank and world, or image_ids"):
        fill(images[:2]).merge_state(fill(images[2:]))
    with pytest.raises(ValueError, match=r"got 0 twice; pass rank and world"):  # they are not the same image
        fill(images[:2], on_duplicate="first").merge_state(fill(images[2:]))
    merged.update([images[0][0]], [images[0][1]])
    assert len(merged) == 12


def test_an_image_seen_twice() -> None:
    images = make_images(8, 5)
    metrics = fill(images, range(5))
    before = metrics.to_bytes()
    for call in (
        lambda m: m.update([images[0][0]] * 2, [images[0][1]] * 2, [7, 7]),
        lambda m: m.update([images[0][0]] * 2, [images[0][1]] * 2, [7, 3]),
        lambda m: m.merge_state([fill(images[:1], [9]), fill(images[3:], [3, 4])]),
    ):
        with pytest.raises(ValueError, match=r"image_ids must be unique, got [37] twice; on_duplicate=\"first\""):
            call(metrics)
        assert metrics.to_bytes() == before
    want = fill(images, range(5), confusion_at=(0.5, 0.1))
    first = fill([*images, *images[:2]], [0, 1, 2, 3, 4, 1, 0], batch=4, on_duplicate="first", confusion_at=(0.5, 0.1))
    assert first.to_bytes() != want.to_bytes()  # the settings differ
    assert same(first.compute(), want.compute())
    assert np.array_equal(first.confusion_matrix(), want.confusion_matrix())
    padded = fill(images[:3], [0, 1, 2], on_duplicate="first", confusion_at=(0.5, 0.1))
    padded.merge_state(fill([*images[2:], images[0]], [2, 3, 4, 0], confusion_at=(0.5, 0.1)))
    assert same(padded.compute(), want.compute())
    assert np.array_equal(padded.confusion_matrix(), want.confusion_matrix())


def test_columns_are_dictionaries() -> None:
    """Whole columns give the state that image by image gives, also with unknown order of rows."""
    images, r = make_images(9, 10), np.random.default_rng(0)

    def columns(which: int) -> Columns:
        parts = [x[which] for x in images]
        sizes = [len(x["labels"]) for x in parts]
        boxes = np.concatenate([x["boxes"] for x in parts]).astype(float)
        boxes[:, 2:] -= boxes[:, :2]
        none = np.zeros(0)
        return Columns(
            np.repeat(np.arange(10) * 5, sizes), np.concatenate([x["labels"] for x in parts]), boxes,
            boxes[:, 2] * boxes[:, 3], none if which else np.concatenate([x["scores"] for x in parts]).astype(float),
            np.concatenate([x["iscrowd"] for x in parts]).astype(np.uint8) if which else none.astype(np.uint8),
            none.astype(np.int64),
        )  # fmt: skip

    detections, truth = columns(0), columns(1)
    metrics = DetectionMetrics()
    order = r.permutation(len(truth.label))
    truth = truth.rows(order)
    metrics.update_columns(detections, truth, np.arange(10) * 5)
    assert metrics.to_bytes() == fill(images, range(0, 50, 5)).to_bytes()
    before = metrics.to_bytes()
    bad = detections._replace(image=detections.image + 1000)
    with pytest.raises(ValueError, match=r"detections.image must be among image_ids, got 1000 in row 0"):
        metrics.update_columns(bad, truth, np.arange(10) * 5 + 1)
    with pytest.raises(ValueError, match="got 45 twice"):
        metrics.update_columns(detections, truth, [45])
    scores = detections.scores.copy()
    scores[3] = np.nan
    with pytest.raises(ValueError, match=r"detections.scores must not hold NaN, got NaN at index 3"):
        metrics.update_columns(detections._replace(scores=scores), truth, [1])
    assert metrics.to_bytes() == before


# Bytes


def test_bytes_there_and_back() -> None:
    metrics = fill(make_images(10, 8), range(8), confusion_at=(0.5, 0.2), max_detections=(3, None), rule="voc")
    data = metrics.to_bytes()
    other = DetectionMetrics.from_bytes(data)
    assert other.to_bytes() == data
    assert same(other.compute(), metrics.compute())
    other.update([{"boxes": [], "scores": [], "labels": []}], [{"boxes": [], "labels": []}], [8])
    assert len(other) == 9
    for copied in (pickle.loads(pickle.dumps(metrics)), copy.deepcopy(metrics)):
        assert copied.to_bytes() == data


def test_bytes_that_are_damaged() -> None:
    data = fill(make_images(11, 3), range(3)).to_bytes()
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"DetectionMetrics.from_bytes: data must be"):
            DetectionMetrics.from_bytes(data[:size])
    r = np.random.default_rng(0)
    for _ in range(500):
        wrong = bytearray(data)
        wrong[r.integers(0, len(data))] ^= 1 << r.integers(0, 8)
        with pytest.raises(ValueError, match=r"DetectionMetrics.from_bytes: data must "):
            DetectionMetrics.from_bytes(bytes(wrong))
    with pytest.raises(ValueError, match=r"damaged or truncated"):
        DetectionMetrics.from_bytes(data + b"x")
    with pytest.raises(ValueError, match=r"data must be of version 1, got 2"):
        DetectionMetrics.from_bytes(data[:8] + b"\2" + data[9:])
    with pytest.raises(TypeError, match=r"data must be bytes, got str"):
        DetectionMetrics.from_bytes("fastdet")  # type: ignore[arg-type]


def forge(body: bytes, header: bytes) -> bytes:
    """Bytes whose digest is right, whatever the body is."""
    return header + body + hashlib.sha256(header + body).digest()


@pytest.mark.parametrize(
    "options",
    [
        {"confusion_at": (0.5, 0.2)},
        {"rule": "voc", "iou_thresholds": [0.5], "areas": {"all": (0, float("inf"))}, "max_detections": [None]},
    ],
)
def test_bytes_that_are_forged(options: dict[str, Any]) -> None:
    """With a right digest whatever is inside: a state that can be used, or a ValueError."""
    data = fill(make_images(12, 4), range(4), **options).to_bytes()
    header, body, loaded = data[:20], data[20:-32], 0
    assert forge(body, header) == data
    r = np.random.default_rng(0)
    for case in range(1500):
        wrong = bytearray(body)
        for _ in range(1 + case % 3):
            wrong[r.integers(0, len(wrong))] = r.choice([0, 1, 32, 48, 57, 91, 255, int(r.integers(0, 256))])
        metrics, text = None, "DetectionMetrics.from_bytes: data must"
        try:
            metrics = DetectionMetrics.from_bytes(forge(bytes(wrong), header))
        except ValueError as error:
            text = str(error)
        assert text.startswith("DetectionMetrics.from_bytes: data must")
        if metrics is not None:
            loaded += 1
            metrics.compute()
            if metrics._parameters.confusion_at:
                metrics.confusion_matrix()
    assert loaded  # scores and ids can be any


def test_states_that_are_unlike() -> None:
    one, other = DetectionMetrics(), DetectionMetrics(iou_thresholds=[0.5])
    with pytest.raises(ValueError, match=r"merge_state: other must have iou_thresholds tuple \(0.5, "):
        one.merge_state(DetectionMetrics.from_bytes(other.to_bytes()))
    with pytest.raises(ValueError, match=r"other must have inclusive False, got True"):
        one.merge_state(DetectionMetrics(inclusive=True))
    with pytest.raises(TypeError, match=r"other must be a DetectionMetrics, or an iterable of them, got int"):
        one.merge_state([3])  # type: ignore[list-item]
    images = make_images(1, 2)
    with pytest.raises(ValueError, match=r"image_ids must be passed to all states or to none"):
        fill(images[:1]).merge_state(fill(images[1:], [5]))
    with pytest.raises(ValueError, match=r"image_ids must be passed to all states or to none"):
        DetectionMetrics().merge_state([fill(images[:1]), fill(images[1:], [5])])
    # the format of boxes is of the input alone
    DetectionMetrics().merge_state(DetectionMetrics(box_format="xywh"))


# Errors


def wrong_images() -> dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], type[Exception], str]]:
    def put(which: int, key: str, value: Any) -> Callable[..., None]:
        return lambda *image: image[which].__setitem__(key, value)

    two = [[0, 0, 1, 1], [0, 0, 1, 1.0]]
    return {
        "NaN box": (put(0, "boxes", [two[0], [0, 0, np.nan, 1]]), ValueError,
                    "predictions[1]['boxes'] must not hold NaN, got NaN at index (1, 2)"),
        "infinite box": (put(1, "boxes", [[0, 0, np.inf, 1], two[0]]), ValueError,
                         "targets[1]['boxes'] must be finite, got inf at index (0, 2)"),
        "NaN score": (put(0, "scores", [0.5, np.nan]), ValueError,
                      "predictions[1]['scores'] must not hold NaN, got NaN at index 1"),
        "infinite score": (put(0, "scores", [-np.inf, 1]), ValueError,
                           "predictions[1]['scores'] must be finite, got -inf at index 0"),
        "sides": (put(0, "boxes", np.array([two[0], [-3e38, 0, 3e38, 1]], np.float32)), ValueError, "finite sides"),
        "scores": (put(0, "scores", [0.5]), ValueError,
                   "predictions[1]['scores'] must have shape (2,), one per box, got (1,)"),
        "labels": (put(1, "labels", [0.5, 1]), TypeError, "targets[1]['labels'] must be an integer array, got float64"),
        "crowd": (put(1, "iscrowd", [0, 2]), ValueError, "targets[1]['iscrowd'] must hold only 0 and 1, got 0 to 2"),
        "area": (put(1, "area", [1, np.nan]), ValueError, "targets[1]['area'] must not hold NaN, got NaN at index 1"),
        "shape": (put(1, "boxes", [[0, 0, 1], [0, 0, 1]]), ValueError,
                  "targets[1]['boxes'] must have shape (N, 4), got (2, 3)"),
        "missing": (lambda p, t: p.pop("scores"), ValueError,
                    "predictions[1] must have 'scores', got ['boxes', 'labels']"),
    }  # fmt: skip


@pytest.mark.parametrize("case", wrong_images())
def test_an_error_takes_nothing_of_the_batch(case: str) -> None:
    spoil, kind, text = wrong_images()[case]
    images = make_images(15, 3)
    metrics = fill(images, range(3))
    before = metrics.to_bytes()
    box = np.array([[0, 0, 5, 5.0], [0, 0, 6, 6]])
    prediction = {"boxes": box, "scores": np.array([0.5, 0.6]), "labels": np.array([0, 1])}
    target = {"boxes": box, "labels": np.array([0, 1])}
    spoil(prediction, target)
    with pytest.raises(kind) as error:
        metrics.update([images[0][0], prediction], [images[0][1], target], [10, 11])
    assert str(error.value).startswith("DetectionMetrics.update: ")
    assert text in str(error.value)
    assert metrics.to_bytes() == before
    metrics.update([images[0][0]], [images[0][1]], [10])


def test_batches_that_are_wrong() -> None:
    metrics, (prediction, target) = DetectionMetrics(), make_images(0, 1)[0]
    for args, kind, text in (
        ((prediction, [target]), TypeError, "predictions must be a list of dictionaries, got dict"),
        (([prediction], [target] * 2), ValueError, "targets must be as many as predictions (1), got 2"),
        (([3], [target]), TypeError, "predictions[0] must be a dictionary, got int"),
        (([prediction], [target], [1, 2]), ValueError, "image_ids must be as many as images (1), got 2"),
        (([prediction], [target], ["a"]), TypeError, "image_ids must be integers, got 'a'"),
        (([prediction], [target], [2**70]), ValueError, "image_ids must be in [-2**62, 2**62)"),
    ):
        with pytest.raises(kind) as error:
            metrics.update(*args)
        assert text in str(error.value)
    metrics.update([prediction], [target])
    with pytest.raises(ValueError, match=r"image_ids must be passed to every update or to none"):
        metrics.update([prediction], [target], [1])
    assert len(metrics) == 1


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"box_format": "yxyx"}, ValueError, "box_format must be one of 'xyxy', 'xywh', 'cxcywh', got 'yxyx'"),
        ({"iou_thresholds": []}, ValueError, "iou_thresholds must not be empty"),
        ({"iou_thresholds": [1.5]}, ValueError, "iou_thresholds must be in (0, 1], got 1.5"),
        ({"iou_thresholds": 0.5}, TypeError, "iou_thresholds must be a sequence of numbers, got 0.5"),
        ({"rec_thresholds": [0.5, 0.5]}, ValueError, "rec_thresholds must be rising numbers in [0, 1], got [0.5, 0.5]"),
        ({"max_detections": (10, 1)}, ValueError, "max_detections must be rising integers of 1 or more, got [10, 1]"),
        ({"areas": {"all": (2, 1)}}, ValueError, "areas must have min_area <= max_area"),
        ({"areas": [1]}, TypeError, "areas must be a dictionary of (min_area, max_area), got [1]"),
        ({"rule": "x"}, ValueError, "rule must be one of 'coco', 'voc', 'lvis', got 'x'"),
        ({"method": "x"}, ValueError, "method must be one of"),
        ({"confusion_at": 0.5}, TypeError, "confusion_at must be (iou, score), got 0.5"),
        ({"on_duplicate": "last"}, ValueError, "on_duplicate must be one of 'raise', 'first', got 'last'"),
        ({"rank": 2, "world": 2}, ValueError, "rank must be below world, got 2 of 2"),
        ({"backend": "x"}, ValueError, "backend must be one of"),
    ],
)
def test_parameters_that_are_wrong(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        DetectionMetrics(**options)
    assert str(error.value).startswith(f"DetectionMetrics: {text}")


# Several processes

WORKER = """
import sys
import torch
import torch.distributed as dist
from detection_images import fill, make_images, tensors
from fastdet.detection import DetectionMetrics

rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
images = [tensors(x) for x in make_images(20, 13)]
ids = list(range(13)) + [0, 1, 2][: -13 % world]  # padded, as a distributed sampler does
mine = ids[rank::world]
named = fill([images[i] for i in mine], mine, on_duplicate="first").sync()
numbered = fill(images[rank::world]).sync()
try:
    DetectionMetrics(iou_thresholds=[(rank + 1) / 8]).sync()
except ValueError as error:
    unlike = str(error)
assert "sync: all ranks must have the same iou_thresholds, got (0.125,) on rank 0" in unlike
assert isinstance(named.compute()["map"], torch.Tensor)
local = fill(images[:1], [7])
before = local.to_bytes()
for one, kind, words in ((local, ValueError, "sync: image_ids must be unique, got 7 twice"),
                         (named, RuntimeError, "sync: rank 0 must not be synced twice, got the sum of all ranks")):
    try:
        one.sync()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(words)
assert local.to_bytes() == before
again = named.reset() or named
again.update([images[rank][0]], [images[rank][1]], [rank])
assert again.sync() is again
assert len(again) == world
named = fill([images[i] for i in mine], mine, on_duplicate="first").sync()
last = rank == world - 1  # the others count nothing
alone = fill(images[:3] if last else []).sync()
assert {type(x) for x in alone.compute().values()} == {type(x) for x in alone.best_f1().values()} == {torch.Tensor}
plain = fill(make_images(20, 3) if last else []).sync()
assert torch.Tensor not in {type(x) for x in plain.compute().values()}
mixed = fill(images[:3] if last else make_images(20, 3)).sync()
assert {type(x) for x in mixed.compute().values()} == {torch.Tensor}
with open(f"{out}.{rank}", "wb") as file:
    for data in (named.to_bytes(), numbered.to_bytes()):
        file.write(len(data).to_bytes(8, "little") + data)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("world", [2, 4])
def test_processes_of_torch_distributed(world: int, tmp_path: Path) -> None:
    """Each rank has the result of the single process, from ids with padding and from numbers dealt out."""
    need("torch.distributed")
    if sys.platform == "win32":
        pytest.skip("gloo over a file needs a POSIX system")
    paths = os.pathsep.join([str(Path(fastdet.__file__).parents[1]), SUPPORT, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":  # a host name need not lead to an address
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(world), str(tmp_path / "store"), str(tmp_path / "out")],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    images = make_images(20, 13)
    want = [fill(images, range(13), on_duplicate="first").to_bytes(), fill(images).to_bytes()]
    for rank in range(world):
        data, found = (tmp_path / f"out.{rank}").read_bytes(), []
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(data[8 : 8 + size])
            data = data[8 + size :]
        assert found == want


def test_sync_without_processes() -> None:
    with pytest.raises(RuntimeError, match=r"DetectionMetrics\.sync: torch\.distributed must be initialised first"):
        DetectionMetrics().sync()


@pytest.mark.parametrize("name", ["50", "75", "per_class", "100_per_class", "100", "small_ci"])
def test_areas_have_keys_of_their_own(name: str) -> None:
    with pytest.raises(ValueError, match="DetectionMetrics: areas must have names that differ from the other keys"):
        DetectionMetrics(areas={"all": (0, 1e10), name: (200, 300)})
    DetectionMetrics(areas={name: (0, 1e10)})  # the first is in no key


def test_ids_and_seeds_are_checked() -> None:
    metrics = DetectionMetrics()
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, np.int64)}
    with pytest.raises(TypeError, match="image_ids must be a sequence of integers, got 3"):
        metrics.update([empty], [empty], image_ids=3)
    metrics.update([empty], [empty])
    for seed, error in ((-1, ValueError), ("x", TypeError)):
        with pytest.raises(error, match=r"DetectionMetrics.compute: seed must be"):
            metrics.compute(ci=0.9, seed=seed)
